/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about losses of samples, with numbers that a pencil checks. */
#include "cornstarch/infer.h"

#include "test.h"

#include <math.h>

enum {
    N = 3
};

static void a_loss_is_a_ratio_of_sums(void **state)
{
    double nll[] = {2.0, 6.0};
    int64_t tokens[] = {2, 2};
    const cs_sample_losses losses = {2, nll, tokens};

    (void)state;
    /* R = 8 / 4; rests -2 and 2; sqrt(2 / 1 x 8) / 4 */
    const cs_evaluation e = cs_evaluation_summarise(&losses);
    assert_near(e.loss, 2.0, 1e-15);
    assert_near(e.stderr_, 1.0, 1e-15);
    assert_int_equal(e.n_samples, 2);
    assert_int_equal(e.label_tokens, 4);
}

static void long_samples_weigh_more(void **state)
{
    double nll[] = {4.0, 8.0};
    int64_t tokens[] = {1, 3};
    const cs_sample_losses losses = {2, nll, tokens};

    (void)state;
    /* R = 12 / 4; rests 4 - 3 and 8 - 9; sqrt(2 x 2) / 4 */
    const cs_evaluation e = cs_evaluation_summarise(&losses);
    assert_near(e.loss, 3.0, 1e-15);
    assert_near(e.stderr_, 0.5, 1e-15);
}

static void a_gain_is_of_pairs(void **state)
{
    double right[N] = {1.0, 20.0, 4.0};
    double swapped[N] = {3.0, 22.0, 6.0};
    int64_t tokens[N] = {1, 2, 3};
    const cs_sample_losses a = {N, right, tokens};
    const cs_sample_losses b = {N, swapped, tokens};
    cs_gain g;

    (void)state;
    /* differences 2 2 2 over 6 tokens: 1; rests 1 0 -1; sqrt(3 / 2 x 2) / 6 */
    assert_ok(cs_evaluation_compare(&a, &b, &g));
    assert_near(g.gain, 1.0, 1e-15);
    assert_near(g.stderr_, sqrt(3.0) / 6.0, 1e-15);
    assert_int_equal(g.n_samples, N);
    /* the losses spread far wider than their differences */
    assert_true(cs_evaluation_summarise(&a).stderr_ > 5.0 * g.stderr_);
}

static void an_equal_gain_per_token_is_certain(void **state)
{
    double right[N] = {1.0, 20.0, 4.0};
    double swapped[N] = {0.5, 19.0, 2.5};
    int64_t tokens[N] = {1, 2, 3};
    const cs_sample_losses a = {N, right, tokens};
    const cs_sample_losses b = {N, swapped, tokens};
    cs_gain g;

    (void)state;
    assert_ok(cs_evaluation_compare(&a, &b, &g));
    assert_near(g.gain, -0.5, 1e-15);
    assert_near(g.stderr_, 0.0, 1e-15);
}

static void what_either_could_not_read_is_left_out(void **state)
{
    double right[4] = {1.0, 7.0, 0.0, 2.0};
    double swapped[4] = {2.0, 0.0, 9.0, 5.0};
    int64_t right_tokens[4] = {2, 5, -1, 2};
    int64_t swapped_tokens[4] = {2, -1, 4, 2};
    const cs_sample_losses a = {4, right, right_tokens};
    const cs_sample_losses b = {4, swapped, swapped_tokens};
    cs_gain g;

    (void)state;
    /* differences 1 and 3 over 4 tokens: 1; rests -1 1; sqrt(2 x 2) / 4 */
    assert_ok(cs_evaluation_compare(&a, &b, &g));
    assert_near(g.gain, 1.0, 1e-15);
    assert_near(g.stderr_, 0.5, 1e-15);
    assert_int_equal(g.n_samples, 2);
    assert_int_equal(cs_evaluation_summarise(&a).n_samples, 3);
    assert_int_equal(cs_evaluation_summarise(&a).label_tokens, 9);
}

static void one_sample_has_no_spread(void **state)
{
    double nll[] = {3.0};
    int64_t tokens[] = {2};
    const cs_sample_losses losses = {1, nll, tokens};
    cs_gain g;

    (void)state;
    assert_near(cs_evaluation_summarise(&losses).loss, 1.5, 1e-15);
    assert_near(cs_evaluation_summarise(&losses).stderr_, 0.0, 0.0);
    assert_ok(cs_evaluation_compare(&losses, &losses, &g));
    assert_near(g.gain, 0.0, 0.0);
    assert_near(g.stderr_, 0.0, 0.0);
}

static void other_samples_are_refused(void **state)
{
    double nll[2] = {1.0, 2.0};
    int64_t tokens[2] = {3, 4};
    int64_t other[2] = {3, 5};
    const cs_sample_losses a = {2, nll, tokens};
    const cs_sample_losses shorter = {1, nll, tokens};
    const cs_sample_losses longer = {2, nll, other};
    cs_gain g;

    (void)state;
    assert_fails(cs_evaluation_compare(&a, &shorter, &g), CS_ERR_ARG,
                 "2 samples with the right media, 1 with swapped");
    assert_fails(cs_evaluation_compare(&a, &longer, &g), CS_ERR_ARG,
                 "sample 1 has 4 label tokens with the right media, 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_loss_is_a_ratio_of_sums),
        CST_TEST(long_samples_weigh_more),
        CST_TEST(a_gain_is_of_pairs),
        CST_TEST(an_equal_gain_per_token_is_certain),
        CST_TEST(what_either_could_not_read_is_left_out),
        CST_TEST(one_sample_has_no_spread),
        CST_TEST(other_samples_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
