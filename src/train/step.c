/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a step: norm, update, agreement; and the data of the next step.
 * The agreement is one fixed-size exchange: which samples of the next step
 * could not be decoded, whether anybody wants to stop or save. All ranks act
 * on its result alike.
 */
#include "cornstarch/log.h"

#include "base/alloc.h"

#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NON_FINITE_IN_A_ROW = 5,
    MAX_SIGNAL = 64
};

static cs_status on_gradient_norm(csi_rank *r)
{
    const cs_config *c = r->run->config;
    const bool is_first = r->shard->replica == 0;
    const cs_step_result *result = cs_runtime_result(r->runtime);

    r->sums = (cs_step_sums){
        .loss_sum = result->loss_sum,
        .n_correct = (double)result->n_correct,
        .label_tokens = (double)result->label_tokens,
    };
    CS_TRY(cs_optim_reduce_sums(r->optim, r->world, is_first,
                                result->balance_sums, &r->sums));
    r->is_finite = isfinite(r->sums.loss_sum) && isfinite(r->sums.grad_norm);
    if (r->is_finite) {
        r->state.non_finite_in_a_row = 0;
        return CS_OK;
    }
    r->state.non_finite_in_a_row++;
    CS_CHECK(c->training.non_finite == CS_NON_FINITE_SKIP &&
                 r->state.non_finite_in_a_row < MAX_NON_FINITE_IN_A_ROW,
             CS_ERR_NUMERIC,
             "step %" PRId64 ": loss %g, gradient norm %g: not finite%s "
             "(the last checkpoint is whole)",
             r->state.step + 1, r->sums.loss_sum / r->sums.label_tokens,
             r->sums.grad_norm,
             c->training.non_finite == CS_NON_FINITE_SKIP ? ", 5 steps in a row"
                                                          : "");
    return CS_OK;
}

static cs_status on_optimizer_step(csi_rank *r)
{
    const cs_config *c = r->run->config;
    const double limit = c->training.max_grad_norm;
    const double norm = r->sums.grad_norm;

    r->learning_rate = cs_learning_rate(c, r->state.step + 1, r->run->n_steps);
    if (!r->is_finite) {
        return CS_OK;
    }
    r->state.update++;
    return cs_optim_step(r->optim, r->state.update, r->learning_rate,
                         limit > 0.0 && norm > limit ? limit / norm : 1.0);
}

cs_status csi_step_hook(void *context, cs_action_kind kind)
{
    csi_rank *r = context;

    switch (kind) {
    case CS_ACTION_GRADIENT_NORM:
        return on_gradient_norm(r);
    case CS_ACTION_OPTIMIZER_STEP:
        return on_optimizer_step(r);
    default:
        return CS_OK;
    }
}

cs_status csi_begin_load(csi_rank *r, int slot, int64_t step)
{
    CS_TRY(cs_batch_plan_build(r->plan[slot], cs_dataset_index(r->run->train),
                               &r->run->settings, step, r->state.dropped,
                               r->state.n_dropped));
    return cs_loader_begin(r->loader, r->plan[slot]);
}

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Sorts, keeps one of each; a small data set has a sample twice in a step. */
static int64_t sort_unique(int64_t *values, int64_t n)
{
    int64_t kept = 0;

    qsort(values, (size_t)n, sizeof *values, compare_i64);
    for (int64_t i = 0; i < n; i++) {
        if (kept == 0 || values[kept - 1] != values[i]) {
            values[kept++] = values[i];
        }
    }
    return kept;
}

/* Adds the samples that any rank found bad to the dropped ones. */
static cs_status drop_bad(csi_rank *r, const cs_batch_plan *plan,
                          int64_t *n_new)
{
    const int64_t n_before = r->state.n_dropped;
    int64_t n = 0;

    for (int64_t i = 0; i < plan->n_samples; i++) {
        n += r->flags[i] > 0.0F;
    }
    *n_new = 0;
    if (n == 0) {
        return CS_OK;
    }
    int64_t *dropped =
        csi_realloc(r->state.dropped, (size_t)(n_before + n) * sizeof *dropped);
    CS_CHECK(dropped != NULL, CS_ERR_NOMEM, "list of dropped samples");
    r->state.dropped = dropped;
    n = n_before;
    for (int64_t i = 0; i < plan->n_samples; i++) {
        if (r->flags[i] > 0.0F) {
            dropped[n++] = plan->samples[i];
        }
    }
    r->state.n_dropped = sort_unique(dropped, n);
    *n_new = r->state.n_dropped - n_before;
    r->state.skipped_samples += *n_new;
    return CS_OK;
}

/* Ranks that are processes need not have got the same signal: the lowest. */
static cs_status agree_on_signal(csi_rank *r)
{
    double seen[MAX_SIGNAL + 1] = {0};
    const int own = csi_signal_stop();

    if (own > 0 && own <= MAX_SIGNAL) {
        seen[own] = 1.0;
    }
    CS_TRY(cs_comm_all_reduce(r->world, seen, MAX_SIGNAL + 1, CS_F64));
    r->wants_stop = true;
    for (int i = MAX_SIGNAL; i > 0; i--) {
        r->stop_signal = seen[i] > 0.0 ? i : r->stop_signal;
    }
    return CS_OK;
}

static cs_status exchange(csi_rank *r, const cs_batch_plan *plan,
                          const cs_error *error)
{
    const int64_t n = r->run->settings.global_batch_size;

    for (int64_t i = 0; i < n; i++) {
        r->flags[i] = i < plan->n_samples && r->bad[i] != 0 ? 1.0F : 0.0F;
    }
    r->flags[n] = csi_signal_stop() != 0 ? 1.0F : 0.0F;
    r->flags[n + 1] = csi_is_main(r) && csi_signal_take_save() ? 1.0F : 0.0F;
    CS_TRY(cs_comm_all_reduce(r->world, r->flags, n + 2, CS_F32));
    if (r->flags[n] > 0.0F && !r->wants_stop) {
        CS_TRY(agree_on_signal(r));
    }
    r->wants_save = r->wants_save || r->flags[n + 1] > 0.0F;
    for (int64_t i = 0; i < plan->n_samples; i++) {
        if (r->flags[i] > 0.0F &&
            r->run->config->data.bad_sample == CS_BAD_SAMPLE_ERROR) {
            if (error->status != CS_OK) {
                cs_error_set(error);
            }
            return cs_comm_agree(r->world, error->status);
        }
    }
    return CS_OK;
}

cs_status csi_finish_load(csi_rank *r, cs_batch_plan *plan)
{
    const int64_t n_all = cs_dataset_index(r->run->train)->n_samples;

    for (;;) {
        cs_error error = {.status = CS_OK};
        int64_t n_new = 0;
        memset(r->bad, 0, (size_t)r->run->settings.global_batch_size);
        CS_TRY(cs_loader_finish(r->loader, &r->next_loaded, r->bad, &error));
        CS_TRY(exchange(r, plan, &error));
        CS_TRY(drop_bad(r, plan, &n_new));
        if (n_new == 0) {
            return CS_OK;
        }
        if (error.status != CS_OK) {
            cs_log(CS_LOG_WARN, "train",
                   "skipped %" PRId64 " of %" PRId64 " samples of step %" PRId64
                   ": %s",
                   n_new, plan->n_samples, plan->step, error.message);
        }
        CS_CHECK(r->state.n_dropped < n_all, CS_ERR_FORMAT,
                 "data.train: none of its %" PRId64 " samples can be read%s%s",
                 n_all, error.status != CS_OK ? ": " : "",
                 error.status != CS_OK ? error.message : "");
        CS_TRY(cs_batch_plan_build(plan, cs_dataset_index(r->run->train),
                                   &r->run->settings, plan->step,
                                   r->state.dropped, r->state.n_dropped));
        CS_TRY(cs_loader_begin(r->loader, plan));
    }
}

cs_status csi_take_data(csi_rank *r, const cs_batch_plan *plan,
                        const cs_loaded_microbatch *loaded)
{
    const int32_t n = plan->n_microbatches;

    if (n > r->data_capacity) {
        cs_microbatch_data *data =
            csi_realloc(r->data, (size_t)n * sizeof *data);
        CS_CHECK(data != NULL, CS_ERR_NOMEM, "data of %d microbatches", n);
        r->data = data;
        r->data_capacity = n;
    }
    for (int32_t i = 0; i < n; i++) {
        r->data[i] = (cs_microbatch_data){
            .ids = loaded[i].ids,
            .labels = loaded[i].labels,
            .input = loaded[i].input,
        };
    }
    return CS_OK;
}
