/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.html: everything is in it, nothing is fetched, no text of a user can
 * become markup, and charts are drawn where the numbers say.
 */
#include "base/alloc.h"
#include "base/str.h"

#include "chart.h"
#include "page.h"
#include "support/test.h"
#include "timelines.h"

#include <math.h>
#include <string.h>

static const char METRICS[] =
    "{\"step\": 1, \"loss\": 3, \"learning_rate\": 1e-4, \"grad_norm\": 1, "
    "\"tokens\": 100, \"step_s\": 0.5, \"tokens_per_s\": 200}\n"
    "{\"step\": 2, \"loss\": 2, \"learning_rate\": 1e-4, \"grad_norm\": 1, "
    "\"tokens\": 100, \"step_s\": 0.5, \"tokens_per_s\": 200}\n"
    "{\"step\": 2, \"eval\": \"held<out>\", \"eval_loss\": 2.25, "
    "\"eval_stderr\": 0.1, \"n_samples\": 9}\n"
    "{\"step\": 3, \"lo";

static const uint8_t PNG[] = {0x89, 'P',  'N',  'G', '\r', '\n', 0x1a,
                              '\n', 0x00, 0x01, 'x', 'y',  'z'};

/* The page of a run folder; free with cst_free. */
static char *write_report(const cst_tmpdir *dir, cs_report_input *input)
{
    size_t n_bytes = 0;

    input->run_folder = dir->path;
    assert_ok(cs_report_write(input));
    return cst_read(cst_path(dir, "report.html"), &n_bytes);
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) {
        fail_msg("'%s' is in the page", part);
    }
}

static void whole_run_is_in_the_page(void **state)
{
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "metrics.jsonl", METRICS);
    cst_make_step(&step, 5, 1, 2);
    const cs_report_row rows[] = {{"heldout", "right picture", 1.25, 0.5, 40},
                                  {"heldout", "other picture", 2.5, 0.5, 40}};
    const cs_report_sample samples[] = {
        {"s1", NULL, NULL, "What is this?", "A pepper.", "A tomato."}};
    cs_report_input input = {
        .title = "my run",
        .recipe_text = "version: 1",
        .model_text = "two modules",
        .plan_text = "one rank",
        .machine_text = "a laptop",
        .timeline = &step.timeline,
        .n_samples = 1,
        .samples = samples,
        .n_rows = 2,
        .rows = rows,
    };
    char *html = write_report(&dir, &input);
    static const char *const PARTS[] = {
        "<title>my run</title>",
        "version: 1",
        "two modules",
        "one rank",
        "a laptop",
        "What is this?",
        "A pepper.",
        "A tomato.",
        "right picture",
        "other picture",
        "2.5000",
        "nats per label token",
        "learning rate",
        "tokens per second",
        "held&lt;out&gt;, step 2: 2.2500 \u00b1 0.1000",
        "RECV_GRADIENT, vision 0, microbatch 1\nactual: ",
        "FORWARD, language_model 0, microbatch 0\npredicted: 3 to 5 ms (2 ms)",
        "1 line of metrics.jsonl could not be read",
        "<td>100.0</td></tr>",
    };
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        assert_contains(html, PARTS[i]);
    }
    cst_free(html);
    cst_tmpdir_remove(&dir);
}

static void nothing_is_fetched_and_nothing_runs(void **state)
{
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "metrics.jsonl", METRICS);
    cst_make_step(&step, 5, 1, 2);
    cs_report_input input = {.title = "t", .timeline = &step.timeline};
    char *html = write_report(&dir, &input);
    assert_contains(html, "default-src 'none'");
    assert_lacks(html, "<script");
    assert_lacks(html, "http:");
    assert_lacks(html, "https:");
    assert_lacks(html, "url(");
    assert_lacks(html, "<link");
    assert_lacks(html, "nan");
    assert_lacks(html, "inf");
    cst_free(html);
    cst_tmpdir_remove(&dir);
}

static void text_never_becomes_markup(void **state)
{
    static const char EVIL[] = "</pre><script>alert(\"1\")</script>&'";
    static const char *const STAGES[] = {"<script>x</script> 0", "b 0"};
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "metrics.jsonl",
                         "{\"step\": 1, \"eval\": \"<script>\", \"eval_loss\": "
                         "1}\n");
    cst_make_step(&step, 5, 1, 1);
    step.timeline.stage_name = STAGES;
    const cs_report_row rows[] = {{EVIL, EVIL, 1.0, 1.0, 1}};
    const cs_report_sample samples[] = {{EVIL, EVIL, EVIL, EVIL, EVIL, EVIL}};
    cs_report_input input = {
        .title = EVIL,
        .recipe_text = EVIL,
        .model_text = EVIL,
        .plan_text = EVIL,
        .machine_text = EVIL,
        .timeline = &step.timeline,
        .n_samples = 1,
        .samples = samples,
        .n_rows = 1,
        .rows = rows,
    };
    char *html = write_report(&dir, &input);
    assert_lacks(html, "<script");
    assert_contains(html, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"
                          "&amp;&#39;");
    cst_free(html);
    cst_tmpdir_remove(&dir);
}

static void bytes_that_are_no_text_are_replaced(void **state)
{
    csi_str html = {0};

    (void)state;
    csi_page_text(&html, "a\xff\x01\xc3\xa9\xe2\x82z\n\xf0\x9f\x8d\x8e", 100);
    assert_string_equal(csi_str_get(&html),
                        "a\ufffd\ufffd\xc3\xa9\ufffd\ufffdz\n"
                        "\xf0\x9f\x8d\x8e");
    csi_str_clear(&html);
    csi_page_text(&html, "abcdef", 4);
    assert_string_equal(csi_str_get(&html), "abcd\u2026 [2 bytes more]");
    csi_str_clear(&html);
    csi_page_text(&html, NULL, 4);
    assert_string_equal(csi_str_get(&html), "");
    csi_str_fini(&html);
}

static void base64_is_that_of_rfc_4648(void **state)
{
    static const char *const CASES[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfd", "//79"}};

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        csi_str text = {0};
        csi_add_base64(&text, CASES[i][0], strlen(CASES[i][0]));
        assert_string_equal(csi_str_get(&text), CASES[i][1]);
        csi_str_fini(&text);
    }
}

static void media_are_embedded_by_their_first_bytes(void **state)
{
    static const char WAV[] = "RIFF....WAVEfmt ";
    cst_tmpdir dir;
    csi_str html = {0};
    size_t budget = 1000;

    (void)state;
    cst_tmpdir_make(&dir);
    /* Names lie: the picture is called .txt. */
    const char *const png = cst_write_bytes(&dir, "a.txt", PNG, sizeof PNG);
    assert_ok(csi_page_media(&html, CSI_MEDIA_PICTURE, png, &budget));
    assert_contains(html.data,
                    "src=\"data:image/png;base64,iVBORw0KGgoAAXh5eg==\"");
    assert_int_equal(budget, 1000 - sizeof PNG);
    csi_str_clear(&html);
    const char *const wav = cst_write_bytes(&dir, "s", WAV, sizeof WAV - 1);
    assert_ok(csi_page_media(&html, CSI_MEDIA_SOUND, wav, &budget));
    assert_contains(html.data, "<audio controls src=\"data:audio/wav;base64,");
    csi_str_clear(&html);
    /* A sound is no picture. */
    assert_ok(csi_page_media(&html, CSI_MEDIA_PICTURE, wav, &budget));
    assert_contains(html.data, "Picture not shown");
    assert_lacks(html.data, "data:");
    csi_str_fini(&html);
    cst_tmpdir_remove(&dir);
}

static void media_that_cannot_be_shown_leave_a_note(void **state)
{
    cst_tmpdir dir;
    csi_str html = {0};
    size_t budget = 4;
    const size_t n_large = 512 * 1024 + 1;
    uint8_t *const large = csi_calloc(1, n_large);

    (void)state;
    assert_non_null(large);
    memcpy(large, PNG, sizeof PNG);
    cst_tmpdir_make(&dir);
    const struct {
        const char *path, *why;
    } cases[] = {
        {cst_path(&dir, "missing"), "cannot be read"},
        {dir.path, "cannot be read"},
        {cst_write_bytes(&dir, "large", large, n_large), "larger than 512 KiB"},
        {cst_write_text(&dir, "page", "<svg onload=x></svg>"), "of no kind"},
        {cst_write_text(&dir, "empty", ""), "of no kind"},
        {cst_write_bytes(&dir, "png", PNG, sizeof PNG), "large enough"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        csi_str_clear(&html);
        assert_ok(csi_page_media(&html, CSI_MEDIA_PICTURE, cases[i].path,
                                 &budget));
        assert_contains(html.data, cases[i].why);
        assert_lacks(html.data, "data:");
        assert_string_equal(cs_error_message(), "");
    }
    csi_free(large);
    csi_str_fini(&html);
    cst_tmpdir_remove(&dir);
}

/* ---- charts ---- */

static void add_chart(csi_str *svg, double *values, int64_t n, bool may_be_log)
{
    const csi_table table = {.values = values, .n = n, .n_columns = 2};
    const csi_series series = {"s", &table, 0, 1, -1, CSI_MARK_LINE, 0};
    const csi_chart chart = {.x_label = "step",
                             .y_label = "loss",
                             .width = 400,
                             .height = 200,
                             .n_series = 1,
                             .series = &series,
                             .may_be_log = may_be_log};

    csi_chart_add(svg, &chart);
}

static void lines_have_gaps_where_values_are_missing(void **state)
{
    double values[] = {0, 1, 1, 2, 2, NAN, 3, 2, 4, 1};
    csi_str svg = {0};

    (void)state;
    add_chart(&svg, values, 5, false);
    const char *const path = strstr(svg.data, "class=\"line c0\" d=\"");
    assert_non_null(path);
    /* M x y L x y, a gap, M x y L x y; ends on the axes' ends. */
    assert_contains(path, "d=\"M58.0 ");
    assert_contains(path, "L388.0 ");
    int n_pens = 0;
    for (const char *at = path; *at != '/'; at++) {
        n_pens += *at == 'M';
    }
    assert_int_equal(n_pens, 2);
    assert_lacks(svg.data, "nan");
    csi_str_fini(&svg);
}

static void axes_are_logarithmic_over_a_decade(void **state)
{
    double wide[] = {0, 100, 1, 1};
    double narrow[] = {0, 3, 1, 2};
    double negative[] = {0, -100, 1, 1};
    csi_str svg = {0};

    (void)state;
    add_chart(&svg, wide, 2, true);
    assert_contains(svg.data, "loss, log</text>");
    assert_contains(svg.data, ">10</text>");
    csi_str_clear(&svg);
    add_chart(&svg, narrow, 2, true);
    assert_lacks(svg.data, ", log");
    csi_str_clear(&svg);
    add_chart(&svg, negative, 2, true);
    assert_lacks(svg.data, ", log");
    csi_str_fini(&svg);
}

static void odd_values_make_a_chart_or_a_sentence(void **state)
{
    double none[] = {1, NAN, 2, INFINITY};
    double one[] = {7, 0};
    double far[] = {9.2e18, 1};
    double same[] = {1, 5, 2, 5};
    double huge[] = {1, -1e308, 9e15, 1e308};
    double tiny[] = {1, 5e-324, 2, 1e-300};
    csi_str svg = {0};

    (void)state;
    add_chart(&svg, none, 2, true);
    assert_lacks(svg.data, "<svg");
    assert_contains(svg.data, "No values of loss");
    csi_str_clear(&svg);
    add_chart(&svg, one, 1, true);
    assert_contains(svg.data, "<circle");
    csi_str_clear(&svg);
    add_chart(&svg, far, 1, true);
    add_chart(&svg, same, 2, true);
    add_chart(&svg, huge, 2, true);
    add_chart(&svg, tiny, 2, true);
    assert_lacks(svg.data, "nan");
    csi_str_fini(&svg);
}

static void long_lines_are_bounded_and_keep_extremes(void **state)
{
    enum {
        N = 100000
    };
    double *const values = csi_calloc(2 * N, sizeof *values);
    csi_str svg = {0};

    (void)state;
    assert_non_null(values);
    for (int i = 0; i < N; i++) {
        values[2 * i] = i;
        values[2 * i + 1] = 5.0 + sin(i);
    }
    values[2 * 30001 + 1] = -40.0;
    values[2 * 70001 + 1] = 50.0;
    add_chart(&svg, values, N, false);
    assert_true(svg.length < 40000);
    /* The extremes lie 6 % of the range inside the upper and lower edge. */
    assert_contains(svg.data, " 19.9L");
    assert_contains(svg.data, " 152.1L");
    csi_free(values);
    csi_str_fini(&svg);
}

static void wide_worlds_are_cut(void **state)
{
    enum {
        N_RANKS = 100
    };
    static cs_timeline_event events[N_RANKS];
    cs_timeline t = {.n_ranks = N_RANKS,
                     .n_events = N_RANKS,
                     .events = events,
                     .n_stages = 1,
                     .stage_name = CST_STAGES};
    csi_str html = {0};
    int n_boxes = 0;

    (void)state;
    for (int32_t i = 0; i < N_RANKS; i++) {
        events[i] = (cs_timeline_event){CS_TIMELINE_ACTUAL,
                                        i,
                                        {CS_ACTION_FORWARD, 0, 0, -1},
                                        0.0,
                                        1e-7};
    }
    assert_ok(csi_page_timeline(&html, &t));
    assert_contains(html.data, "The first 64 of 100 ranks");
    assert_contains(html.data, ">rank 63<");
    assert_lacks(html.data, ">rank 64<");
    for (const char *at = html.data; (at = strstr(at, "<rect")) != NULL; at++) {
        n_boxes++;
    }
    assert_int_equal(n_boxes, 64);
    csi_str_fini(&html);
}

static void an_empty_run_still_has_a_page(void **state)
{
    cst_tmpdir dir;
    const cs_timeline nothing = {.n_ranks = 1};
    cs_report_input input = {.timeline = &nothing};

    (void)state;
    cst_tmpdir_make(&dir);
    char *html = write_report(&dir, &input);
    assert_contains(html, "metrics.jsonl is not there");
    assert_lacks(html, "nan");
    cst_free(html);
    (void)cst_write_text(&dir, "metrics.jsonl", "");
    html = write_report(&dir, &input);
    assert_contains(html, "No values of loss");
    cst_free(html);
    cst_tmpdir_remove(&dir);
}

/* ---- torture ---- */

static cs_status write_all(void *arg)
{
    static cst_step step;
    const cst_tmpdir *dir = arg;
    const cs_report_sample samples[] = {
        {"s1", cst_path(dir, "a.png"), NULL, "p", "a", "g"}};
    const cs_report_input input = {
        .run_folder = dir->path,
        .title = "t",
        .timeline = &step.timeline,
        .n_samples = 1,
        .samples = samples,
    };

    cst_make_step(&step, 5, 1, 1);
    CS_TRY(cs_report_write(&input));
    return CS_OK;
}

static void every_failure_is_told(void **state)
{
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    (void)cst_write_text(&dir, "metrics.jsonl", METRICS);
    (void)cst_write_bytes(&dir, "a.png", PNG, sizeof PNG);
    assert_true(cst_torture(write_all, &dir) > 20);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(whole_run_is_in_the_page),
        CST_TEST(nothing_is_fetched_and_nothing_runs),
        CST_TEST(text_never_becomes_markup),
        CST_TEST(bytes_that_are_no_text_are_replaced),
        CST_TEST(base64_is_that_of_rfc_4648),
        CST_TEST(media_are_embedded_by_their_first_bytes),
        CST_TEST(media_that_cannot_be_shown_leave_a_note),
        CST_TEST(lines_have_gaps_where_values_are_missing),
        CST_TEST(axes_are_logarithmic_over_a_decade),
        CST_TEST(odd_values_make_a_chart_or_a_sentence),
        CST_TEST(long_lines_are_bounded_and_keep_extremes),
        CST_TEST(wide_worlds_are_cut),
        CST_TEST(an_empty_run_still_has_a_page),
        CST_TEST(every_failure_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
