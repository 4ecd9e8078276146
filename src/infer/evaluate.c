/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss of a dataset, with the right media or with somebody else's.
 *
 * Swapping builds a second index view in which every run of the modality takes
 * the sizes of its donor's run (recordings differ in length), and lays the
 * sample's tokens and labels out anew around it:
 *
 *     right    [text][item of s, 5 rows][text + labels]
 *     swapped  [text][item of d, 7 rows ][text + labels]
 */
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/checked.h"

#include "internal.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK_SAMPLES = 32
};

/* The samples that count, as an index of their own. */
typedef struct selection {
    const cs_dataset *dataset;
    int64_t n;
    int64_t *sample;          /* [n]: index in the dataset */
    cs_index_sample *samples; /* [n] */
    cs_index_run *runs;       /* with the donors' sizes */
    int64_t *run_sample;      /* per run: whose item is read ... */
    int32_t *run_index;       /* ... and which run of the dataset it is */
    int64_t n_runs;
    cs_index_view view;
} selection;

static void selection_fini(selection *s)
{
    csi_free(s->sample);
    csi_free(s->samples);
    csi_free(s->runs);
    csi_free(s->run_sample);
    csi_free(s->run_index);
}

static int32_t find_run(const cs_index_view *view, int64_t sample,
                        int32_t modality)
{
    const cs_index_sample *s = &view->samples[sample];

    for (int32_t k = 0; k < s->n_runs; k++) {
        if (view->runs[s->first_run + k].modality == modality) {
            return (int32_t)(s->first_run + k);
        }
    }
    return -1;
}

static cs_status select_samples(const cs_dataset *dataset, int64_t max_samples,
                                int32_t only, selection *s)
{
    const cs_index_view *view = cs_dataset_index(dataset);

    s->dataset = dataset;
    s->sample = csi_calloc((size_t)view->n_samples + 1, sizeof *s->sample);
    CS_CHECK(s->sample != NULL, CS_ERR_NOMEM, "evaluation");
    for (int64_t i = 0; i < view->n_samples; i++) {
        if ((max_samples <= 0 || s->n < max_samples) &&
            (only < 0 || find_run(view, i, only) >= 0)) {
            s->sample[s->n] = i;
            s->n_runs += view->samples[i].n_runs;
            s->n++;
        }
    }
    return CS_OK;
}

static cs_status copy_view(selection *s)
{
    const cs_index_view *view = cs_dataset_index(s->dataset);
    const size_t n_runs = (size_t)s->n_runs + 1;
    int64_t at = 0;

    s->samples = csi_calloc((size_t)s->n + 1, sizeof *s->samples);
    s->runs = csi_calloc(n_runs, sizeof *s->runs);
    s->run_sample = csi_calloc(n_runs, sizeof *s->run_sample);
    s->run_index = csi_calloc(n_runs, sizeof *s->run_index);
    CS_CHECK(s->samples != NULL && s->runs != NULL && s->run_sample != NULL &&
                 s->run_index != NULL,
             CS_ERR_NOMEM, "evaluation");
    for (int64_t i = 0; i < s->n; i++) {
        s->samples[i] = view->samples[s->sample[i]];
        for (int32_t k = 0; k < s->samples[i].n_runs; k++, at++) {
            const int64_t from = s->samples[i].first_run + k;
            s->runs[at] = view->runs[from];
            s->run_sample[at] = s->sample[i];
            s->run_index[at] = (int32_t)from;
        }
        s->samples[i].first_run = at - s->samples[i].n_runs;
    }
    s->view = (cs_index_view){
        .n_samples = s->n,
        .n_runs = s->n_runs,
        .samples = s->samples,
        .runs = s->runs,
        .n_modalities = view->n_modalities,
    };
    return CS_OK;
}

/* Sample i takes the item of the sample half a list away, or of the next one
 * with other content. */
static void swap_items(selection *s, int32_t modality)
{
    const cs_index_view *view = cs_dataset_index(s->dataset);

    for (int64_t i = 0; i < s->n; i++) {
        cs_index_sample *sample = &s->samples[i];
        for (int32_t k = 0; k < sample->n_runs; k++) {
            cs_index_run *run = &s->runs[sample->first_run + k];
            if (run->modality != modality) {
                continue;
            }
            for (int64_t step = 0; step < s->n; step++) {
                const int64_t donor = s->sample[(i + s->n / 2 + step) % s->n];
                const int32_t from = find_run(view, donor, modality);
                if (view->runs[from].content_hash == run->content_hash) {
                    continue;
                }
                sample->n_tokens += view->runs[from].llm_rows - run->llm_rows;
                run->llm_rows = view->runs[from].llm_rows;
                run->encoder_rows = view->runs[from].encoder_rows;
                run->input_rows = view->runs[from].input_rows;
                run->grid_rows = view->runs[from].grid_rows;
                run->grid_columns = view->runs[from].grid_columns;
                s->run_sample[sample->first_run + k] = donor;
                s->run_index[sample->first_run + k] = from;
                break;
            }
        }
    }
}

/* Lays one sample's ids and labels out for the view's run sizes. Labels are
 * shifted, so they are moved as "what the next token must be". */
static cs_status lay_out(const selection *s, int64_t i, int32_t *ids,
                         int32_t *labels)
{
    const cs_index_view *view = cs_dataset_index(s->dataset);
    const cs_index_sample *from = &view->samples[s->sample[i]];
    const cs_index_sample *to = &s->samples[i];
    cs_status st = CS_OK;
    int32_t *old_ids = csi_calloc((size_t)from->n_tokens + 1, sizeof *old_ids);
    int32_t *old_labels =
        csi_calloc((size_t)from->n_tokens + 1, sizeof *old_labels);
    int64_t a = 0;
    int64_t b = 0;

    CS_CHECK_GOTO(done, old_ids != NULL && old_labels != NULL, CS_ERR_NOMEM,
                  "evaluation");
    CS_TRY_GOTO(done, cs_dataset_tokens(s->dataset, s->sample[i], old_ids,
                                        old_labels));
    for (int64_t t = 0; t < to->n_tokens; t++) {
        labels[t] = -100;
    }
    for (int32_t k = 0; k < to->n_runs; k++) {
        const int32_t n_old = view->runs[from->first_run + k].llm_rows;
        const int32_t n_new = s->runs[to->first_run + k].llm_rows;
        for (int32_t t = 0; t < n_new; t++) {
            const bool is_text = s->runs[to->first_run + k].modality < 0;
            ids[b + t] = is_text ? old_ids[a + t] : -1;
            if (is_text && a + t > 0 && b + t > 0) {
                labels[b + t - 1] = old_labels[a + t - 1];
            }
        }
        a += n_old;
        b += n_new;
    }
done:
    csi_free(old_ids);
    csi_free(old_labels);
    return st;
}

typedef struct chunk_data {
    csi_arena arena;
    cs_microbatch_data *data;
} chunk_data;

static cs_status take(chunk_data *d, int64_t count, size_t size, void **out)
{
    *out = csi_arena_calloc(&d->arena, (size_t)(count + 1) * size);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "evaluation data");
    return CS_OK;
}

static cs_status load_media(const selection *s, const cs_microbatch *mb,
                            int32_t modality, chunk_data *d, float **out)
{
    const cs_batch_modality *m = &mb->modality[modality];
    const int64_t columns = cs_dataset_processor(s->dataset, modality)->columns;
    void *rows = NULL;

    CS_TRY(take(d, m->input_rows * columns, sizeof(float), &rows));
    for (int64_t i = 0; i < m->n_items; i++) {
        const int32_t run = m->items[i].run;
        CS_TRY(cs_dataset_media(s->dataset, s->run_sample[run],
                                s->run_index[run],
                                (float *)rows +
                                    m->items[i].input_begin * columns));
    }
    *out = rows;
    return CS_OK;
}

static cs_status load_chunk(const selection *s, const cs_batch_plan *plan,
                            chunk_data *d)
{
    void *memory = NULL;

    csi_arena_reset(&d->arena);
    CS_TRY(take(d, plan->n_microbatches, sizeof *d->data, &memory));
    d->data = memory;
    for (int32_t b = 0; b < plan->n_microbatches; b++) {
        const cs_microbatch *mb = &plan->microbatches[b];
        void *ids = NULL;
        void *labels = NULL;
        void *inputs = NULL;
        CS_TRY(take(d, mb->n_tokens, sizeof(int32_t), &ids));
        CS_TRY(take(d, mb->n_tokens, sizeof(int32_t), &labels));
        CS_TRY(take(d, plan->n_modalities, sizeof(float *), &inputs));
        for (int32_t i = 0; i < mb->n_samples; i++) {
            CS_TRY(lay_out(s, mb->samples[i],
                           (int32_t *)ids + mb->token_begin[i],
                           (int32_t *)labels + mb->token_begin[i]));
        }
        for (int32_t m = 0; m < plan->n_modalities; m++) {
            CS_TRY(load_media(s, mb, m, d, &((float **)inputs)[m]));
        }
        d->data[b] = (cs_microbatch_data){ids, labels, inputs};
    }
    return CS_OK;
}

/* What every sample that was run has lost. */
typedef struct losses {
    double *nll, *tokens; /* owned */
    int64_t n;
    double nll_sum, token_sum;
} losses;

static void add_losses(losses *l, const cs_step_result *result)
{
    for (int64_t i = 0; i < result->n_samples; i++, l->n++) {
        l->nll[l->n] = result->sample_nll[i];
        l->tokens[l->n] = (double)result->sample_tokens[i];
        l->nll_sum += l->nll[l->n];
        l->token_sum += l->tokens[l->n];
    }
}

static cs_evaluation summarise(const losses *l)
{
    const double loss = l->token_sum > 0.0 ? l->nll_sum / l->token_sum : 0.0;
    const double n = (double)l->n;
    double spread = 0.0;

    for (int64_t i = 0; i < l->n; i++) {
        const double rest = l->nll[i] - loss * l->tokens[i];
        spread += rest * rest;
    }
    return (cs_evaluation){
        .loss = loss,
        .stderr_ = l->n > 1
                       ? sqrt(spread * n / (n - 1.0)) / fmax(l->token_sum, 1.0)
                       : 0.0,
        .n_samples = l->n,
        .label_tokens = (int64_t)l->token_sum,
    };
}

/* A chunk with a sample that cannot be read is halved until the sample is
 * alone and, where the recipe skips bad samples, left out. */
static cs_status run_chunks(cs_model *m, const selection *s,
                            cs_batch_plan *plan, chunk_data *d, losses *l)
{
    const cs_config *c = m->config;
    const bool skips = c->data.bad_sample == CS_BAD_SAMPLE_SKIP;
    const cs_batch_settings settings = {
        .packing = c->data.packing,
        .global_batch_size = CHUNK_SAMPLES,
        .max_tokens_per_microbatch = c->data.max_tokens_per_microbatch,
        .min_microbatches = 1,
        .n_replicas = 1,
        .attention = c->model.attention,
    };
    int64_t limit = CHUNK_SAMPLES;

    for (int64_t i = 0; i < s->n;) {
        const int64_t count = csi_min_i64(limit, s->n - i);
        cs_step_result result;
        CS_TRY(cs_batch_plan_range(plan, &s->view, &settings, i, count));
        const cs_status st = load_chunk(s, plan, d);
        const bool is_bad = st == CS_ERR_FORMAT || st == CS_ERR_IO;
        if (is_bad && skips && count > 1) {
            limit = count / 2;
            continue;
        }
        if (is_bad && skips) {
            cs_log(CS_LOG_WARN, "infer", "skipped a sample: %s",
                   cs_error_message());
        } else {
            CS_TRY(st);
            const cs_step_input input = {.plan = plan, .data = d->data};
            CS_TRY(cs_runtime_step(m->runtime, &input, &result));
            add_losses(l, &result);
        }
        i += count;
        limit = CHUNK_SAMPLES;
    }
    return CS_OK;
}

static cs_status run_selection(cs_model *m, const selection *s,
                               cs_evaluation *out)
{
    cs_status st = CS_OK;
    cs_batch_plan *plan = NULL;
    chunk_data d = {0};
    losses l = {
        .nll = csi_calloc((size_t)s->n + 1, sizeof *l.nll),
        .tokens = csi_calloc((size_t)s->n + 1, sizeof *l.tokens),
    };

    csi_arena_init(&d.arena, 1 << 20);
    CS_CHECK_GOTO(done, l.nll != NULL && l.tokens != NULL, CS_ERR_NOMEM,
                  "evaluation");
    CS_TRY_GOTO(done, cs_batch_plan_create(&plan));
    CS_TRY_GOTO(done, run_chunks(m, s, plan, &d, &l));
    CS_CHECK_GOTO(done, l.n > 0, CS_ERR_FORMAT,
                  "evaluation: none of %lld samples could be read",
                  (long long)s->n);
    *out = summarise(&l);
done:
    csi_free(l.nll);
    csi_free(l.tokens);
    csi_arena_fini(&d.arena);
    cs_batch_plan_destroy(&plan);
    return st;
}

cs_status cs_model_evaluate(cs_model *m, const cs_dataset *dataset,
                            int64_t max_samples, int32_t only_modality,
                            int32_t swap_modality, cs_evaluation *out)
{
    cs_status st = CS_OK;
    selection s = {0};

    if (swap_modality >= 0) {
        only_modality = swap_modality;
    }
    CS_TRY_GOTO(done, select_samples(dataset, max_samples, only_modality, &s));
    CS_CHECK_GOTO(done, s.n > 0, CS_ERR_ARG,
                  "evaluation: no sample has an item of that modality");
    CS_CHECK_GOTO(done, swap_modality < 0 || s.n > 1, CS_ERR_ARG,
                  "evaluation: one sample has nobody to swap with");
    CS_TRY_GOTO(done, copy_view(&s));
    if (swap_modality >= 0) {
        swap_items(&s, swap_modality);
    }
    CS_TRY_GOTO(done, run_selection(m, &s, out));
done:
    selection_fini(&s);
    return st;
}
