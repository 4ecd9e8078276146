/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accuracy of the vector mathematics, measured against the C library in
 * double through the slots that use it, over the ranges that training visits
 * and beyond.
 */
#include "open_cpu.h"

static const char *const paths[] = {"avx2", "avx512"};

enum {
    N_PATHS = sizeof paths / sizeof paths[0],
    N = 100003
};

typedef double (*exact_fn)(double x);

static double exact_silu(double x)
{
    return x / (1.0 + exp(-x));
}
static double exact_gelu(double x)
{
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
}
static double exact_gelu_tanh(double x)
{
    return 0.5 * x *
           (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}
static double exact_quick(double x)
{
    return x / (1.0 + exp(-1.702 * x));
}
static double exact_silu_slope(double x)
{
    const double s = 1.0 / (1.0 + exp(-x));
    return s * (1.0 + x * (1.0 - s));
}
static double exact_gelu_slope(double x)
{
    return 0.5 * (1.0 + erf(x / sqrt(2.0))) +
           x * exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));
}

/* Largest |error| / max(1, |x|) over [-limit, limit], in units of 2^-24. */
static double units(cs_backend *backend, cs_activation activation,
                    bool backward, exact_fn exact, double limit)
{
    float *x = make_values(CS_F32, N, 1);
    float *ones = make_values(CS_F32, N, 2);
    float *y = make_values(CS_F32, N, 3);
    const cs_activation_args args = {.dtype = CS_F32,
                                     .count = N,
                                     .activation = activation,
                                     .x = x,
                                     .dy = ones,
                                     .y = y};
    double most = 0.0;

    for (int i = 0; i < N; i++) {
        x[i] = (float)(limit * (2.0 * i / (N - 1) - 1.0));
        ones[i] = 1.0F;
    }
    assert_ok(backward ? backend->ops.activation_backward(backend, &args)
                       : backend->ops.activation(backend, &args));
    for (int i = 0; i < N; i++) {
        const double error = fabs((double)y[i] - exact((double)x[i])) /
                             fmax(1.0, fabs((double)x[i]));
        most = error <= most ? most : error;
    }
    csi_free(x);
    csi_free(ones);
    csi_free(y);
    return most * 16777216.0;
}

static void activations_are_exact_to_a_few_units(void **state)
{
    skip_without_module();
    static const struct {
        cs_activation activation;
        bool backward;
        exact_fn exact;
    } cases[] = {
        {CS_ACT_SILU, false, exact_silu},
        {CS_ACT_GELU, false, exact_gelu},
        {CS_ACT_GELU_TANH, false, exact_gelu_tanh},
        {CS_ACT_QUICK_GELU, false, exact_quick},
        {CS_ACT_SILU, true, exact_silu_slope},
        {CS_ACT_GELU, true, exact_gelu_slope},
    };
    static const double limits[] = {1.0, 6.0, 120.0};

    (void)state;
    for (int p = 0; p < N_PATHS; p++) {
        cs_backend *backend = open_cpu(paths[p], 1);

        for (size_t i = 0;
             backend != NULL && i < sizeof cases / sizeof cases[0]; i++) {
            for (int l = 0; l < 3; l++) {
                const double got =
                    units(backend, cases[i].activation, cases[i].backward,
                          cases[i].exact, limits[l]);

                if (!(got <= 4.0)) {
                    fail_msg("%s: case %zu up to %g: %g units of 2^-24",
                             paths[p], i, limits[l], got);
                }
            }
        }
        cs_backend_destroy(&backend);
    }
}

/* The relative error of exp: silu(x) e^-x for large negative x. */
static void exp_keeps_its_relative_accuracy(void **state)
{
    skip_without_module();
    float x[64];
    float y[64];
    const cs_activation_args args = {.dtype = CS_F32,
                                     .count = 64,
                                     .activation = CS_ACT_SILU,
                                     .x = x,
                                     .y = y};

    (void)state;
    for (int i = 0; i < 64; i++) {
        x[i] = -20.0F - (float)i;
    }
    for (int p = 0; p < N_PATHS; p++) {
        cs_backend *backend = open_cpu(paths[p], 1);

        if (backend != NULL) {
            assert_ok(backend->ops.activation(backend, &args));
            for (int i = 0; i < 64; i++) {
                const double exact = exact_silu((double)x[i]);
                assert_true(fabs((double)y[i] / exact - 1.0) < 3e-7);
            }
        }
        cs_backend_destroy(&backend);
    }
}

static void nan_goes_through(void **state)
{
    skip_without_module();
    static const cs_activation activations[] = {CS_ACT_GELU, CS_ACT_GELU_TANH,
                                                CS_ACT_SILU, CS_ACT_RELU,
                                                CS_ACT_QUICK_GELU};

    (void)state;
    for (int p = 0; p < N_PATHS; p++) {
        cs_backend *backend = open_cpu(paths[p], 1);

        for (size_t i = 0; backend != NULL && i < 5; i++) {
            float x[20] = {0};
            float y[20];
            const cs_activation_args args = {.dtype = CS_F32,
                                             .count = 20,
                                             .activation = activations[i],
                                             .x = x,
                                             .y = y};

            x[3] = NAN;
            x[19] = NAN;
            assert_ok(backend->ops.activation(backend, &args));
            assert_true(isnan(y[3]) && isnan(y[19]));
            assert_true(!isnan(y[4]));
        }
        cs_backend_destroy(&backend);
    }
}

static void rope_keeps_its_phase_at_a_million(void **state)
{
    skip_without_module();
    const int32_t position[2] = {1000003, 17};
    double frequency[12];

    (void)state;
    for (int i = 0; i < 12; i++) {
        frequency[i] = pow(10000.0, -i / 12.0);
    }
    for (int p = 0; p < N_PATHS; p++) {
        cs_backend *backend = open_cpu(paths[p], 1);
        float q[2 * 24];
        const cs_rope_args args = {.dtype = CS_F32,
                                   .rows = 2,
                                   .q_heads = 1,
                                   .head_dim = 24,
                                   .rotary_dim = 24,
                                   .position_T = position,
                                   .inverse_frequency = frequency,
                                   .scale = 1.0,
                                   .q_THK = q};

        for (int i = 0; backend != NULL && i < 48; i++) {
            q[i] = i % 24 < 12 ? 1.0F : 0.0F;
        }
        if (backend != NULL) {
            assert_ok(backend->ops.rope(backend, &args));
            for (int t = 0; t < 2; t++) {
                const float *row = q + (size_t)t * 24;

                for (int i = 0; i < 12; i++) {
                    const double angle = position[t] * frequency[i];

                    assert_near((double)row[i], cos(angle), 2e-7);
                    assert_near((double)row[i + 12], sin(angle), 2e-7);
                }
            }
        }
        cs_backend_destroy(&backend);
    }
}

static void squares_are_summed_in_the_same_order_by_any_threads(void **state)
{
    skip_without_module();
    const int64_t n = 300007;
    float *x = make_values(CS_F32, n, 1);
    cs_backend *one = open_cpu("", 1);
    cs_backend *three = open_cpu("", 3);
    double a = 0.0;
    double b = 0.0;
    double exact = 0.0;

    (void)state;
    for (int64_t i = 0; i < n; i++) {
        exact += (double)x[i] * (double)x[i];
    }
    assert_ok(one->ops.sum_squares(one, CS_F32, x, n, &a));
    assert_ok(three->ops.sum_squares(three, CS_F32, x, n, &b));
    assert_true(a == b);
    assert_near(a / exact, 1.0, 1e-12);
    csi_free(x);
    cs_backend_destroy(&one);
    cs_backend_destroy(&three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(activations_are_exact_to_a_few_units),
        CST_TEST(exp_keeps_its_relative_accuracy),
        CST_TEST(nan_goes_through),
        CST_TEST(rope_keeps_its_phase_at_a_million),
        CST_TEST(squares_are_summed_in_the_same_order_by_any_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
