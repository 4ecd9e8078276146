/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Held-out loss during training: the same ranks run the same stages over
 * forward-only lists. The loss is per label token; its standard error is that
 * of the ratio of sums over samples (Cochran 1977, section 6.3):
 *
 *     L = sum nll / sum n,   se = sqrt(N/(N-1) sum (nll_i - L n_i)^2) / sum n
 */
#include "cornstarch/log.h"

#include "base/checked.h"

#include "internal.h"

#include <math.h>
#include <string.h>

/* Sums over samples; enough for loss and standard error in one pass. */
typedef struct set_sums {
    double nll, tokens, nll2, nll_tokens, tokens2, n;
} set_sums;

static void add_samples(set_sums *sums, const cs_step_result *result)
{
    for (int64_t i = 0; i < result->n_samples; i++) {
        const double nll = result->sample_nll[i];
        const double n = (double)result->sample_tokens[i];
        sums->nll += nll;
        sums->tokens += n;
        sums->nll2 += nll * nll;
        sums->nll_tokens += nll * n;
        sums->tokens2 += n * n;
        sums->n += 1.0;
    }
}

/* All ranks of the pipeline return the same. */
static cs_status load_chunk(csi_rank *r, int32_t set, int64_t first,
                            int64_t count, const cs_loaded_microbatch **loaded)
{
    cs_error error = {.status = CS_OK};
    cs_batch_settings settings = r->run->settings;

    settings.n_replicas = 1;
    settings.min_microbatches = 1;
    CS_TRY(cs_batch_plan_range(r->eval_plan,
                               cs_dataset_index(r->run->eval[set]), &settings,
                               first, count));
    CS_TRY(cs_loader_begin(r->eval_loader[set], r->eval_plan));
    memset(r->bad, 0, (size_t)count);
    CS_TRY(cs_loader_finish(r->eval_loader[set], loaded, r->bad, &error));
    if (error.status != CS_OK) {
        cs_error_set(&error);
    }
    const cs_status st = cs_comm_agree(r->pipeline, error.status);
    r->has_bad_evaluation = st == CS_ERR_FORMAT || st == CS_ERR_IO;
    CS_TRY(st);
    return CS_OK;
}

static cs_status run_chunk(csi_rank *r, const cs_loaded_microbatch *loaded,
                           set_sums *sums)
{
    cs_step_result result;

    CS_TRY(csi_take_data(r, r->eval_plan, loaded));
    const cs_step_input input = {.plan = r->eval_plan, .data = r->data};
    CS_TRY(cs_runtime_step(r->runtime, &input, &result));
    add_samples(sums, &result);
    return CS_OK;
}

/* A chunk with a sample that cannot be read is halved until the sample is
 * alone and can be left out; every rank halves alike. */
static cs_status run_set(csi_rank *r, int32_t set, int64_t n, set_sums *sums)
{
    const bool skips = r->run->config->data.bad_sample == CS_BAD_SAMPLE_SKIP;
    const int64_t chunk = r->run->settings.global_batch_size;
    int64_t limit = chunk;

    for (int64_t i = 0; i < n;) {
        const cs_loaded_microbatch *loaded = NULL;
        const int64_t count = csi_min_i64(limit, n - i);
        const cs_status st = load_chunk(r, set, i, count, &loaded);
        if (st == CS_OK) {
            CS_TRY(run_chunk(r, loaded, sums));
            i += count;
            limit = chunk;
        } else if (!skips || !r->has_bad_evaluation) {
            CS_TRY(st);
        } else if (count > 1) {
            limit = count / 2;
        } else {
            if (csi_is_main(r)) {
                cs_log(CS_LOG_WARN, "train", "evaluation skipped a sample: %s",
                       cs_error_message());
            }
            i++;
            limit = chunk;
        }
    }
    r->has_bad_evaluation = false;
    return CS_OK;
}

static cs_status evaluate_set(csi_rank *r, int32_t set)
{
    const cs_config *c = r->run->config;
    const int64_t n_all = cs_dataset_index(r->run->eval[set])->n_samples;
    const int64_t n = c->evaluation.max_samples > 0
                          ? csi_min_i64(n_all, c->evaluation.max_samples)
                          : n_all;
    set_sums s = {0};

    cs_status st = r->shard->replica == 0 ? run_set(r, set, n, &s) : CS_OK;
    if (st == CS_OK || r->has_bad_evaluation) {
        st = cs_comm_agree(r->world, st);
        r->has_bad_evaluation = st != CS_OK;
    }
    CS_TRY(st);
    _Static_assert(sizeof s == 6 * sizeof(double), "plain doubles");
    CS_TRY(cs_comm_all_reduce(r->world, &s, 6, CS_F64));
    r->has_bad_evaluation = s.n == 0.0;
    CS_CHECK(s.n > 0.0, CS_ERR_FORMAT,
             "data.eval '%s': none of its samples could be read",
             c->data.eval[set].name);
    if (!csi_is_main(r)) {
        return CS_OK;
    }
    const double loss = s.nll / fmax(s.tokens, 1.0);
    const double spread =
        s.nll2 - 2.0 * loss * s.nll_tokens + loss * loss * s.tokens2;
    r->run->evaluations[set] = (csi_evaluation){
        .loss = loss,
        .stderr_ = s.n > 1.0 ? sqrt(fmax(spread, 0.0) * s.n / (s.n - 1.0)) /
                                   fmax(s.tokens, 1.0)
                             : 0.0,
        .n_samples = (int64_t)s.n,
    };
    return csi_write_evaluation(r, set);
}

cs_status csi_evaluate(csi_rank *r)
{
    for (int32_t i = 0; i < r->run->config->data.n_eval; i++) {
        CS_TRY(evaluate_set(r, i));
    }
    if (csi_is_main(r)) {
        r->run->has_evaluations = r->run->config->data.n_eval > 0;
    }
    return CS_OK;
}

cs_status csi_find_metric(const csi_rank *r, const char *name, double *value)
{
    const cs_config *c = r->run->config;

    for (int32_t i = 0; i < c->data.n_eval; i++) {
        const size_t n = strlen(c->data.eval[i].name);
        if (strncmp(name, c->data.eval[i].name, n) == 0 &&
            strcmp(name + n, ".eval_loss") == 0) {
            *value = csi_is_main(r) ? r->run->evaluations[i].loss : 0.0;
            return cs_comm_all_reduce(r->world, value, 1, CS_F64);
        }
    }
    return CS_FAIL(CS_ERR_ARG,
                   "metric '%s': wanted <eval set>.eval_loss, none of the "
                   "%d evaluation sets fits",
                   name, c->data.n_eval);
}
