/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss of a dataset, with the right media or with somebody else's, sample by
 * sample. While one chunk is computed, worker threads decode the next:
 *
 *     loader   [ chunk 0 ][ chunk 1 ][ chunk 2 ]
 *     backend             [ chunk 0 ][ chunk 1 ][ chunk 2 ]
 */
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/thread.h"

#include "internal.h"
#include "selection.h"

#include <inttypes.h>
#include <math.h>

enum {
    CHUNK_SAMPLES = 32
};

/* One run over a selection. */
typedef struct pass {
    cs_model *model;
    const csi_selection *selection;
    cs_loader *loader;       /* owned */
    cs_batch_plan *plans[2]; /* owned: they take turns */
    const cs_batch_plan *loading;
    int64_t first, count;    /* samples of `loading` */
    csi_arena arena;         /* owned: what a step is given */
    cs_sample_losses losses; /* owned */
} pass;

void cs_sample_losses_fini(cs_sample_losses *losses)
{
    csi_free(losses->nll);
    csi_free(losses->tokens);
    *losses = (cs_sample_losses){.n = 0};
}

static cs_status source_tokens(const void *context, int64_t sample,
                               int32_t *ids, int32_t *labels)
{
    CS_TRY(csi_selection_tokens(context, sample, ids, labels));
    return CS_OK;
}

static cs_status source_media(const void *context, int64_t sample, int32_t run,
                              float *rows)
{
    (void)sample; /* the run says whose it is */
    CS_TRY(csi_selection_media(context, run, rows));
    return CS_OK;
}

static void pass_fini(pass *p)
{
    cs_loader_destroy(&p->loader);
    cs_batch_plan_destroy(&p->plans[0]);
    cs_batch_plan_destroy(&p->plans[1]);
    csi_arena_fini(&p->arena);
    cs_sample_losses_fini(&p->losses);
}

static cs_status create_loader(pass *p)
{
    const cs_config *c = p->model->config;
    const int64_t wanted =
        c->data.num_workers > 0 ? c->data.num_workers : csi_cpu_count();
    const cs_loader_options options = {
        .dataset = p->selection->dataset,
        .source =
            {
                .context = p->selection,
                .index = &p->selection->view,
                .tokens = source_tokens,
                .media = source_media,
            },
        .n_workers = (int32_t)csi_min_i64(wanted, CHUNK_SAMPLES),
        .want_tokens = true,
        .want_modalities = UINT32_MAX,
    };
    CS_TRY(cs_loader_create(&options, &p->loader));
    return CS_OK;
}

static cs_status pass_init(cs_model *m, const csi_selection *s, pass *p)
{
    const size_t n = (size_t)s->n + 1;
    cs_status st = CS_OK;

    *p = (pass){.model = m, .selection = s};
    csi_arena_init(&p->arena, 0);
    p->losses = (cs_sample_losses){
        .n = s->n,
        .nll = csi_calloc(n, sizeof *p->losses.nll),
        .tokens = csi_calloc(n, sizeof *p->losses.tokens),
    };
    CS_CHECK_GOTO(undo, p->losses.nll != NULL && p->losses.tokens != NULL,
                  CS_ERR_NOMEM, "losses of %" PRId64 " samples", s->n);
    for (int64_t i = 0; i < s->n; i++) {
        p->losses.tokens[i] = -1;
    }
    CS_TRY_GOTO(undo, cs_batch_plan_create(&p->plans[0]));
    CS_TRY_GOTO(undo, cs_batch_plan_create(&p->plans[1]));
    CS_TRY_GOTO(undo, create_loader(p));
    return CS_OK;

undo:
    pass_fini(p);
    return st;
}

/* Starts decoding up to `limit` samples from `first` on. */
static cs_status begin_chunk(pass *p, int64_t first, int64_t limit)
{
    const cs_config *c = p->model->config;
    cs_batch_plan *plan = p->plans[p->loading == p->plans[0] ? 1 : 0];
    const cs_batch_settings settings = {
        .packing = c->data.packing,
        .global_batch_size = CHUNK_SAMPLES,
        .max_tokens_per_microbatch = c->data.max_tokens_per_microbatch,
        .min_microbatches = 1,
        .n_replicas = 1,
        .attention = c->model.attention,
    };

    p->first = first;
    p->count = csi_min_i64(limit, p->selection->n - first);
    CS_TRY(cs_batch_plan_range(plan, &p->selection->view, &settings, first,
                               p->count));
    CS_TRY(cs_loader_begin(p->loader, plan));
    p->loading = plan;
    return CS_OK;
}

/* Runs a chunk and keeps what each of its samples has lost. */
static cs_status run_chunk(pass *p, const cs_batch_plan *plan,
                           const cs_loaded_microbatch *loaded)
{
    cs_step_result result;

    csi_arena_reset(&p->arena);
    cs_microbatch_data *data =
        csi_arena_calloc(&p->arena,
                         (size_t)plan->n_microbatches * sizeof *data);
    CS_CHECK(data != NULL, CS_ERR_NOMEM, "evaluation data");
    for (int32_t b = 0; b < plan->n_microbatches; b++) {
        data[b] = (cs_microbatch_data){loaded[b].ids, loaded[b].labels,
                                       loaded[b].input};
    }
    const cs_step_input input = {.plan = plan, .data = data};
    CS_TRY(cs_runtime_step(p->model->runtime, &input, &result));
    for (int64_t i = 0; i < result.n_samples; i++) {
        p->losses.nll[result.sample_index[i]] = result.sample_nll[i];
        p->losses.tokens[result.sample_index[i]] = result.sample_tokens[i];
    }
    return CS_OK;
}

/* A chunk with a sample that cannot be read is halved until the sample is
 * alone and, where the recipe skips bad samples, left out. */
static cs_status run_chunks(pass *p)
{
    const bool skips = p->model->config->data.bad_sample == CS_BAD_SAMPLE_SKIP;
    bool is_over = false;

    CS_TRY(begin_chunk(p, 0, CHUNK_SAMPLES));
    while (!is_over) {
        const cs_batch_plan *plan = p->loading;
        const cs_loaded_microbatch *loaded = NULL;
        cs_error error;
        CS_TRY(cs_loader_finish(p->loader, &loaded, NULL, &error));
        const bool is_bad =
            error.status == CS_ERR_FORMAT || error.status == CS_ERR_IO;
        if (error.status != CS_OK && !(is_bad && skips)) {
            cs_error_set(&error);
            CS_TRY(error.status);
        }
        if (is_bad && p->count > 1) {
            CS_TRY(begin_chunk(p, p->first, p->count / 2));
            continue;
        }
        const int64_t next = p->first + p->count;
        is_over = next == p->selection->n;
        if (!is_over) {
            CS_TRY(begin_chunk(p, next, CHUNK_SAMPLES));
        }
        if (is_bad) {
            cs_log(CS_LOG_WARN, "infer", "skipped a sample: %s", error.message);
        } else {
            CS_TRY(run_chunk(p, plan, loaded));
        }
    }
    return CS_OK;
}

cs_status cs_model_evaluate(cs_model *m, const cs_dataset *dataset,
                            int64_t max_samples, int32_t only_modality,
                            int32_t swap_modality, cs_sample_losses *out)
{
    cs_status st = CS_OK;
    csi_selection s;
    pass p;

    CS_TRY(csi_selection_init(dataset, max_samples, only_modality,
                              swap_modality, &s));
    CS_TRY_GOTO(undo_selection, pass_init(m, &s, &p));
    CS_TRY_GOTO(undo_pass, run_chunks(&p));
    CS_CHECK_GOTO(undo_pass, cs_evaluation_summarise(&p.losses).n_samples > 0,
                  CS_ERR_FORMAT,
                  "evaluation: none of %" PRId64 " samples could be read", s.n);
    *out = p.losses;
    p.losses = (cs_sample_losses){.n = 0};
undo_pass:
    pass_fini(&p);
undo_selection:
    csi_selection_fini(&s);
    return st;
}
