/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transformer block's parameters, of every family: one row per slot says its
 * shape and first values; the family's table says whether it exists, by naming
 * it.
 *
 * Initial values. Products are normal with the config's initializer_range, or
 * 1/sqrt(fan in) where the config has none; those that write into the residual
 * stream are divided by sqrt(2 x layers) (Radford et al. 2019, section 2.3).
 * Biases are 0, norms 1 (or what their offset leaves of it).
 */
#include "base/str.h"

#include "build.h"

#include <math.h>
#include <string.h>

/* Lengths of a block's axes. */
typedef enum axis {
    AXIS_NONE, /* a vector: no columns */
    AXIS_WIDTH,
    AXIS_Q,
    AXIS_KV,
    AXIS_QKV,
    AXIS_MLP,
    AXIS_TWO_MLP,
    AXIS_EXPERTS,
    AXIS_Q_NORM,
    AXIS_K_NORM,
    N_AXES
} axis;

typedef enum first_value {
    FIRST_NORMAL,
    FIRST_RESIDUAL, /* normal, and less the deeper the model is */
    FIRST_ONE,
    FIRST_ZERO
} first_value;

typedef enum block_part {
    PART_ANY,
    PART_ATTENTION_BIAS, /* under the family's switch */
    PART_MLP_BIAS,
    PART_DENSE,
    PART_EXPERTS /* [experts, out, in] */
} block_part;

typedef struct slot_row {
    axis out, in;
    first_value first;
    block_part part;
} slot_row;

#define PRODUCT(out, in)                \
    {                                   \
        out, in, FIRST_NORMAL, PART_ANY \
    }
#define BIAS(out)                                       \
    {                                                   \
        out, AXIS_NONE, FIRST_ZERO, PART_ATTENTION_BIAS \
    }
#define NORM_W                                     \
    {                                              \
        AXIS_WIDTH, AXIS_NONE, FIRST_ONE, PART_ANY \
    }
#define NORM_B                                      \
    {                                               \
        AXIS_WIDTH, AXIS_NONE, FIRST_ZERO, PART_ANY \
    }

static const slot_row ROWS[CS_SLOT_COUNT] = {
    [CS_SLOT_NORM1_W] = NORM_W,
    [CS_SLOT_NORM1_B] = NORM_B,
    [CS_SLOT_Q_W] = PRODUCT(AXIS_Q, AXIS_WIDTH),
    [CS_SLOT_Q_B] = BIAS(AXIS_Q),
    [CS_SLOT_K_W] = PRODUCT(AXIS_KV, AXIS_WIDTH),
    [CS_SLOT_K_B] = BIAS(AXIS_KV),
    [CS_SLOT_V_W] = PRODUCT(AXIS_KV, AXIS_WIDTH),
    [CS_SLOT_V_B] = BIAS(AXIS_KV),
    [CS_SLOT_O_W] = {AXIS_WIDTH, AXIS_Q, FIRST_RESIDUAL, PART_ANY},
    [CS_SLOT_O_B] = BIAS(AXIS_WIDTH),
    [CS_SLOT_NORM2_W] = NORM_W,
    [CS_SLOT_NORM2_B] = NORM_B,
    [CS_SLOT_GATE_W] = {AXIS_MLP, AXIS_WIDTH, FIRST_NORMAL, PART_DENSE},
    [CS_SLOT_GATE_B] = {AXIS_MLP, AXIS_NONE, FIRST_ZERO, PART_MLP_BIAS},
    [CS_SLOT_UP_W] = {AXIS_MLP, AXIS_WIDTH, FIRST_NORMAL, PART_DENSE},
    [CS_SLOT_UP_B] = {AXIS_MLP, AXIS_NONE, FIRST_ZERO, PART_MLP_BIAS},
    [CS_SLOT_DOWN_W] = {AXIS_WIDTH, AXIS_MLP, FIRST_RESIDUAL, PART_DENSE},
    [CS_SLOT_DOWN_B] = {AXIS_WIDTH, AXIS_NONE, FIRST_ZERO, PART_MLP_BIAS},
    [CS_SLOT_QKV_W] = PRODUCT(AXIS_QKV, AXIS_WIDTH),
    [CS_SLOT_QKV_B] = BIAS(AXIS_QKV),
    [CS_SLOT_GATE_UP_W] = {AXIS_TWO_MLP, AXIS_WIDTH, FIRST_NORMAL, PART_DENSE},
    [CS_SLOT_GATE_UP_B] = {AXIS_TWO_MLP, AXIS_NONE, FIRST_ZERO, PART_MLP_BIAS},
    [CS_SLOT_Q_NORM_W] = {AXIS_Q_NORM, AXIS_NONE, FIRST_ONE, PART_ANY},
    [CS_SLOT_K_NORM_W] = {AXIS_K_NORM, AXIS_NONE, FIRST_ONE, PART_ANY},
    [CS_SLOT_NORM3_W] = NORM_W,
    [CS_SLOT_NORM3_B] = NORM_B,
    [CS_SLOT_NORM4_W] = NORM_W,
    [CS_SLOT_NORM4_B] = NORM_B,
    [CS_SLOT_SCALE1] = NORM_W,
    [CS_SLOT_SCALE2] = NORM_W,
    [CS_SLOT_ROUTER_W] = {AXIS_EXPERTS, AXIS_WIDTH, FIRST_NORMAL, PART_EXPERTS},
    [CS_SLOT_EXPERT_GATE_W] = {AXIS_MLP, AXIS_WIDTH, FIRST_NORMAL,
                               PART_EXPERTS},
    [CS_SLOT_EXPERT_UP_W] = {AXIS_MLP, AXIS_WIDTH, FIRST_NORMAL, PART_EXPERTS},
    [CS_SLOT_EXPERT_DOWN_W] = {AXIS_WIDTH, AXIS_MLP, FIRST_RESIDUAL,
                               PART_EXPERTS},
};

static bool exists(const csi_family *family, const csi_sizes *z, int slot)
{
    switch (ROWS[slot].part) {
    case PART_ATTENTION_BIAS:
        return family->block[slot] != NULL && z->has_attention_bias;
    case PART_MLP_BIAS:
        return family->block[slot] != NULL && z->has_mlp_bias &&
               z->experts == 0;
    case PART_DENSE:
        return family->block[slot] != NULL && z->experts == 0;
    case PART_EXPERTS:
        return family->block[slot] != NULL && z->experts > 0;
    default:
        return family->block[slot] != NULL;
    }
}

static cs_status name_slot(const csi_family *family, int slot, int32_t index,
                           char *name, size_t name_bytes)
{
    const char *const pattern = family->block[slot];
    const char *const mark = strstr(pattern, "%d");

    CS_CHECK(mark != NULL, CS_ERR_INTERNAL, "%s: block name without %%d",
             family->id);
    return csi_format(name, name_bytes, "%.*s%d%s", (int)(mark - pattern),
                      pattern, index, mark + 2);
}

static void measure(const csi_family *family, const csi_sizes *z,
                    int64_t length[N_AXES])
{
    const int64_t q = z->heads * z->head_dim;
    const int64_t kv = z->kv_heads * z->head_dim;

    length[AXIS_NONE] = 1;
    length[AXIS_WIDTH] = z->width;
    length[AXIS_Q] = q;
    length[AXIS_KV] = kv;
    length[AXIS_QKV] = q + 2 * kv;
    length[AXIS_MLP] = z->mlp_dim;
    length[AXIS_TWO_MLP] = 2 * z->mlp_dim;
    length[AXIS_EXPERTS] = z->experts;
    length[AXIS_Q_NORM] = family->norms_each_head ? z->head_dim : q;
    length[AXIS_K_NORM] = family->norms_each_head ? z->head_dim : kv;
}

static double std_of(const slot_row *row, const csi_sizes *z, int64_t fan_in)
{
    const double std =
        z->init_std > 0.0 ? z->init_std : 1.0 / sqrt((double)fan_in);

    return row->first == FIRST_RESIDUAL ? std / sqrt(2.0 * (double)z->layers)
                                        : std;
}

static cs_status add_slot(csi_builder *b, const csi_family *family,
                          const csi_sizes *z, int32_t layer, int32_t index,
                          int slot)
{
    const slot_row *row = &ROWS[slot];
    int64_t length[N_AXES];
    char name[128];

    measure(family, z, length);
    CS_TRY(name_slot(family, slot, index, name, sizeof name));
    const int64_t out = length[row->out];
    const int64_t in = length[row->in];
    const bool is_stack = row->part == PART_EXPERTS && slot != CS_SLOT_ROUTER_W;
    const cs_shape shape = row->in == AXIS_NONE ? CS_SHAPE(out)
                           : is_stack           ? CS_SHAPE(z->experts, out, in)
                                                : CS_SHAPE(out, in);
    const bool is_offset_one =
        row->first == FIRST_ONE && family->norm_offset == 1.0;
    const cs_init_kind init = row->in != AXIS_NONE ? CS_INIT_NORMAL
                              : row->first == FIRST_ZERO || is_offset_one
                                  ? CS_INIT_ZEROS
                                  : CS_INIT_ONES;
    CS_TRY(csi_builder_param(b, layer, (cs_slot)slot, name, shape, init,
                             row->in != AXIS_NONE ? std_of(row, z, in) : 0.0));
    b->graph->params[b->graph->n_params - 1].layout = family->layout[slot];
    return CS_OK;
}

cs_status csi_build_block(csi_builder *b, const csi_family *family,
                          const csi_sizes *z, int32_t layer, int32_t index)
{
    cs_layer *l = &b->graph->modules[b->module].layers[layer];

    l->kind = CS_LAYER_BLOCK;
    l->in_dim = z->width;
    l->out_dim = z->width;
    l->mlp_dim = z->mlp_dim;
    l->heads = (int32_t)z->heads;
    l->kv_heads = (int32_t)z->kv_heads;
    l->head_dim = (int32_t)z->head_dim;
    l->activation = z->activation;
    l->norm = family->norm;
    l->norm_eps = z->norm_eps;
    l->norm_offset = family->norm_offset;
    l->has_mlp_gate = family->has_mlp_gate;
    l->is_causal = family->is_causal;
    for (int s = 0; s < CS_SLOT_COUNT; s++) {
        if (exists(family, z, s)) {
            CS_TRY(add_slot(b, family, z, layer, index, s));
        }
    }
    return CS_OK;
}
