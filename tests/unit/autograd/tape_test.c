/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tape writes down and keeps: nothing that no gradient needs, and
 * never a pointer to memory that will be gone.
 */
#include "base/alloc.h"

#include "chain.h"

enum {
    ROWS = 5,
    WIDTH = 4,
    BYTES = 192 /* of ROWS x WIDTH doubles, rounded up to 64 */
};

static const cs_keep SAVED = CS_KEEP_SAVED;
static const cs_keep PRODUCT = CS_KEEP_PRODUCT;
static const cs_keep TEMP = CS_KEEP_TEMP;

/* x -> w1, b1 -> w2 -> w3; each product's output is kept as `keep` says. */
static cs_keep keep_of[2];
static cs_activation activation_of_first;

static cs_status run_three(chain *c, cs_value **out)
{
    const cs_weight w1 = chain_weight(c, 1);
    const cs_weight b1 = chain_weight(c, 2);
    const cs_weight w2 = chain_weight(c, 3);
    const cs_weight w3 = chain_weight(c, 4);
    cs_value *x = NULL;
    cs_value *h = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w1, &b1, activation_of_first, keep_of[0],
                          &h));
    CS_TRY(cs_tape_linear(c->tape, h, &w2, NULL, CS_ACT_NONE, keep_of[1], &h));
    CS_TRY(cs_tape_linear(c->tape, h, &w3, NULL, CS_ACT_NONE, TEMP, out));
    return CS_OK;
}

static const chain_case THREE = {
    "three products",
    5,
    {{ROWS, WIDTH, true},
     {WIDTH, WIDTH, false},
     {0, WIDTH, false},
     {WIDTH, WIDTH, false},
     {WIDTH, WIDTH, false}},
    run_three,
};

enum {
    X = 1,
    W1 = 2,
    B1 = 4,
    W2 = 8,
    W3 = 16
};

static void begin_three(chain *c, unsigned trains, cs_keep first,
                        cs_keep second, cs_activation activation)
{
    chain_begin(c, &THREE);
    c->trains = trains;
    keep_of[0] = first;
    keep_of[1] = second;
    activation_of_first = activation;
}

static void nothing_is_recorded_when_all_is_frozen(void **state)
{
    (void)state;
    chain c;
    cs_value *out = NULL;

    begin_three(&c, 0, TEMP, TEMP, CS_ACT_GELU);
    assert_ok(chain_forward(&c, true, &out));
    assert_int_equal(cs_tape_records(c.tape), 0);
    assert_int_equal(cs_tape_saved_bytes(c.tape), 0);
    assert_int_equal(cs_tape_deferred_bytes(c.tape), 0);
    assert_false(out->needs_grad);
    chain_end(&c);
}

static void nothing_is_recorded_outside_training(void **state)
{
    (void)state;
    chain c;
    cs_value *out = NULL;

    begin_three(&c, X | W1 | B1 | W2 | W3, PRODUCT, PRODUCT, CS_ACT_GELU);
    assert_ok(chain_forward(&c, false, &out));
    assert_int_equal(cs_tape_records(c.tape), 0);
    assert_int_equal(cs_tape_saved_bytes(c.tape), 0);
    assert_int_equal(cs_tape_deferred_bytes(c.tape), 0);
    assert_false(out->needs_grad);
    assert_false(c.leaf[0].input->needs_grad);
    chain_end(&c);
}

static void only_what_is_above_the_first_trainable_is_recorded(void **state)
{
    (void)state;
    chain c;
    cs_value *out = NULL;

    begin_three(&c, W3, TEMP, PRODUCT, CS_ACT_GELU);
    assert_ok(chain_forward(&c, true, &out));
    assert_int_equal(cs_tape_records(c.tape), 1);
    assert_int_equal(cs_tape_saved_bytes(c.tape), 0);
    assert_int_equal(cs_tape_deferred_bytes(c.tape), BYTES);
    chain_end(&c);
}

/* A trainable feature below a frozen model: every record is there, but no
 * activation of a product is kept and no weight half has work. */
static void frozen_products_keep_nothing_for_their_weights(void **state)
{
    (void)state;
    chain c;
    cs_value *out = NULL;

    begin_three(&c, X, TEMP, TEMP, CS_ACT_NONE);
    chain_train(&c);
    assert_int_equal(cs_tape_records(c.tape), 3);
    /* the input's gradient, which will be sent, and nothing else */
    assert_int_equal(cs_tape_deferred_bytes(c.tape), BYTES);
    assert_ok(chain_forward(&c, true, &out));
    assert_int_equal(cs_tape_saved_bytes(c.tape), 0);
    assert_int_equal(cs_tape_deferred_bytes(c.tape), 0);
    chain_end(&c);
}

static void a_bias_alone_defers_nothing(void **state)
{
    (void)state;
    chain c;

    begin_three(&c, B1, TEMP, TEMP, CS_ACT_GELU);
    chain_train(&c);
    assert_int_equal(cs_tape_records(c.tape), 3);
    assert_int_equal(cs_tape_deferred_bytes(c.tape), 0);
    chain_end(&c);
}

/* A weight trains on a value that its maker did not keep. */
static void an_input_that_was_not_kept_is_refused(void **state)
{
    (void)state;
    chain c;
    cs_value *out = NULL;

    begin_three(&c, W2, TEMP, TEMP, CS_ACT_NONE);
    assert_fails(chain_forward(&c, true, &out), CS_ERR_INTERNAL,
                 "input of a trainable product");
    keep_of[0] = SAVED; /* gone before the weight half */
    assert_fails(chain_forward(&c, true, &out), CS_ERR_INTERNAL,
                 "input of a trainable product");
    keep_of[0] = PRODUCT;
    assert_ok(chain_forward(&c, true, &out));
    chain_end(&c);
}

/* --- wrong keeps of the other ops ------------------------------------- */

/* What one op is given: a product's result kept as `keep_of[0]`. */
static cs_status make_value(chain *c, int weight, cs_value **y)
{
    const cs_weight w = chain_weight(c, weight);
    cs_value *x = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, keep_of[0], y));
    return CS_OK;
}

static cs_status run_norm(chain *c, cs_value **out)
{
    const cs_weight w = {.w = chain_weight(c, 2).w};
    cs_tape_norm_args args = {.kind = CS_NORM_RMS,
                              .eps = 1e-5,
                              .w = &w,
                              .keep_y = TEMP};
    cs_value *s = NULL;

    CS_TRY(make_value(c, 1, &args.x));
    CS_TRY(cs_tape_norm(c->tape, &args, &s, out));
    return CS_OK;
}

static cs_status run_norm_residual(chain *c, cs_value **out)
{
    const cs_weight w = {.w = chain_weight(c, 2).w};
    cs_tape_norm_args args = {.kind = CS_NORM_RMS,
                              .eps = 1e-5,
                              .w = &w,
                              .keep_s = keep_of[0],
                              .keep_y = TEMP};
    cs_value *s = NULL;

    CS_TRY(make_value(c, 1, &args.x));
    CS_TRY(make_value(c, 3, &args.r));
    CS_TRY(cs_tape_norm(c->tape, &args, &s, out));
    return CS_OK;
}

static cs_status run_gated(chain *c, cs_value **out)
{
    cs_value *gate = NULL;
    cs_value *up = NULL;

    CS_TRY(make_value(c, 1, &gate));
    CS_TRY(make_value(c, 3, &up));
    CS_TRY(cs_tape_gated(c->tape, gate, up, CS_ACT_SILU, TEMP, out));
    return CS_OK;
}

static cs_status run_attention(chain *c, cs_value **out)
{
    static const uint64_t WORD[ROWS] = {0};
    static const int32_t POSITION[ROWS] = {0, 1, 2, 3, 4};
    static int64_t row_begin[2] = {0, 0};
    static const cs_tile_map TILES = {.q_tokens = ROWS,
                                      .k_tokens = ROWS,
                                      .q_block = 16,
                                      .k_block = 16,
                                      .n_q_blocks = 1,
                                      .n_k_blocks = 1,
                                      .row_begin = row_begin};
    const cs_mask mask = {ROWS, WORD, POSITION};
    const cs_attention_args args = {
        .heads = 2,
        .kv_heads = 2,
        .head_dim = 2,
        .scale = 1.0,
        .q_mask = mask,
        .k_mask = mask,
        .tiles = &TILES,
    };
    cs_value *q = NULL;
    cs_value *k = NULL;
    cs_value *v = NULL;

    CS_TRY(make_value(c, 1, &q));
    CS_TRY(make_value(c, 3, &k));
    CS_TRY(make_value(c, 4, &v));
    CS_TRY(cs_tape_attention(c->tape, &args, q, k, v, keep_of[1], out));
    return CS_OK;
}

static cs_status run_head(chain *c, cs_value **out)
{
    static const int32_t LABELS[ROWS] = {0, 1, 2, 3, 0};
    const cs_weight w = {.w = chain_weight(c, 3).w};
    const cs_tape_loss_args loss = {.labels = LABELS,
                                    .loss_scale = 1.0,
                                    .loss_sum = &c->loss_sum};
    cs_value *x = NULL;

    CS_TRY(make_value(c, 1, &x));
    CS_TRY(cs_tape_head_loss(c->tape, x, &w, &loss));
    *out = NULL;
    return CS_OK;
}

typedef struct keep_case {
    const char *name;
    cs_status (*run)(chain *c, cs_value **out);
    const char *sentence;
} keep_case;

static void a_wrong_keep_is_refused_when_it_is_recorded(void **state)
{
    (void)state;
    static const keep_case KEEPS[] = {
        {"norm", run_norm, "input of a norm"},
        {"norm of a sum", run_norm_residual, "input of a norm"},
        {"gated", run_gated, "gate"},
        {"attention", run_attention, "q"},
        {"head", run_head, "input of the head"},
    };

    for (size_t i = 0; i < sizeof KEEPS / sizeof KEEPS[0]; i++) {
        chain_case what = THREE;
        chain c;
        cs_value *out = NULL;

        what.run = KEEPS[i].run;
        chain_begin(&c, &what);
        keep_of[1] = SAVED;
        c.trains = X;
        keep_of[0] = TEMP;
        assert_fails(chain_forward(&c, true, &out), CS_ERR_INTERNAL,
                     KEEPS[i].sentence);
        assert_fails(chain_forward(&c, true, &out), CS_ERR_INTERNAL,
                     "not kept");
        keep_of[0] = SAVED;
        assert_ok(chain_forward(&c, true, &out));
        c.trains = 0; /* nobody will read it */
        keep_of[0] = TEMP;
        assert_ok(chain_forward(&c, true, &out));
        chain_end(&c);
    }
}

/* --- scales: unlike a product's, their gradient is made in the input half */

static cs_status run_scale(chain *c, cs_value **out)
{
    const cs_weight w = chain_weight(c, 2);
    cs_value *x = NULL;

    CS_TRY(make_value(c, 1, &x));
    CS_TRY(cs_tape_scale(c->tape, x, &w, TEMP, out));
    return CS_OK;
}

static void a_trainable_scale_wants_its_input_saved(void **state)
{
    (void)state;
    chain_case what = THREE;
    chain c;
    cs_value *out = NULL;

    what.run = run_scale;
    chain_begin(&c, &what);
    c.trains = B1; /* the leaf that is the scale here */
    keep_of[0] = TEMP;
    assert_fails(chain_forward(&c, true, &out), CS_ERR_INTERNAL,
                 "input of a trainable scale");
    keep_of[0] = SAVED;
    assert_ok(chain_forward(&c, true, &out));
    assert_int_equal(cs_tape_deferred_bytes(c.tape), 0);
    c.trains = X; /* a frozen scale reads nothing back */
    keep_of[0] = TEMP;
    assert_ok(chain_forward(&c, true, &out));
    assert_int_equal(cs_tape_saved_bytes(c.tape), 0);
    chain_end(&c);
}

static void attention_must_keep_its_own_output(void **state)
{
    (void)state;
    chain_case what = THREE;
    chain c;
    cs_value *out = NULL;

    what.run = run_attention;
    chain_begin(&c, &what);
    c.trains = X;
    keep_of[0] = SAVED;
    keep_of[1] = TEMP;
    assert_fails(chain_forward(&c, true, &out), CS_ERR_INTERNAL,
                 "output of attention");
    chain_end(&c);
}

/* --- values with one reader ------------------------------------------- */

/* Backward of gates, attention and the head overwrites the gradients of what
 * they read: a second reader would lose its share. */
static cs_status run_two_gates(chain *c, cs_value **out)
{
    cs_value *gate = NULL;
    cs_value *up = NULL;
    cs_value *a = NULL;
    cs_value *b = NULL;

    CS_TRY(make_value(c, 1, &gate));
    CS_TRY(make_value(c, 3, &up));
    CS_TRY(cs_tape_gated(c->tape, gate, up, CS_ACT_SILU, SAVED, &a));
    CS_TRY(cs_tape_gated(c->tape, gate, up, CS_ACT_RELU, SAVED, &b));
    CS_TRY(cs_tape_add(c->tape, a, b, TEMP, out));
    return CS_OK;
}

static void a_second_reader_of_a_gate_is_refused(void **state)
{
    (void)state;
    chain_case what = THREE;
    chain c;
    cs_value *out = NULL;
    double seed[ROWS * WIDTH] = {0};

    what.run = run_two_gates;
    chain_begin(&c, &what);
    c.trains = X;
    keep_of[0] = SAVED;
    assert_ok(chain_forward(&c, true, &out));
    out->grad = seed;
    out->grad_where = PRODUCT;
    assert_fails(cs_tape_backward_input(c.tape, out), CS_ERR_INTERNAL,
                 "may have one reader");
    chain_end(&c);
}

/* --- wrong calls ------------------------------------------------------ */

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    chain c;
    cs_value *out = NULL;
    float f32[4] = {0};
    double f64[6] = {0};

    begin_three(&c, 0, TEMP, TEMP, CS_ACT_NONE);
    assert_fails(cs_tape_input(c.tape, cs_tensor_2d(f32, CS_F32, 2, 2), true,
                               &out),
                 CS_ERR_DTYPE, "wanted f64, got f32");
    assert_ok(cs_tape_input(c.tape, cs_tensor_2d(f64, CS_F64, 2, 3), true,
                            &out));
    const cs_weight w = chain_weight(&c, 1);
    cs_value *y = NULL;
    assert_fails(cs_tape_scale(c.tape, out, &w, TEMP, &y), CS_ERR_SHAPE,
                 "scale: x has 3 columns, w has 16");
    static const int32_t index[4] = {0, 1, 0, 1};
    assert_fails(cs_tape_gather(c.tape, out, index, 2, 0, TEMP, &y),
                 CS_ERR_SHAPE, "group wanted at least 1");
    assert_fails(cs_tape_add_mixed(c.tape, out, &w, 1, index, f64),
                 CS_ERR_SHAPE, "rows of 4 columns into 3");
    cs_tape_norm_args norm = {.kind = CS_NORM_RMS, .dim = 2, .x = out, .w = &w};
    cs_value *s = NULL;
    assert_fails(cs_tape_norm(c.tape, &norm, &s, &y), CS_ERR_SHAPE,
                 "x has 3 columns, groups have 2");
    const cs_weight vector = {.w = cs_tensor_1d(f64, CS_F64, 1)};
    norm.dim = 1;
    norm.w = &vector;
    norm.r = out;
    assert_fails(cs_tape_norm(c.tape, &norm, &s, &y), CS_ERR_ARG,
                 "no residual");
    assert_fails(cs_tape_linear(c.tape, out, &w, NULL, CS_ACT_NONE, TEMP, &y),
                 CS_ERR_SHAPE, "x has 3 columns, w takes 4");
    assert_fails(cs_tape_backward_input(c.tape, out), CS_ERR_ARG,
                 "no gradient");
    assert_null(y);
    chain_end(&c);
}

static void a_steady_state_allocates_nothing(void **state)
{
    (void)state;
    chain c;

    begin_three(&c, X | W1 | B1 | W2 | W3, PRODUCT, PRODUCT, CS_ACT_GELU);
    chain_train(&c);
    chain_train(&c);
    const int64_t before = csi_alloc_count();
    for (int i = 0; i < 5; i++) {
        chain_train(&c);
    }
    assert_int_equal(csi_alloc_count(), before);
    chain_end(&c);
}

/* The same microbatch again gives the same bits. */
static void a_reset_tape_starts_anew(void **state)
{
    (void)state;
    chain c;
    double first[MAX_ELEMENTS];

    begin_three(&c, X | W1 | B1 | W2 | W3, PRODUCT, PRODUCT, CS_ACT_GELU);
    chain_train(&c);
    memcpy(first, c.leaf[1].grad, sizeof first);
    memset(c.leaf[1].grad, 0, sizeof c.leaf[1].grad);
    chain_train(&c);
    assert_memory_equal(first, c.leaf[1].grad, sizeof first);
    assert_int_equal(cs_tape_records(c.tape), 3);
    chain_end(&c);
}

static cs_status train_once(void *arg)
{
    chain *c = arg;
    cs_value *out = NULL;
    double seed[MAX_ELEMENTS] = {0};

    CS_TRY(cs_tape_create(c->backend, &c->workspace, CS_F64, &c->tape));
    cs_status st = chain_forward(c, true, &out);
    if (st == CS_OK) {
        out->grad = seed;
        out->grad_where = PRODUCT;
        st = cs_tape_backward_input(c->tape, out);
    }
    if (st == CS_OK) {
        st = cs_tape_backward_weight(c->tape);
    }
    cs_tape_destroy(&c->tape);
    csi_arena_fini(&c->workspace);
    return st;
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    chain c;

    begin_three(&c, X | W1 | B1 | W2 | W3, PRODUCT, PRODUCT, CS_ACT_GELU);
    cs_tape_destroy(&c.tape);
    csi_arena_fini(&c.workspace);
    assert_in_range(cst_torture(train_once, &c), 4, 100);
    cs_backend_destroy(&c.backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(nothing_is_recorded_when_all_is_frozen),
        CST_TEST(nothing_is_recorded_outside_training),
        CST_TEST(only_what_is_above_the_first_trainable_is_recorded),
        CST_TEST(frozen_products_keep_nothing_for_their_weights),
        CST_TEST(a_bias_alone_defers_nothing),
        CST_TEST(an_input_that_was_not_kept_is_refused),
        CST_TEST(a_wrong_keep_is_refused_when_it_is_recorded),
        CST_TEST(a_trainable_scale_wants_its_input_saved),
        CST_TEST(attention_must_keep_its_own_output),
        CST_TEST(a_second_reader_of_a_gate_is_refused),
        CST_TEST(wrong_calls_are_refused),
        CST_TEST(a_steady_state_allocates_nothing),
        CST_TEST(a_reset_tape_starts_anew),
        CST_TEST(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
