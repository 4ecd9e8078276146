/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics over the losses of samples. A loss per label token is a ratio of
 * sums, R = sum y / sum t, whose units are samples: tokens of one sample are
 * not independent. Its standard error is that of the linearised ratio
 * (Cochran 1977, section 6.3):
 *
 *     se = sqrt(n / (n - 1) sum (y_i - R t_i)^2) / sum t
 *
 * A gain is the same with y_i = swapped_i - right_i: what makes a sample hard
 * is in both and falls out.
 */
#include "cornstarch/infer.h"

#include <inttypes.h>
#include <math.h>

/* y_i = nll[i] - minus[i] (NULL = nothing); samples with tokens < 0 in either
 * are left out. */
typedef struct ratio_input {
    const cs_sample_losses *losses, *minus;
} ratio_input;

static bool counts(const ratio_input *in, int64_t i)
{
    return in->losses->tokens[i] >= 0 &&
           (in->minus == NULL || in->minus->tokens[i] >= 0);
}

static double value(const ratio_input *in, int64_t i)
{
    return in->losses->nll[i] - (in->minus != NULL ? in->minus->nll[i] : 0.0);
}

static cs_evaluation estimate(const ratio_input *in)
{
    double sum = 0.0;
    double tokens = 0.0;
    double spread = 0.0;
    int64_t n = 0;

    for (int64_t i = 0; i < in->losses->n; i++) {
        if (counts(in, i)) {
            sum += value(in, i);
            tokens += (double)in->losses->tokens[i];
            n++;
        }
    }
    const double ratio = tokens > 0.0 ? sum / tokens : 0.0;
    for (int64_t i = 0; i < in->losses->n; i++) {
        if (counts(in, i)) {
            const double rest =
                value(in, i) - ratio * (double)in->losses->tokens[i];
            spread += rest * rest;
        }
    }
    const double samples = (double)n;
    return (cs_evaluation){
        .loss = ratio,
        .stderr_ =
            n > 1 ? sqrt(spread * samples / (samples - 1.0)) / fmax(tokens, 1.0)
                  : 0.0,
        .n_samples = n,
        .label_tokens = (int64_t)tokens,
    };
}

cs_evaluation cs_evaluation_summarise(const cs_sample_losses *losses)
{
    return estimate(&(ratio_input){.losses = losses});
}

cs_status cs_evaluation_compare(const cs_sample_losses *right,
                                const cs_sample_losses *swapped, cs_gain *out)
{
    CS_CHECK(right->n == swapped->n, CS_ERR_ARG,
             "gain: %" PRId64 " samples with the right media, %" PRId64
             " with swapped ones",
             right->n, swapped->n);
    for (int64_t i = 0; i < right->n; i++) {
        const int64_t a = right->tokens[i];
        const int64_t b = swapped->tokens[i];
        CS_CHECK(a == b || a < 0 || b < 0, CS_ERR_ARG,
                 "gain: sample %" PRId64 " has %" PRId64
                 " label tokens with the right media, %" PRId64
                 " with swapped ones",
                 i, a, b);
    }
    const cs_evaluation e =
        estimate(&(ratio_input){.losses = swapped, .minus = right});
    *out = (cs_gain){.gain = e.loss,
                     .stderr_ = e.stderr_,
                     .n_samples = e.n_samples};
    return CS_OK;
}
