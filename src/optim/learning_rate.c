/* SPDX-License-Identifier: Apache-2.0 */
/* The learning rate of a step: linear warm-up, then a decay. 1e-9 forgives
 * 0.07 * 300 = 21.000000000000004. */
#include "cornstarch/optim.h"

#include <math.h>

double cs_learning_rate(const cs_config *config, int64_t step, int64_t n_steps)
{
    const double peak = config->training.learning_rate;
    const double floor_ratio = config->training.min_lr_ratio;
    const double warmup =
        config->training.warmup_ratio >= 0.0
            ? ceil(config->training.warmup_ratio * (double)n_steps - 1e-9)
            : (double)config->training.warmup_steps;
    const double done = (double)step - 1.0;

    if ((double)step <= warmup) {
        return peak * (double)step / (warmup + 1.0);
    }
    const double span = (double)n_steps - warmup;
    const double progress =
        span > 0.0 ? fmin((done - warmup) / span, 1.0) : 1.0;
    double ratio = 1.0;
    if (config->training.lr_kind == CS_LR_COSINE) {
        ratio = 0.5 * (1.0 + cos(3.14159265358979323846 * progress));
    } else if (config->training.lr_kind == CS_LR_LINEAR) {
        ratio = 1.0 - progress;
    }
    return peak * (floor_ratio + (1.0 - floor_ratio) * ratio);
}
