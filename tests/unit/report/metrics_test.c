/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.jsonl as runs leave it: half lines, steps done twice, values that
 * are not finite, files that are no metrics at all.
 */
#include "base/str.h"

#include "metrics.h"
#include "support/test.h"

#include <math.h>
#include <string.h>

static void parse(const char *text, csi_metrics *out)
{
    assert_ok(csi_metrics_parse(text, strlen(text), "metrics.jsonl", out));
}

static double cell(const csi_table *t, int64_t row, int32_t column)
{
    return t->values[row * t->n_columns + column];
}

static void lines_become_rows(void **state)
{
    csi_metrics m = {0};

    (void)state;
    parse("{\"step\": 1, \"loss\": 2.5, \"learning_rate\": 1e-4, \"tokens\": "
          "10, \"step_s\": 0.5, \"tokens_per_s\": 20, \"grad_norm\": 3}\n"
          "{\"step\": 1, \"eval\": \"heldout\", \"eval_loss\": 4, "
          "\"eval_stderr\": 0.5, \"n_samples\": 7}\n"
          "{\"step\": 2, \"loss\": null, \"tokens\": 5, \"step_s\": 0.25, "
          "\"skipped_samples\": 3}\n",
          &m);
    assert_int_equal(m.n_bad_lines, 0);
    assert_int_equal(m.steps.n, 2);
    assert_near(cell(&m.steps, 0, CSI_METRIC_LOSS), 2.5, 0.0);
    assert_near(cell(&m.steps, 0, CSI_METRIC_LEARNING_RATE), 1e-4, 0.0);
    assert_near(cell(&m.steps, 0, CSI_METRIC_GRAD_NORM), 3.0, 0.0);
    assert_near(cell(&m.steps, 0, CSI_METRIC_TOKENS_PER_S), 20.0, 0.0);
    assert_true(isnan(cell(&m.steps, 1, CSI_METRIC_LOSS)));
    assert_near(cell(&m.steps, 1, CSI_METRIC_SMOOTH), 2.5, 0.0);
    assert_near(m.train_s, 0.75, 0.0);
    assert_near(m.tokens, 15.0, 0.0);
    assert_near(m.skipped_samples, 3.0, 0.0);
    assert_int_equal(m.n_sets, 1);
    assert_string_equal(m.sets[0].name, "heldout");
    assert_near(cell(&m.sets[0].table, 0, CSI_EVAL_LOSS), 4.0, 0.0);
    assert_near(cell(&m.sets[0].table, 0, CSI_EVAL_STDERR), 0.5, 0.0);
    csi_metrics_fini(&m);
}

static void bad_lines_are_counted_and_left_out(void **state)
{
    static const char *const BAD[] = {
        "{\"step\": 2, \"lo", /* the run died here */
        "not json",
        "[1, 2]",
        "17",
        "{}",
        "{\"step\": \"2\"}",
        "{\"step\": -1}",
        "{\"step\": 1.5}",
        "{\"step\": 2, \"step\": 3}",
        "{\"step\": 2, \"eval\": 5}",
        "{\"step\": 2, \"loss\": NaN}",
        "{\"step\": 99999999999999999999}",
        "\xff\xfe{\"step\": 2}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        csi_str text = {0};
        csi_metrics m = {0};
        csi_str_addf(&text, "{\"step\": 1, \"loss\": 1}\n\n%s", BAD[i]);
        parse(text.data, &m);
        if (m.n_bad_lines != 1 || m.steps.n != 1) {
            fail_msg("'%s' was not left out", BAD[i]);
        }
        assert_string_equal(cs_error_message(), "");
        csi_metrics_fini(&m);
        csi_str_fini(&text);
    }
}

static void deep_and_long_lines_are_left_out(void **state)
{
    csi_str text = {0};
    csi_metrics m = {0};

    (void)state;
    for (int i = 0; i < 60000; i++) {
        csi_str_add(&text, "[");
    }
    csi_str_add(&text, "\n{\"step\": 1, \"loss\": 1, \"note\": \"");
    for (int i = 0; i < 70000; i++) {
        csi_str_add(&text, "x");
    }
    csi_str_add(&text, "\"}\n{\"step\": 2, \"loss\": 1}\n");
    parse(text.data, &m);
    assert_int_equal(m.n_bad_lines, 2);
    assert_int_equal(m.steps.n, 1);
    csi_metrics_fini(&m);
    csi_str_fini(&text);
}

static void a_resumed_step_replaces_what_came_after_it(void **state)
{
    csi_metrics m = {0};

    (void)state;
    parse("{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 2}\n"
          "{\"step\": 3, \"loss\": 3}\n"
          "{\"step\": 3, \"eval\": \"a\", \"eval_loss\": 3}\n"
          "{\"step\": 2, \"loss\": 20}\n"
          "{\"step\": 2, \"eval\": \"a\", \"eval_loss\": 20}\n",
          &m);
    assert_int_equal(m.steps.n, 2);
    assert_near(cell(&m.steps, 1, CSI_METRIC_LOSS), 20.0, 0.0);
    assert_int_equal(m.sets[0].table.n, 1);
    assert_near(cell(&m.sets[0].table, 0, CSI_EVAL_LOSS), 20.0, 0.0);
    csi_metrics_fini(&m);
}

static void smoothing_keeps_a_constant_and_follows_a_fall(void **state)
{
    csi_str text = {0};
    csi_metrics m = {0};

    (void)state;
    for (int i = 0; i < 2000; i++) {
        csi_str_addf(&text, "{\"step\": %d, \"loss\": %d}\n", i,
                     i < 1000 ? 4 : 1);
    }
    parse(text.data, &m);
    assert_near(cell(&m.steps, 0, CSI_METRIC_SMOOTH), 4.0, 1e-12);
    assert_near(cell(&m.steps, 999, CSI_METRIC_SMOOTH), 4.0, 1e-12);
    assert_true(cell(&m.steps, 1000, CSI_METRIC_SMOOTH) > 3.5);
    assert_near(cell(&m.steps, 1999, CSI_METRIC_SMOOTH), 1.0, 1e-6);
    csi_metrics_fini(&m);
    csi_str_fini(&text);
}

static void very_long_runs_are_thinned_out(void **state)
{
    csi_str text = {0};
    csi_metrics m = {0};
    const int n = 300 * 1000;

    (void)state;
    for (int i = 1; i <= n; i++) {
        csi_str_addf(&text, "{\"step\":%d,\"step_s\":1}\n", i);
    }
    parse(text.data, &m);
    assert_true(m.steps.n > n / 8 && m.steps.n <= 256 * 1024);
    assert_near(m.train_s, n, 0.0);
    assert_near(cell(&m.steps, 0, CSI_METRIC_STEP), 1.0, 0.0);
    for (int64_t i = 1; i < m.steps.n; i++) {
        assert_near(cell(&m.steps, i, CSI_METRIC_STEP) -
                        cell(&m.steps, i - 1, CSI_METRIC_STEP),
                    2.0, 0.0);
    }
    assert_true(cell(&m.steps, m.steps.n - 1, CSI_METRIC_STEP) > n - 8);
    csi_metrics_fini(&m);
    csi_str_fini(&text);
}

static void more_sets_than_fit_are_left_out(void **state)
{
    csi_str text = {0};
    csi_metrics m = {0};

    (void)state;
    for (int i = 0; i < CSI_MAX_EVAL_SETS + 3; i++) {
        csi_str_addf(&text, "{\"step\": 1, \"eval\": \"s%d\"}\n", i);
    }
    parse(text.data, &m);
    assert_int_equal(m.n_sets, CSI_MAX_EVAL_SETS);
    assert_int_equal(m.n_bad_lines, 3);
    csi_metrics_fini(&m);
    csi_str_fini(&text);
}

static void median_ignores_what_is_not_finite(void **state)
{
    double values[] = {NAN, 5.0, 1.0, INFINITY, 3.0, 2.0};
    const csi_table table = {.values = values,
                             .n = 6,
                             .capacity = 6,
                             .n_columns = 1};
    const csi_table none = {.values = values, .n = 1, .n_columns = 1};
    double median = 0.0;

    (void)state;
    assert_ok(csi_table_median(&table, 0, &median));
    assert_near(median, 2.5, 0.0);
    assert_ok(csi_table_median(&none, 0, &median));
    assert_true(isnan(median));
}

static void a_missing_file_is_told_apart(void **state)
{
    cst_tmpdir dir;
    csi_metrics m = {0};

    (void)state;
    cst_tmpdir_make(&dir);
    assert_ok(csi_metrics_load(cst_path(&dir, "metrics.jsonl"), &m));
    assert_true(m.is_missing);
    csi_metrics_fini(&m);
    assert_ok(csi_metrics_load(cst_write_text(&dir, "m", "{\"step\": 1}"), &m));
    assert_false(m.is_missing);
    assert_int_equal(m.steps.n, 1);
    csi_metrics_fini(&m);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(lines_become_rows),
        CST_TEST(bad_lines_are_counted_and_left_out),
        CST_TEST(deep_and_long_lines_are_left_out),
        CST_TEST(a_resumed_step_replaces_what_came_after_it),
        CST_TEST(smoothing_keeps_a_constant_and_follows_a_fall),
        CST_TEST(very_long_runs_are_thinned_out),
        CST_TEST(more_sets_than_fit_are_left_out),
        CST_TEST(median_ignores_what_is_not_finite),
        CST_TEST(a_missing_file_is_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
