/* SPDX-License-Identifier: Apache-2.0 */
/* Ops refuse arguments that no kernel could compute, before they reach one. */
#include "cornstarch/op.h"

#include "test.h"

static cs_backend *backend;

static int open_ref(void **state)
{
    (void)state;
    return cs_backend_create("ref", 1, &backend) == CS_OK ? 0 : -1;
}

static int close_ref(void **state)
{
    (void)state;
    cs_backend_destroy(&backend);
    return 0;
}

static double x[8], y[8], w[8];
static int32_t rows_of[8];

static void a_norm_with_an_offset_is_rms(void **state)
{
    (void)state;
    cs_norm_args args = {.dtype = CS_F64,
                         .kind = CS_NORM_LAYER,
                         .rows = 2,
                         .dim = 4,
                         .weight_offset = 1.0,
                         .x_TD = x,
                         .w_D = w,
                         .y_TD = y};

    assert_fails(cs_op_norm(backend, &args), CS_ERR_ARG, "wanted an rms norm");
    args.kind = CS_NORM_RMS;
    assert_ok(cs_op_norm(backend, &args));
}

static void rope_wants_axes_that_exist(void **state)
{
    (void)state;
    static const int32_t position[4] = {0};
    static const double frequency[2] = {1, 1};
    static const uint8_t is_long[2] = {0};
    uint8_t axis[2] = {0, 1};
    cs_rope_args args = {.dtype = CS_F64,
                         .rows = 2,
                         .q_heads = 1,
                         .head_dim = 4,
                         .rotary_dim = 4,
                         .position_T = position,
                         .inverse_frequency = frequency,
                         .axis = axis,
                         .scale = 1,
                         .q_THK = x};

    assert_fails(cs_op_rope(backend, &args), CS_ERR_ARG,
                 "axis of pair 1 wanted 0..0, got 1");
    args.n_axes = 2;
    assert_ok(cs_op_rope(backend, &args));
    args.long_frequency = frequency;
    assert_fails(cs_op_rope(backend, &args), CS_ERR_ARG, "is_long");
    args.is_long_T = is_long;
    assert_ok(cs_op_rope(backend, &args));
    args.rotary_dim = -2;
    assert_fails(cs_op_rope(backend, &args), CS_ERR_SHAPE, "rotary_dim -2");
}

static void mix_wants_indices_in_range(void **state)
{
    (void)state;
    double weight[4] = {1, 1, 1, 1};
    cs_mix_args args = {.dtype = CS_F64,
                        .dx_dtype = CS_F64,
                        .rows = 2,
                        .columns = 2,
                        .x_rows = 3,
                        .k = 2,
                        .index_TK = rows_of,
                        .weight_TK = weight,
                        .x = x,
                        .y_TD = y,
                        .dy_TD = x,
                        .dx = y};

    rows_of[3] = 3;
    assert_fails(cs_op_mix(backend, &args), CS_ERR_ARG,
                 "index 1 of row 1 wanted -1..2, got 3");
    assert_fails(cs_op_mix_backward(backend, &args), CS_ERR_ARG,
                 "mix_backward: index 1 of row 1");
    rows_of[3] = -1;
    assert_ok(cs_op_mix(backend, &args));
    assert_ok(cs_op_mix_backward(backend, &args));
    args.dx_dtype = CS_BF16;
    assert_fails(cs_op_mix_backward(backend, &args), CS_ERR_DTYPE,
                 "f64 rows into bf16");
    args.dx_dtype = CS_F64;
    args.dweight_TK = weight;
    args.x = NULL;
    assert_fails(cs_op_mix_backward(backend, &args), CS_ERR_ARG, "x is null");
    assert_fails(cs_op_mix(backend, &args), CS_ERR_ARG, "x is null");
    args.weight_TK = NULL;
    assert_fails(cs_op_mix(backend, &args), CS_ERR_ARG, "weight is null");
    args.k = 0;
    assert_fails(cs_op_mix(backend, &args), CS_ERR_SHAPE, "k wanted");
    args.dtype = CS_F16;
    assert_fails(cs_op_mix(backend, &args), CS_ERR_DTYPE, "got f16");
}

static void scale_wants_what_its_gradients_read(void **state)
{
    (void)state;
    cs_scale_args args = {.dtype = CS_F64,
                          .rows = 2,
                          .columns = 2,
                          .dy_TD = x,
                          .dx_TD = y};

    assert_fails(cs_op_scale(backend, &args), CS_ERR_ARG, "x is null");
    assert_fails(cs_op_scale_backward(backend, &args), CS_ERR_ARG, "w is null");
    args.w_D = w;
    assert_ok(cs_op_scale_backward(backend, &args));
    args.dw_D = w;
    assert_fails(cs_op_scale_backward(backend, &args), CS_ERR_ARG, "x is null");
    args.columns = 0;
    assert_fails(cs_op_scale(backend, &args), CS_ERR_SHAPE, "columns wanted");
}

static void route_wants_experts_that_exist(void **state)
{
    (void)state;
    double p[8] = {0};
    double weight[4] = {0};
    cs_route_args args = {.dtype = CS_F64,
                          .rows = 2,
                          .experts = 4,
                          .top_k = 5,
                          .logits_TE = x,
                          .p_TE = p,
                          .expert_TK = rows_of,
                          .weight_TK = weight,
                          .dweight_TK = weight,
                          .dlogits_TE = y};

    assert_fails(cs_op_route(backend, &args), CS_ERR_SHAPE,
                 "top_k wanted 1..4, got 5");
    args.top_k = 2;
    assert_ok(cs_op_route(backend, &args));
    assert_ok(cs_op_route_backward(backend, &args));
    rows_of[2] = 4;
    assert_fails(cs_op_route_backward(backend, &args), CS_ERR_ARG,
                 "choice 0 of row 1 wanted 0..3, got 4");
    args.logits_TE = NULL;
    assert_fails(cs_op_route(backend, &args), CS_ERR_ARG, "logits is null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_norm_with_an_offset_is_rms),
        cmocka_unit_test(rope_wants_axes_that_exist),
        cmocka_unit_test(mix_wants_indices_in_range),
        cmocka_unit_test(scale_wants_what_its_gradients_read),
        cmocka_unit_test(route_wants_experts_that_exist),
    };

    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
