/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference kernels that single families of models need, against numbers
 * worked out by hand.
 */
#include "cornstarch/backend.h"

#include "test.h"

#include <math.h>
#include <string.h>

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

static void assert_all_near(const double *got, const double *wanted, int n)
{
    for (int i = 0; i < n; i++) {
        assert_near(got[i], wanted[i], 1e-14);
    }
}

/* Gemma stores w - 1: the same row with weights 1, 10 and with 0, 9 + 1. */
static void an_offset_is_added_to_the_weight(void **state)
{
    const double x[2] = {3, 4};
    const double w[2] = {0, 9};
    double y[2] = {0};
    const cs_norm_args args = {
        .dtype = CS_F64,
        .kind = CS_NORM_RMS,
        .rows = 1,
        .dim = 2,
        .eps = 0.5,
        .weight_offset = 1,
        .x_TD = x,
        .w_D = w,
        .y_TD = y,
    };
    const double rms = sqrt(12.5 + 0.5);

    (void)state;
    assert_ok(backend->ops.norm(backend, &args));
    assert_all_near(y, (const double[]){3 / rms, 40 / rms}, 2);
}

/* Two pairs (0, 2), (1, 3) with frequency 1; two axes. Row 0 stands at (pi/2,
 * pi) in units of 1 radian through the frequencies. */
static void each_pair_turns_by_its_axis(void **state)
{
    const double quarter = acos(0.0);
    const double frequency[2] = {quarter, quarter};
    const int32_t position[4] = {1, 0, /* axis 0: rows 0, 1 */
                                 2, 3 /* axis 1 */};
    const uint8_t axis[2] = {0, 1};
    double q[8] = {1, 2, 3, 4, 1, 2, 3, 4};
    const cs_rope_args args = {
        .dtype = CS_F64,
        .rows = 2,
        .q_heads = 1,
        .head_dim = 4,
        .rotary_dim = 4,
        .n_axes = 2,
        .position_T = position,
        .inverse_frequency = frequency,
        .axis = axis,
        .scale = 1,
        .q_THK = q,
    };

    (void)state;
    assert_ok(backend->ops.rope(backend, &args));
    /* row 0: pair 0 by 90 degrees, pair 1 by 180; row 1: by 0 and 270 */
    assert_all_near(q, (const double[]){-3, -2, 1, -4, 1, 4, 3, -2}, 8);
}

static void rows_of_long_documents_turn_by_the_long_table(void **state)
{
    const double quarter = acos(0.0);
    const double frequency[1] = {quarter};
    const double slow[1] = {quarter / 2};
    const int32_t position[2] = {2, 2};
    const uint8_t is_long[2] = {0, 1};
    double k[4] = {1, 2, 1, 2};
    const cs_rope_args args = {
        .dtype = CS_F64,
        .rows = 2,
        .k_heads = 1,
        .head_dim = 2,
        .rotary_dim = 2,
        .position_T = position,
        .inverse_frequency = frequency,
        .long_frequency = slow,
        .is_long_T = is_long,
        .scale = 2, /* of cosine and sine */
        .k_TGK = k,
    };

    (void)state;
    assert_ok(backend->ops.rope(backend, &args));
    assert_all_near(k, (const double[]){-2, -4, -4, 2}, 4);
}

static void mix_is_a_sum_of_weighted_rows(void **state)
{
    const double x[6] = {1, 2, 10, 20, 100, 200};
    const int32_t index[4] = {2, 0, -1, 2};
    const double weight[4] = {0.5, 3, 7, -1};
    const double dy[4] = {1, 1, 2, 0};
    double y[4] = {9, 9, 9, 9};
    double dx[6] = {1, 0, 0, 0, 0, 0};
    double dweight[4] = {9, 9, 9, 9};
    const cs_mix_args args = {
        .dtype = CS_F64,
        .dx_dtype = CS_F64,
        .rows = 2,
        .columns = 2,
        .x_rows = 3,
        .k = 2,
        .index_TK = index,
        .weight_TK = weight,
        .x = x,
        .y_TD = y,
        .dy_TD = dy,
        .dx = dx,
        .dweight_TK = dweight,
    };

    (void)state;
    assert_ok(backend->ops.mix(backend, &args));
    assert_all_near(y, (const double[]){53, 106, -100, -200}, 4);
    assert_ok(backend->ops.mix_backward(backend, &args));
    assert_all_near(dx, (const double[]){4, 3, 0, 0, -1.5, 0.5}, 6);
    assert_all_near(dweight, (const double[]){300, 3, 0, 200}, 4);
}

static void scale_weighs_columns(void **state)
{
    const double x[4] = {1, 2, 3, 4};
    const double w[2] = {10, -1};
    const double dy[4] = {1, 2, 3, 4};
    double y[4] = {0};
    double dx[4] = {5, 5, 5, 5};
    double dw[2] = {100, 0};
    const cs_scale_args args = {
        .dtype = CS_F64,
        .rows = 2,
        .columns = 2,
        .x_TD = x,
        .w_D = w,
        .y_TD = y,
        .dy_TD = dy,
        .dx_TD = dx,
        .dw_D = dw,
        .accumulate = true,
    };

    (void)state;
    assert_ok(backend->ops.scale(backend, &args));
    assert_all_near(y, (const double[]){10, -2, 30, -4}, 4);
    assert_ok(backend->ops.scale_backward(backend, &args));
    assert_all_near(dx, (const double[]){15, 3, 35, 1}, 4);
    assert_all_near(dw, (const double[]){110, 20}, 2);
}

/* p of logits 0, ln 2, ln 5: 1/8, 2/8, 5/8. */
static void routing_takes_the_largest(void **state)
{
    const double logits[3] = {0, log(2), log(5)};
    double p[3] = {0};
    double weight[2] = {0};
    int32_t expert[2] = {0};
    cs_route_args args = {
        .dtype = CS_F64,
        .rows = 1,
        .experts = 3,
        .top_k = 2,
        .logits_TE = logits,
        .p_TE = p,
        .expert_TK = expert,
        .weight_TK = weight,
    };

    (void)state;
    assert_ok(backend->ops.route(backend, &args));
    assert_all_near(p, (const double[]){0.125, 0.25, 0.625}, 3);
    assert_int_equal(expert[0], 2);
    assert_int_equal(expert[1], 1);
    assert_all_near(weight, (const double[]){0.625, 0.25}, 2);
    args.normalises = true;
    assert_ok(backend->ops.route(backend, &args));
    assert_all_near(weight, (const double[]){5.0 / 7, 2.0 / 7}, 2);
}

/* Row 0: experts 1 and 3 lead together; row 1: no number leads, the choices
 * are still experts and each one is taken once. */
static void routing_breaks_ties_downwards(void **state)
{
    const double logits[8] = {0, 2, 0, 2, NAN, NAN, NAN, NAN};
    double p[8] = {0};
    double weight[6] = {0};
    int32_t expert[6] = {0};
    const cs_route_args args = {
        .dtype = CS_F64,
        .rows = 2,
        .experts = 4,
        .top_k = 3,
        .logits_TE = logits,
        .p_TE = p,
        .expert_TK = expert,
        .weight_TK = weight,
    };

    (void)state;
    assert_ok(backend->ops.route(backend, &args));
    assert_int_equal(expert[0], 1);
    assert_int_equal(expert[1], 3);
    assert_int_equal(expert[2], 0);
    assert_int_equal(expert[3], 0);
    assert_int_equal(expert[4], 1);
    assert_int_equal(expert[5], 2);
}

/* One input, two words with w = +-x: capped logits are +-2 tanh(x^2 / 2). */
static void the_head_caps_its_logits(void **state)
{
    const double x[1] = {3};
    const double w[2] = {3, -3};
    const int32_t label[1] = {0};
    const double logit = 2 * tanh(9.0 / 2);
    double nll[1] = {0};
    double lse[1] = {0};
    double sum = 0;
    double dx[1] = {0};
    const cs_head_loss_backward_args args = {
        .forward =
            {
                .dtype = CS_F64,
                .rows = 1,
                .in = 1,
                .vocab = 2,
                .softcap = 2,
                .x_TI = x,
                .w_VI = w,
                .label_T = label,
                .nll_T = nll,
                .lse_T = lse,
                .loss_sum = &sum,
            },
        .scale = 1,
        .dx_TI = dx,
    };

    (void)state;
    assert_ok(backend->ops.head_loss(backend, &args.forward));
    assert_near(nll[0], log(1 + exp(-2 * logit)), 1e-13);
    assert_ok(backend->ops.head_loss_backward(backend, &args));
    /* dlogit0 = p0 - 1 = -p1, dlogit1 = p1; slope of the cap on both */
    const double p1 = 1 / (1 + exp(2 * logit));
    const double slope = 1 - logit * logit / 4;
    assert_near(dx[0], -6 * p1 * slope, 1e-13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offset_is_added_to_the_weight),
        cmocka_unit_test(each_pair_turns_by_its_axis),
        cmocka_unit_test(rows_of_long_documents_turn_by_the_long_table),
        cmocka_unit_test(mix_is_a_sum_of_weighted_rows),
        cmocka_unit_test(scale_weighs_columns),
        cmocka_unit_test(routing_takes_the_largest),
        cmocka_unit_test(routing_breaks_ties_downwards),
        cmocka_unit_test(the_head_caps_its_logits),
    };

    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
