/* SPDX-License-Identifier: Apache-2.0 */
/* The registry. A folder with a broken module stands for a missing one. */
#include "cornstarch/backend.h"
#include "cornstarch/log.h"

#include "test.h"

#include <stdlib.h>

static void ref_has_every_slot(void **state)
{
    cs_backend *backend = NULL;

    (void)state;
    assert_ok(cs_backend_create("ref", 1, &backend));
    assert_string_equal(backend->name, "ref");
    assert_true(backend->q_block > 0 && backend->k_block > 0);
    const cs_op_table *ops = &backend->ops;
    const size_t n_slots = offsetof(cs_op_table, destroy) / sizeof ops->linear;
    const void *const *slots = (const void *const *)(const void *)ops;
    for (size_t i = 0; i < n_slots; i++) {
        assert_non_null(slots[i]);
    }
    cs_backend_destroy(&backend);
    assert_null(backend);
    cs_backend_destroy(&backend);
}

static void unknown_names_are_refused(void **state)
{
    cs_backend *backend = NULL;

    (void)state;
    assert_fails(cs_backend_create("gpu", 1, &backend), CS_ERR_ARG, "'gpu'");
    assert_fails(cs_backend_create("ref", 0, &backend), CS_ERR_ARG, "got 0");
    assert_null(backend);
}

static void scratch_grows_and_is_reused(void **state)
{
    cs_backend *backend = NULL;

    (void)state;
    assert_ok(cs_backend_create("ref", 1, &backend));
    char *small = csi_backend_scratch(backend, 100);
    assert_non_null(small);
    assert_true((uintptr_t)small % 64 == 0);
    small[99] = 1;
    assert_ptr_equal(csi_backend_scratch(backend, 50), small);
    char *large = csi_backend_scratch(backend, 100000);
    assert_non_null(large);
    large[99999] = 1;
    assert_ptr_equal(csi_backend_scratch(backend, 100000), large);
    cs_backend_destroy(&backend);
}

static void the_variable_selects_ref(void **state)
{
    cs_backend *backend = NULL;

    (void)state;
    assert_int_equal(setenv("CORNSTARCH_CPU", "ref", 1), 0);
    assert_ok(cs_backend_create("auto", 1, &backend));
    assert_string_equal(backend->name, "ref");
    cs_backend_destroy(&backend);
    assert_ok(cs_backend_create("cpu", 1, &backend));
    assert_string_equal(backend->name, "ref");
    cs_backend_destroy(&backend);
    assert_int_equal(unsetenv("CORNSTARCH_CPU"), 0);
}

/* A file that is no library must be named by cpu, and passed over by auto,
 * unless a good module lies on a later path. */
static void a_module_that_does_not_open_is_an_error(void **state)
{
    const char *before = getenv("CORNSTARCH_MODULES");
    char kept[CST_PATH_BYTES] = "";
    cst_tmpdir dir;
    cs_backend *backend = NULL;

    (void)state;
    if (before != NULL) {
        (void)snprintf(kept, sizeof kept, "%s", before);
    }
    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "libcornstarch_cpu.so", "no library");
    assert_int_equal(setenv("CORNSTARCH_MODULES", dir.path, 1), 0);
    const cs_status st = cs_backend_create("cpu", 1, &backend);
    if (st == CS_OK) {
        cs_backend_destroy(&backend);
    } else {
        assert_int_equal(st, CS_ERR_DEVICE);
        assert_contains(cs_error_message(), "libcornstarch_cpu.so");
        assert_null(backend);
    }
    cs_log_set_sink(NULL);
    assert_ok(cs_backend_create("auto", 1, &backend));
    cs_log_set_sink(stderr);
    assert_string_equal(backend->name, st == CS_OK ? "cpu" : "ref");
    cs_backend_destroy(&backend);
    cst_tmpdir_remove(&dir);
    if (kept[0] != '\0') {
        assert_int_equal(setenv("CORNSTARCH_MODULES", kept, 1), 0);
    } else {
        assert_int_equal(unsetenv("CORNSTARCH_MODULES"), 0);
    }
}

static void kernels_refuse_types_that_they_lack(void **state)
{
    cs_backend *backend = NULL;
    const cs_axpby_args half = {.dtype = CS_F16};
    const cs_adamw_args adamw = {.dtype = CS_BF16};
    const cs_scatter_add_args scatter = {.dtype = CS_F32, .dx_dtype = CS_F64};
    double sum = 0;

    (void)state;
    assert_ok(cs_backend_create("ref", 1, &backend));
    assert_fails(backend->ops.axpby(backend, &half), CS_ERR_DTYPE, "f16");
    assert_fails(backend->ops.adamw(backend, &adamw), CS_ERR_DTYPE, "bf16");
    assert_fails(backend->ops.scatter_add(backend, &scatter), CS_ERR_DTYPE,
                 "f64");
    assert_fails(backend->ops.sum_squares(backend, CS_BF16, NULL, 0, &sum),
                 CS_ERR_DTYPE, "bf16");
    cs_backend_destroy(&backend);
}

static cs_status create_and_use(void *arg)
{
    cs_backend *backend = NULL;
    cs_status st = CS_OK;
    float x[2] = {1, 2};
    float w[2] = {1, 1};
    int32_t label = 0;
    float nll = 0;
    float lse = 0;
    double sum = 0;
    const cs_head_loss_args loss = {
        .dtype = CS_F32,
        .rows = 1,
        .in = 2,
        .vocab = 1,
        .x_TI = x,
        .w_VI = w,
        .label_T = &label,
        .nll_T = &nll,
        .lse_T = &lse,
        .loss_sum = &sum,
    };

    (void)arg;
    CS_TRY_GOTO(undo, cs_backend_create("ref", 1, &backend));
    CS_TRY_GOTO(undo, backend->ops.head_loss(backend, &loss));
undo:
    cs_backend_destroy(&backend);
    return st;
}

static void running_out_of_memory_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(cst_torture(create_and_use, NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(ref_has_every_slot),
        CST_TEST(unknown_names_are_refused),
        CST_TEST(scratch_grows_and_is_reused),
        CST_TEST(the_variable_selects_ref),
        CST_TEST(a_module_that_does_not_open_is_an_error),
        CST_TEST(kernels_refuse_types_that_they_lack),
        CST_TEST(running_out_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
