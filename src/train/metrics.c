/* SPDX-License-Identifier: Apache-2.0 */
/* Rank 0 writes metrics.jsonl, TensorBoard scalars and lines for people. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* FLOPs that the step's forwards and needed backwards take, all replicas
 * taken as the first. */
static cs_status step_flops(const csi_rank *r, const cs_batch_plan *plan,
                            double *out)
{
    const cs_graph *g = r->run->graph;
    cs_work *work = NULL;
    cs_cost_table *flops = NULL;
    cs_status st = CS_OK;
    double total = 0.0;

    CS_TRY(csi_plan_work(g, plan, &work));
    CS_TRY_GOTO(done, cs_cost_estimate(g, 1.0, &flops));
    for (int32_t b = 0; b < plan->n_microbatches; b++) {
        bool upstream = false;
        for (int32_t m = 0; m < g->n_modules; m++) {
            const bool is_last = m == g->n_modules - 1;
            const cs_range_cost c =
                cs_cost_range(flops, g, m, 0, g->modules[m].n_layers,
                              is_last && upstream, work[b * g->n_modules + m]);
            total += c.forward_s + c.backward_input_s + c.backward_weight_s;
            upstream =
                upstream || cs_nn_is_trainable(g, m, 0, g->modules[m].n_layers);
        }
    }
    *out = total * plan->n_replicas;
done:
    csi_free(work);
    cs_cost_destroy(&flops);
    return st;
}

static void add_number(csi_str *s, const char *key, double value)
{
    if (isfinite(value)) {
        csi_str_addf(s, ", \"%s\": %.9g", key, value);
    } else {
        csi_str_addf(s, ", \"%s\": null", key);
    }
}

static void print_progress(const csi_rank *r, double loss, double tokens_per_s)
{
    FILE *out = r->run->options->progress;
    const int64_t step = r->state.step;
    const int64_t n = r->run->n_steps;
    char left[32];
    char rate[32];
    const double done = (double)(step - r->run->start_step);

    if (out == NULL ||
        (step % r->run->config->logging.every != 0 && step != n)) {
        return;
    }
    (void)fprintf(out,
                  "step %*" PRId64 "/%" PRId64
                  "  loss %7.4f  lr %.2e  grad %6.3f  "
                  "%6.1f ms  %s tokens/s  left %s\n",
                  4, step, n, loss, r->learning_rate, r->sums.grad_norm,
                  r->step_s * 1e3, csi_human_count(rate, tokens_per_s),
                  csi_human_seconds(left, r->run->result.train_s / done *
                                              (double)(n - step)));
    (void)fflush(out);
}

static cs_status book_step_s(csi_run *run, double step_s)
{
    double *all =
        csi_realloc(run->step_s, (size_t)(run->n_step_s + 1) * sizeof *all);

    CS_CHECK(all != NULL, CS_ERR_NOMEM, "step times");
    run->step_s = all;
    all[run->n_step_s++] = step_s;
    return CS_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

double csi_median_step_s(const csi_run *run)
{
    const int64_t n = run->n_step_s - 1;

    if (n < 1) {
        return 0.0;
    }
    qsort(run->step_s + 1, (size_t)n, sizeof *run->step_s, compare_doubles);
    return run->step_s[1 + n / 2];
}

cs_status csi_write_step(csi_rank *r, const cs_batch_plan *plan)
{
    const double loss = plan->label_tokens > 0
                            ? r->sums.loss_sum / (double)plan->label_tokens
                            : NAN; /* all samples of the step were bad */
    const double tokens_per_s = (double)plan->n_tokens / r->step_s;
    double flops = 0.0;
    csi_str line = {0};
    cs_status st = CS_OK;

    if (r->state.step == r->run->start_step + 1) {
        r->run->result.first_loss = loss;
    }
    r->run->result.last_loss = loss;
    r->run->result.train_s += r->step_s;
    CS_TRY(book_step_s(r->run, r->step_s));
    CS_TRY(step_flops(r, plan, &flops));
    csi_str_addf(&line, "{\"step\": %" PRId64, r->state.step);
    add_number(&line, "epoch", r->state.epoch);
    csi_str_addf(&line, ", \"loss\": ");
    csi_str_addf(&line, isfinite(loss) ? "%.17g" : "null", loss);
    add_number(&line, "learning_rate", r->learning_rate);
    csi_str_addf(&line, ", \"grad_norm\": ");
    csi_str_addf(&line, isfinite(r->sums.grad_norm) ? "%.17g" : "null",
                 r->sums.grad_norm);
    csi_str_addf(&line,
                 ", \"samples\": %" PRId64 ", \"tokens\": %" PRId64
                 ", \"label_tokens\": %" PRId64,
                 plan->n_samples, plan->n_tokens, plan->label_tokens);
    add_number(&line, "accuracy",
               r->sums.n_correct / (double)plan->label_tokens);
    add_number(&line, "step_s", r->step_s);
    add_number(&line, "tokens_per_s", tokens_per_s);
    add_number(&line, "flops_per_s", flops / r->step_s);
    csi_str_addf(&line,
                 ", \"skipped_samples\": %" PRId64
                 ", \"sample_hash\": \"%016" PRIx64 "\"}\n",
                 r->state.skipped_samples, r->state.sample_hash);
    CS_TRY_GOTO(done, csi_str_check(&line));
    CS_TRY_GOTO(done,
                csi_file_append(r->run->metrics_path, line.data, line.length));
    if (r->tensorboard != NULL) {
        CS_TRY_GOTO(done, cs_tensorboard_scalar(r->tensorboard, "train/loss",
                                                r->state.step, loss));
        CS_TRY_GOTO(done,
                    cs_tensorboard_scalar(r->tensorboard, "train/grad_norm",
                                          r->state.step, r->sums.grad_norm));
        CS_TRY_GOTO(done,
                    cs_tensorboard_scalar(r->tensorboard, "train/learning_rate",
                                          r->state.step, r->learning_rate));
    }
    print_progress(r, loss, tokens_per_s);
done:
    csi_str_fini(&line);
    return st;
}

cs_status csi_write_evaluation(csi_rank *r, int32_t set)
{
    const csi_evaluation *e = &r->run->evaluations[set];
    const char *name = r->run->config->data.eval[set].name;
    FILE *out = r->run->options->progress;
    csi_str line = {0};
    csi_str tag = {0};
    cs_status st = CS_OK;

    csi_str_addf(&line, "{\"step\": %" PRId64 ", \"eval\": \"", r->state.step);
    csi_str_add_json(&line, name);
    csi_str_add(&line, "\", \"eval_loss\": ");
    csi_str_addf(&line, isfinite(e->loss) ? "%.17g" : "null", e->loss);
    add_number(&line, "eval_stderr", e->stderr_);
    csi_str_addf(&line, ", \"n_samples\": %" PRId64 "}\n", e->n_samples);
    csi_str_addf(&tag, "eval/%s/loss", name);
    CS_TRY_GOTO(done, csi_str_check(&line));
    CS_TRY_GOTO(done, csi_str_check(&tag));
    CS_TRY_GOTO(done,
                csi_file_append(r->run->metrics_path, line.data, line.length));
    if (r->tensorboard != NULL) {
        CS_TRY_GOTO(done, cs_tensorboard_scalar(r->tensorboard, tag.data,
                                                r->state.step, e->loss));
    }
    if (out != NULL) {
        (void)fprintf(out,
                      "step %4" PRId64
                      "  evaluation %s: loss %.4f +- %.4f over "
                      "%" PRId64 " samples\n",
                      r->state.step, name, e->loss, e->stderr_, e->n_samples);
    }
done:
    csi_str_fini(&line);
    csi_str_fini(&tag);
    return st;
}
