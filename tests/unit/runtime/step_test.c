/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step as its owner sees it: hooks, traces, sums per sample, failures that
 * end on all ranks, and no heap allocation once warm.
 */
#include "base/clock.h"

#include "world.h"

#include <math.h>
#include <stdatomic.h>
#include <unistd.h>

#define PARALLEL_4 WORLD_PARALLEL("1f1b", "language_model: {pp: 2}")
#define GPIPE_4    WORLD_PARALLEL("gpipe", "language_model: {pp: 2}")

/* Runs `steps` on n ranks of the two-encoder model; the step is TINY_SAMPLES
 * in 8 microbatches per replica. */
static void run(const char *parallel, int32_t n_ranks, world_steps_fn steps,
                void *context)
{
    const char *const overrides[] = {parallel};
    tiny t;

    tiny_begin(&t, TINY_BOTH, overrides, 1);
    world w = {.t = &t,
               .backend = "ref",
               .dtype = CS_F32,
               .steps = steps,
               .context = context};
    assert_ok(world_run(&w, n_ranks));
    world_end(&w);
    tiny_end(&t);
}

/* --- allocations ------------------------------------------------------------ */

enum {
    N_WARM = 3,
    N_STEPS = 12
};

/* All ranks are between steps here. */
static cs_status count_allocations(world_rank *r, int64_t *count)
{
    CS_TRY(cs_comm_barrier(r->comm));
    *count = csi_alloc_count();
    CS_TRY(cs_comm_barrier(r->comm));
    return CS_OK;
}

static cs_status steps_without_allocations(world_rank *r)
{
    int64_t before = 0;
    int64_t after = 0;

    r->input.is_training = *(const bool *)r->w->context;
    for (int i = 0; i < N_WARM; i++) {
        CS_TRY(world_step(r));
    }
    CS_TRY(count_allocations(r, &before));
    for (int i = 0; i < N_STEPS; i++) {
        CS_TRY(world_step(r));
    }
    CS_TRY(count_allocations(r, &after));
    CS_CHECK(after == before, CS_ERR_INTERNAL,
             "%lld allocations in %d warm steps", (long long)(after - before),
             N_STEPS);
    return CS_OK;
}

static void warm_steps_allocate_nothing(void **state)
{
    (void)state;
    bool is_training = true;

    run(WORLD_SINGLE, 1, steps_without_allocations, &is_training);
    run(PARALLEL_4, 4, steps_without_allocations, &is_training);
    run(GPIPE_4, 4, steps_without_allocations, &is_training);
    is_training = false;
    run(WORLD_SINGLE, 1, steps_without_allocations, &is_training);
    run(PARALLEL_4, 4, steps_without_allocations, &is_training);
}

/* --- batches of other sizes ------------------------------------------------- */

static cs_status more_microbatches_later(world_rank *r)
{
    const tiny *larger = r->w->context;

    r->input.is_training = false;
    CS_TRY(world_step(r));
    r->input.is_training = true;
    CS_TRY(world_step(r));
    const double loss_sum = r->result.loss_sum;
    r->input.plan = larger->plan;
    r->input.data = larger->data;
    CS_TRY(world_step(r)); /* training first: nothing per sample is wanted */
    CS_CHECK(fabs(r->result.loss_sum - loss_sum) <= 1e-3 * loss_sum,
             CS_ERR_INTERNAL, "loss %g, then %g", loss_sum, r->result.loss_sum);
    r->input.is_training = false;
    CS_TRY(world_step(r));
    return CS_OK;
}

static void a_runtime_grows_with_its_batches(void **state)
{
    (void)state;
    tiny larger;

    tiny_build(&larger, TINY_BOTH, NULL, 0);
    tiny_plan(&larger, TINY_SAMPLES, 20, 1);
    run(WORLD_SINGLE, 1, more_microbatches_later, &larger);
    run(PARALLEL_4, 4, more_microbatches_later, &larger);
    tiny_end(&larger);
}

/* --- hooks and traces -------------------------------------------------------- */

static cs_status traced_step(world_rank *r)
{
    static const cs_action_kind WANTED[] = {CS_ACTION_GRADIENT_NORM,
                                            CS_ACTION_OPTIMIZER_STEP,
                                            CS_ACTION_AGREE};
    const cs_schedule *schedule = NULL;
    const int32_t rank = r->shard->pipeline_rank;

    r->input.trace = true;
    CS_TRY(world_step(r));
    CS_TRY(cs_runtime_schedule(r->runtime, r->input.plan->n_microbatches, true,
                               &schedule));
    CS_CHECK(r->n_hooks == 3 && memcmp(r->hooks, WANTED, sizeof WANTED) == 0,
             CS_ERR_INTERNAL, "%d hooks", r->n_hooks);
    const cs_action *actions = &schedule->actions[schedule->begin[rank]];
    const int64_t n = schedule->begin[rank + 1] - schedule->begin[rank];
    CS_CHECK(r->result.n_events == n, CS_ERR_INTERNAL,
             "%lld events of %lld actions", (long long)r->result.n_events,
             (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const cs_trace_event *e = &r->result.events[i];
        CS_CHECK(e->action.kind == actions[i].kind &&
                     e->action.microbatch == actions[i].microbatch &&
                     e->start_ns <= e->end_ns &&
                     (i == 0 || e->start_ns >= e[-1].end_ns),
                 CS_ERR_INTERNAL, "event %lld", (long long)i);
    }
    r->input.trace = false;
    CS_TRY(world_step(r));
    CS_CHECK(r->result.n_events == 0, CS_ERR_INTERNAL, "events untraced");
    return CS_OK;
}

static void hooks_and_events_follow_the_list(void **state)
{
    (void)state;

    run(WORLD_SINGLE, 1, traced_step, NULL);
    run(PARALLEL_4, 4, traced_step, NULL);
}

/* --- evaluation ---------------------------------------------------------------- */

/* What the samples must sum to, from the step by hand. */
typedef struct evaluation {
    by_hand h;
    double nll[TINY_MAX_SAMPLES];
    int64_t n_correct;
} evaluation;

static cs_status evaluated_step(world_rank *r)
{
    const evaluation *wanted = r->w->context;
    const tiny *t = r->w->t;
    const cs_step_result *got = &r->result;

    r->input.is_training = true;
    CS_TRY(world_step(r)); /* leaves gradients, which must stay */
    const cs_param_state *p = &r->params->items[r->params->n - 1];
    const double grad = (double)((float *)p->grad)[0];
    r->input.is_training = false;
    CS_TRY(world_step(r));
    CS_CHECK((double)((float *)p->grad)[0] == grad && grad != 0.0,
             CS_ERR_INTERNAL, "an evaluation changed a gradient");
    if (!r->shard->scores) {
        CS_CHECK(got->n_samples == 0 && got->loss_sum == 0.0, CS_ERR_INTERNAL,
                 "scores without the head");
        return CS_OK;
    }
    CS_CHECK(got->n_samples == t->n_samples &&
                 got->n_correct == wanted->n_correct &&
                 got->label_tokens == t->plan->label_tokens,
             CS_ERR_INTERNAL, "%lld samples", (long long)got->n_samples);
    for (int64_t i = 0; i < got->n_samples; i++) {
        const int64_t sample = got->sample_index[i];
        CS_CHECK(got->sample_tokens[i] == t->samples[sample].label_tokens &&
                     fabs(got->sample_nll[i] - wanted->nll[sample]) <
                         1e-5 * wanted->nll[sample],
                 CS_ERR_INTERNAL, "sample %lld: %g of %lld, wanted %g",
                 (long long)sample, got->sample_nll[i],
                 (long long)got->sample_tokens[i], wanted->nll[sample]);
    }
    return CS_OK;
}

/* Each sample alone in its microbatch gives its own loss. */
static void evaluation_sums_by_sample(void **state)
{
    (void)state;
    static evaluation e;
    tiny alone;

    tiny_build(&alone, TINY_BOTH, NULL, 0);
    alone.is_unpacked = true;
    tiny_plan(&alone, TINY_SAMPLES, 1, 1);
    by_hand_begin(&e.h, &alone, "ref", CS_F64);
    for (int32_t b = 0; b < alone.plan->n_microbatches; b++) {
        const cs_microbatch *mb = &alone.plan->microbatches[b];
        const double before = e.h.loss_sum;
        assert_ok(by_hand_forward(&e.h, b, false));
        if (mb->n_samples == 1) {
            e.nll[mb->samples[0]] = e.h.loss_sum - before;
        }
    }
    e.n_correct = e.h.n_correct;
    run(WORLD_SINGLE, 1, evaluated_step, &e);
    run(PARALLEL_4, 4, evaluated_step, &e);
    by_hand_end(&e.h);
    tiny_end(&alone);
}

/* --- memory --------------------------------------------------------------------- */

static cs_status look_at_tapes(world_rank *r)
{
    size_t *bytes = r->w->context;

    CS_TRY(world_step(r));
    for (int32_t m = 0; m < r->w->t->graph->n_modules; m++) {
        bytes[m] = cs_runtime_tape_bytes(r->runtime, m);
    }
    CS_CHECK(cs_runtime_activation_bytes(r->runtime) >= bytes[0],
             CS_ERR_INTERNAL, "activation bytes");
    return CS_OK;
}

static void tape_bytes_of(const char *const *overrides, int32_t n,
                          size_t *bytes)
{
    tiny t;

    tiny_begin(&t, TINY_BOTH, overrides, n);
    world w = {.t = &t,
               .backend = "ref",
               .dtype = CS_F32,
               .steps = look_at_tapes,
               .context = bytes};
    assert_ok(world_run(&w, 1));
    world_end(&w);
    tiny_end(&t);
}

/* A frozen encoder below a frozen projector keeps nothing; a frozen language
 * model that hands gradients down keeps less than one that trains. */
static void frozen_modules_keep_less(void **state)
{
    (void)state;
    static const char *const FROZEN[] = {
        WORLD_SINGLE,
        "model.encoders.vision.freeze=true",
        "model.encoders.vision.projector.freeze=true",
        "model.language_model.freeze=true",
    };
    size_t all[TINY_MAX_MODULES];
    size_t some[TINY_MAX_MODULES];

    tape_bytes_of(FROZEN, 1, all);
    tape_bytes_of(FROZEN, 4, some);
    assert_int_equal(some[0], 0);
    assert_true(all[0] > 0);
    assert_int_equal(some[1], all[1]);
    assert_in_range(some[2], 1, all[2] * 3 / 4);
}

/* --- failures ---------------------------------------------------------------------- */

static cs_status bad_step(world_rank *r)
{
    CS_TRY(world_step(r));
    return CS_OK;
}

/* A label that no vocabulary has, in a microbatch in the middle. */
static void a_failing_rank_ends_the_step_everywhere(void **state)
{
    (void)state;
    static const char *const PARALLELS[] = {PARALLEL_4, GPIPE_4};

    for (size_t i = 0; i < 2; i++) {
        tiny t;
        tiny_begin(&t, TINY_BOTH, &PARALLELS[i], 1);
        ((int32_t *)(uintptr_t)t.data[2].labels)[0] = TINY_VOCAB;
        world w = {.t = &t,
                   .backend = "ref",
                   .dtype = CS_F32,
                   .steps = bad_step};
        assert_fails(world_run(&w, 4), CS_ERR_ARG,
                     "FORWARD of language_model stage 3, microbatch 2: ");
        world_end(&w);
        tiny_end(&t);
    }
}

/* The rank that failed does not return before the others are out: nobody may
 * still read its messages when its runtime is destroyed. */
static cs_status fail_and_linger(world_rank *r)
{
    atomic_int *n_out = r->w->context;
    const cs_status st = world_step(r);
    const int64_t deadline_ns = csi_clock_ns() + 5000000000;

    atomic_fetch_add(n_out, 1);
    if (st == CS_ERR_PEER) {
        return st;
    }
    while (atomic_load(n_out) < r->comm->n_ranks) {
        CS_CHECK(csi_clock_ns() < deadline_ns, CS_ERR_INTERNAL,
                 "the others still wait");
        (void)usleep(1000);
    }
    return st;
}

static void a_failed_step_ends_all_waits_at_once(void **state)
{
    (void)state;
    static const char *const PARALLEL[] = {PARALLEL_4};
    atomic_int n_out = 0;
    tiny t;

    tiny_begin(&t, TINY_BOTH, PARALLEL, 1);
    ((int32_t *)(uintptr_t)t.data[2].labels)[0] = TINY_VOCAB;
    world w = {.t = &t,
               .backend = "ref",
               .dtype = CS_F32,
               .steps = fail_and_linger,
               .context = &n_out};
    assert_fails(world_run(&w, 4), CS_ERR_ARG, "microbatch 2: ");
    world_end(&w);
    tiny_end(&t);
}

static cs_status fail_then_go_on(world_rank *r)
{
    int32_t *label = (int32_t *)(uintptr_t)r->input.data[2].labels;
    const int32_t good = *label;

    CS_TRY(world_step(r));
    const double loss_sum = r->result.loss_sum;
    *label = TINY_VOCAB;
    CS_CHECK(world_step(r) == CS_ERR_ARG, CS_ERR_INTERNAL,
             "a bad label was taken");
    *label = good;
    CS_TRY(world_step(r));
    CS_CHECK(r->result.loss_sum == loss_sum, CS_ERR_INTERNAL,
             "other numbers after a failure");
    return CS_OK;
}

static void one_rank_survives_its_failures(void **state)
{
    (void)state;

    run(WORLD_SINGLE, 1, fail_then_go_on, NULL);
}

static cs_status one_step_alone(void *arg)
{
    world *w = arg;

    w->steps = bad_step;
    return cs_comm_local_run(1, 20.0, world_body, w);
}

static void every_failed_allocation_ends_in_an_error(void **state)
{
    (void)state;
    static const char *const SINGLE[] = {WORLD_SINGLE};
    tiny t;

    tiny_build(&t, TINY_BOTH, SINGLE, 1);
    tiny_plan(&t, "tvtatAt.Tt", 2, 1);
    world w = {.t = &t, .backend = "ref", .dtype = CS_F32};
    assert_ok(world_plan(&t, 1, &w.plan));
    assert_in_range(cst_torture(one_step_alone, &w), 50, 5000);
    world_end(&w);
    tiny_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_runtime_grows_with_its_batches),
        CST_TEST(hooks_and_events_follow_the_list),
        CST_TEST(evaluation_sums_by_sample),
        CST_TEST(frozen_modules_keep_less),
        CST_TEST(a_failing_rank_ends_the_step_everywhere),
        CST_TEST(a_failed_step_ends_all_waits_at_once),
        CST_TEST(one_rank_survives_its_failures),
        CST_TEST(every_failed_allocation_ends_in_an_error),
        CST_TEST(warm_steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
