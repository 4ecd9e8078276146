/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a language model: token rows (scaled, Gemma) with encoder rows
 * merged in and learned positions added (GPT-2), and the head with its loss (or, for generation, logits of chosen rows). */
#include "layer.h"

#include <math.h>

cs_status csi_embed(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    (void)x;
    const cs_nn_batch *batch = run->nn->batch;
    cs_weight table;
    cs_value *rows = NULL;

    CS_CHECK(csi_layer_weight(run, CS_SLOT_EMBED, &table), CS_ERR_INTERNAL,
             "the embedding is not held here");
    CS_TRY(cs_tape_embed(run->nn->tape, &table, batch->ids, batch->rows,
                         run->layer->embed_scale > 0.0 ? CS_KEEP_TEMP
                                                       : run->keep_out,
                         &rows));
    if (run->layer->embed_scale > 0.0) {
        CS_TRY(cs_tape_multiply(run->nn->tape, rows, run->layer->embed_scale,
                                run->keep_out, &rows));
    }
    for (int32_t f = 0; f < batch->n_features; f++) {
        if (batch->features[f] != NULL) {
            CS_TRY(cs_tape_merge(run->nn->tape, rows, batch->features[f],
                                 batch->merge_index[f]));
        }
    }
    if (csi_layer_weight(run, CS_SLOT_POSITION, &table)) {
        CS_TRY(cs_tape_add_embed(run->nn->tape, rows, &table, batch->position));
    }
    *out = rows;
    return CS_OK;
}

/* Logits for generation, c tanh(logit / c). */
static void cap_logits(cs_value *logits, double c)
{
    for (int64_t i = 0; i < cs_tensor_count(&logits->t); i++) {
        cs_tensor_set(&logits->t, i,
                      c * tanh(cs_tensor_get(&logits->t, i) / c));
    }
}

static cs_status compute_logits(const csi_layer_run *run, cs_value *y)
{
    cs_nn_batch *batch = run->nn->batch;
    cs_tape *tape = run->nn->tape;
    cs_value *rows = NULL;
    const cs_weight as_table = {.w = y->t};

    CS_TRY(cs_tape_embed(tape, &as_table, batch->logit_rows,
                         batch->n_logit_rows, CS_KEEP_TEMP, &rows));
    CS_TRY(csi_layer_linear(run, rows, CS_SLOT_HEAD_W, CS_SLOT_COUNT,
                            CS_ACT_NONE, CS_KEEP_TEMP, &batch->logits));
    if (run->layer->logit_softcap > 0.0) {
        cap_logits(batch->logits, run->layer->logit_softcap);
    }
    return CS_OK;
}

cs_status csi_head(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    cs_weight w;
    csi_normed normed;
    const bool trains =
        cs_tape_is_training(run->nn->tape) &&
        (x->needs_grad || cs_nn_is_trainable(run->nn->graph, run->nn->module,
                                             run->index, run->index + 1));

    CS_CHECK(csi_layer_weight(run, CS_SLOT_HEAD_W, &w), CS_ERR_INTERNAL,
             "the head is not held here");
    CS_TRY(csi_layer_norm(run, x, NULL, CS_SLOT_NORM1_W, CS_KEEP_TEMP,
                          trains ? CS_KEEP_SAVED : CS_KEEP_TEMP, &normed));
    *out = NULL;
    if (run->nn->batch->n_logit_rows > 0) {
        return compute_logits(run, normed.y);
    }
    cs_tape_loss_args loss = run->nn->batch->loss;
    loss.softcap = run->layer->logit_softcap;
    CS_TRY(cs_tape_head_loss(run->nn->tape, normed.y, &w, &loss));
    if (run->nn->batch->on_logits != NULL) {
        CS_TRY(csi_stream_logits(run, normed.y));
    }
    return CS_OK;
}
