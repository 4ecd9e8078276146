/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is refused, with which sentence, and what is written. */
#include "base/alloc.h"
#include "base/json.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>

static cs_status parse(const char *text, json_t **out)
{
    return csi_json_parse(text, strlen(text), "x.json", out);
}

static void errors_name_file_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } CASES[] = {
        {"{\"a\": 1,\n \"a\": 2}", "x.json:2:"},
        {"", "x.json:1:0"},
        {"{\"a\": }", "x.json:1:7"},
        {"[1] x", "x.json:1:5"},
        {"[\"\xc3\x28\"]", "x.json:1:"},
        {"[\"\\u0000\"]", "x.json:1:"},
        {"[1e999]", "x.json:1:"},
        {"[99999999999999999999]", "x.json:1:"},
        {"[NaN]", "x.json:1:"},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        json_t *json = NULL;
        assert_fails(parse(CASES[i].text, &json), CS_ERR_FORMAT, CASES[i].part);
        assert_null(json);
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    static char text[100001];
    json_t *json = NULL;

    memset(text, '[', sizeof text - 1);
    assert_fails(parse(text, &json), CS_ERR_FORMAT, "maximum parsing depth");
}

static void a_prefix_is_parsed_and_measured(void **state)
{
    (void)state;
    static const char TEXT[] = " {\"a\": [1, 2]} , {\"b\": 2}";
    json_t *json = NULL;
    size_t consumed = 0;

    assert_ok(csi_json_parse_prefix(TEXT, strlen(TEXT), "x.json", &json,
                                    &consumed));
    assert_int_equal(consumed, 14);
    assert_int_equal(json_array_size(json_object_get(json, "a")), 2);
    json_decref(json);
    assert_ok(csi_json_parse_prefix("12, 3", 5, "x.json", &json, &consumed));
    assert_int_equal(consumed, 2);
    assert_int_equal(json_integer_value(json), 12);
    json_decref(json);
    assert_fails(csi_json_parse_prefix("{\"a\": ", 6, "x.json", &json,
                                       &consumed),
                 CS_ERR_FORMAT, "x.json:1:");
}

static void members_are_typed_and_ranged(void **state)
{
    (void)state;
    json_t *json = NULL;
    json_t *inner = NULL;
    int64_t n = 0;
    double x = 0;
    bool flag = false;
    const char *text = NULL;

    assert_ok(parse("{\"i\": 7, \"x\": 0.5, \"b\": true, \"s\": \"word\","
                    " \"o\": {}, \"a\": [], \"z\": null}",
                    &json));
    assert_ok(csi_json_i64(json, "i", "x.json", 7, 7, &n));
    assert_int_equal(n, 7);
    assert_fails(csi_json_i64(json, "i", "x.json", 8, 10, &n), CS_ERR_FORMAT,
                 "x.json: key 'i': wanted 8..10, got 7");
    assert_fails(csi_json_i64(json, "s", "x.json", 0, 9, &n), CS_ERR_FORMAT,
                 "x.json: key 's': wanted integer, got string");
    assert_fails(csi_json_i64(json, "x", "x.json", 0, 9, &n), CS_ERR_FORMAT,
                 "wanted integer, got number");
    assert_fails(csi_json_i64(json, "q", "x.json", 0, 9, &n), CS_ERR_FORMAT,
                 "x.json: key 'q' is missing: wanted integer");
    assert_ok(csi_json_f64(json, "x", "x.json", &x));
    assert_true(x == 0.5);
    assert_ok(csi_json_f64(json, "i", "x.json", &x));
    assert_true(x == 7);
    assert_fails(csi_json_f64(json, "b", "x.json", &x), CS_ERR_FORMAT,
                 "wanted number, got boolean");
    assert_ok(csi_json_bool(json, "b", "x.json", &flag));
    assert_true(flag);
    assert_fails(csi_json_bool(json, "i", "x.json", &flag), CS_ERR_FORMAT,
                 "wanted boolean, got integer");
    assert_ok(csi_json_string(json, "s", "x.json", &text));
    assert_string_equal(text, "word");
    assert_fails(csi_json_string(json, "z", "x.json", &text), CS_ERR_FORMAT,
                 "wanted string, got null");
    assert_ok(csi_json_object(json, "o", "x.json", &inner));
    assert_fails(csi_json_object(json, "a", "x.json", &inner), CS_ERR_FORMAT,
                 "wanted object, got array");
    assert_ok(csi_json_array(json, "a", "x.json", &inner));
    assert_fails(csi_json_array(json, "o", "x.json", &inner), CS_ERR_FORMAT,
                 "wanted array, got object");
    assert_fails(csi_json_array(inner, "o", "x.json", &inner), CS_ERR_FORMAT,
                 "wanted an object with key 'o', got array");
    json_decref(json);
}

static void optional_members_keep_their_default(void **state)
{
    (void)state;
    json_t *json = NULL;
    int64_t n = 3;
    double x = 0.25;
    bool flag = true;
    const char *text = "default";

    assert_ok(parse("{\"z\": null, \"i\": 7, \"s\": \"word\"}", &json));
    assert_ok(csi_json_opt_i64(json, "z", "x.json", 0, 9, &n));
    assert_ok(csi_json_opt_f64(json, "q", "x.json", &x));
    assert_ok(csi_json_opt_bool(json, "z", "x.json", &flag));
    assert_ok(csi_json_opt_string(json, "q", "x.json", &text));
    assert_int_equal(n, 3);
    assert_true(x == 0.25 && flag);
    assert_string_equal(text, "default");
    assert_ok(csi_json_opt_i64(json, "i", "x.json", 0, 9, &n));
    assert_int_equal(n, 7);
    assert_fails(csi_json_opt_bool(json, "s", "x.json", &flag), CS_ERR_FORMAT,
                 "key 's': wanted boolean, got string");
    json_decref(json);
}

static void our_files_say_format_and_version(void **state)
{
    (void)state;
    cst_tmpdir dir;
    json_t *json = NULL;

    cst_tmpdir_make(&dir);
    const char *path = cst_path(&dir, "plan.json");
    assert_ok(csi_json_new("cornstarch.plan", &json));
    assert_int_equal(json_object_set_new(json, "z_first", json_real(0.1)), 0);
    assert_int_equal(json_object_set_new(json, "a_second", json_null()), 0);
    assert_ok(csi_json_save(path, json));
    json_decref(json);
    size_t n_bytes = 0;
    char *text = cst_read(path, &n_bytes);
    assert_string_equal(text, "{\n"
                              "  \"format\": \"cornstarch.plan\",\n"
                              "  \"version\": 1,\n"
                              "  \"z_first\": 0.10000000000000001,\n"
                              "  \"a_second\": null\n"
                              "}\n");
    cst_free(text);
    assert_ok(csi_json_load(path, 1000, &json));
    assert_ok(csi_json_check_format(json, "cornstarch.plan", path));
    assert_fails(csi_json_check_format(json, "cornstarch.profile", path),
                 CS_ERR_FORMAT,
                 "wanted format 'cornstarch.profile', got 'cornstarch.plan'");
    assert_int_equal(json_object_set_new(json, "version", json_integer(2)), 0);
    assert_fails(csi_json_check_format(json, "cornstarch.plan", path),
                 CS_ERR_FORMAT, "wanted version 1 of cornstarch.plan, got 2");
    json_decref(json);
    assert_fails(csi_json_load(path, 10, &json), CS_ERR_FORMAT,
                 "the limit is 10");
    cst_tmpdir_remove(&dir);
}

static cs_status round_trip(void *arg)
{
    const cst_tmpdir *dir = arg;
    json_t *json = NULL;
    int64_t n = 0;

    CS_TRY(csi_json_new("cornstarch.test", &json));
    cs_status st = csi_json_save(cst_path(dir, "a.json"), json);
    json_decref(json);
    CS_TRY(st);
    CS_TRY(csi_json_load(cst_path(dir, "a.json"), 1000, &json));
    st = csi_json_i64(json, "version", "a.json", 1, 1, &n);
    json_decref(json);
    CS_TRY(st);
    return CS_OK;
}

static void failed_allocations_are_no_syntax_errors(void **state)
{
    (void)state;
    cst_tmpdir dir;

    cst_tmpdir_make(&dir);
    assert_in_range(cst_torture(round_trip, &dir), 20, 1000);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(errors_name_file_line_and_column),
        CST_TEST(deep_nesting_is_refused),
        CST_TEST(a_prefix_is_parsed_and_measured),
        CST_TEST(members_are_typed_and_ranged),
        CST_TEST(optional_members_keep_their_default),
        CST_TEST(our_files_say_format_and_version),
        CST_TEST(failed_allocations_are_no_syntax_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
