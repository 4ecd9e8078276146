/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pre-norm transformer block, for encoders and decoders alike:
 *
 *     y  = norm1(x)            q, k, v = y Wq, y Wk, y Wv    (rotary on q, k)
 *     a  = attention(q, k, v) Wo
 *     s  = x + a               z = norm2(s)                  (fused)
 *     m  = (act(z Wgate) * z Wup) Wdown   or   act(z Wup) Wdown
 *     x' = s + m
 */
#include "layer.h"

#include <math.h>
#include <string.h>

static cs_status apply_rope(const csi_layer_run *run, cs_value *q, cs_value *k)
{
    const cs_layer *l = run->layer;
    const cs_rope_args args = {
        .q_heads = l->heads,
        .k_heads = l->kv_heads,
        .head_dim = l->head_dim,
        .rotary_dim = l->rotary_dim,
        .n_axes = l->rope_axes,
        .position_T = run->nn->batch->position,
        .inverse_frequency = l->rope_frequency,
        .axis = l->rope_axis,
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

static cs_status attend(const csi_layer_run *run, cs_value *y, cs_value **a)
{
    const cs_layer *l = run->layer;
    const cs_nn_batch *batch = run->nn->batch;
    const cs_keep keep = y->needs_grad ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    cs_weight w;
    bool trains = y->needs_grad;
    cs_value *q = NULL;
    cs_value *k = NULL;
    cs_value *v = NULL;
    cs_value *o = NULL;

    for (int s = CS_SLOT_Q_W; s <= CS_SLOT_V_B; s++) {
        trains =
            trains || (csi_layer_weight(run, (cs_slot)s, &w) && w.grad != NULL);
    }
    const cs_keep keep_qkv = trains ? CS_KEEP_SAVED : keep;
    CS_TRY(csi_layer_linear(run, y, CS_SLOT_Q_W, CS_SLOT_Q_B, CS_ACT_NONE,
                            keep_qkv, &q));
    CS_TRY(csi_layer_linear(run, y, CS_SLOT_K_W, CS_SLOT_K_B, CS_ACT_NONE,
                            keep_qkv, &k));
    CS_TRY(csi_layer_linear(run, y, CS_SLOT_V_W, CS_SLOT_V_B, CS_ACT_NONE,
                            keep_qkv, &v));
    if (l->rotary_dim > 0) {
        CS_TRY(apply_rope(run, q, k));
    }
    if (batch->caches != NULL) {
        CS_TRY(use_cache(run, k, v));
    }
    const cs_attention_args args = {
        .heads = l->heads,
        .kv_heads = l->kv_heads,
        .head_dim = l->head_dim,
        .scale = 1.0 / sqrt((double)l->head_dim),
        .q_mask = batch->mask,
        .k_mask = batch->caches != NULL ? batch->key_mask : batch->mask,
        .tiles = batch->tiles,
    };
    CS_TRY(cs_tape_attention(run->nn->tape, &args, q, k, v,
                             csi_layer_feeds(run, CS_SLOT_O_W, keep_qkv), &o));
    return csi_layer_linear(run, o, CS_SLOT_O_W, CS_SLOT_O_B, CS_ACT_NONE,
                            CS_KEEP_TEMP, a);
}

/* Whether backward passes through the branch that starts at `x`, or one of
 * the slots [first, last] trains. */
static bool branch_trains(const csi_layer_run *run, const cs_value *x,
                          cs_slot first, cs_slot last)
{
    cs_weight w;

    if (x->needs_grad) {
        return true;
    }
    for (int s = (int)first; s <= (int)last; s++) {
        if (csi_layer_weight(run, (cs_slot)s, &w) && w.grad != NULL) {
            return true;
        }
    }
    return false;
}

static cs_status feed_forward(const csi_layer_run *run, cs_value *z,
                              cs_value **m)
{
    const cs_layer *l = run->layer;
    const cs_keep keep_down =
        csi_layer_feeds(run, CS_SLOT_DOWN_W, CS_KEEP_TEMP);
    cs_value *h = NULL;

    if (l->has_mlp_gate) {
        const bool trains = branch_trains(run, z, CS_SLOT_GATE_W, CS_SLOT_UP_B);
        const cs_keep keep = trains ? CS_KEEP_SAVED : CS_KEEP_TEMP;
        cs_value *gate = NULL;
        cs_value *up = NULL;
        CS_TRY(csi_layer_linear(run, z, CS_SLOT_GATE_W, CS_SLOT_GATE_B,
                                CS_ACT_NONE, keep, &gate));
        CS_TRY(csi_layer_linear(run, z, CS_SLOT_UP_W, CS_SLOT_UP_B, CS_ACT_NONE,
                                keep, &up));
        CS_TRY(cs_tape_gated(run->nn->tape, gate, up, l->activation, keep_down,
                             &h));
    } else {
        CS_TRY(csi_layer_linear(run, z, CS_SLOT_UP_W, CS_SLOT_UP_B,
                                l->activation, keep_down, &h));
    }
    return csi_layer_linear(run, h, CS_SLOT_DOWN_W, CS_SLOT_DOWN_B, CS_ACT_NONE,
                            CS_KEEP_TEMP, m);
}

cs_status csi_block(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    csi_normed first;
    csi_normed second;
    cs_value *a = NULL;
    cs_value *m = NULL;

    const cs_keep keep_y =
        csi_layer_feeds(run, CS_SLOT_Q_W,
                        csi_layer_feeds(run, CS_SLOT_K_W,
                                        csi_layer_feeds(run, CS_SLOT_V_W,
                                                        CS_KEEP_TEMP)));
    CS_TRY(csi_layer_norm(run, x, NULL, CS_SLOT_NORM1_W, CS_KEEP_TEMP, keep_y,
                          &first));
    CS_TRY(attend(run, first.y, &a));
    const bool trains = branch_trains(run, x, CS_SLOT_NORM1_W, CS_SLOT_NORM2_B);
    const cs_keep keep_z =
        csi_layer_feeds(run, CS_SLOT_UP_W,
                        csi_layer_feeds(run, CS_SLOT_GATE_W, CS_KEEP_TEMP));
    CS_TRY(csi_layer_norm(run, x, a, CS_SLOT_NORM2_W,
                          trains ? CS_KEEP_SAVED : CS_KEEP_TEMP, keep_z,
                          &second));
    CS_TRY(feed_forward(run, second.y, &m));
    CS_TRY(cs_tape_add(run->nn->tape, second.s, m, run->keep_out, out));
    return CS_OK;
}
