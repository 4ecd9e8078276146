/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference in bf16 against itself in f32 on the same inputs, rounded to
 * bf16 for both: what is left is the rounding of results.
 */
#include "op_case.h"
#include "test.h"

/* Returns how many arrays are out of tolerance. An array that only bf16 has
 * (AdamW's working copy) has nothing to be compared with. */
static int compare(const op_run *low, const op_run *high)
{
    const op_tolerance *limit = &op_tolerances[low->c->op];
    int n_wrong = 0;

    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        const op_role role = high->array[id].role;

        if (role != ROLE_OUT && role != ROLE_GRADIENT) {
            continue;
        }
        const double error = op_array_error(&low->array[id], &high->array[id]);
        if (!(error <= limit->bf16_f32)) {
            print_error("array %d: error %g, tolerance %g (%s)\n", id, error,
                        limit->bf16_f32, limit->reason);
            n_wrong++;
        }
    }
    return n_wrong;
}

static void bf16_is_f32_rounded(void **state)
{
    const op_case *c = *state;
    cs_backend *backend = NULL;
    op_run low;
    op_run high;

    assert_ok(cs_backend_create("ref", 1, &backend));
    op_run_begin(&low, c, backend, CS_BF16, true);
    op_run_begin(&high, c, backend, CS_F32, true);
    op_run_go(&low);
    op_run_go(&high);
    const int n_wrong = compare(&low, &high);
    op_run_end(&low);
    op_run_end(&high);
    cs_backend_destroy(&backend);
    assert_int_equal(n_wrong, 0);
}

int main(void)
{
    static struct CMUnitTest tests[256];
    static char names[256][160];
    size_t n_tests = 0;

    for (int64_t i = 0; i < n_op_cases && n_tests < 256; i++) {
        tests[n_tests] = (struct CMUnitTest){
            .name = op_case_name(&op_cases[i], names[n_tests]),
            .test_func = bf16_is_f32_rounded,
            .setup_func = cst_begin,
            .teardown_func = cst_end,
            .initial_state = (void *)(uintptr_t)&op_cases[i],
        };
        n_tests++;
    }
    return _cmocka_run_group_tests("bf16", tests, n_tests, NULL, NULL);
}
