/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast CPU backend against ref on the whole table, in f32 and bf16, on
 * every path of instructions that this machine has and with one and with
 * three threads. Also: running again gives the same bits.
 */
#include "op_case.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

typedef struct path {
    const char *cpu; /* CORNSTARCH_CPU; "" = what the machine has best */
    int32_t n_threads;
} path;

/* Skips the test, loudly, when the module or the path is not there. */
static cs_backend *open_path(const path *p)
{
    static char why[CS_ERROR_MESSAGE_BYTES + 128];
    cs_backend *backend = NULL;

    if (p->cpu[0] != '\0') {
        assert_int_equal(setenv("CORNSTARCH_CPU", p->cpu, 1), 0);
    } else {
        assert_int_equal(unsetenv("CORNSTARCH_CPU"), 0);
    }
    const cs_status st = cs_backend_create("cpu", p->n_threads, &backend);
    (void)unsetenv("CORNSTARCH_CPU");
    if (st != CS_OK) {
        (void)snprintf(why, sizeof why, "cpu backend, path '%s': %s", p->cpu,
                       cs_error_message());
        cst_skip(why);
        return NULL;
    }
    if (strstr(backend->detail, p->cpu) == NULL) {
        (void)snprintf(why, sizeof why,
                       "this machine has no path '%s', the module took '%s'",
                       p->cpu, backend->detail);
        cs_backend_destroy(&backend);
        cst_skip(why);
        return NULL;
    }
    print_message("%s, %d threads\n", backend->detail, (int)p->n_threads);
    return backend;
}

/* Returns how many arrays of a case are out of tolerance. */
static int compare(const op_run *fast, const op_run *ref)
{
    const op_tolerance *limit = &op_tolerances[fast->c->op];
    const double tolerance =
        fast->dtype == CS_BF16 ? limit->parity_bf16 : limit->parity_f32;
    char name[160];
    int n_wrong = 0;

    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        const op_role role = ref->array[id].role;

        if (role != ROLE_OUT && role != ROLE_GRADIENT) {
            continue;
        }
        const double error = op_array_error(&fast->array[id], &ref->array[id]);
        if (!(error <= tolerance)) {
            print_error("%s %s: array %d: error %g, tolerance %g (%s)\n",
                        op_case_name(fast->c, name), cs_dtype_name(fast->dtype),
                        id, error, tolerance, limit->reason);
            n_wrong++;
        }
    }
    return n_wrong;
}

static int check_repeats(op_run *first, cs_backend *fast)
{
    op_run again;
    char name[160];
    int n_wrong = 0;

    op_run_begin(&again, first->c, fast, first->dtype, false);
    op_run_go(&again);
    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        const op_array *a = &first->array[id];
        const size_t n_bytes = (size_t)a->n * cs_dtype_bytes(a->dtype);

        if (n_bytes > 0 &&
            memcmp(a->data, again.array[id].data, n_bytes) != 0) {
            print_error("%s %s: array %d: another result the second time\n",
                        op_case_name(first->c, name),
                        cs_dtype_name(first->dtype), id);
            n_wrong++;
        }
    }
    op_run_end(&again);
    return n_wrong;
}

static int check_case(const op_case *c, cs_backend *fast, cs_backend *ref,
                      cs_dtype dtype)
{
    op_run a;
    op_run b;
    int n_wrong = 0;

    op_run_begin(&a, c, fast, dtype, false);
    op_run_begin(&b, c, ref, dtype, false);
    op_run_go(&a);
    op_run_go(&b);
    n_wrong += compare(&a, &b);
    n_wrong += check_repeats(&a, fast);
    op_run_end(&a);
    op_run_end(&b);
    return n_wrong;
}

static void cpu_agrees_with_ref(void **state)
{
    const path *p = *state;
    cs_backend *ref = NULL;
    cs_backend *fast = open_path(p);
    int n_wrong = 0;

    assert_ok(cs_backend_create("ref", 1, &ref));
    for (int64_t i = 0; i < n_op_cases; i++) {
        n_wrong += check_case(&op_cases[i], fast, ref, CS_F32);
        n_wrong += check_case(&op_cases[i], fast, ref, CS_BF16);
    }
    cs_backend_destroy(&ref);
    cs_backend_destroy(&fast);
    assert_int_equal(n_wrong, 0);
}

#define PATH_TEST(label, path)                                           \
    {                                                                    \
        "cpu_agrees_with_ref_on_" label, cpu_agrees_with_ref, cst_begin, \
            cst_end, &(path)                                             \
    }

int main(void)
{
    static path best = {"", 1};
    static path threads = {"", 3};
    static path avx2 = {"avx2", 1};
    static path avx512 = {"avx512", 1};
    static path amx = {"amx", 1};
    const struct CMUnitTest tests[] = {
        PATH_TEST("the_best_path", best),
        PATH_TEST("three_threads", threads),
        PATH_TEST("avx2", avx2),
        PATH_TEST("avx512", avx512),
        PATH_TEST("amx", amx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
