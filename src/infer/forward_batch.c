/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All documents as one step. The batch plan is training's own, so a layout is
 * cut here exactly as it is there; only the rotary positions come from the
 * file.
 */
#include "base/checked.h"

#include "forward.h"

#include <string.h>

static cs_status fill_media(const csi_forward_input *in, csi_arena *arena,
                            const cs_batch_modality *m, const csi_media *media,
                            float **out)
{
    float *rows = NULL;

    CS_TRY(csi_forward_take(arena, m->input_rows * media->columns, sizeof *rows,
                            &rows));
    for (int64_t i = 0; i < m->n_items; i++) {
        const int64_t item = in->run_item[m->items[i].run];
        const int64_t begin = media->row_begin[item];
        const int64_t n = media->row_begin[item + 1] - begin;
        memcpy(rows + m->items[i].input_begin * media->columns,
               media->rows + begin * media->columns,
               (size_t)(n * media->columns) * sizeof *rows);
    }
    *out = rows;
    return CS_OK;
}

static cs_status fill_microbatch(const csi_forward_input *in, csi_arena *arena,
                                 const cs_microbatch *mb,
                                 cs_microbatch_data *data)
{
    const int32_t n_encoders = in->graph->n_modules - 1;
    int32_t *ids = NULL;
    int32_t *labels = NULL;
    float **media = NULL;

    CS_TRY(csi_forward_take(arena, mb->n_tokens, sizeof *ids, &ids));
    CS_TRY(csi_forward_take(arena, mb->n_tokens, sizeof *labels, &labels));
    CS_TRY(csi_forward_take(arena, n_encoders, sizeof *media, &media));
    for (int32_t s = 0; s < mb->n_samples; s++) {
        const int64_t from = in->token_begin[mb->samples[s]];
        const int64_t to = mb->token_begin[s];
        const size_t n_bytes =
            (size_t)(mb->token_begin[s + 1] - to) * sizeof(int32_t);
        memcpy(ids + to, in->ids + from, n_bytes);
        memcpy(labels + to, in->labels + from, n_bytes);
        memcpy(mb->rope_position + to, in->position + from, n_bytes);
    }
    for (int32_t e = 0; e < n_encoders; e++) {
        if (mb->modality[e].n_items > 0) {
            CS_TRY(fill_media(in, arena, &mb->modality[e], &in->media[e],
                              &media[e]));
        }
    }
    *data = (cs_microbatch_data){ids, labels, media};
    return CS_OK;
}

static cs_status build(const csi_forward_input *in, const cs_config *config,
                       int32_t n_replicas, csi_forward_batch *b)
{
    int64_t longest = 1;

    for (int64_t s = 0; s < in->view.n_samples; s++) {
        longest = csi_max_i64(longest, in->view.samples[s].n_tokens);
    }
    const cs_batch_settings settings = {
        .packing = config->data.packing,
        .global_batch_size = in->view.n_samples,
        .max_tokens_per_microbatch =
            csi_max_i64(longest, config->data.max_tokens_per_microbatch),
        .min_microbatches = config->training.microbatches > 0
                                ? config->training.microbatches
                                : 1,
        .n_replicas = n_replicas,
        .attention = config->model.attention,
    };
    CS_TRY(cs_batch_plan_create(&b->plan));
    CS_TRY(cs_batch_plan_build(b->plan, &in->view, &settings, 1, NULL, 0));
    const int64_t n = (int64_t)n_replicas * b->plan->n_microbatches;

    CS_TRY(csi_forward_take(&b->arena, n, sizeof *b->data, &b->data));
    for (int64_t i = 0; i < n; i++) {
        CS_TRY(fill_microbatch(in, &b->arena, &b->plan->microbatches[i],
                               &b->data[i]));
    }
    return CS_OK;
}

cs_status csi_forward_batch_build(const csi_forward_input *input,
                                  const cs_config *config, int32_t n_replicas,
                                  csi_forward_batch *out)
{
    csi_forward_batch b = {0};
    const cs_status st = build(input, config, n_replicas, &b);

    if (st != CS_OK) {
        csi_forward_batch_fini(&b);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    *out = b;
    return CS_OK;
}

void csi_forward_batch_fini(csi_forward_batch *batch)
{
    cs_batch_plan_destroy(&batch->plan);
    csi_arena_fini(&batch->arena);
    *batch = (csi_forward_batch){0};
}

void csi_forward_work(const cs_graph *graph, const cs_batch_plan *plan,
                      cs_work *work)
{
    const int32_t language_model = cs_graph_language_model(graph);
    const double share = 1.0 / (double)plan->n_microbatches;

    for (int32_t b = 0; b < plan->n_microbatches; b++) {
        const cs_microbatch *mb = &plan->microbatches[b];
        const double tokens = (double)mb->n_tokens;
        for (int32_t e = 0; e < language_model; e++) {
            const cs_batch_modality *m = &mb->modality[e];
            const double rows = (double)m->encoder_rows;
            work[e].rows += rows * share;
            work[e].feature_rows += (double)m->feature_rows * share;
            work[e].pairs +=
                rows * rows / (double)csi_max_i64(m->n_items, 1) * share;
        }
        work[language_model].rows += tokens * share;
        work[language_model].feature_rows += tokens * share;
        work[language_model].pairs += tokens * tokens * 0.5 * share;
    }
}
