/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time of a step went: known shares, and sums of exactly 100.0 for
 * any times.
 */
#include "base/alloc.h"
#include "base/rng.h"

#include "internal.h"
#include "support/test.h"
#include "timelines.h"

#include <math.h>
#include <string.h>

static void shares_are_those_of_the_times(void **state)
{
    static cst_step step;
    char *text = NULL;

    (void)state;
    /* Vision: 2 F, 1 SEND, 3 RECV, 1 Bi, 1 Bw, 3 at the end, AGREE one of
     * them: 11 ms. Language model: 3 RECV, 2 F, 2 Bi, 1 SEND, 1 REDUCE, 3. */
    cst_make_step(&step, 5, 1, 1);
    assert_ok(cs_timeline_table(&step.timeline, &text));
    assert_string_equal(
        text,
        "rank  vision  language_model  waiting  communication  optimizer  "
        "other  total %\n"
        "   0    33.4             0.0     33.3            8.3       16.7    "
        "8.3  100.0\n"
        "   1     0.0            33.3     33.3           16.7       16.7    "
        "0.0  100.0\n"
        " all    16.7            16.7     33.3           12.5       16.7    "
        "4.1  100.0\n");
    csi_free(text);
}

static void predictions_do_not_count(void **state)
{
    static cst_step step;
    csi_shares shares = {0};

    (void)state;
    cst_make_step(&step, 5, 1, 1);
    for (int64_t i = 0; i < step.timeline.n_events; i++) {
        step.events[i].kind = CS_TIMELINE_PREDICTED;
    }
    assert_ok(csi_shares_init(&step.timeline, &shares));
    for (int32_t row = 0; row < 3; row++) {
        const int32_t *const tenths =
            &shares.tenths[(int64_t)row * shares.n_columns];
        assert_int_equal(tenths[shares.n_columns - 1], 1000);
    }
    csi_shares_fini(&shares);
}

static void rows_sum_to_100_per_cent_exactly(void **state)
{
    static cst_step step;

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        csi_shares s = {0};
        cst_make_step(&step, 5, 1 + (int32_t)(seed % 3), 4);
        for (int64_t i = 0; i < step.timeline.n_events; i++) {
            cs_timeline_event *const e = &step.events[i];
            const double u = csi_rng_uniform(seed, 0, (uint64_t)i);
            e->end_s = e->start_s + (u < 0.2 ? 0.0 : pow(10.0, -9.0 * u));
        }
        assert_ok(csi_shares_init(&step.timeline, &s));
        for (int32_t row = 0; row <= s.n_ranks; row++) {
            int32_t sum = 0;
            for (int32_t i = 0; i < s.n_columns; i++) {
                const int32_t share = s.tenths[row * s.n_columns + i];
                assert_true(share >= 0);
                sum += share;
            }
            assert_int_equal(sum, 1000);
        }
        csi_shares_fini(&s);
    }
}

static void stages_of_one_module_share_a_column(void **state)
{
    static const char *const NAMES[] = {"ab 0", "b 0", "a 1", "ab 1", "a"};
    const cs_timeline t = {.n_ranks = 1, .n_stages = 5, .stage_name = NAMES};
    int32_t n = 0;
    int32_t *modules = NULL;
    int32_t *first = NULL;

    (void)state;
    assert_ok(csi_timeline_modules(&t, &n, &modules, &first));
    assert_int_equal(n, 3);
    const int32_t wanted[] = {0, 1, 2, 0, 2};
    assert_memory_equal(modules, wanted, sizeof wanted);
    assert_int_equal(first[2], 2);
    csi_free(modules);
    csi_free(first);
}

static void a_timeline_without_events_is_all_other(void **state)
{
    const cs_timeline t = {.n_ranks = 1};
    char *text = NULL;

    (void)state;
    assert_ok(cs_timeline_table(&t, &text));
    assert_contains(text, "100.0  100.0\n");
    csi_free(text);
}

static cs_status print(void *arg)
{
    char *text = NULL;

    CS_TRY(cs_timeline_table(arg, &text));
    csi_free(text);
    return CS_OK;
}

static void every_failure_is_told(void **state)
{
    static cst_step step;

    (void)state;
    cst_make_step(&step, 5, 1, 1);
    assert_true(cst_torture(print, &step.timeline) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(shares_are_those_of_the_times),
        CST_TEST(predictions_do_not_count),
        CST_TEST(rows_sum_to_100_per_cent_exactly),
        CST_TEST(stages_of_one_module_share_a_column),
        CST_TEST(a_timeline_without_events_is_all_other),
        CST_TEST(every_failure_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
