/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_AUTOGRAD_CHAIN_H
#define CST_AUTOGRAD_CHAIN_H
/*
 * A small graph of tape ops over a few leaves, run in f64 on the reference
 * backend. Leaf i is a weight, or an input whose gradient would be sent; bit i
 * of `trains` says whether it needs a gradient. The loss is the sum of
 * probe * output. Between forward and the two halves of backward, everything
 * that should be dead by then is overwritten with NaN.
 */
#include "cornstarch/autograd.h"

#include "base/rng.h"

#include "record.h"
#include "test.h"

#include <math.h>
#include <string.h>

enum {
    MAX_LEAVES = 12,
    MAX_ELEMENTS = 160
};

typedef struct chain chain;

typedef struct chain_case {
    const char *name;
    int n_leaves;
    struct {
        int64_t rows, columns; /* rows 0 = a vector */
        bool is_input;
    } leaf[MAX_LEAVES];
    /* Runs the ops; *out NULL when the chain ends in the tape's loss. What is
     * added to loss_sum is part of the loss. */
    cs_status (*run)(chain *c, cs_value **out);
} chain_case;

typedef struct chain_leaf {
    double value[MAX_ELEMENTS], grad[MAX_ELEMENTS];
    int64_t count;
    cs_value *input; /* of the last run */
} chain_leaf;

struct chain {
    const chain_case *what;
    cs_backend *backend;
    csi_arena workspace;
    cs_tape *tape;
    unsigned trains;
    double loss_sum; /* what ops add to the loss themselves */
    chain_leaf leaf[MAX_LEAVES];
};

static inline void chain_fill(chain *c, uint64_t seed)
{
    for (int i = 0; i < c->what->n_leaves; i++) {
        for (int64_t k = 0; k < c->leaf[i].count; k++) {
            c->leaf[i].value[k] =
                0.7 * csi_rng_normal(seed, (uint64_t)i, (uint64_t)k);
        }
    }
}

static inline void chain_begin(chain *c, const chain_case *what)
{
    *c = (chain){.what = what};
    assert_ok(cs_backend_create("ref", 1, &c->backend));
    csi_arena_init(&c->workspace, 0);
    assert_ok(cs_tape_create(c->backend, &c->workspace, CS_F64, &c->tape));
    for (int i = 0; i < what->n_leaves; i++) {
        const int64_t rows = what->leaf[i].rows;
        c->leaf[i].count = (rows > 0 ? rows : 1) * what->leaf[i].columns;
        assert_in_range(c->leaf[i].count, 1, MAX_ELEMENTS);
    }
    chain_fill(c, 1);
}

static inline void chain_end(chain *c)
{
    cs_tape_destroy(&c->tape);
    csi_arena_fini(&c->workspace);
    cs_backend_destroy(&c->backend);
}

static inline cs_tensor chain_tensor(chain *c, int i)
{
    const int64_t rows = c->what->leaf[i].rows;
    const int64_t columns = c->what->leaf[i].columns;
    double *data = c->leaf[i].value;

    return rows > 0 ? cs_tensor_2d(data, CS_F64, rows, columns)
                    : cs_tensor_1d(data, CS_F64, columns);
}

static inline cs_weight chain_weight(chain *c, int i)
{
    const bool trains = (c->trains >> i & 1U) != 0;

    return (cs_weight){.w = chain_tensor(c, i),
                       .grad = trains ? c->leaf[i].grad : NULL};
}

static inline cs_status chain_input(chain *c, int i, cs_value **out)
{
    CS_TRY(cs_tape_input(c->tape, chain_tensor(c, i),
                         (c->trains >> i & 1U) != 0, out));
    c->leaf[i].input = *out;
    return CS_OK;
}

/* Overwrites all that an arena has ever held with NaN. */
static inline void chain_poison(csi_arena *arena)
{
    const size_t n_bytes = arena->peak_bytes;

    csi_arena_reset(arena);
    void *all = csi_arena_alloc(arena, n_bytes);
    if (all != NULL) {
        memset(all, 0xff, n_bytes);
    }
    csi_arena_reset(arena);
}

static inline double chain_probe(int64_t i)
{
    return 0.3 + 0.1 * (double)(i * 7 % 11);
}

static inline cs_status chain_forward(chain *c, bool is_training,
                                      cs_value **out)
{
    *out = NULL;
    c->loss_sum = 0.0;
    csi_arena_reset(&c->workspace);
    cs_tape_reset(c->tape, is_training);
    cs_tape_begin(c->tape);
    return c->what->run(c, out);
}

/* The loss of a run that trains nothing. */
static inline double chain_loss(chain *c)
{
    const unsigned trains = c->trains;
    cs_value *out = NULL;

    c->trains = 0;
    assert_ok(chain_forward(c, true, &out));
    assert_int_equal(cs_tape_records(c->tape), 0);
    c->trains = trains;
    double loss = c->loss_sum;
    for (int64_t i = 0; out != NULL && i < cs_tensor_count(&out->t); i++) {
        loss += chain_probe(i) * cs_tensor_get(&out->t, i);
    }
    return loss;
}

/* One microbatch: forward and both halves; leaf gradients add up. */
static inline void chain_train(chain *c)
{
    cs_value *out = NULL;
    double seed[MAX_ELEMENTS];

    assert_ok(chain_forward(c, true, &out));
    if (out != NULL) {
        assert_in_range(cs_tensor_count(&out->t), 1, MAX_ELEMENTS);
        assert_int_equal(out->needs_grad, c->trains != 0);
        for (int64_t i = 0; i < cs_tensor_count(&out->t); i++) {
            seed[i] = chain_probe(i);
        }
        out->grad = seed;
        out->grad_where = CS_KEEP_PRODUCT;
    }
    chain_poison(&c->workspace);
    assert_ok(cs_tape_backward_input(c->tape, out));
    chain_poison(&c->workspace);
    chain_poison(&c->tape->saved);
    assert_ok(cs_tape_backward_weight(c->tape));
    for (int i = 0; i < c->what->n_leaves; i++) {
        const cs_value *input = c->leaf[i].input;
        for (int64_t k = 0;
             input != NULL && input->grad != NULL && k < c->leaf[i].count;
             k++) {
            c->leaf[i].grad[k] += ((double *)input->grad)[k];
        }
    }
}

static inline double chain_difference(chain *c, int i, int64_t k)
{
    const double h = 1e-5;
    double *x = &c->leaf[i].value[k];
    const double centre = *x;

    *x = centre + h;
    const double above = chain_loss(c);
    *x = centre - h;
    const double below = chain_loss(c);
    *x = centre;
    return (above - below) / (2.0 * h);
}

/* h^2 times a third derivative and epsilon / h are both below 1e-9 here. */
#define CHAIN_TOLERANCE 1e-7

typedef struct chain_numbers {
    double of[MAX_LEAVES][MAX_ELEMENTS];
} chain_numbers;

static inline bool chain_check_leaf(chain *c, int i, const double *wanted)
{
    const chain_leaf *leaf = &c->leaf[i];
    double largest = 1e-2; /* below it, absolute */
    bool is_right = true;

    for (int64_t k = 0; k < leaf->count; k++) {
        largest = fmax(largest, fabs(wanted[k]));
    }
    for (int64_t k = 0; k < leaf->count; k++) {
        if (!(fabs(leaf->grad[k] - wanted[k]) <= CHAIN_TOLERANCE * largest)) {
            print_error("%s, trains %#x: gradient %lld of leaf %d: wanted "
                        "%.12g, got %.12g\n",
                        c->what->name, c->trains, (long long)k, i, wanted[k],
                        leaf->grad[k]);
            is_right = false;
        }
    }
    return is_right;
}

/* Some leaves of some cases are not read (norms without bias or residual):
 * their gradient is 0 and they must not make anything train. */
static inline unsigned chain_used_leaves(chain *c)
{
    unsigned used = 0;

    for (int i = 0; i < c->what->n_leaves; i++) {
        for (int64_t k = 0; k < c->leaf[i].count && (used >> i & 1U) == 0;
             k++) {
            used |= chain_difference(c, i, k) != 0.0 ? 1U << i : 0U;
        }
    }
    return used;
}

static inline void chain_add_differences(chain *c, chain_numbers *sum)
{
    for (int i = 0; i < c->what->n_leaves; i++) {
        for (int64_t k = 0; k < c->leaf[i].count; k++) {
            sum->of[i][k] += chain_difference(c, i, k);
        }
    }
}

/* Two microbatches, seeds 1 and 2, their gradients added. */
static inline void chain_train_two(chain *c, unsigned trains)
{
    c->trains = trains;
    for (int i = 0; i < c->what->n_leaves; i++) {
        memset(c->leaf[i].grad, 0, sizeof c->leaf[i].grad);
    }
    chain_fill(c, 1);
    chain_train(c);
    chain_fill(c, 2);
    chain_train(c);
}

/* The claim of a case, for every choice of which leaves train. */
static inline void chain_gradient_is_right(void **state)
{
    static chain_numbers wanted;
    chain c;
    bool is_right = true;

    chain_begin(&c, *state);
    memset(&wanted, 0, sizeof wanted);
    const unsigned used = chain_used_leaves(&c);
    assert_int_not_equal(used, 0);
    chain_fill(&c, 1);
    chain_add_differences(&c, &wanted);
    chain_fill(&c, 2);
    chain_add_differences(&c, &wanted);
    for (unsigned trains = 1; trains < 1U << c.what->n_leaves; trains++) {
        if ((trains & ~used) != 0) {
            continue;
        }
        chain_train_two(&c, trains);
        for (int i = 0; i < c.what->n_leaves; i++) {
            if ((trains >> i & 1U) != 0) {
                is_right = chain_check_leaf(&c, i, wanted.of[i]) && is_right;
            } else if (c.leaf[i].input != NULL) {
                assert_null(c.leaf[i].input->grad);
            }
        }
    }
    assert_true(is_right);
    chain_end(&c);
}

/* Leaves: an input, a weight. */
#define INPUT(r, c)    \
    {                  \
        (r), (c), true \
    }
#define WEIGHT(r, c)    \
    {                   \
        (r), (c), false \
    }

/* One test per case of an array. */
#define CHAIN_MAIN(cases)                                          \
    int main(void)                                                 \
    {                                                              \
        enum {                                                     \
            N = sizeof(cases) / sizeof(cases)[0]                   \
        };                                                         \
        struct CMUnitTest tests[N];                                \
        for (int i = 0; i < N; i++) {                              \
            tests[i] = (struct CMUnitTest){                        \
                .name = (cases)[i].name,                           \
                .test_func = chain_gradient_is_right,              \
                .initial_state = (void *)(uintptr_t) & (cases)[i], \
            };                                                     \
        }                                                          \
        return cmocka_run_group_tests(tests, NULL, NULL);          \
    }
#endif
