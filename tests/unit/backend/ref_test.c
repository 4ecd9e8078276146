/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference kernels against numbers worked out by hand or taken from
 * tables: the first anchor of numerical truth. Gradients follow from these by
 * central differences (tests/op).
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

static void assert_all_near(const double *got, const double *wanted, int n,
                            double tolerance)
{
    for (int i = 0; i < n; i++) {
        assert_near(got[i], wanted[i], tolerance);
    }
}

static void activations_at_one_and_minus_two(void **state)
{
    static const double wanted[CS_ACT_COUNT][2] = {
        [CS_ACT_NONE] = {1, -2},
        [CS_ACT_GELU] = {0.841344746068543, -0.045500263896358},
        [CS_ACT_GELU_TANH] = {0.841191990608276, -0.045402305912225},
        [CS_ACT_SILU] = {0.731058578630005, -0.238405844044235},
        [CS_ACT_RELU] = {1, 0},
        [CS_ACT_QUICK_GELU] = {0.845795765932821, -0.064341376855792},
    };
    const double x[2] = {1, -2};
    double y[2] = {0};

    (void)state;
    for (int act = 0; act < CS_ACT_COUNT; act++) {
        const cs_activation_args args = {
            .dtype = CS_F64,
            .count = 2,
            .activation = (cs_activation)act,
            .x = x,
            .y = y,
        };
        assert_ok(backend->ops.activation(backend, &args));
        assert_all_near(y, wanted[act], 2, 1e-12);
    }
}

static void linear_is_x_times_w_transposed_plus_b(void **state)
{
    const double x[6] = {1, 2, 3, 4, 5, 6};
    const double w[6] = {1, 0, -1, 2, 1, 0};
    const double b[2] = {10, 20};
    double pre[4] = {0};
    double y[4] = {0};
    const cs_linear_args args = {
        .dtype = CS_F64,
        .rows = 2,
        .in = 3,
        .out = 2,
        .x_TI = x,
        .w_OI = w,
        .b_O = b,
        .activation = CS_ACT_RELU,
        .pre_TO = pre,
        .y_TO = y,
    };

    (void)state;
    assert_ok(backend->ops.linear(backend, &args));
    assert_all_near(pre, (const double[]){8, 24, 8, 33}, 4, 0);
    assert_all_near(y, pre, 4, 0);
}

static void norms_of_one_row(void **state)
{
    const double x[2] = {1, 2};
    const double r[2] = {2, 2};
    const double w[2] = {1, 10};
    const double b[2] = {0, 100};
    double s[2] = {0};
    double y[2] = {0};
    double mean = 0;
    double rstd = 0;
    cs_norm_args args = {
        .dtype = CS_F64,
        .kind = CS_NORM_RMS,
        .rows = 1,
        .dim = 2,
        .eps = 0.5,
        .x_TD = x,
        .r_TD = r,
        .w_D = w,
        .s_TD = s,
        .y_TD = y,
        .rstd_T = &rstd,
    };
    const double rms = sqrt(12.5 + 0.5); /* mean of 9 and 16 */

    (void)state;
    assert_ok(backend->ops.norm(backend, &args));
    assert_all_near(s, (const double[]){3, 4}, 2, 0);
    assert_near(rstd, 1 / rms, 1e-15);
    assert_all_near(y, (const double[]){3 / rms, 40 / rms}, 2, 1e-14);

    args.kind = CS_NORM_LAYER;
    args.b_D = b;
    args.mean_T = &mean;
    args.eps = 0.75; /* variance 0.25: rstd 1 */
    assert_ok(backend->ops.norm(backend, &args));
    assert_near(mean, 3.5, 0);
    assert_near(rstd, 1, 0);
    assert_all_near(y, (const double[]){-0.5, 105}, 2, 1e-14);
}

static void rope_turns_half_split_pairs(void **state)
{
    const int32_t position[2] = {0, 1};
    const double frequency[1] = {1.5707963267948966};
    double q[6] = {1, 2, 3, 1, 2, 3}; /* two tokens, one head, dims 0 1 | 2 */
    cs_rope_args args = {
        .dtype = CS_F64,
        .rows = 2,
        .q_heads = 1,
        .k_heads = 1,
        .head_dim = 3,
        .rotary_dim = 2,
        .position_T = position,
        .inverse_frequency = frequency,
        .scale = 1,
        .q_THK = q,
    };

    (void)state;
    assert_ok(backend->ops.rope(backend, &args));
    assert_all_near(q, (const double[]){1, 2, 3, -2, 1, 3}, 6, 1e-15);
    args.inverse = true;
    assert_ok(backend->ops.rope(backend, &args));
    assert_all_near(q, (const double[]){1, 2, 3, 1, 2, 3}, 6, 1e-15);
}

/* Three tokens of one document: logits are q k = 0, ln 3, ln 3. */
static void attention_is_a_weighted_mean_of_what_is_visible(void **state)
{
    const double log3 = log(3.0);
    const uint64_t text = cs_mask_word(1, 0, 1, 1);
    const uint64_t word[4] = {text, text, cs_mask_word(1, 0, 0, 1), 0};
    const int32_t position[4] = {0, 1, 2, 3};
    const double q[4] = {1, 1, 1, 1};
    const double k[4] = {0, log3, 5, 5};
    const double v[4] = {4, 8, 100, 100};
    double o[4] = {9, 9, 9, 9};
    double lse[4] = {0};
    cs_attention_args args = {
        .dtype = CS_F64,
        .q_rows = 4,
        .k_rows = 4,
        .heads = 1,
        .kv_heads = 1,
        .head_dim = 1,
        .scale = 1,
        .q_mask = {4, word, position},
        .k_mask = {4, word, position},
        .q_THK = q,
        .k_TGK = k,
        .v_TGK = v,
        .o_THK = o,
        .lse_HT = lse,
    };

    (void)state;
    assert_ok(backend->ops.attention(backend, &args));
    assert_all_near(o, (const double[]){4, 7, 0, 0}, 4, 1e-14);
    assert_near(lse[1], log(4.0), 1e-15);
    assert_true(isinf(lse[2]) && lse[2] < 0);
    assert_true(isinf(lse[3]) && lse[3] < 0);

    args.window = 1; /* a token sees itself only */
    assert_ok(backend->ops.attention(backend, &args));
    assert_all_near(o, (const double[]){4, 8, 0, 0}, 4, 1e-14);

    args.window = 0;
    args.softcap = 0.5;
    const double p = exp(0.5 * tanh(log3 / 0.5));
    assert_ok(backend->ops.attention(backend, &args));
    assert_near(o[1], (4 + 8 * p) / (1 + p), 1e-14);
}

/* Heads 0 and 1 read key/value head 0, heads 2 and 3 head 1. */
static void query_heads_share_key_heads(void **state)
{
    const uint64_t word = cs_mask_word(1, 0, 1, 1);
    const int32_t position = 0;
    const double q[4] = {1, 1, 1, 1};
    const double k[2] = {1, 1};
    const double v[2] = {5, 6};
    double o[4] = {0};
    const cs_attention_args args = {
        .dtype = CS_F64,
        .q_rows = 1,
        .k_rows = 1,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 1,
        .scale = 1,
        .q_mask = {1, &word, &position},
        .k_mask = {1, &word, &position},
        .q_THK = q,
        .k_TGK = k,
        .v_TGK = v,
        .o_THK = o,
    };

    (void)state;
    assert_ok(backend->ops.attention(backend, &args));
    assert_all_near(o, (const double[]){5, 5, 6, 6}, 4, 0);
}

static void gather_and_scatter_move_rows(void **state)
{
    const int32_t index[4] = {1, -1, 0, 1};
    const double x[4] = {1, 2, 3, 4};
    double y[8] = {10, 10, 10, 10, 10, 10, 10, 10};
    double dx[4] = {100, 100, 100, 100};
    cs_gather_args gather = {
        .dtype = CS_F64,
        .rows = 4,
        .columns = 2,
        .x_rows = 2,
        .index_T = index,
        .x = x,
        .y_TD = y,
        .accumulate = true,
    };
    const cs_scatter_add_args scatter = {
        .dtype = CS_F64,
        .dx_dtype = CS_F64,
        .rows = 4,
        .columns = 2,
        .x_rows = 2,
        .index_T = index,
        .dy_TD = y,
        .dx = dx,
    };

    (void)state;
    assert_ok(backend->ops.gather(backend, &gather));
    assert_all_near(y, (const double[]){13, 14, 10, 10, 11, 12, 13, 14}, 8, 0);
    gather.accumulate = false;
    assert_ok(backend->ops.gather(backend, &gather));
    assert_all_near(y, (const double[]){3, 4, 0, 0, 1, 2, 3, 4}, 8, 0);
    assert_ok(backend->ops.scatter_add(backend, &scatter));
    assert_all_near(dx, (const double[]){101, 102, 106, 108}, 4, 0);
}

static void pooling_is_the_mean_of_each_group(void **state)
{
    const int64_t begin[4] = {0, 2, 2, 3};
    const double x[3] = {1, 3, 7};
    double y[3] = {9, 9, 9};
    const cs_pool_args args = {
        .dtype = CS_F64,
        .groups = 3,
        .columns = 1,
        .begin = begin,
        .x = x,
        .y = y,
    };

    (void)state;
    assert_ok(backend->ops.pool(backend, &args));
    assert_all_near(y, (const double[]){2, 0, 7}, 3, 0);
}

/* Two items of 3 and 2 rows, 2 channels, kernel 3, stride 2, pad 1. */
static void convolution_windows_stay_inside_their_item(void **state)
{
    const int64_t in_begin[3] = {0, 3, 5};
    const int64_t out_begin[3] = {0, 2, 3};
    const double x[10] = {1, -1, 2, -2, 3, -3, 4, -4, 5, -5};
    double cols[18] = {0};
    const cs_im2col_args args = {
        .dtype = CS_F64,
        .items = 2,
        .in_begin = in_begin,
        .out_begin = out_begin,
        .channels = 2,
        .kernel = 3,
        .stride = 2,
        .pad = 1,
        .x = x,
        .cols = cols,
    };
    const double wanted[18] = {
        0, 1, 2, 0,  -1, -2, /* item 0, centre row 0 */
        2, 3, 0, -2, -3, 0,  /* item 0, centre row 2 */
        0, 4, 5, 0,  -4, -5, /* item 1, centre row 0 */
    };

    (void)state;
    assert_ok(backend->ops.im2col(backend, &args));
    assert_all_near(cols, wanted, 18, 0);
}

/* Logits are 0 and ln 3, so that the softmax is 1/4, 3/4. */
static void the_loss_is_minus_log_of_the_label(void **state)
{
    const double x[3] = {1, 1, 1};
    const double w[2] = {0, log(3.0)};
    const int32_t label[3] = {0, -100, 1};
    double nll[3] = {7, 7, 7};
    double lse[3] = {0};
    double dx[3] = {9, 9, 9};
    double dw[2] = {1, 1};
    double sum = 1;
    int64_t n_correct = 10;
    const cs_head_loss_backward_args args = {
        .forward =
            {
                .dtype = CS_F64,
                .rows = 3,
                .in = 1,
                .vocab = 2,
                .x_TI = x,
                .w_VI = w,
                .label_T = label,
                .nll_T = nll,
                .lse_T = lse,
                .loss_sum = &sum,
                .n_correct = &n_correct,
            },
        .scale = 2,
        .dx_TI = dx,
        .dw_VI = dw,
    };

    (void)state;
    assert_ok(backend->ops.head_loss(backend, &args.forward));
    assert_near(nll[0], log(4.0), 1e-15);
    assert_near(nll[1], 0, 0);
    assert_near(nll[2], log(4.0 / 3), 1e-15);
    assert_near(sum, 1 + log(4.0) + log(4.0 / 3), 1e-14);
    assert_int_equal(n_correct, 11);
    assert_ok(backend->ops.head_loss_backward(backend, &args));
    assert_near(dx[0], 2 * 0.75 * log(3.0), 1e-14);
    assert_near(dx[1], 0, 0);
    assert_near(dx[2], -2 * 0.25 * log(3.0), 1e-14);
    assert_near(dw[0], 1 + 2 * (-0.75 + 0.25), 1e-14);
    assert_near(dw[1], 1 + 2 * (0.75 - 0.25), 1e-14);
}

/* At the first step m^ = g and v^ = g^2, so the update is the sign of g. */
static void adamw_first_step_is_the_sign_and_the_decay(void **state)
{
    double master[2] = {1, -1};
    double m[2] = {0};
    double v[2] = {0};
    const double grad[2] = {4, -0.5};
    uint16_t working[2] = {0};
    const cs_adamw_item item = {
        .count = 2,
        .master = master,
        .m = m,
        .v = v,
        .grad = grad,
        .working = working,
        .learning_rate = 0.125,
        .weight_decay = 0.5,
    };
    const cs_adamw_args args = {
        .dtype = CS_F64,
        .n_items = 1,
        .items = &item,
        .beta1 = 0.9,
        .beta2 = 0.99,
        .eps = 0,
        .grad_scale = 0.5,
        .step = 1,
    };

    (void)state;
    assert_ok(backend->ops.adamw(backend, &args));
    assert_near(m[0], 0.2, 1e-15);
    assert_near(v[0], 0.04, 1e-15);
    assert_near(master[0], 1 - 0.125 * (1 + 0.5), 1e-14);
    assert_near(master[1], -1 + 0.125 * (1 + 0.5), 1e-14);
    assert_int_equal(working[0], csi_f32_to_bf16((float)master[0]));
}

static void sums_and_casts(void **state)
{
    const float x[3] = {1, 2, -3};
    uint16_t half[3] = {0};
    double sum = 0;

    (void)state;
    assert_ok(backend->ops.sum_squares(backend, CS_F32, x, 3, &sum));
    assert_near(sum, 14, 0);
    assert_ok(backend->ops.cast(backend, CS_F32, x, CS_BF16, half, 3));
    assert_near((double)csi_bf16_to_f32(half[2]), -3, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_at_one_and_minus_two),
        cmocka_unit_test(linear_is_x_times_w_transposed_plus_b),
        cmocka_unit_test(norms_of_one_row),
        cmocka_unit_test(rope_turns_half_split_pairs),
        cmocka_unit_test(attention_is_a_weighted_mean_of_what_is_visible),
        cmocka_unit_test(query_heads_share_key_heads),
        cmocka_unit_test(gather_and_scatter_move_rows),
        cmocka_unit_test(pooling_is_the_mean_of_each_group),
        cmocka_unit_test(convolution_windows_stay_inside_their_item),
        cmocka_unit_test(the_loss_is_minus_log_of_the_label),
        cmocka_unit_test(adamw_first_step_is_the_sign_and_the_decay),
        cmocka_unit_test(sums_and_casts),
    };

    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
