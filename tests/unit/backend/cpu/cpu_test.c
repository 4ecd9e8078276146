/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend as a whole: how it is chosen, that a steady state allocates
 * nothing, that ranks as threads do not disturb each other, and the head on
 * sizes that cross its blocks.
 */
#include "base/thread.h"

#include "open_cpu.h"

static void unknown_paths_are_refused(void **state)
{
    skip_without_module();
    cs_backend *backend = open_cpu("", 1);

    (void)state;
    cs_backend_destroy(&backend);
    assert_int_equal(setenv("CORNSTARCH_CPU", "avx3", 1), 0);
    assert_fails(cs_backend_create("cpu", 1, &backend), CS_ERR_ARG, "'avx3'");
    (void)unsetenv("CORNSTARCH_CPU");
    assert_null(backend);
}

/* ---- head ---- */

enum {
    ROWS = 1300,
    IN = 24,
    VOCABULARY = 1100
};

typedef struct head {
    cs_head_loss_backward_args args;
    int32_t label[ROWS];
    double loss;
    int64_t n_correct;
} head;

static head *make_head(cs_dtype dtype)
{
    head *h = csi_calloc(1, sizeof *h);

    assert_non_null(h);
    for (int32_t t = 0; t < ROWS; t++) {
        h->label[t] = t % 7 == 3 ? -100 : (t * 37) % VOCABULARY;
    }
    h->args = (cs_head_loss_backward_args){
        .forward = {.dtype = dtype,
                    .rows = ROWS,
                    .in = IN,
                    .vocab = VOCABULARY,
                    .x_TI = make_values(dtype, ROWS * IN, 1),
                    .w_VI = make_values(dtype, VOCABULARY * IN, 2),
                    .label_T = h->label,
                    .nll_T = make_values(CS_F32, ROWS, 3),
                    .lse_T = make_values(CS_F32, ROWS, 4),
                    .loss_sum = &h->loss,
                    .n_correct = &h->n_correct},
        .scale = 0.01,
        .dx_TI = make_values(dtype, ROWS * IN, 5),
        .dw_VI = make_values(CS_F32, VOCABULARY * IN, 6),
    };
    return h;
}

static void free_head(head *h)
{
    const cs_head_loss_args *f = &h->args.forward;
    const void *const all[] = {f->x_TI,  f->w_VI,       f->nll_T,
                               f->lse_T, h->args.dx_TI, h->args.dw_VI};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        csi_free((void *)(uintptr_t)all[i]);
    }
    csi_free(h);
}

static void run_head(cs_backend *backend, const head *h)
{
    assert_ok(backend->ops.head_loss(backend, &h->args.forward));
    assert_ok(backend->ops.head_loss_backward(backend, &h->args));
}

static void check_head(const char *path, cs_dtype dtype)
{
    cs_backend *fast = open_cpu(path, 1);
    cs_backend *ref = open_ref();
    head *a = make_head(dtype);
    head *b = make_head(dtype);
    const double most = tolerance_of(dtype);

    if (fast != NULL) {
        run_head(fast, a);
        run_head(ref, b);
        assert_near(a->loss / b->loss, 1.0, 1e-5);
        assert_int_equal(a->n_correct, b->n_correct);
        assert_true(largest_error(CS_F32, ROWS, a->args.forward.nll_T,
                                  b->args.forward.nll_T) < 2e-5);
        assert_true(largest_error(CS_F32, ROWS, a->args.forward.lse_T,
                                  b->args.forward.lse_T) < 2e-5);
        assert_true(largest_error(dtype, ROWS * IN, a->args.dx_TI,
                                  b->args.dx_TI) < most);
        assert_true(largest_error(CS_F32, VOCABULARY * IN, a->args.dw_VI,
                                  b->args.dw_VI) < most);
    }
    free_head(a);
    free_head(b);
    cs_backend_destroy(&fast);
    cs_backend_destroy(&ref);
}

static void head_agrees_with_ref_across_its_blocks(void **state)
{
    skip_without_module();
    static const char *const paths[] = {"avx2", "avx512", "onednn"};

    (void)state;
    for (int p = 0; p < 3; p++) {
        check_head(paths[p], CS_F32);
        check_head(paths[p], CS_BF16);
    }
}

/* All logits are equal: the first entry counts as the largest, as in ref. */
static void ties_go_to_the_first_entry(void **state)
{
    skip_without_module();
    cs_backend *backend = open_cpu("", 1);
    head *h = make_head(CS_F32);
    void *zeros = csi_calloc(VOCABULARY * IN, sizeof(float));
    const void *w = h->args.forward.w_VI;
    int64_t n_first = 0;

    (void)state;
    assert_non_null(zeros);
    for (int32_t t = 0; t < ROWS; t++) {
        n_first += h->label[t] == 0 ? 1 : 0;
    }
    assert_true(n_first > 0);
    h->args.forward.w_VI = zeros;
    run_head(backend, h);
    assert_int_equal(h->n_correct, n_first);
    h->args.forward.w_VI = w;
    csi_free(zeros);
    free_head(h);
    cs_backend_destroy(&backend);
}

static void a_nan_reaches_the_loss(void **state)
{
    skip_without_module();
    cs_backend *backend = open_cpu("", 1);
    head *h = make_head(CS_F32);
    const float *x = h->args.forward.x_TI;
    float *poisoned = copy_values(CS_F32, ROWS * IN, x);

    (void)state;
    poisoned[5 * IN + 2] = NAN;
    h->args.forward.x_TI = poisoned;
    run_head(backend, h);
    assert_true(isnan(h->loss));
    csi_free((void *)(uintptr_t)x);
    free_head(h);
    cs_backend_destroy(&backend);
}

/* ---- a step's worth of slots ---- */

typedef struct step {
    cs_dtype dtype;
    head *head;
    void *x, *w, *y;
    float *dw;
} step;

static cs_status run_step(cs_backend *backend, const step *s)
{
    const int64_t out = 48;
    const cs_linear_args linear = {.dtype = s->dtype,
                                   .rows = ROWS,
                                   .in = IN,
                                   .out = out,
                                   .x_TI = s->x,
                                   .w_OI = s->w,
                                   .y_TO = s->y};
    const cs_linear_weight_args weight = {.dtype = s->dtype,
                                          .rows = ROWS,
                                          .in = IN,
                                          .out = out,
                                          .dy_TO = s->y,
                                          .x_TI = s->x,
                                          .dw_OI = s->dw};

    CS_TRY(backend->ops.linear(backend, &linear));
    CS_TRY(backend->ops.linear_weight(backend, &weight));
    CS_TRY(backend->ops.head_loss(backend, &s->head->args.forward));
    CS_TRY(backend->ops.head_loss_backward(backend, &s->head->args));
    return CS_OK;
}

static step make_step(cs_dtype dtype)
{
    return (step){.dtype = dtype,
                  .head = make_head(dtype),
                  .x = make_values(dtype, ROWS * IN, 1),
                  .w = make_values(dtype, 48 * IN, 2),
                  .y = make_values(dtype, ROWS * 48, 3),
                  .dw = make_values(CS_F32, 48 * IN, 4)};
}

static void free_step(step *s)
{
    free_head(s->head);
    csi_free(s->x);
    csi_free(s->w);
    csi_free(s->y);
    csi_free(s->dw);
}

static void a_steady_state_allocates_nothing(void **state)
{
    skip_without_module();
    static const char *const paths[] = {"", "onednn", "plain"};

    (void)state;
    for (int p = 0; p < 3; p++) {
        cs_backend *backend = open_cpu(paths[p], 1);
        step s = make_step(CS_BF16);

        if (backend != NULL) {
            assert_ok(run_step(backend, &s));
            const int64_t before = csi_alloc_count();
            assert_ok(run_step(backend, &s));
            assert_ok(run_step(backend, &s));
            assert_int_equal(csi_alloc_count(), before);
        }
        free_step(&s);
        cs_backend_destroy(&backend);
    }
}

typedef struct rank {
    csi_thread thread;
    step step;
    const char *backend;
} rank;

static cs_status run_rank(void *arg)
{
    const rank *r = arg;
    cs_backend *backend = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_backend_create(r->backend, 1, &backend));
    for (int i = 0; i < 3 && st == CS_OK; i++) {
        st = run_step(backend, &r->step);
    }
    cs_backend_destroy(&backend);
    return st;
}

static void ranks_as_threads_do_not_disturb_each_other(void **state)
{
    skip_without_module();
    enum {
        N_RANKS = 4
    };
    static rank ranks[N_RANKS];
    cs_backend *probe = open_cpu("", 1);

    (void)state;
    cs_backend_destroy(&probe);
    assert_int_equal(setenv("CORNSTARCH_CPU", "onednn", 1), 0);
    for (int i = 0; i < N_RANKS; i++) {
        ranks[i] = (rank){.step = make_step(CS_BF16), .backend = "cpu"};
        assert_ok(csi_thread_start(&ranks[i].thread, run_rank, &ranks[i]));
    }
    for (int i = 0; i < N_RANKS; i++) {
        assert_ok(csi_thread_join(&ranks[i].thread));
    }
    (void)unsetenv("CORNSTARCH_CPU");
    for (int i = 1; i < N_RANKS; i++) {
        assert_true(same_bits(CS_F32, 48 * IN, ranks[0].step.dw,
                              ranks[i].step.dw));
        assert_true(same_bits(CS_F32, VOCABULARY * IN,
                              ranks[0].step.head->args.dw_VI,
                              ranks[i].step.head->args.dw_VI));
    }
    for (int i = 0; i < N_RANKS; i++) {
        free_step(&ranks[i].step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(unknown_paths_are_refused),
        CST_TEST(head_agrees_with_ref_across_its_blocks),
        CST_TEST(ties_go_to_the_first_entry),
        CST_TEST(a_nan_reaches_the_loss),
        CST_TEST(a_steady_state_allocates_nothing),
        CST_TEST(ranks_as_threads_do_not_disturb_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
