/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: states idle and saving. Every rank enters and leaves a save
 * together; in between each works alone (save.h).
 *
 *     idle --save: agree--> saving --finish: join, agree--> idle
 *
 * An asynchronous save runs in a thread on copies of the tensors; otherwise
 * it runs inside cs_checkpoint_save() on the tensors themselves.
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/thread.h"

#include "folders.h"
#include "gather.h"
#include "save.h"

#include <inttypes.h>
#include <string.h>

enum {
    SNAPSHOT_ALIGN = 64,
    WAIT_NS = 500 * 1000
};

struct cs_checkpoint_writer {
    const cs_param_set *set; /* borrowed: must outlive the writer */
    cs_comm *world;          /* borrowed */
    bool is_async;
    bool is_saving;
    int32_t *owner;           /* owned: graph parameter -> world rank */
    const void *(*values)[3]; /* owned: what the job writes */
    uint8_t *snapshot;        /* owned; NULL until the first save */
    csi_save_job job;         /* constant while saving */
    csi_thread thread;        /* started: it runs the job */
    cs_status result;         /* of a job that ran without a thread */
    cs_error error;
    int64_t frozen_step; /* holds the frozen tensors without source; 0 = none */
};

static cs_status check_set(const cs_param_set *set)
{
    for (int32_t i = 0; i < set->graph->n_modules; i++) {
        CS_CHECK(strcmp(set->graph->modules[i].name, csi_optimizer_file) != 0,
                 CS_ERR_UNSUPPORTED,
                 "unsupported: checkpoints of an encoder named '%s'",
                 csi_optimizer_file);
    }
    for (int32_t i = 0; i < set->n; i++) {
        const cs_param_state *p = &set->items[i];
        CS_CHECK(!p->spec->is_trainable || p->is_alias || p->m != NULL,
                 CS_ERR_ARG, "checkpoint: %s has no optimizer state to save",
                 p->spec->global_name);
    }
    return CS_OK;
}

/* Every rank finds the same. */
static cs_status check_owners(const cs_checkpoint_writer *w)
{
    const cs_graph *graph = w->set->graph;

    for (int32_t i = 0; i < graph->n_params; i++) {
        CS_CHECK(w->owner[i] >= 0, CS_ERR_ARG,
                 "checkpoint: no rank of the first replica holds %s",
                 graph->params[i].global_name);
    }
    return CS_OK;
}

cs_status cs_checkpoint_writer_create(const cs_param_set *set, cs_comm *world,
                                      bool is_first_replica, bool is_async,
                                      cs_checkpoint_writer **out)
{
    cs_status st = CS_OK;
    cs_checkpoint_writer *w = csi_calloc(1, sizeof *w);

    if (w != NULL) {
        w->set = set;
        w->world = world;
        w->is_async = is_async;
        w->values = csi_calloc((size_t)set->n + 1, sizeof *w->values);
    }
    if (w == NULL || w->values == NULL) {
        st = CS_FAIL(CS_ERR_NOMEM, "checkpoint writer");
    } else {
        st = check_set(set);
    }
    CS_TRY_GOTO(undo, cs_comm_agree(world, st));
    CS_CHECK_GOTO(undo, w != NULL, CS_ERR_INTERNAL,
                  "agreed in spite of a failure");
    CS_TRY_GOTO(undo, csi_find_owners(set, is_first_replica, world, &w->owner));
    CS_TRY_GOTO(undo, check_owners(w));
    *out = w;
    return CS_OK;
undo:
    cs_checkpoint_writer_destroy(&w);
    return st;
}

static void job_fini(csi_save_job *job)
{
    csi_free(job->recipe_hash);
    csi_free(job->plan_hash);
    csi_free(job->checkpoints);
    csi_free(job->temporary);
    csi_free(job->failed);
    csi_free(job->final);
    csi_free(job->state.dropped);
    *job = (csi_save_job){0};
}

/* The thread may wait for ranks that are no more: it is told. */
static void wait_for_thread(cs_checkpoint_writer *w)
{
    while (!atomic_load(&w->job.is_done)) {
        if (cs_comm_is_aborted(w->world)) {
            atomic_store(&w->job.is_left, true);
        }
        csi_sleep_ns(WAIT_NS);
    }
}

/* This rank's part of the save under way; idle afterwards. */
static cs_status join(cs_checkpoint_writer *w)
{
    cs_status st = w->result;

    if (w->thread.started) {
        wait_for_thread(w);
        st = csi_thread_join(&w->thread);
        w->thread = (csi_thread){0};
    } else if (st != CS_OK) {
        cs_error_set(&w->error);
    }
    w->is_saving = false;
    return st;
}

void cs_checkpoint_writer_destroy(cs_checkpoint_writer **writer)
{
    cs_checkpoint_writer *w = *writer;
    cs_error error;

    if (w == NULL) {
        return;
    }
    atomic_store(&w->job.is_left, true);
    cs_error_get(&error);
    if (w->is_saving && join(w) != CS_OK) {
        cs_log(CS_LOG_WARN, "checkpoint", "%s", cs_error_message());
    }
    cs_error_set(&error);
    job_fini(&w->job);
    csi_free(w->owner);
    csi_free(w->values);
    csi_free(w->snapshot);
    csi_free(w);
    *writer = NULL;
}

/* ---- the tensors of a save ---- */

static bool is_written(const cs_checkpoint_writer *w, const cs_param_state *p)
{
    const int32_t i = (int32_t)(p->spec - w->set->graph->params);

    return w->owner[i] == w->world->rank && csi_save_writes(&w->job, i);
}

static int64_t item_bytes(const cs_checkpoint_writer *w,
                          const cs_param_state *p)
{
    return csi_round_up(p->count * (int64_t)cs_dtype_bytes(w->set->real),
                        SNAPSHOT_ALIGN);
}

static const void *copy_values(uint8_t **at, const void *values,
                               int64_t n_bytes, int64_t n_padded)
{
    uint8_t *const copy = *at;

    memcpy(copy, values, (size_t)n_bytes);
    *at += n_padded;
    return copy;
}

/* The snapshot is kept from save to save: its size never changes. */
static cs_status reserve_snapshot(cs_checkpoint_writer *w)
{
    int64_t n_bytes = SNAPSHOT_ALIGN;

    if (!w->is_async || w->snapshot != NULL) {
        return CS_OK;
    }
    for (int32_t k = 0; k < w->set->n; k++) {
        const cs_param_state *p = &w->set->items[k];
        if (p->spec->is_trainable && is_written(w, p)) {
            n_bytes += 3 * item_bytes(w, p);
        }
    }
    w->snapshot = csi_aligned((size_t)n_bytes);
    CS_CHECK(w->snapshot != NULL, CS_ERR_NOMEM,
             "checkpoint: %" PRId64
             " bytes to copy the tensors into (`checkpoint.async: false` "
             "needs none)",
             n_bytes);
    return CS_OK;
}

/* Points at the tensors, or at copies of those that training changes. */
static cs_status take_values(cs_checkpoint_writer *w)
{
    uint8_t *at;

    CS_TRY(reserve_snapshot(w));
    at = w->snapshot;
    for (int32_t k = 0; k < w->set->n; k++) {
        const cs_param_state *p = &w->set->items[k];
        const void *live[3] = {p->master, p->m, p->v};
        if (!is_written(w, p)) {
            continue;
        }
        if (!p->spec->is_trainable) {
            live[0] = p->working.data;
        }
        for (int i = 0; i < 3; i++) {
            w->values[k][i] =
                w->is_async && p->spec->is_trainable
                    ? copy_values(&at, live[i],
                                  p->count *
                                      (int64_t)cs_dtype_bytes(w->set->real),
                                  item_bytes(w, p))
                    : live[i];
        }
    }
    return CS_OK;
}

/* ---- save ---- */

static cs_status copy_text(const char *text, char **out)
{
    *out = csi_strdup(text != NULL ? text : "");
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "checkpoint: out of memory");
    return CS_OK;
}

static cs_status copy_state(const cs_train_state *state, cs_train_state *out)
{
    const size_t n_bytes = (size_t)state->n_dropped * sizeof *state->dropped;
    int64_t *dropped = csi_malloc(n_bytes + 1);

    CS_CHECK(dropped != NULL, CS_ERR_NOMEM, "checkpoint: out of memory");
    if (n_bytes > 0) {
        memcpy(dropped, state->dropped, n_bytes);
    }
    *out = *state;
    out->dropped = dropped;
    return CS_OK;
}

static cs_status prepare(cs_checkpoint_writer *w,
                         const cs_checkpoint_options *options,
                         const cs_train_state *state)
{
    csi_save_job *job = &w->job;

    CS_CHECK(state->step >= 1, CS_ERR_ARG,
             "checkpoint: step is %" PRId64 ", wanted 1 or more", state->step);
    job_fini(job);
    job->set = w->set;
    job->owner = w->owner;
    job->rank = w->world->rank;
    job->n_ranks = w->world->n_ranks;
    job->timeout_s = w->world->timeout_s;
    job->values = w->values;
    job->keep = options->keep;
    job->keep_step = options->keep_step;
    job->frozen_step = w->frozen_step;
    CS_TRY(copy_text(options->recipe_hash, &job->recipe_hash));
    CS_TRY(copy_text(options->plan_hash, &job->plan_hash));
    CS_TRY(copy_state(state, &job->state));
    CS_TRY(csi_checkpoints_folder(options->run_folder, &job->checkpoints));
    CS_TRY(csi_step_folder(job->checkpoints, state->step, ".tmp",
                           &job->temporary));
    CS_TRY(csi_step_folder(job->checkpoints, state->step, ".failed",
                           &job->failed));
    CS_TRY(csi_step_folder(job->checkpoints, state->step, "", &job->final));
    CS_TRY(take_values(w));
    if (job->rank == 0) {
        CS_TRY(csi_dir_create(job->checkpoints));
        CS_TRY(csi_steps_sweep(job->checkpoints));
        CS_TRY(csi_dir_create(job->temporary));
    }
    return CS_OK;
}

static cs_status run_thread(void *arg)
{
    csi_save_job *job = arg;

    cs_error_set_rank(job->rank);
    const cs_status st = csi_save_run(job);

    atomic_store(&job->is_done, true);
    CS_TRY(st);
    return CS_OK;
}

static void keep_result(cs_checkpoint_writer *w, cs_status st)
{
    w->result = st;
    if (st != CS_OK) {
        cs_error_get(&w->error);
    }
}

cs_status cs_checkpoint_save(cs_checkpoint_writer *w,
                             const cs_checkpoint_options *options,
                             const cs_train_state *state)
{
    CS_TRY(cs_checkpoint_finish(w));
    CS_TRY(cs_comm_agree(w->world, prepare(w, options, state)));
    w->is_saving = true;
    w->result = CS_OK;
    if (!w->is_async) {
        keep_result(w, csi_save_run(&w->job));
        CS_TRY(cs_checkpoint_finish(w));
        return CS_OK;
    }
    const cs_status st = csi_thread_start(&w->thread, run_thread, &w->job);

    if (st != CS_OK) {
        /* The others have begun: they learn it from the folder, and the
         * reason from finish. */
        keep_result(w, st);
        csi_save_give_up(&w->job);
    }
    return CS_OK;
}

/* What a failed save left; the error that is under way stays. */
static void clean_up(const csi_save_job *job)
{
    cs_error error;

    cs_error_get(&error);
    if (csi_dir_remove(job->failed) != CS_OK ||
        csi_dir_remove(job->temporary) != CS_OK) {
        cs_log(CS_LOG_WARN, "checkpoint", "%s", cs_error_message());
    }
    cs_error_set(&error);
}

cs_status cs_checkpoint_finish(cs_checkpoint_writer *w)
{
    if (!w->is_saving) {
        return CS_OK;
    }
    const cs_status st = cs_comm_agree(w->world, join(w));

    if (st != CS_OK && w->world->rank == 0) {
        clean_up(&w->job);
    }
    CS_TRY(st);
    if (w->frozen_step == 0) {
        w->frozen_step = w->job.state.step;
    }
    return CS_OK;
}
