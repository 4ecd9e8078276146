/* SPDX-License-Identifier: Apache-2.0 */
/* The error trail and the log lines. */
#include "cornstarch/log.h"
#include "cornstarch/status.h"

#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static cs_status fail_inside(int number)
{
    return CS_FAIL(CS_ERR_SHAPE, "wanted 3, got %d", number);
}

static cs_status pass_on(int number)
{
    CS_TRY(fail_inside(number));
    return CS_OK;
}

static void a_failure_keeps_its_sentence_and_gains_frames(void **state)
{
    (void)state;
    cs_error error;

    assert_fails(pass_on(7), CS_ERR_SHAPE, "wanted 3, got 7");
    cs_error_get(&error);
    assert_int_equal(error.n_frames, 2);
    assert_string_equal(error.frames[0].function, "fail_inside");
    assert_string_equal(error.frames[1].function, "pass_on");
}

static void a_sentence_may_quote_the_one_it_replaces(void **state)
{
    (void)state;
    (void)fail_inside(7);
    (void)CS_FAIL(CS_ERR_IO, "a.txt: %s", cs_error_message());
    assert_string_equal(cs_error_message(), "a.txt: wanted 3, got 7");
}

static void a_long_sentence_is_cut_and_a_long_trail_is_bounded(void **state)
{
    (void)state;
    char text[2 * CS_ERROR_MESSAGE_BYTES];
    cs_error error;

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cs_status st = CS_FAIL(CS_ERR_IO, "%s", text);
    for (int i = 0; i < 2 * CS_ERROR_MAX_FRAMES; i++) {
        st = cs_pass_at("f.c", i, "f", st);
    }
    assert_int_equal(st, CS_ERR_IO);
    cs_error_get(&error);
    assert_int_equal(strlen(error.message), CS_ERROR_MESSAGE_BYTES - 1);
    assert_int_equal(error.n_frames, CS_ERROR_MAX_FRAMES);
}

/* What cs_error_print() writes, in a buffer to free(). */
static char *print_error_text(bool with_frames)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);

    assert_non_null(out);
    cs_error_print(out, with_frames);
    (void)fclose(out);
    return text;
}

static void the_printed_error_names_rank_status_and_frames(void **state)
{
    (void)state;
    cs_error_set_rank(3);
    assert_int_equal(fail_inside(7), CS_ERR_SHAPE);
    cs_error_set_rank(-1);
    char *text = print_error_text(false);
    assert_string_equal(text, "cornstarch: r03 error SHAPE: wanted 3, got 7\n");
    free(text);
    text = print_error_text(true);
    assert_contains(text, "fail_inside");
    assert_contains(text, "status_test.c:");
    free(text);
    cs_error_clear();
    text = print_error_text(true);
    assert_string_equal(text, "");
    free(text);
}

static void every_status_has_a_name_and_the_documented_exit_code(void **state)
{
    (void)state;
    for (int i = 0; i < CS_STATUS_COUNT; i++) {
        assert_string_not_equal(cs_status_name((cs_status)i), "?");
    }
    assert_string_equal(cs_status_name((cs_status)99), "?");
    assert_int_equal(cs_status_exit_code(CS_OK), 0);
    assert_int_equal(cs_status_exit_code(CS_ERR_IO), 1);
    assert_int_equal(cs_status_exit_code(CS_ERR_ARG), 2);
    assert_int_equal(cs_status_exit_code(CS_ERR_NUMERIC), 3);
    assert_int_equal(cs_status_exit_code(CS_ERR_PEER), 4);
}

/* Logs one line at info into a buffer to free(). */
static char *log_line(const char *folder, const char *text)
{
    char *line = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&line, &n_bytes);

    assert_non_null(out);
    cs_log_set_sink(out);
    cs_log(CS_LOG_INFO, folder, "%s", text);
    cs_log_set_sink(stderr);
    (void)fclose(out);
    return line;
}

static void a_log_line_has_time_rank_level_and_folder(void **state)
{
    (void)state;
    cs_error_set_rank(3);
    char *line = log_line("runtime", "step 120 loss 2.3171");
    cs_error_set_rank(-1);
    assert_int_equal(line[2], ':');
    assert_int_equal(line[8], '.');
    assert_string_equal(line + 12,
                        " r03 info  runtime  step 120 loss 2.3171\n");
    free(line);
}

static void an_endless_log_line_is_cut_but_ends(void **state)
{
    (void)state;
    char text[8192];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    char *line = log_line("data", text);
    const size_t length = strlen(line);
    assert_in_range(length, 1000, 4096);
    assert_int_equal(line[length - 1], '\n');
    free(line);
}

static void levels_are_set_by_folder(void **state)
{
    (void)state;
    assert_ok(cs_log_configure("warn,comm=trace"));
    assert_true(cs_log_enabled(CS_LOG_TRACE, "comm"));
    assert_true(cs_log_enabled(CS_LOG_WARN, "data"));
    assert_false(cs_log_enabled(CS_LOG_INFO, "data"));
    char *line = log_line("data", "unheard");
    assert_string_equal(line, "");
    free(line);
    assert_ok(cs_log_configure("info"));
    assert_false(cs_log_enabled(CS_LOG_DEBUG, "comm"));
    assert_true(cs_log_enabled(CS_LOG_INFO, "comm"));
}

static void unknown_levels_are_refused_and_change_nothing(void **state)
{
    (void)state;
    assert_fails(cs_log_configure("loud"), CS_ERR_ARG, "'loud'");
    assert_fails(cs_log_configure("info,comm=all"), CS_ERR_ARG, "'comm=all'");
    assert_fails(cs_log_configure("=info"), CS_ERR_ARG, "'=info'");
    assert_fails(cs_log_configure("information"), CS_ERR_ARG, "information");
    assert_true(cs_log_enabled(CS_LOG_INFO, "comm"));
    assert_false(cs_log_enabled(CS_LOG_DEBUG, "comm"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_failure_keeps_its_sentence_and_gains_frames),
        CST_TEST(a_sentence_may_quote_the_one_it_replaces),
        CST_TEST(a_long_sentence_is_cut_and_a_long_trail_is_bounded),
        CST_TEST(the_printed_error_names_rank_status_and_frames),
        CST_TEST(every_status_has_a_name_and_the_documented_exit_code),
        CST_TEST(a_log_line_has_time_rank_level_and_folder),
        CST_TEST(an_endless_log_line_is_cut_but_ends),
        CST_TEST(levels_are_set_by_folder),
        CST_TEST(unknown_levels_are_refused_and_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
