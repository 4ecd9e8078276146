/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of an encoder: stems that turn patches or mel frames into rows, the
 * last norm with pooling, and the projector into the language model's width.
 * Stems and pooling get item borders and never cross items. */
#include "layer.h"

#include <string.h>

/* The microbatch's input rows as a value of the tape's dtype. */
static cs_status take_input(const csi_layer_run *run, int64_t columns,
                            cs_value **x)
{
    const cs_nn_batch *batch = run->nn->batch;
    cs_tape *tape = run->nn->tape;
    const int64_t count = batch->input_rows * columns;

    CS_TRY(cs_tape_value(tape, batch->input_rows, columns,
                         csi_layer_feeds(run, CS_SLOT_STEM1_W, CS_KEEP_TEMP),
                         x));
    CS_TRY(cs_op_cast(cs_tape_backend(tape), CS_F32, batch->input,
                      cs_tape_dtype(tape), (*x)->t.data, count));
    return CS_OK;
}

static cs_status add_positions(const csi_layer_run *run, cs_value *x)
{
    cs_weight table;

    CS_CHECK(csi_layer_weight(run, CS_SLOT_POSITION, &table), CS_ERR_INTERNAL,
             "positions are not held here");
    CS_TRY(cs_tape_add_embed(run->nn->tape, x, &table,
                             run->nn->batch->position));
    return CS_OK;
}

cs_status csi_patch_stem(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    (void)x;
    cs_value *patches = NULL;
    cs_value *rows = NULL;

    CS_TRY(take_input(run, run->layer->in_dim, &patches));
    CS_TRY(csi_layer_linear(run, patches, CS_SLOT_STEM1_W, CS_SLOT_STEM1_B,
                            CS_ACT_NONE, run->keep_out, &rows));
    CS_TRY(add_positions(run, rows));
    *out = rows;
    return CS_OK;
}

static cs_status convolve(const csi_layer_run *run, cs_value *x,
                          const cs_im2col_args *shape, cs_slot w, cs_slot b,
                          cs_keep keep, cs_value **y)
{
    cs_value *cols = NULL;

    CS_TRY(cs_tape_im2col(run->nn->tape, shape, x,
                          csi_layer_feeds(run, w, CS_KEEP_TEMP), &cols));
    return csi_layer_linear(run, cols, w, b, run->layer->activation, keep, y);
}

cs_status csi_conv_stem(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    (void)x;
    const cs_layer *l = run->layer;
    const cs_nn_batch *batch = run->nn->batch;
    cs_value *mel = NULL;
    cs_value *h = NULL;
    cs_value *rows = NULL;
    const cs_im2col_args first = {
        .items = batch->n_items,
        .in_begin = batch->input_begin,
        .out_begin = batch->input_begin,
        .channels = l->in_dim,
        .kernel = l->kernel,
        .stride = 1,
        .pad = 1,
    };
    const cs_im2col_args second = {
        .items = batch->n_items,
        .in_begin = batch->input_begin,
        .out_begin = batch->encoder_begin,
        .channels = l->out_dim,
        .kernel = l->kernel,
        .stride = 2,
        .pad = 1,
    };

    CS_TRY(take_input(run, l->in_dim, &mel));
    CS_TRY(convolve(run, mel, &first, CS_SLOT_STEM1_W, CS_SLOT_STEM1_B,
                    CS_KEEP_TEMP, &h));
    CS_TRY(convolve(run, h, &second, CS_SLOT_STEM2_W, CS_SLOT_STEM2_B,
                    run->keep_out, &rows));
    CS_TRY(add_positions(run, rows));
    *out = rows;
    return CS_OK;
}

cs_status csi_encoder_norm(const csi_layer_run *run, cs_value *x,
                           cs_value **out)
{
    const cs_nn_batch *batch = run->nn->batch;
    const bool pools = run->layer->pool > 1;
    csi_normed normed;

    CS_TRY(csi_layer_norm(run, x, NULL, CS_SLOT_NORM1_W, CS_KEEP_TEMP,
                          pools ? CS_KEEP_TEMP : run->keep_out, &normed));
    if (!pools) {
        *out = normed.y;
        return CS_OK;
    }
    CS_TRY(cs_tape_pool(run->nn->tape, normed.y, batch->pool_begin,
                        batch->pooled_rows, run->keep_out, out));
    return CS_OK;
}

cs_status csi_projector(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    const cs_layer *l = run->layer;
    cs_value *h = NULL;

    if (l->mlp_dim == 0) {
        return csi_layer_linear(run, x, CS_SLOT_PROJ1_W, CS_SLOT_PROJ1_B,
                                CS_ACT_NONE, CS_KEEP_TEMP, out);
    }
    CS_TRY(csi_layer_linear(run, x, CS_SLOT_PROJ1_W, CS_SLOT_PROJ1_B,
                            l->activation,
                            csi_layer_feeds(run, CS_SLOT_PROJ2_W, CS_KEEP_TEMP),
                            &h));
    return csi_layer_linear(run, h, CS_SLOT_PROJ2_W, CS_SLOT_PROJ2_B,
                            CS_ACT_NONE, CS_KEEP_TEMP, out);
}
