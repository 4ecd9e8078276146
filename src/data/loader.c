/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decodes the batch of the next step while this one runs. A load is a list of
 * tasks (the tokens of a sample, the rows of an item) that worker threads take
 * one by one; where each result belongs is known from the batch plan, so
 * nobody waits for anybody else.
 *
 *        begin                 all tasks done              finish
 *     idle ----> loading (tasks taken by workers) ----> loaded ----> idle
 *                   | destroy: no more tasks are taken, workers end
 *
 * Three sets of buffers take turns: one is filled, the two handed out last
 * stay valid. They live in arenas, so a steady state allocates nothing here. A
 * sample that cannot be decoded is reported with the first sentence;
 * its rows are zeros.
 */
#include "cornstarch/data.h"
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/thread.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_WORKERS = 256,
    N_SETS = 3,
    CHUNK_BYTES = 1 << 20
};

static const int64_t WAIT_NS = 1000000000;

/* Tokens of sample `sample` of a microbatch, or (item >= 0) one item. */
typedef struct task {
    int32_t microbatch;
    int32_t sample;
    int32_t modality;
    int64_t item; /* -1 = tokens */
} task;

typedef struct buffers {
    csi_arena arena; /* owned: all below */
    cs_loaded_microbatch *batch;
    task *tasks;
    int64_t n_tasks;
    uint8_t *is_bad;  /* [n_tasks] */
    cs_error error;   /* of the first bad task in order */
    int64_t bad_task; /* its number; n_tasks = none */
} buffers;

struct cs_loader {
    cs_loader_options options;
    csi_thread *workers; /* owned */
    int32_t n_started;
    buffers sets[N_SETS];
    int32_t active;            /* the set being filled or filled last */
    const cs_batch_plan *plan; /* borrowed while a load is under way */
    /* guarded by lock */
    csi_mutex lock;
    csi_cond has_work, is_done;
    int64_t next_task, n_done;
    bool is_loading, is_ending;
};

/* The replica's microbatch number `m`. */
static const cs_microbatch *find_microbatch(const cs_loader *loader, int32_t m)
{
    const cs_batch_plan *const plan = loader->plan;

    return &plan->microbatches[(int64_t)loader->options.replica *
                                   plan->n_microbatches +
                               m];
}

static bool wants(const cs_loader *loader, int32_t modality)
{
    return (loader->options.want_modalities >> modality & 1) != 0;
}

static cs_status dataset_tokens(const void *context, int64_t sample,
                                int32_t *ids, int32_t *labels)
{
    CS_TRY(cs_dataset_tokens(context, sample, ids, labels));
    return CS_OK;
}

static cs_status dataset_media(const void *context, int64_t sample, int32_t run,
                               float *rows)
{
    CS_TRY(cs_dataset_media(context, sample, run, rows));
    return CS_OK;
}

static cs_status load_tokens(const cs_loader *loader, const task *t,
                             cs_loaded_microbatch *loaded)
{
    const cs_microbatch *const mb = find_microbatch(loader, t->microbatch);
    const int64_t begin = mb->token_begin[t->sample];
    const cs_loader_source *const source = &loader->options.source;
    const cs_status st =
        source->tokens(source->context, mb->samples[t->sample],
                       loaded->ids + begin, loaded->labels + begin);

    if (st != CS_OK) {
        for (int64_t i = begin; i < mb->token_begin[t->sample + 1]; i++) {
            loaded->ids[i] = 0;
            loaded->labels[i] = -100;
        }
    }
    CS_TRY(st);
    return CS_OK;
}

static cs_status load_item(const cs_loader *loader, const task *t,
                           cs_loaded_microbatch *loaded)
{
    const cs_loader_source *const source = &loader->options.source;
    const cs_microbatch *const mb = find_microbatch(loader, t->microbatch);
    const cs_batch_item *const item = &mb->modality[t->modality].items[t->item];
    const int64_t columns =
        cs_dataset_processor(loader->options.dataset, t->modality)->columns;
    const int64_t n_rows = source->index->runs[item->run].input_rows;
    float *const rows =
        loaded->input[t->modality] + item->input_begin * columns;
    const cs_status st =
        source->media(source->context, item->sample, item->run, rows);

    if (st != CS_OK) {
        memset(rows, 0, (size_t)(n_rows * columns) * sizeof *rows);
    }
    CS_TRY(st);
    return CS_OK;
}

/* Runs one task; the lock is not held. */
static void run_task(cs_loader *loader, buffers *set, int64_t number)
{
    const task *const t = &set->tasks[number];
    cs_loaded_microbatch *const loaded = &set->batch[t->microbatch];
    const cs_status st = t->item < 0 ? load_tokens(loader, t, loaded)
                                     : load_item(loader, t, loaded);

    set->is_bad[number] = st != CS_OK;
    if (st == CS_OK) {
        return;
    }
    csi_mutex_lock(&loader->lock);
    if (number < set->bad_task) {
        set->bad_task = number;
        cs_error_get(&set->error);
    }
    csi_mutex_unlock(&loader->lock);
}

static cs_status work(void *arg)
{
    cs_loader *const loader = arg;

    csi_mutex_lock(&loader->lock);
    while (!loader->is_ending) {
        buffers *const set = &loader->sets[loader->active];

        if (!loader->is_loading || loader->next_task >= set->n_tasks) {
            (void)csi_cond_wait_until(&loader->has_work, &loader->lock,
                                      csi_clock_ns() + WAIT_NS);
            continue;
        }
        const int64_t number = loader->next_task++;

        csi_mutex_unlock(&loader->lock);
        run_task(loader, set, number);
        csi_mutex_lock(&loader->lock);
        loader->n_done++;
        if (loader->n_done == set->n_tasks) {
            csi_cond_broadcast(&loader->is_done);
        }
    }
    csi_mutex_unlock(&loader->lock);
    return CS_OK;
}

cs_status cs_loader_create(const cs_loader_options *options, cs_loader **out)
{
    cs_status st = CS_OK;

    CS_CHECK(options->n_workers >= 1 && options->n_workers <= MAX_WORKERS,
             CS_ERR_ARG, "loader: %" PRId32 " workers, wanted 1 to %d",
             options->n_workers, MAX_WORKERS);
    cs_loader *loader = csi_calloc(1, sizeof *loader);

    CS_CHECK(loader != NULL, CS_ERR_NOMEM, "loader object");
    loader->options = *options;
    if (options->source.context == NULL) {
        loader->options.source = (cs_loader_source){
            .context = options->dataset,
            .index = cs_dataset_index(options->dataset),
            .tokens = dataset_tokens,
            .media = dataset_media,
        };
    }
    csi_mutex_init(&loader->lock);
    csi_cond_init(&loader->has_work);
    csi_cond_init(&loader->is_done);
    for (int i = 0; i < N_SETS; i++) {
        csi_arena_init(&loader->sets[i].arena, CHUNK_BYTES);
    }
    loader->workers =
        csi_calloc((size_t)options->n_workers, sizeof *loader->workers);
    CS_CHECK_GOTO(undo, loader->workers != NULL, CS_ERR_NOMEM,
                  "loader: no memory for %" PRId32 " workers",
                  options->n_workers);
    for (int32_t i = 0; i < options->n_workers; i++) {
        CS_TRY_GOTO(undo, csi_thread_start(&loader->workers[i], work, loader));
        loader->n_started++;
    }
    *out = loader;
    return CS_OK;

undo:
    cs_loader_destroy(&loader);
    return st;
}

void cs_loader_destroy(cs_loader **loader)
{
    cs_loader *const l = *loader;

    if (l == NULL) {
        return;
    }
    csi_mutex_lock(&l->lock);
    l->is_ending = true;
    csi_cond_broadcast(&l->has_work);
    csi_mutex_unlock(&l->lock);
    for (int32_t i = 0; i < l->n_started; i++) {
        if (csi_thread_join(&l->workers[i]) != CS_OK) {
            cs_log(CS_LOG_WARN, "data", "%s", cs_error_message());
        }
    }
    csi_free(l->workers);
    for (int i = 0; i < N_SETS; i++) {
        csi_arena_fini(&l->sets[i].arena);
    }
    csi_cond_fini(&l->is_done);
    csi_cond_fini(&l->has_work);
    csi_mutex_fini(&l->lock);
    csi_free(l);
    *loader = NULL;
}

static cs_status take(buffers *set, int64_t count, size_t n_bytes, void *out)
{
    void *const block = csi_arena_alloc(&set->arena, (size_t)count * n_bytes);

    CS_CHECK(block != NULL, CS_ERR_NOMEM,
             "loader: no memory for %" PRId64 " x %zu bytes", count, n_bytes);
    memcpy(out, &block, sizeof block);
    return CS_OK;
}

static int64_t count_tasks(const cs_loader *loader)
{
    int64_t n = 0;

    for (int32_t m = 0; m < loader->plan->n_microbatches; m++) {
        const cs_microbatch *const mb = find_microbatch(loader, m);

        n += loader->options.want_tokens ? mb->n_samples : 0;
        for (int32_t i = 0; i < loader->plan->n_modalities; i++) {
            n += wants(loader, i) ? mb->modality[i].n_items : 0;
        }
    }
    return n;
}

static cs_status prepare_microbatch(const cs_loader *loader, buffers *set,
                                    int32_t m)
{
    const cs_microbatch *const mb = find_microbatch(loader, m);
    cs_loaded_microbatch *const loaded = &set->batch[m];
    const int32_t n_modalities = loader->plan->n_modalities;

    *loaded = (cs_loaded_microbatch){.ids = NULL};
    CS_TRY(take(set, n_modalities, sizeof *loaded->input, &loaded->input));
    if (loader->options.want_tokens) {
        CS_TRY(take(set, mb->n_tokens, sizeof *loaded->ids, &loaded->ids));
        CS_TRY(take(set, mb->n_tokens, sizeof *loaded->labels,
                    &loaded->labels));
    }
    for (int32_t s = 0; loaded->ids != NULL && s < mb->n_samples; s++) {
        set->tasks[set->n_tasks++] =
            (task){.microbatch = m, .sample = s, .item = -1};
    }
    for (int32_t i = 0; i < n_modalities; i++) {
        const cs_batch_modality *const modality = &mb->modality[i];

        loaded->input[i] = NULL;
        if (!wants(loader, i)) {
            continue;
        }
        CS_TRY(take(set, modality->input_rows,
                    sizeof(float) *
                        (size_t)cs_dataset_processor(loader->options.dataset, i)
                            ->columns,
                    &loaded->input[i]));
        for (int64_t item = 0; item < modality->n_items; item++) {
            set->tasks[set->n_tasks++] =
                (task){.microbatch = m, .modality = i, .item = item};
        }
    }
    return CS_OK;
}

static cs_status prepare(cs_loader *loader, buffers *set)
{
    const int64_t n_tasks = count_tasks(loader);

    csi_arena_reset(&set->arena);
    set->n_tasks = 0;
    CS_TRY(take(set, loader->plan->n_microbatches, sizeof *set->batch,
                &set->batch));
    CS_TRY(take(set, n_tasks, sizeof *set->tasks, &set->tasks));
    CS_TRY(take(set, n_tasks, sizeof *set->is_bad, &set->is_bad));
    for (int32_t m = 0; m < loader->plan->n_microbatches; m++) {
        CS_TRY(prepare_microbatch(loader, set, m));
    }
    memset(set->is_bad, 0, (size_t)n_tasks);
    set->bad_task = n_tasks;
    set->error = (cs_error){.status = CS_OK};
    return CS_OK;
}

cs_status cs_loader_begin(cs_loader *loader, const cs_batch_plan *plan)
{
    CS_CHECK(loader->plan == NULL, CS_ERR_ARG,
             "loader: a load is under way already");
    CS_CHECK(loader->options.replica < plan->n_replicas, CS_ERR_ARG,
             "loader: replica %" PRId32 " of %" PRId32, loader->options.replica,
             plan->n_replicas);
    const int32_t set = (loader->active + 1) % N_SETS;

    loader->plan = plan;
    const cs_status st = prepare(loader, &loader->sets[set]);

    if (st != CS_OK) {
        loader->plan = NULL;
    }
    CS_TRY(st);
    csi_mutex_lock(&loader->lock);
    loader->active = set;
    loader->next_task = 0;
    loader->n_done = 0;
    loader->is_loading = true;
    csi_cond_broadcast(&loader->has_work);
    csi_mutex_unlock(&loader->lock);
    return CS_OK;
}

/* Sets bad[i] for each place of `sample` in the plan. */
static void mark_bad(const cs_batch_plan *plan, int64_t sample, uint8_t *bad)
{
    for (int64_t i = 0; i < plan->n_samples; i++) {
        if (plan->samples[i] == sample) {
            bad[i] = 1;
        }
    }
}

static void report_bad(const cs_loader *loader, const buffers *set,
                       uint8_t *bad)
{
    for (int64_t i = set->bad_task; i < set->n_tasks; i++) {
        const task *const t = &set->tasks[i];
        const cs_microbatch *const mb = find_microbatch(loader, t->microbatch);

        if (set->is_bad[i] != 0) {
            mark_bad(loader->plan,
                     t->item < 0
                         ? mb->samples[t->sample]
                         : mb->modality[t->modality].items[t->item].sample,
                     bad);
        }
    }
}

cs_status cs_loader_finish(cs_loader *loader,
                           const cs_loaded_microbatch **batch, uint8_t *bad,
                           cs_error *error)
{
    CS_CHECK(loader->plan != NULL, CS_ERR_ARG, "loader: no load is under way");
    const buffers *const set = &loader->sets[loader->active];

    csi_mutex_lock(&loader->lock);
    while (loader->n_done < set->n_tasks) {
        (void)csi_cond_wait_until(&loader->is_done, &loader->lock,
                                  csi_clock_ns() + WAIT_NS);
    }
    loader->is_loading = false;
    csi_mutex_unlock(&loader->lock);
    if (bad != NULL) {
        memset(bad, 0, (size_t)loader->plan->n_samples);
        report_bad(loader, set, bad);
    }
    *error = set->error;
    *batch = set->batch;
    loader->plan = NULL;
    return CS_OK;
}
