/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ops that weigh: the fast backend chooses the experts that the reference
 * chooses, ties included, and its sums over rows do not know the threads.
 */
#include "open_cpu.h"

static const char *const paths[] = {"avx2", "avx512"};

enum {
    N_PATHS = sizeof paths / sizeof paths[0],
    ROWS = 500,
    EXPERTS = 21,
    TOP_K = 6,
    COLUMNS = 330,
    X_ROWS = 40
};

static void choose(cs_backend *backend, const float *logits, int32_t *expert)
{
    static float p[ROWS * EXPERTS];
    static float weight[ROWS * TOP_K];
    const cs_route_args args = {.dtype = CS_F32,
                                .rows = ROWS,
                                .experts = EXPERTS,
                                .top_k = TOP_K,
                                .logits_TE = logits,
                                .p_TE = p,
                                .expert_TK = expert,
                                .weight_TK = weight};

    assert_ok(backend->ops.route(backend, &args));
}

/* Logits of four values: every row has ties. */
static void ties_are_broken_as_by_ref(void **state)
{
    skip_without_module();
    static int32_t wanted[ROWS * TOP_K];
    static int32_t got[ROWS * TOP_K];
    float *logits = make_values(CS_F32, (int64_t)ROWS * EXPERTS, 3);
    cs_backend *ref = open_ref();

    (void)state;
    for (int i = 0; i < ROWS * EXPERTS; i++) {
        logits[i] = roundf(2.0F * logits[i]) / 2.0F;
    }
    choose(ref, logits, wanted);
    for (int p = 0; p < N_PATHS; p++) {
        cs_backend *backend = open_cpu(paths[p], 2);

        if (backend != NULL) {
            choose(backend, logits, got);
            assert_memory_equal(got, wanted, sizeof wanted);
        }
        cs_backend_destroy(&backend);
    }
    cs_backend_destroy(&ref);
    csi_free(logits);
}

/* Many rows of dy into few of dx, and a column's weight over all rows. */
static void sum_rows(int32_t n_threads, cs_dtype dtype, float *dx, float *dw)
{
    static int32_t index[ROWS * 2];
    void *x = make_values(dtype, (int64_t)X_ROWS * COLUMNS, 1);
    void *dy = make_values(dtype, (int64_t)ROWS * COLUMNS, 2);
    float *weight = make_values(CS_F32, (int64_t)ROWS * 2, 3);
    cs_backend *backend = open_cpu("", n_threads);

    for (int i = 0; i < ROWS * 2; i++) {
        index[i] = i * 7 % X_ROWS;
    }
    const cs_mix_args mix = {.dtype = dtype,
                             .dx_dtype = CS_F32,
                             .rows = ROWS,
                             .columns = COLUMNS,
                             .x_rows = X_ROWS,
                             .k = 2,
                             .index_TK = index,
                             .weight_TK = weight,
                             .x = x,
                             .dy_TD = dy,
                             .dx = dx};
    const cs_scale_args scale = {.dtype = dtype,
                                 .rows = ROWS,
                                 .columns = COLUMNS,
                                 .x_TD = dy,
                                 .dy_TD = dy,
                                 .dw_D = dw};

    assert_ok(backend->ops.mix_backward(backend, &mix));
    assert_ok(backend->ops.scale_backward(backend, &scale));
    cs_backend_destroy(&backend);
    csi_free(x);
    csi_free(dy);
    csi_free(weight);
}

static void threads_change_no_bit(void **state)
{
    skip_without_module();
    static const cs_dtype dtypes[] = {CS_F32, CS_BF16};

    (void)state;
    for (int i = 0; i < 2; i++) {
        static float dx[2][X_ROWS * COLUMNS];
        static float dw[2][COLUMNS];

        memset(dx, 0, sizeof dx);
        memset(dw, 0, sizeof dw);
        sum_rows(1, dtypes[i], dx[0], dw[0]);
        sum_rows(3, dtypes[i], dx[1], dw[1]);
        assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
        assert_memory_equal(dw[0], dw[1], sizeof dw[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(ties_are_broken_as_by_ref),
        CST_TEST(threads_change_no_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
