/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transformer block of every family. What a layer has no parameter for
 * does not exist in it:
 *
 *     y  = norm1(x)            q, k, v = y Wq, y Wk, y Wv
 *     q, k = qnorm(q), knorm(k)                          (rotary on both)
 *     a  = scale1(norm3(attention(q, k, v) Wo))
 *     s  = x + a               z = norm2(s)              (fused)
 *     m  = (act(z Wgate) * z Wup) Wdown, act(z Wup) Wdown, or experts
 *     x' = s + scale2(norm4(m))
 *
 * A fused product is run part by part, as rows of its one weight: no copy of
 * its result is cut up, and the numbers are those of separate products.
 */
#include "layer.h"

#include <math.h>
#include <string.h>

static const cs_slot ATTENTION_IN[] = {CS_SLOT_Q_W,      CS_SLOT_Q_B,
                                       CS_SLOT_K_W,      CS_SLOT_K_B,
                                       CS_SLOT_V_W,      CS_SLOT_V_B,
                                       CS_SLOT_QKV_W,    CS_SLOT_QKV_B,
                                       CS_SLOT_Q_NORM_W, CS_SLOT_K_NORM_W,
                                       CS_SLOT_COUNT};
static const cs_slot MLP_IN[] = {CS_SLOT_GATE_W,      CS_SLOT_GATE_B,
                                 CS_SLOT_UP_W,        CS_SLOT_UP_B,
                                 CS_SLOT_GATE_UP_W,   CS_SLOT_GATE_UP_B,
                                 CS_SLOT_ROUTER_W,    CS_SLOT_EXPERT_GATE_W,
                                 CS_SLOT_EXPERT_UP_W, CS_SLOT_EXPERT_DOWN_W,
                                 CS_SLOT_COUNT};

/* Whether one of the slots (up to CS_SLOT_COUNT) trains here. */
static bool any_trains(const csi_layer_run *run, const cs_slot *slots)
{
    cs_weight w;

    for (; *slots != CS_SLOT_COUNT; slots++) {
        if (csi_layer_weight(run, *slots, &w) && w.grad != NULL) {
            return true;
        }
    }
    return false;
}

static bool has(const csi_layer_run *run, cs_slot slot)
{
    return run->layer->param[slot] >= 0;
}

/* Rows [first, first + rows) of the fused product, or the product of its own.
 */
static csi_product part_of(const csi_layer_run *run, cs_slot own, cs_slot fused,
                           int64_t first, int64_t rows)
{
    if (has(run, fused)) {
        return (csi_product){fused, (cs_slot)(fused + 1), first, rows};
    }
    return (csi_product){.w = own, .b = (cs_slot)(own + 1)};
}

/* RMS norm of each head, or of all heads together, by the weight's length. */
static cs_status normalise_heads(const csi_layer_run *run, cs_slot slot,
                                 cs_keep keep, cs_value **x)
{
    cs_weight w;
    cs_value *s = NULL;

    if (!csi_layer_weight(run, slot, &w)) {
        return CS_OK;
    }
    const int64_t dim = cs_tensor_count(&w.w);
    const cs_tape_norm_args args = {
        .kind = CS_NORM_RMS,
        .eps = run->layer->norm_eps,
        .weight_offset = run->layer->norm_offset,
        .dim = dim == cs_tensor_columns(&(*x)->t) ? 0 : dim,
        .x = *x,
        .w = &w,
        .keep_s = keep,
        .keep_y = keep,
    };
    return cs_tape_norm(run->nn->tape, &args, &s, x);
}

static cs_status apply_rope(const csi_layer_run *run, cs_value *q, cs_value *k)
{
    const cs_layer *l = run->layer;
    const cs_nn_batch *batch = run->nn->batch;
    const cs_rope_args args = {
        .q_heads = l->heads,
        .k_heads = l->kv_heads,
        .head_dim = l->head_dim,
        .rotary_dim = l->rotary_dim,
        .n_axes = l->rope_axes,
        .position_T = batch->position,
        .inverse_frequency = l->rope_frequency,
        .axis = l->rope_axis,
        .long_frequency = batch->is_long != NULL ? l->rope_long : NULL,
        .is_long_T = batch->is_long,
        .scale = l->rope_scale,
    };
    CS_TRY(cs_tape_rope(run->nn->tape, &args, q, k));
    return CS_OK;
}

/* Appends k and v to the layer's cache; *k and *v become views of all of it. */
static cs_status use_cache(const csi_layer_run *run, cs_value *k, cs_value *v)
{
    cs_kv_cache *cache = &run->nn->batch->caches[run->index];
    const int64_t columns = cs_tensor_columns(&k->t);
    const int64_t rows = cs_tensor_rows(&k->t);
    const size_t row_bytes = (size_t)columns * cs_dtype_bytes(k->t.dtype);
    const int64_t total = cache->n_tokens + rows;

    memcpy((char *)cache->k + (size_t)cache->n_tokens * row_bytes, k->t.data,
           (size_t)rows * row_bytes);
    memcpy((char *)cache->v + (size_t)cache->n_tokens * row_bytes, v->t.data,
           (size_t)rows * row_bytes);
    k->t = cs_tensor_2d(cache->k, k->t.dtype, total, columns);
    v->t = cs_tensor_2d(cache->v, v->t.dtype, total, columns);
    return CS_OK;
}

static cs_status make_qkv(const csi_layer_run *run, cs_value *y, cs_keep keep,
                          cs_value *qkv[3])
{
    const cs_layer *l = run->layer;
    const int64_t q = (int64_t)l->heads * l->head_dim;
    const int64_t kv = (int64_t)l->kv_heads * l->head_dim;
    const csi_product parts[3] = {
        part_of(run, CS_SLOT_Q_W, CS_SLOT_QKV_W, 0, q),
        part_of(run, CS_SLOT_K_W, CS_SLOT_QKV_W, q, kv),
        part_of(run, CS_SLOT_V_W, CS_SLOT_QKV_W, q + kv, kv),
    };

    for (int i = 0; i < 3; i++) {
        CS_TRY(csi_layer_product(run, y, &parts[i], CS_ACT_NONE, keep,
                                 &qkv[i]));
    }
    CS_TRY(normalise_heads(run, CS_SLOT_Q_NORM_W, keep, &qkv[0]));
    CS_TRY(normalise_heads(run, CS_SLOT_K_NORM_W, keep, &qkv[1]));
    if (l->rotary_dim > 0) {
        CS_TRY(apply_rope(run, qkv[0], qkv[1]));
    }
    if (run->nn->batch->caches != NULL) {
        CS_TRY(use_cache(run, qkv[1], qkv[2]));
    }
    return CS_OK;
}

static cs_status attend(const csi_layer_run *run, cs_value *y, cs_value **o)
{
    const cs_layer *l = run->layer;
    const cs_nn_batch *batch = run->nn->batch;
    const bool trains = y->needs_grad || any_trains(run, ATTENTION_IN);
    const cs_keep keep = trains ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    cs_value *qkv[3] = {NULL, NULL, NULL};

    CS_CHECK(l->window == 0 || batch->window_tiles != NULL, CS_ERR_INTERNAL,
             "no tiles for a window of %lld", (long long)l->window);
    CS_TRY(make_qkv(run, y, keep, qkv));
    const cs_attention_args args = {
        .heads = l->heads,
        .kv_heads = l->kv_heads,
        .head_dim = l->head_dim,
        .scale = l->attention_scale > 0.0 ? l->attention_scale
                                          : 1.0 / sqrt((double)l->head_dim),
        .softcap = l->attention_softcap,
        .window = l->window,
        .q_mask = batch->mask,
        .k_mask = batch->caches != NULL ? batch->key_mask : batch->mask,
        .tiles = l->window > 0 ? batch->window_tiles : batch->tiles,
    };
    return cs_tape_attention(run->nn->tape, &args, qkv[0], qkv[1], qkv[2],
                             csi_layer_feeds(run, CS_SLOT_O_W, keep), o);
}

static cs_status feed_forward(const csi_layer_run *run, cs_value *z,
                              cs_value **h)
{
    const cs_layer *l = run->layer;
    const bool trains = z->needs_grad || any_trains(run, MLP_IN);
    const cs_keep keep = trains ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    const cs_keep keep_down =
        csi_layer_feeds(run, CS_SLOT_DOWN_W, CS_KEEP_TEMP);
    const csi_product gate_part =
        part_of(run, CS_SLOT_GATE_W, CS_SLOT_GATE_UP_W, 0, l->mlp_dim);
    const csi_product up_part =
        part_of(run, CS_SLOT_UP_W, CS_SLOT_GATE_UP_W, l->mlp_dim, l->mlp_dim);
    cs_value *gate = NULL;
    cs_value *up = NULL;

    if (!l->has_mlp_gate) {
        return csi_layer_product(run, z, &up_part, l->activation, keep_down, h);
    }
    CS_TRY(csi_layer_product(run, z, &gate_part, CS_ACT_NONE, keep, &gate));
    CS_TRY(csi_layer_product(run, z, &up_part, CS_ACT_NONE, keep, &up));
    return cs_tape_gated(run->nn->tape, gate, up, l->activation, keep_down, h);
}

/* The end of a branch: its last product, norm and scale. */
typedef struct branch_end {
    cs_slot w;    /* its bias is the next slot */
    cs_slot norm; /* its bias too */
    cs_slot scale;
} branch_end;

/* What the value before a norm or a scale must outlive. */
static cs_keep keep_before(const csi_layer_run *run, const branch_end *end,
                           bool needs_grad)
{
    const cs_slot scale[] = {end->scale, CS_SLOT_COUNT};
    const cs_slot norm[] = {end->norm, (cs_slot)(end->norm + 1), end->w,
                            (cs_slot)(end->w + 1), CS_SLOT_COUNT};
    const bool is_read =
        (has(run, end->norm) && (needs_grad || any_trains(run, norm))) ||
        any_trains(run, scale);

    return is_read ? CS_KEEP_SAVED : CS_KEEP_TEMP;
}

/* *a = scale(norm(a)), each where the layer has it. */
static cs_status end_branch(const csi_layer_run *run, const branch_end *end,
                            cs_value **a)
{
    const cs_slot scale_slots[] = {end->scale, CS_SLOT_COUNT};
    csi_normed normed;
    cs_weight scale;

    if (has(run, end->norm)) {
        CS_TRY(csi_layer_norm(run, *a, NULL, end->norm, CS_KEEP_TEMP,
                              any_trains(run, scale_slots) ? CS_KEEP_SAVED
                                                           : CS_KEEP_TEMP,
                              &normed));
        *a = normed.y;
    }
    if (csi_layer_weight(run, end->scale, &scale)) {
        CS_TRY(cs_tape_scale(run->nn->tape, *a, &scale, CS_KEEP_TEMP, a));
    }
    return CS_OK;
}

static cs_status run_attention(const csi_layer_run *run, cs_value *y,
                               cs_value **a)
{
    static const branch_end END = {CS_SLOT_O_W, CS_SLOT_NORM3_W,
                                   CS_SLOT_SCALE1};
    cs_value *o = NULL;

    CS_TRY(attend(run, y, &o));
    CS_TRY(csi_layer_linear(run, o, CS_SLOT_O_W, CS_SLOT_O_B, CS_ACT_NONE,
                            keep_before(run, &END, o->needs_grad), a));
    return end_branch(run, &END, a);
}

static cs_status run_mlp(const csi_layer_run *run, cs_value *z, cs_value **m)
{
    static const branch_end END = {CS_SLOT_DOWN_W, CS_SLOT_NORM4_W,
                                   CS_SLOT_SCALE2};
    cs_value *h = NULL;

    if (run->layer->n_experts > 0) {
        const bool trains = z->needs_grad || any_trains(run, MLP_IN);
        CS_TRY(csi_experts(run, z, keep_before(run, &END, trains), m));
        return end_branch(run, &END, m);
    }
    CS_TRY(feed_forward(run, z, &h));
    CS_TRY(csi_layer_linear(run, h, CS_SLOT_DOWN_W, CS_SLOT_DOWN_B, CS_ACT_NONE,
                            keep_before(run, &END, h->needs_grad), m));
    return end_branch(run, &END, m);
}

/* s = x + a and what the MLP reads of it. */
static cs_status join(const csi_layer_run *run, cs_value *x, cs_value *a,
                      csi_normed *out)
{
    static const cs_slot NORM[] = {CS_SLOT_NORM2_W, CS_SLOT_NORM2_B,
                                   CS_SLOT_COUNT};
    const cs_keep keep_z =
        any_trains(run, MLP_IN) ? CS_KEEP_PRODUCT : CS_KEEP_TEMP;
    const bool trains = x->needs_grad || a->needs_grad || any_trains(run, NORM);

    if (has(run, CS_SLOT_NORM2_W)) {
        return csi_layer_norm(run, x, a, CS_SLOT_NORM2_W,
                              trains ? CS_KEEP_SAVED : CS_KEEP_TEMP, keep_z,
                              out);
    }
    CS_TRY(cs_tape_add(run->nn->tape, x, a, keep_z, &out->s));
    out->y = out->s;
    return CS_OK;
}

cs_status csi_block(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    const cs_keep keep_y =
        any_trains(run, ATTENTION_IN) ? CS_KEEP_PRODUCT : CS_KEEP_TEMP;
    csi_normed first = {x, x};
    csi_normed second;
    cs_value *a = NULL;
    cs_value *m = NULL;

    if (has(run, CS_SLOT_NORM1_W)) {
        CS_TRY(csi_layer_norm(run, x, NULL, CS_SLOT_NORM1_W, CS_KEEP_TEMP,
                              keep_y, &first));
    }
    CS_TRY(run_attention(run, first.y, &a));
    CS_TRY(join(run, x, a, &second));
    CS_TRY(run_mlp(run, second.y, &m));
    CS_TRY(cs_tape_add(run->nn->tape, second.s, m, run->keep_out, out));
    return CS_OK;
}
