/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of an encoder: stems that turn patches or mel frames into rows, the
 * last norm with the choice, pooling and stacking of rows, and the projector
 * into the language model's width. No step crosses the border of an item. */
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

/* Class tokens and positions as tables of rows, however files shape them. */
static bool take_table(const csi_layer_run *run, cs_slot slot, cs_weight *out)
{
    const int64_t width = run->layer->out_dim;

    if (!csi_layer_weight(run, slot, out)) {
        return false;
    }
    out->w = cs_tensor_2d(out->w.data, out->w.dtype,
                          cs_tensor_count(&out->w) / width, width);
    return true;
}

static cs_status add_positions(const csi_layer_run *run, cs_value *x)
{
    cs_weight table;

    if (run->layer->param[CS_SLOT_POSITION] < 0) {
        return CS_OK;
    }
    CS_CHECK(take_table(run, CS_SLOT_POSITION, &table), CS_ERR_INTERNAL,
             "positions are not held here");
    if (run->layer->grid_side > 0) {
        return csi_add_resampled(run, x, &table);
    }
    return cs_tape_add_embed(run->nn->tape, x, &table,
                             run->nn->batch->position);
}

/* Puts class tokens in front of each item's patches. */
static cs_status add_class_rows(const csi_layer_run *run, cs_value *patches,
                                cs_keep keep, cs_value **rows)
{
    const cs_nn_batch *batch = run->nn->batch;
    cs_weight table;

    CS_CHECK(take_table(run, CS_SLOT_CLASS, &table), CS_ERR_INTERNAL,
             "the class token is not held here");
    CS_CHECK(batch->patch_index != NULL && batch->class_index != NULL,
             CS_ERR_INTERNAL, "no rows for class tokens");
    CS_TRY(cs_tape_gather(run->nn->tape, patches, batch->patch_index,
                          batch->rows, 1, keep, rows));
    return cs_tape_add_embed(run->nn->tape, *rows, &table, batch->class_index);
}

/* What a value inside the layer that a norm reads must outlive; `needs_grad`
 * is that of the layer's input. */
static cs_keep keep_for_norm(const csi_layer_run *run, bool needs_grad)
{
    const cs_nn *nn = run->nn;
    const bool trains =
        needs_grad ||
        cs_nn_is_trainable(nn->graph, nn->module, run->index, run->index + 1);

    return cs_tape_is_training(nn->tape) && trains ? CS_KEEP_SAVED
                                                   : CS_KEEP_TEMP;
}

cs_status csi_patch_stem(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    (void)x;
    const cs_layer *l = run->layer;
    const bool has_class = l->param[CS_SLOT_CLASS] >= 0;
    const bool has_norm = l->param[CS_SLOT_NORM2_W] >= 0;
    const cs_keep keep = has_norm ? keep_for_norm(run, false) : run->keep_out;
    cs_value *patches = NULL;
    cs_value *rows = NULL;
    csi_normed normed;

    CS_TRY(take_input(run, l->in_dim, &patches));
    CS_TRY(csi_layer_linear(run, patches, CS_SLOT_STEM1_W, CS_SLOT_STEM1_B,
                            CS_ACT_NONE, has_class ? CS_KEEP_TEMP : keep,
                            &rows));
    if (has_class) {
        CS_TRY(add_class_rows(run, rows, keep, &rows));
    }
    CS_TRY(add_positions(run, rows));
    if (has_norm) {
        CS_TRY(csi_layer_norm(run, rows, NULL, CS_SLOT_NORM2_W, CS_KEEP_TEMP,
                              run->keep_out, &normed));
        rows = normed.y;
    }
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

/* The steps between the last block and the projector, in their order. What a
 * layer does not need is left out. */
typedef enum feature_step {
    STEP_NORM, /* the encoder's last */
    STEP_KEEP, /* of the rows those that become features */
    STEP_POOL,
    STEP_MERGER_NORM,
    STEP_STACK,
    N_STEPS
} feature_step;

/* Fills `steps`, returns how many. */
static int plan_steps(const csi_layer_run *run, feature_step steps[N_STEPS])
{
    const cs_layer *l = run->layer;
    const bool has_norm = l->param[CS_SLOT_NORM1_W] >= 0;
    int n = 0;

    if (has_norm && !l->pools_first) {
        steps[n++] = STEP_NORM;
    }
    if (run->nn->batch->keep_rows != NULL) {
        steps[n++] = STEP_KEEP;
    }
    if (l->pool > 1) {
        steps[n++] = STEP_POOL;
    }
    if (has_norm && l->pools_first) {
        steps[n++] = STEP_NORM;
    }
    if (l->param[CS_SLOT_NORM2_W] >= 0) {
        steps[n++] = STEP_MERGER_NORM;
    }
    if (l->stack > 1) {
        steps[n++] = STEP_STACK;
    }
    return n;
}

static cs_status run_step(const csi_layer_run *run, feature_step step,
                          cs_keep keep, cs_value **x)
{
    const cs_nn_batch *batch = run->nn->batch;
    cs_tape *tape = run->nn->tape;
    csi_normed normed;

    switch (step) {
    case STEP_KEEP:
        return cs_tape_gather(tape, *x, batch->keep_rows, batch->kept_rows, 1,
                              keep, x);
    case STEP_POOL:
        return cs_tape_pool(tape, *x, batch->pool_begin, batch->pooled_rows,
                            keep, x);
    case STEP_STACK:
        CS_CHECK(batch->stack_index != NULL, CS_ERR_INTERNAL,
                 "no rows to stack");
        return cs_tape_gather(tape, *x, batch->stack_index, batch->feature_rows,
                              run->layer->stack, keep, x);
    default:
        CS_TRY(csi_layer_norm(run, *x, NULL,
                              step == STEP_NORM ? CS_SLOT_NORM1_W
                                                : CS_SLOT_NORM2_W,
                              CS_KEEP_TEMP, keep, &normed));
        *x = normed.y;
        return CS_OK;
    }
}

cs_status csi_encoder_norm(const csi_layer_run *run, cs_value *x,
                           cs_value **out)
{
    feature_step steps[N_STEPS];
    const int n = plan_steps(run, steps);
    const cs_keep keep_inside = keep_for_norm(run, x->needs_grad);

    for (int i = 0; i < n; i++) {
        const bool feeds_norm = i + 1 < n && (steps[i + 1] == STEP_NORM ||
                                              steps[i + 1] == STEP_MERGER_NORM);
        const cs_keep keep = i + 1 == n   ? run->keep_out
                             : feeds_norm ? keep_inside
                                          : CS_KEEP_TEMP;
        CS_TRY(run_step(run, steps[i], keep, &x));
    }
    if (n == 0 && x->where < run->keep_out) {
        CS_TRY(cs_tape_multiply(run->nn->tape, x, 1.0, run->keep_out, &x));
    }
    *out = x;
    return CS_OK;
}

/* Lines of features end in a row of their own, which no patch gave. */
static cs_status end_lines(const csi_layer_run *run, cs_value **x)
{
    const cs_nn_batch *batch = run->nn->batch;
    cs_weight table;

    if (run->layer->param[CS_SLOT_NEWLINE] < 0) {
        return CS_OK;
    }
    CS_CHECK(take_table(run, CS_SLOT_NEWLINE, &table) &&
                 batch->line_index != NULL && batch->newline_index != NULL,
             CS_ERR_INTERNAL, "no rows for ends of lines");
    CS_TRY(cs_tape_gather(run->nn->tape, *x, batch->line_index,
                          batch->feature_rows, 1, CS_KEEP_TEMP, x));
    return cs_tape_add_embed(run->nn->tape, *x, &table, batch->newline_index);
}

static cs_status project(const csi_layer_run *run, cs_value *x, cs_value **out)
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

cs_status csi_projector(const csi_layer_run *run, cs_value *x, cs_value **out)
{
    CS_TRY(project(run, x, out));
    return end_lines(run, out);
}
