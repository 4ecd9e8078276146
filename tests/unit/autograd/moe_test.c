/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a mixture of experts does and keeps: hand-computed results, ties,
 * experts that nobody chose, the balance loss of documents, and memory that
 * follows from what trains.
 */
#include "base/alloc.h"

#include "chain.h"

enum {
    MAX = 256,
    ROWS = 24,
    COLUMNS = 8,
    HIDDEN = 16,
    EXPERTS = 4,
    TOP_K = 2,
    SLOTS = ROWS * TOP_K,
    N_WEIGHTS = 4 /* router, gate, up, down */
};

enum {
    ROUTER = 1,
    GATE = 2,
    UP = 4,
    DOWN = 8,
    INPUT_X = 16,
    ALL = 31
};

/* A mixture on one tape. Weights 0 .. 3: router, gate, up, down. */
typedef struct world {
    cs_backend *backend;
    csi_arena workspace;
    cs_tape *tape;
    cs_dtype dtype, real;
    int64_t rows, columns;
    cs_tape_moe_args args;
    cs_weight weight[N_WEIGHTS];
    unsigned trains; /* bits above */
    cs_value *x, *y; /* of the last run */
    double x_data[MAX], w_data[N_WEIGHTS][EXPERTS * COLUMNS * HIDDEN];
    double grad[N_WEIGHTS][EXPERTS * COLUMNS * HIDDEN], dx[MAX], dy[MAX];
} world;

static cs_tensor tensor(void *data, cs_dtype dtype, int64_t rows,
                        int64_t columns)
{
    return cs_tensor_2d(data, dtype, rows, columns);
}

static void begin_sized(world *w, cs_dtype dtype, int64_t rows, int64_t columns,
                        int64_t hidden, int32_t experts)
{
    const int64_t inner = columns * hidden;

    memset(w, 0, sizeof *w);
    w->dtype = dtype;
    w->real = cs_real_dtype(dtype);
    w->rows = rows;
    w->columns = columns;
    assert_ok(cs_backend_create("ref", 1, &w->backend));
    csi_arena_init(&w->workspace, 0);
    assert_ok(cs_tape_create(w->backend, &w->workspace, dtype, &w->tape));
    for (int i = 0; i < N_WEIGHTS; i++) {
        w->weight[i].w =
            tensor(w->w_data[i], dtype, experts, i == 0 ? columns : inner);
    }
    w->args = (cs_tape_moe_args){
        .experts = experts,
        .top_k = experts < TOP_K ? experts : TOP_K,
        .activation = CS_ACT_SILU,
        .router_w = &w->weight[0],
        .gate_w = &w->weight[1],
        .up_w = &w->weight[2],
        .down_w = &w->weight[3],
    };
}

static void fill(world *w, uint64_t seed)
{
    for (int i = 0; i < N_WEIGHTS; i++) {
        const cs_tensor *t = &w->weight[i].w;
        for (int64_t k = 0; k < cs_tensor_count(t); k++) {
            cs_tensor_set(t, k,
                          0.5 * csi_rng_normal(seed, (uint64_t)i, (uint64_t)k));
        }
    }
    for (int64_t k = 0; k < w->rows * w->columns; k++) {
        csi_dtype_set(w->x_data, w->dtype, k,
                      csi_rng_normal(seed, 10, (uint64_t)k));
        csi_dtype_set(w->dy, w->dtype, k, chain_probe(k));
    }
}

static void begin(world *w, cs_dtype dtype)
{
    begin_sized(w, dtype, ROWS, COLUMNS, HIDDEN, EXPERTS);
    fill(w, 3);
    w->trains = ALL;
}

static void end(world *w)
{
    cs_tape_destroy(&w->tape);
    csi_arena_fini(&w->workspace);
    cs_backend_destroy(&w->backend);
}

static cs_status forward(world *w, bool is_training)
{
    csi_arena_reset(&w->workspace);
    cs_tape_reset(w->tape, is_training);
    cs_tape_begin(w->tape);
    for (int i = 0; i < N_WEIGHTS; i++) {
        w->weight[i].grad = (w->trains >> i & 1U) != 0 ? w->grad[i] : NULL;
    }
    CS_TRY(cs_tape_input(w->tape,
                         tensor(w->x_data, w->dtype, w->rows, w->columns),
                         (w->trains & INPUT_X) != 0, &w->x));
    CS_TRY(cs_tape_moe(w->tape, &w->args, w->x, CS_KEEP_TEMP, &w->y));
    return CS_OK;
}

/* Forward and both halves; gradients of weights are overwritten. */
static cs_status train(world *w)
{
    memset(w->grad, 0, sizeof w->grad);
    CS_TRY(forward(w, true));
    w->y->grad = w->dy;
    w->y->grad_where = CS_KEEP_PRODUCT;
    CS_TRY(cs_tape_backward_input(w->tape, w->y));
    CS_TRY(cs_tape_backward_weight(w->tape));
    return CS_OK;
}

static double y_at(const world *w, int64_t i)
{
    return cs_tensor_get(&w->y->t, i);
}

static double grad_at(const world *w, int which, int64_t i)
{
    return csi_dtype_get(w->grad[which], w->real, i);
}

/* --- numbers made by hand ------------------------------------------------ */

/* One column, one hidden, no activation: expert e gives g u d x^2. Logits of
 * x = 1 are 0 and ln 3: p = 1/4, 3/4. */
static void begin_scalar(world *w, int32_t top_k, bool normalises)
{
    begin_sized(w, CS_F64, 1, 1, 1, 2);
    w->args.top_k = top_k;
    w->args.normalises = normalises;
    w->args.activation = CS_ACT_NONE;
    w->x_data[0] = 1.0;
    w->dy[0] = 1.0;
    w->w_data[0][0] = 0.0;
    w->w_data[0][1] = log(3.0);
    for (int e = 0; e < 2; e++) {
        w->w_data[1][e] = 2.0 + e; /* gates 2, 3 */
        w->w_data[2][e] = 5.0;
        w->w_data[3][e] = 0.1;
    }
    w->trains = ALL;
}

static void results_by_hand(void **state)
{
    (void)state;
    world w;

    begin_scalar(&w, 1, false); /* 3/4 * 3 * 5 * 0.1 */
    assert_ok(forward(&w, true));
    assert_near(y_at(&w, 0), 1.125, 1e-12);
    end(&w);
    begin_scalar(&w, 1, true); /* the only choice weighs 1 */
    assert_ok(forward(&w, true));
    assert_near(y_at(&w, 0), 1.5, 1e-12);
    end(&w);
    begin_scalar(&w, 2, false); /* 3/4 * 1.5 + 1/4 * 1 */
    assert_ok(forward(&w, true));
    assert_near(y_at(&w, 0), 1.375, 1e-12);
    end(&w);
}

/* top 1, not normalised: y = p1 * 3 * 5 * 0.1 * x^2. */
static void gradients_by_hand(void **state)
{
    (void)state;
    world w;

    begin_scalar(&w, 1, false);
    assert_ok(train(&w));
    /* dlogit_e = dy out_1 p_1 ((e == 1) - p_e) */
    assert_near(grad_at(&w, 0, 0), 1.5 * 0.75 * -0.25, 1e-12);
    assert_near(grad_at(&w, 0, 1), 1.5 * 0.75 * 0.25, 1e-12);
    assert_near(grad_at(&w, 1, 1), 0.75 * 5.0 * 0.1, 1e-12);
    assert_near(grad_at(&w, 2, 1), 0.75 * 3.0 * 0.1, 1e-12);
    assert_near(grad_at(&w, 3, 1), 0.75 * 15.0, 1e-12);
    for (int i = 1; i < N_WEIGHTS; i++) {
        assert_true(grad_at(&w, i, 0) == 0.0);
    }
    assert_near(((double *)w.x->grad)[0],
                2.0 * 1.125 + log(3.0) * 1.5 * 0.75 * 0.25, 1e-12);
    end(&w);
}

/* --- choices ------------------------------------------------------------- */

static void ties_go_to_the_lower_number(void **state)
{
    (void)state;
    world w;

    begin(&w, CS_F64);
    memset(w.w_data[0], 0, sizeof w.w_data[0]);
    assert_ok(train(&w));
    const int64_t inner = COLUMNS * HIDDEN;
    for (int64_t i = 0; i < EXPERTS * inner; i++) {
        assert_int_equal(grad_at(&w, 1, i) != 0.0, i < TOP_K * inner);
    }
    end(&w);
}

/* The last expert is never chosen; its weights are not numbers. */
static void an_expert_without_rows_contributes_nothing(void **state)
{
    (void)state;
    world w;
    const int64_t inner = COLUMNS * HIDDEN;

    begin(&w, CS_F64);
    for (int64_t t = 0; t < ROWS; t++) {
        w.x_data[t * COLUMNS] = 4.0;
    }
    for (int64_t d = 0; d < COLUMNS; d++) {
        w.w_data[0][(EXPERTS - 1) * COLUMNS + d] = d == 0 ? -30.0 : 0.0;
    }
    for (int i = 1; i < N_WEIGHTS; i++) {
        memset(&w.w_data[i][(EXPERTS - 1) * inner], 0xff,
               (size_t)inner * sizeof(double));
    }
    assert_ok(train(&w));
    for (int64_t i = 0; i < ROWS * COLUMNS; i++) {
        assert_true(isfinite(y_at(&w, i)));
        assert_true(isfinite(((double *)w.x->grad)[i]));
    }
    for (int64_t i = 0; i < inner; i++) {
        assert_true(grad_at(&w, 1, (EXPERTS - 1) * inner + i) == 0.0);
        assert_true(grad_at(&w, 3, (EXPERTS - 1) * inner + i) == 0.0);
    }
    end(&w);
}

/* Its gradients keep their bits when another expert's weights change. */
static void an_experts_gradient_is_its_own(void **state)
{
    (void)state;
    static const int64_t INNER = COLUMNS * HIDDEN;
    world w;
    double first[COLUMNS * HIDDEN];

    begin(&w, CS_F64);
    assert_ok(train(&w));
    memcpy(first, &w.grad[2][INNER], sizeof first);
    for (int64_t i = 0; i < INNER; i++) {
        w.w_data[1][2 * INNER + i] *= -3.0; /* the gates of expert 2 */
    }
    assert_ok(train(&w));
    assert_memory_equal(first, &w.grad[2][INNER], sizeof first);
    end(&w);
}

/* One expert, all of it: the dense layer, to the bit. */
static void one_expert_is_a_dense_layer(void **state)
{
    (void)state;
    world w;
    cs_value *gate = NULL;
    cs_value *up = NULL;
    cs_value *h = NULL;
    cs_value *y = NULL;

    begin_sized(&w, CS_F64, ROWS, COLUMNS, HIDDEN, 1);
    w.args.normalises = true;
    fill(&w, 5);
    assert_ok(forward(&w, false));
    cs_weight dense[N_WEIGHTS];
    for (int i = 1; i < N_WEIGHTS; i++) {
        dense[i].w = tensor(w.w_data[i], CS_F64, i == 3 ? COLUMNS : HIDDEN,
                            i == 3 ? HIDDEN : COLUMNS);
        dense[i].grad = NULL;
    }
    const cs_keep temp = CS_KEEP_TEMP;
    assert_ok(cs_tape_linear(w.tape, w.x, &dense[1], NULL, CS_ACT_NONE, temp,
                             &gate));
    assert_ok(cs_tape_linear(w.tape, w.x, &dense[2], NULL, CS_ACT_NONE, temp,
                             &up));
    assert_ok(cs_tape_gated(w.tape, gate, up, CS_ACT_SILU, temp, &h));
    assert_ok(cs_tape_linear(w.tape, h, &dense[3], NULL, CS_ACT_NONE, temp,
                             &y));
    assert_memory_equal(y->t.data, w.y->t.data, cs_tensor_bytes(&y->t));
    end(&w);
}

/* --- balance loss -------------------------------------------------------- */

static void set_documents(world *w, const int64_t *rows, const int64_t *labels,
                          int32_t n, double *sum)
{
    w->args.coefficient = 0.5;
    w->args.loss_scale = 0.25;
    w->args.n_documents = n;
    w->args.document_begin = rows;
    w->args.document_labels = labels;
    w->args.balance_sum = sum;
}

/* All p are 1 / experts: the loss is coefficient * labels * top_k. */
static void an_undecided_router_costs_k_times_the_labels(void **state)
{
    (void)state;
    static const int64_t BEGIN[4] = {0, 5, 5, ROWS};
    static const int64_t LABELS[3] = {3, 100, 4};
    world w;
    double sum = 7.0;

    begin(&w, CS_F64);
    memset(w.w_data[0], 0, sizeof w.w_data[0]);
    set_documents(&w, BEGIN, LABELS, 3, &sum);
    assert_ok(forward(&w, false));
    assert_near(sum, 7.0 + 0.5 * (3 + 4) * TOP_K, 1e-12);
    end(&w);
}

/* Rows of one document, wherever they are packed, cost the same. */
static void packing_does_not_change_the_balance_loss(void **state)
{
    (void)state;
    static const int64_t BOTH[3] = {0, 9, ROWS};
    static const int64_t FIRST[2] = {0, 9};
    static const int64_t SECOND[2] = {9, ROWS};
    static const int64_t LABELS[2] = {3, 8};
    world w;
    double together = 0.0;
    double apart = 0.0;

    begin(&w, CS_F64);
    set_documents(&w, BOTH, LABELS, 2, &together);
    assert_ok(forward(&w, false));
    set_documents(&w, FIRST, LABELS, 1, &apart);
    assert_ok(forward(&w, false));
    set_documents(&w, SECOND, LABELS + 1, 1, &apart);
    assert_ok(forward(&w, false));
    assert_near(together, apart, 1e-12);
    assert_true(together > 0.0);
    end(&w);
}

/* --- what is kept -------------------------------------------------------- */

static size_t round_up(size_t n)
{
    return (n + 63) / 64 * 64;
}

static void nothing_is_recorded_when_all_is_frozen(void **state)
{
    (void)state;
    world w;

    begin(&w, CS_F64);
    w.trains = 0;
    assert_ok(forward(&w, true));
    assert_int_equal(cs_tape_records(w.tape), 0);
    assert_false(w.y->needs_grad);
    w.trains = ALL;
    assert_ok(forward(&w, false));
    assert_int_equal(cs_tape_records(w.tape), 0);
    assert_int_equal(cs_tape_saved_bytes(w.tape), 0);
    assert_int_equal(cs_tape_deferred_bytes(w.tape), 0);
    end(&w);
}

typedef struct keep_case {
    unsigned trains;
    size_t saved, deferred, after; /* bytes: forward; after the input half */
} keep_case;

static void only_what_a_gradient_needs_is_kept(void **state)
{
    (void)state;
    const size_t index = round_up(SLOTS * sizeof(int32_t));
    const size_t weights = round_up(SLOTS * sizeof(double));
    const size_t ranges = round_up((EXPERTS + 1) * sizeof(int64_t));
    const size_t p = round_up(ROWS * EXPERTS * sizeof(double));
    const size_t in = SLOTS * HIDDEN * sizeof(double);
    const size_t out = SLOTS * COLUMNS * sizeof(double);
    const size_t choice = p + index + out;
    const keep_case cases[] = {
        {ROUTER, choice + weights + index + ranges, 0, p},
        {DOWN, weights + index, in + ranges, out},
        {GATE, weights + index + 2 * in, index + ranges, in},
        {GATE | UP, weights + index + 2 * in, index + ranges, 2 * in},
        {INPUT_X, choice + weights + index + ranges + 2 * in, 0,
         ROWS * COLUMNS * sizeof(double)},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world w;

        begin(&w, CS_F64);
        w.trains = cases[i].trains;
        assert_ok(forward(&w, true));
        assert_int_equal(cs_tape_saved_bytes(w.tape), cases[i].saved);
        assert_int_equal(cs_tape_deferred_bytes(w.tape), cases[i].deferred);
        w.y->grad = w.dy;
        assert_ok(cs_tape_backward_input(w.tape, w.y));
        assert_int_equal(cs_tape_deferred_bytes(w.tape),
                         cases[i].deferred + cases[i].after);
        end(&w);
    }
}

/* What others train does not change a gradient's bits. */
static void freezing_others_keeps_a_gradients_bits(void **state)
{
    (void)state;
    world all;
    world one;

    begin(&all, CS_F64);
    assert_ok(train(&all));
    for (int i = 0; i < N_WEIGHTS; i++) {
        begin(&one, CS_F64);
        one.trains = 1U << i;
        assert_ok(train(&one));
        assert_memory_equal(one.grad[i], all.grad[i], sizeof one.grad[i]);
        assert_null(one.x->grad);
        end(&one);
    }
    end(&all);
}

static void an_input_that_was_not_kept_is_refused(void **state)
{
    (void)state;
    world w;

    begin(&w, CS_F64);
    w.trains = ROUTER;
    assert_ok(forward(&w, true));
    w.x->where = CS_KEEP_SAVED;
    assert_fails(cs_tape_moe(w.tape, &w.args, w.x, CS_KEEP_TEMP, &w.y),
                 CS_ERR_INTERNAL, "input of trainable experts");
    end(&w);
}

/* Rows go where the data says; memory does not grow with it. */
static void a_steady_state_allocates_nothing(void **state)
{
    (void)state;
    world w;

    begin(&w, CS_F64);
    assert_ok(train(&w));
    assert_ok(train(&w));
    const int64_t before = csi_alloc_count();
    for (uint64_t seed = 20; seed < 25; seed++) {
        fill(&w, seed);
        assert_ok(train(&w));
    }
    assert_int_equal(csi_alloc_count(), before);
    end(&w);
}

static cs_status train_once(void *arg)
{
    world *w = arg;
    cs_status st = CS_OK;

    w->backend = NULL;
    w->tape = NULL;
    CS_TRY_GOTO(undo, cs_backend_create("ref", 1, &w->backend));
    CS_TRY_GOTO(undo,
                cs_tape_create(w->backend, &w->workspace, CS_F64, &w->tape));
    CS_TRY_GOTO(undo, train(w));
undo:
    end(w);
    return st;
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    world w;

    begin(&w, CS_F64);
    end(&w);
    assert_in_range(cst_torture(train_once, &w), 4, 100);
}

/* --- bf16 ---------------------------------------------------------------- */

static double largest_difference(const world *low, const world *high, int which,
                                 int64_t n)
{
    double largest = 0.0;
    double error = 0.0;

    for (int64_t i = 0; i < n; i++) {
        error =
            fmax(error, fabs(grad_at(low, which, i) - grad_at(high, which, i)));
        largest = fmax(largest, fabs(grad_at(high, which, i)));
    }
    return error / largest;
}

/* The same bf16 numbers as bf16 and as f64; what is left is rounding. */
static void bf16_is_f64_rounded(void **state)
{
    (void)state;
    world low;
    world high;

    begin(&low, CS_BF16);
    begin(&high, CS_F64);
    for (int i = 0; i < N_WEIGHTS; i++) {
        for (int64_t k = 0; k < cs_tensor_count(&low.weight[i].w); k++) {
            cs_tensor_set(&high.weight[i].w, k,
                          cs_tensor_get(&low.weight[i].w, k));
        }
    }
    for (int64_t k = 0; k < ROWS * COLUMNS; k++) {
        high.x_data[k] = csi_dtype_get(low.x_data, CS_BF16, k);
        high.dy[k] = csi_dtype_get(low.dy, CS_BF16, k);
    }
    assert_ok(train(&low));
    assert_ok(train(&high));
    for (int i = 0; i < N_WEIGHTS; i++) {
        const double error =
            largest_difference(&low, &high, i,
                               cs_tensor_count(&low.weight[i].w));
        print_message("weight %d: %g\n", i, error);
        assert_true(error < 0.03);
    }
    end(&low);
    end(&high);
}

/* --- the fast backend ---------------------------------------------------- */

static double distance(const world *a, const world *b, int which)
{
    return largest_difference(a, b, which,
                              cs_tensor_count(&a->weight[which].w));
}

static void the_cpu_backend_agrees_with_ref(void **state)
{
    (void)state;
    cs_backend *cpu = NULL;
    world fast;
    world ref;

    if (cs_backend_create("cpu", 2, &cpu) != CS_OK) {
        cst_skip(cs_error_message());
    }
    cs_backend_destroy(&cpu);
    begin(&ref, CS_F32);
    begin(&fast, CS_F32);
    cs_tape_destroy(&fast.tape);
    cs_backend_destroy(&fast.backend);
    assert_ok(cs_backend_create("cpu", 2, &fast.backend));
    assert_ok(cs_tape_create(fast.backend, &fast.workspace, CS_F32,
                             &fast.tape));
    assert_ok(train(&ref));
    assert_ok(train(&fast));
    for (int i = 0; i < N_WEIGHTS; i++) {
        assert_true(distance(&fast, &ref, i) < 1e-5);
    }
    end(&fast);
    end(&ref);
}

/* --- wrong calls --------------------------------------------------------- */

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    static const int64_t BEGIN[2] = {0, ROWS + 1};
    static const int64_t LABELS[1] = {1};
    world w;
    double sum = 0.0;

    begin(&w, CS_F64);
    w.args.top_k = EXPERTS + 1;
    assert_fails(forward(&w, true), CS_ERR_SHAPE, "top_k wanted 1..4, got 5");
    w.args.top_k = TOP_K;
    set_documents(&w, BEGIN, LABELS, 1, &sum);
    assert_fails(forward(&w, true), CS_ERR_SHAPE, "does not fit 24 rows");
    w.args.document_begin = NULL;
    assert_fails(forward(&w, true), CS_ERR_ARG, "documents and labels");
    w.args.coefficient = 0.0;
    assert_ok(forward(&w, true));
    w.weight[3].w = tensor(w.w_data[3], CS_F64, EXPERTS, COLUMNS);
    assert_fails(forward(&w, true), CS_ERR_SHAPE, "the downs wanted [4, 128]");
    w.weight[0].w = tensor(w.w_data[0], CS_F64, EXPERTS, COLUMNS + 1);
    assert_fails(forward(&w, true), CS_ERR_SHAPE, "the router wanted [4, 8]");
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(results_by_hand),
        CST_TEST(gradients_by_hand),
        CST_TEST(ties_go_to_the_lower_number),
        CST_TEST(an_expert_without_rows_contributes_nothing),
        CST_TEST(an_experts_gradient_is_its_own),
        CST_TEST(one_expert_is_a_dense_layer),
        CST_TEST(an_undecided_router_costs_k_times_the_labels),
        CST_TEST(packing_does_not_change_the_balance_loss),
        CST_TEST(nothing_is_recorded_when_all_is_frozen),
        CST_TEST(only_what_a_gradient_needs_is_kept),
        CST_TEST(freezing_others_keeps_a_gradients_bits),
        CST_TEST(an_input_that_was_not_kept_is_refused),
        CST_TEST(a_steady_state_allocates_nothing),
        CST_TEST(every_failed_allocation_is_survived),
        CST_TEST(bf16_is_f64_rounded),
        CST_TEST(the_cpu_backend_agrees_with_ref),
        CST_TEST(wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
