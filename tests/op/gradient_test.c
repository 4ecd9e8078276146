/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every backward of the reference backend against central differences in f64:
 * the loss is sum(cotangent * output), and the wanted gradient of x is
 * (loss(x + h) - loss(x - h)) / 2h, added to the first content where the
 * gradient accumulates.
 */
#include "op_case.h"
#include "test.h"

#include <math.h>

enum {
    SAMPLES = 40,         /* elements looked at per array */
    MAX_PRODUCT = 5000000 /* larger cases are for parity: too slow here */
};

#define STEP 1e-5
/* h^2 times a third derivative and eps / h are both near 1e-10 of the loss,
 * which is up to a few hundred times a gradient. */
#define TOLERANCE 1e-6

static double loss_of(const op_run *r)
{
    double loss = 0;

    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        const op_array *d = &r->array[id];

        for (int64_t i = 0; d->role == ROLE_COTANGENT && i < d->n; i++) {
            loss += d->value[i] * op_array_get(&r->array[d->of], i);
        }
    }
    return loss;
}

static double difference(op_run *r, op_array *x, int64_t i)
{
    const double centre = x->value[i];

    x->value[i] = centre + STEP;
    op_run_go(r);
    const double above = loss_of(r);
    x->value[i] = centre - STEP;
    op_run_go(r);
    const double below = loss_of(r);
    x->value[i] = centre;
    return (above - below) / (2 * STEP);
}

/* Returns how many elements are wrong. */
static int check_gradient(op_run *r, const op_array *gradient)
{
    int n_wrong = 0;
    const int64_t n = gradient->n;
    const int64_t stride = n <= SAMPLES ? 1 : n / SAMPLES;
    double largest = 1e-3; /* below it, absolute */

    for (int64_t i = 0; i < n; i++) {
        const double first = gradient->adds ? gradient->value[i] : 0;
        largest = fmax(largest, fabs(op_array_get(gradient, i) - first));
    }
    for (int64_t i = 0; i < n; i += stride) {
        const double first = gradient->adds ? gradient->value[i] : 0;
        const double wanted = first + difference(r, &r->array[gradient->of], i);
        const double got = op_array_get(gradient, i);

        if (!(fabs(got - wanted) <= TOLERANCE * largest)) {
            print_error("gradient of array %d, element %ld: wanted %.12g, "
                        "got %.12g\n",
                        (int)gradient->of, (long)i, wanted, got);
            n_wrong++;
        }
    }
    return n_wrong;
}

static void gradient_is_right(void **state)
{
    const op_case *c = *state;
    cs_backend *backend = NULL;
    op_run r;
    int n_wrong = 0;

    assert_ok(cs_backend_create("ref", 1, &backend));
    op_run_begin(&r, c, backend, CS_F64, false);
    op_run_go(&r);
    r.with_backward = false; /* gradients keep what backward left */
    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        if (r.array[id].role == ROLE_GRADIENT) {
            n_wrong += check_gradient(&r, &r.array[id]);
        }
    }
    op_run_end(&r);
    cs_backend_destroy(&backend);
    assert_int_equal(n_wrong, 0);
}

int main(void)
{
    static struct CMUnitTest tests[256];
    static char names[256][160];
    size_t n_tests = 0;

    for (int64_t i = 0; i < n_op_cases && n_tests < 256; i++) {
        const op_case *c = &op_cases[i];

        if (op_kinds[c->op].has_backward &&
            c->rows * c->in * c->out < MAX_PRODUCT) {
            tests[n_tests] = (struct CMUnitTest){
                .name = op_case_name(c, names[n_tests]),
                .test_func = gradient_is_right,
                .setup_func = cst_begin,
                .teardown_func = cst_end,
                .initial_state = (void *)(uintptr_t)c,
            };
            n_tests++;
        }
    }
    return _cmocka_run_group_tests("gradient", tests, n_tests, NULL, NULL);
}
