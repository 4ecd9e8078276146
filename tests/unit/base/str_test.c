/* SPDX-License-Identifier: Apache-2.0 */
/* Growing strings, words and numbers for people. */
#include "base/alloc.h"
#include "base/str.h"

#include "support/test.h"

#include <string.h>

static void a_string_grows(void **state)
{
    (void)state;
    csi_str s = {0};

    assert_string_equal(csi_str_get(&s), "");
    for (int i = 0; i < 1000; i++) {
        csi_str_addf(&s, "%d,", i);
    }
    csi_str_add(&s, "end");
    assert_ok(csi_str_check(&s));
    assert_int_equal(s.length, 10 + 90 * 2 + 900 * 3 + 1000 + 3);
    assert_string_equal(csi_str_get(&s) + s.length - 7, "999,end");
    csi_str_clear(&s);
    assert_string_equal(csi_str_get(&s), "");
    csi_str_add_bytes(&s, "a\0b", 3);
    assert_int_equal(s.length, 3);
    assert_memory_equal(s.data, "a\0b", 4);
    csi_str_fini(&s);
}

static void a_failed_append_is_remembered(void **state)
{
    (void)state;
    csi_str s = {0};

    csi_str_add(&s, "kept");
    csi_fault_arm(1);
    csi_str_addf(&s, "%100d", 1);
    (void)csi_fault_off();
    csi_str_add(&s, "ignored");
    assert_string_equal(csi_str_get(&s), "kept");
    assert_fails(csi_str_check(&s), CS_ERR_NOMEM, "out of memory");
    csi_str_clear(&s);
    csi_str_add(&s, "again");
    assert_ok(csi_str_check(&s));
    assert_string_equal(csi_str_get(&s), "again");
    csi_str_fini(&s);
}

static void text_is_escaped(void **state)
{
    (void)state;
    csi_str s = {0};

    csi_str_add_json(&s, "a\"b\\c\n\t\x01 \xc3\xa9");
    assert_string_equal(csi_str_get(&s), "a\\\"b\\\\c\\n\\t\\u0001 \xc3\xa9");
    csi_str_clear(&s);
    csi_str_add_html(&s, "<a href=\"x\">R&D's</a>");
    assert_string_equal(csi_str_get(&s),
                        "&lt;a href=&quot;x&quot;&gt;R&amp;D&#39;s&lt;/a&gt;");
    csi_str_fini(&s);
}

static void the_nearest_word_is_suggested(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"learning_rate", "weight_decay",
                                        "betas"};

    assert_int_equal(csi_str_distance("kitten", "sitting"), 3);
    assert_int_equal(csi_str_distance("", "abc"), 3);
    assert_int_equal(csi_str_distance("abc", "abc"), 0);
    assert_string_equal(csi_str_nearest("lerning_rate", NAMES, 3),
                        "learning_rate");
    assert_string_equal(csi_str_nearest("beta", NAMES, 3), "betas");
    assert_null(csi_str_nearest("completely", NAMES, 3));
    assert_null(csi_str_nearest("x", NAMES, 0));
}

static void format_refuses_what_does_not_fit(void **state)
{
    (void)state;
    char text[5];

    assert_ok(csi_format(text, sizeof text, "%s", "four"));
    assert_string_equal(text, "four");
    assert_fails(csi_format(text, sizeof text, "%s", "fives"), CS_ERR_ARG,
                 "5 bytes is longer than the limit of 4");
}

static void utf8_is_validated(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_valid;
    } CASES[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa9", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false},
        {"\xc3", false},
        {"\xc3(", false},
        {"\xc0\x80", false},         /* overlong */
        {"\xe0\x80\x80", false},     /* overlong */
        {"\xf0\x80\x80\x80", false}, /* overlong */
        {"\xed\xa0\x80", false},     /* surrogate */
        {"\xf4\x90\x80\x80", false}, /* beyond U+10FFFF */
        {"\xff", false},
        {"\xf0\x9f\x98", false},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(csi_utf8_valid(CASES[i].text, strlen(CASES[i].text)),
                         CASES[i].is_valid);
    }
    assert_true(csi_utf8_valid("a\0b", 3));
}

static void numbers_are_printed_for_people(void **state)
{
    (void)state;
    char buf[32];

    assert_string_equal(csi_human_bytes(buf, 512), "512 B");
    assert_string_equal(csi_human_bytes(buf, 1.5 * 1024 * 1024 * 1024),
                        "1.5 GiB");
    assert_string_equal(csi_human_count(buf, 999), "999");
    assert_string_equal(csi_human_count(buf, 5.3e6), "5.3 M");
    assert_string_equal(csi_human_count(buf, 123e3), "123 k");
    assert_string_equal(csi_human_seconds(buf, 0), "0.0 s");
    assert_string_equal(csi_human_seconds(buf, 2e-6), "2.0 us");
    assert_string_equal(csi_human_seconds(buf, 0.0123), "12.3 ms");
    assert_string_equal(csi_human_seconds(buf, 59.9), "59.9 s");
    assert_string_equal(csi_human_seconds(buf, 185), "3 min 05 s");
    assert_string_equal(csi_human_seconds(buf, 7500), "2 h 05 min");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_string_grows),
        CST_TEST(a_failed_append_is_remembered),
        CST_TEST(text_is_escaped),
        CST_TEST(the_nearest_word_is_suggested),
        CST_TEST(format_refuses_what_does_not_fit),
        CST_TEST(utf8_is_validated),
        CST_TEST(numbers_are_printed_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
