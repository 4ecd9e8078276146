/* SPDX-License-Identifier: Apache-2.0 */
/* Values of parameters: initial ones, and those that come from files. */
#include "cornstarch/param.h"

#include "base/rng.h"

#include <math.h>

/* Writes element i of master (if any of its own) and working copy. */
static void set_element(const cs_param_set *set, const cs_param_state *item,
                        int64_t i, double value)
{
    if (item->master != NULL && item->master != item->working.data) {
        ((float *)item->master)[i] = (float)value;
    }
    switch (set->dtype) {
    case CS_F64:
        ((double *)item->working.data)[i] = value;
        break;
    case CS_BF16:
        ((uint16_t *)item->working.data)[i] = csi_f32_to_bf16((float)value);
        break;
    default:
        ((float *)item->working.data)[i] = (float)value;
        break;
    }
}

/* Whisper's fixed positions (Radford et al. 2022, appendix): the first half
 * of the channels are sines, the second cosines, timescales geometric from 1
 * to 10000. */
static double sinusoid(int64_t position, int64_t channel, int64_t channels)
{
    const int64_t half = channels / 2;
    const double step = log(10000.0) / (double)(half > 1 ? half - 1 : 1);
    const int64_t pair = channel % half;
    const double angle = (double)position * exp(-step * (double)pair);

    return channel < half ? sin(angle) : cos(angle);
}

void cs_param_init(cs_param_set *set, int32_t item, uint64_t seed)
{
    const cs_param_state *p = &set->items[item];
    const cs_param *spec =
        p->spec->tied_to < 0 ? p->spec : &set->graph->params[p->spec->tied_to];
    const uint64_t stream = csi_hash64(spec->global_name);
    const int64_t columns = spec->shape.dim[spec->shape.n_dims - 1];

    for (int64_t i = 0; i < p->count; i++) {
        double value = 0.0;
        switch (spec->init) {
        case CS_INIT_ZEROS:
            break;
        case CS_INIT_ONES:
            value = 1.0;
            break;
        case CS_INIT_NORMAL:
            value = spec->init_std * csi_rng_normal(seed, stream, (uint64_t)i);
            break;
        case CS_INIT_SINUSOID:
            value = sinusoid(i / columns, i % columns, columns);
            break;
        case CS_INIT_CONSTANT:
            value = spec->init_std;
            break;
        }
        set_element(set, p, i, value);
    }
}

void cs_param_set_init(cs_param_set *set, uint64_t seed)
{
    for (int32_t i = 0; i < set->n; i++) {
        cs_param_init(set, i, seed);
    }
}

cs_status cs_param_store(cs_param_set *set, int32_t item, cs_dtype src_dtype,
                         const void *src)
{
    const cs_param_state *p = &set->items[item];

    CS_CHECK(cs_dtype_is_float(src_dtype), CS_ERR_DTYPE,
             "%s: wanted f32, f64, bf16 or f16 values, got %s",
             p->spec->global_name, cs_dtype_name(src_dtype));
    CS_TRY(csi_dtype_convert(src, src_dtype, p->working.data, set->dtype,
                             p->count));
    if (p->master != NULL && p->master != p->working.data) {
        CS_TRY(csi_dtype_convert(src, src_dtype, p->master, set->real,
                                 p->count));
    }
    return CS_OK;
}
