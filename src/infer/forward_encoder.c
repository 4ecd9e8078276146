/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One encoder alone: its items one after the other through all layers before
 * the projector. There is no loss of an encoder; its gradients are those of
 * the sum of output x `grad.last_hidden_state`, which the file gives.
 */
#include "base/alloc.h"
#include "base/checked.h"

#include "forward.h"

#include <inttypes.h>
#include <string.h>

typedef struct encoder_run {
    const csi_forward_input *input;
    const cs_graph *graph;
    bool with_gradients;
    cs_backend *backend; /* owned, as all below */
    cs_param_set *params;
    csi_arena workspace, arena;
    cs_tape *tape;
    cs_module_batch batch;
    float *gradient; /* of the states, or NULL */
    float *states;   /* [rows, columns] */
    int64_t n_rows, columns;
    int64_t *state_begin; /* [n_items + 1] */
} encoder_run;

/* Rows of an item's output: features before they are laid side by side. */
static int64_t state_rows(const cs_module *m, int64_t input_rows)
{
    const int64_t kept = csi_encoder_rows(m, input_rows) - m->feature_skip;

    return (kept + m->pool - 1) / csi_max_i64(m->pool, 1);
}

static cs_status create_params(encoder_run *run, const csi_model_source *source)
{
    const cs_graph *graph = run->graph;
    const cs_dtype dtype =
        source->config->training.precision == CS_PRECISION_BF16 ? CS_BF16
                                                                : CS_F32;
    bool *held = csi_calloc((size_t)graph->n_params, sizeof *held);

    CS_CHECK(held != NULL, CS_ERR_NOMEM, "parameters of the encoder");
    for (int32_t i = 0; i < graph->n_params; i++) {
        held[i] =
            graph->params[i].module == 0 && !graph->params[i].in_projector;
    }
    const cs_status st = cs_param_set_create(graph, held, dtype,
                                             run->with_gradients, &run->params);

    csi_free(held);
    CS_TRY(st);
    return csi_source_load(source, run->params);
}

static cs_status create_run(encoder_run *run, const cs_forward_options *o,
                            const csi_model_source *source)
{
    const cs_module *m = &run->graph->modules[0];
    const csi_media *media = &run->input->media[0];

    CS_TRY(cs_backend_create(o->backend, o->n_threads, &run->backend));
    CS_TRY(create_params(run, source));
    CS_TRY(cs_tape_create(run->backend, &run->workspace, run->params->dtype,
                          &run->tape));
    run->columns = m->width;
    run->state_begin =
        csi_calloc((size_t)media->n_items + 1, sizeof *run->state_begin);
    CS_CHECK(run->state_begin != NULL, CS_ERR_NOMEM, "states of %" PRId64,
             media->n_items);
    for (int64_t i = 0; i < media->n_items; i++) {
        const int64_t rows = media->row_begin[i + 1] - media->row_begin[i];
        run->state_begin[i + 1] = run->state_begin[i] + state_rows(m, rows);
    }
    run->n_rows = run->state_begin[media->n_items];
    run->states =
        csi_calloc((size_t)(run->n_rows * run->columns), sizeof *run->states);
    CS_CHECK(run->states != NULL, CS_ERR_NOMEM, "%" PRId64 " rows of states",
             run->n_rows);
    return CS_OK;
}

static void destroy_run(encoder_run *run)
{
    cs_tape_destroy(&run->tape);
    cs_module_batch_fini(&run->batch);
    cs_param_set_destroy(&run->params);
    cs_backend_destroy(&run->backend);
    csi_arena_fini(&run->workspace);
    csi_arena_fini(&run->arena);
    csi_free(run->gradient);
    csi_free(run->states);
    csi_free(run->state_begin);
}

/* [N, rows, columns] where all items have as many rows, else [rows, columns].
 */
static cs_shape shape_of(const encoder_run *run)
{
    const int64_t n = run->input->media[0].n_items;
    const int64_t each = run->n_rows / n;

    for (int64_t i = 0; i < n; i++) {
        if (run->state_begin[i + 1] - run->state_begin[i] != each) {
            return CS_SHAPE(run->n_rows, run->columns);
        }
    }
    return CS_SHAPE(n, each, run->columns);
}

static cs_status read_gradient(encoder_run *run)
{
    const csi_forward_input *in = run->input;
    const cs_shape shape = shape_of(run);
    const cs_safetensor *tensor = NULL;

    if (!run->with_gradients) {
        return CS_OK;
    }
    CS_CHECK(cs_safetensors_find(in->file, "grad.last_hidden_state") != NULL,
             CS_ERR_ARG,
             "%s: gradients of an encoder alone want 'grad.last_hidden_state', "
             "in the shape of its output",
             in->path);
    CS_TRY(cs_safetensors_require(in->file, "grad.last_hidden_state", &shape,
                                  &tensor));
    return csi_forward_floats(in, tensor, shape.n_dims, &run->gradient);
}

/* Backward from the given rows of the output's gradient. */
static cs_status run_backward(encoder_run *run, cs_value *output,
                              const float *gradient)
{
    void *grad = NULL;

    CS_TRY(cs_tape_alloc(run->tape, CS_KEEP_PRODUCT,
                         cs_tensor_bytes(&output->t), &grad));
    CS_TRY(csi_dtype_convert(gradient, CS_F32, grad, run->params->dtype,
                             cs_tensor_count(&output->t)));
    output->grad = grad;
    output->grad_where = CS_KEEP_PRODUCT;
    csi_arena_reset(&run->workspace);
    CS_TRY(cs_tape_backward_input(run->tape, output));
    csi_arena_reset(&run->workspace);
    return cs_tape_backward_weight(run->tape);
}

static cs_status run_item(encoder_run *run, int64_t i)
{
    const cs_module *m = &run->graph->modules[0];
    const csi_media *media = &run->input->media[0];
    const int64_t rows = media->row_begin[i + 1] - media->row_begin[i];
    const int64_t at = run->state_begin[i] * run->columns;
    cs_batch_item item = {
        .grid_rows = media->grid_rows[i],
        .grid_columns = media->grid_columns[i],
    };
    cs_batch_modality modality = {
        .n_items = 1,
        .items = &item,
        .input_rows = rows,
        .encoder_rows = csi_encoder_rows(m, rows),
    };
    const cs_microbatch mb = {.modality = &modality};
    cs_value *output = NULL;

    modality.feature_rows = csi_feature_rows(m, modality.encoder_rows);
    csi_arena_reset(&run->arena);
    CS_TRY(cs_module_batch_build(run->graph, 0, &mb, run->backend, &run->arena,
                                 &run->batch));
    cs_nn_batch batch = cs_module_batch_nn(&run->batch);
    batch.input = media->rows + media->row_begin[i] * media->columns;
    cs_tape_reset(run->tape, run->with_gradients);
    csi_arena_reset(&run->workspace);
    cs_tape_begin(run->tape);
    const cs_nn nn = {run->tape, run->graph, run->params, 0, &batch};
    CS_TRY(cs_nn_forward(&nn, 0, m->n_layers - 1, NULL, &output));
    const int64_t count = cs_tensor_count(&output->t);

    CS_CHECK(count ==
                 (run->state_begin[i + 1] - run->state_begin[i]) * run->columns,
             CS_ERR_INTERNAL, "item %" PRId64 ": %" PRId64 " states", i, count);
    CS_TRY(csi_dtype_convert(output->t.data, run->params->dtype,
                             run->states + at, CS_F32, count));
    return run->with_gradients ? run_backward(run, output, run->gradient + at)
                               : CS_OK;
}

static cs_status run_items(encoder_run *run, const cs_forward_options *o,
                           const csi_model_source *source,
                           cs_forward_result *out)
{
    const csi_media *media = &run->input->media[0];

    CS_TRY(create_run(run, o, source));
    CS_TRY(read_gradient(run));
    for (int64_t i = 0; i < media->n_items; i++) {
        CS_TRY(run_item(run, i));
        if (o->on_progress != NULL) {
            o->on_progress(o->context, 1);
        }
    }
    const csi_forward_result result = {
        .states_name = "last_hidden_state",
        .states = run->states,
        .states_shape = shape_of(run),
        .n_sets = run->with_gradients ? 1 : 0,
        .sets = &run->params,
    };
    out->n_items = media->n_items;
    return csi_forward_write(&result, run->graph, o->output, &out->n_tensors);
}

cs_status csi_forward_encoder(const cs_forward_options *options,
                              const csi_model_source *source,
                              const csi_forward_input *input,
                              cs_forward_result *result)
{
    encoder_run run = {
        .input = input,
        .graph = input->graph,
        .with_gradients = options->with_gradients,
    };

    CS_CHECK(options->n_ranks == 1, CS_ERR_UNSUPPORTED,
             "unsupported: forward of one encoder on %d ranks (training has "
             "no such layout), wanted 1",
             options->n_ranks);
    const cs_status st = run_items(&run, options, source, result);

    destroy_run(&run);
    CS_TRY(st);
    return CS_OK;
}
