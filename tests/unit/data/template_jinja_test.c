/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about Jinja: templates render as transformers renders them, whose
 * words they are is known byte by byte, and nothing that a template does can
 * hang, overflow or crash us. */
#include "base/alloc.h"
#include "base/json.h"
#include "base/str.h"

#include "support/test.h"
#include "template_jinja.h"

#include <string.h>

static cs_status render(const char *template, const json_t *context,
                        csi_jinja_text *out)
{
    csi_jinja *jinja = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_jinja_compile(template, strlen(template), "t.jinja", &jinja));
    CS_TRY_GOTO(done, csi_jinja_render(jinja, context, 1700000000, out));
done:
    csi_jinja_destroy(&jinja);
    return st;
}

static json_t *load(const char *name)
{
    char path[CST_PATH_BYTES];
    json_t *json = NULL;

    assert_ok(csi_format(path, sizeof path, "tests/golden/template/%s", name));
    assert_ok(csi_json_load(cst_source_path(path), 1 << 20, &json));
    return json;
}

static bool check_spans(const csi_jinja_text *text, const json_t *wanted)
{
    bool equal = (size_t)text->n_spans == json_array_size(wanted);

    for (int32_t i = 0; equal && i < text->n_spans; i++) {
        const json_t *const span = json_array_get(wanted, (size_t)i);

        equal =
            text->spans[i].begin ==
                json_integer_value(json_array_get(span, 0)) &&
            text->spans[i].end == json_integer_value(json_array_get(span, 1));
    }
    return equal;
}

/* Renders one, compares it with the text or the error that was wanted. */
static bool check_one(const char *template, const json_t *context,
                      const json_t *entry)
{
    const json_t *const wanted = json_object_get(entry, "text");
    const json_t *const spans = json_object_get(entry, "generations");
    csi_jinja_text text = {.n_bytes = 0};
    const cs_status st = render(template, context, &text);
    cs_error error = {.status = CS_OK};
    bool equal = (st == CS_OK) == (wanted != NULL);

    if (st != CS_OK) {
        cs_error_get(&error);
    }
    if (equal && wanted != NULL) {
        equal =
            text.n_bytes == json_string_length(wanted) &&
            memcmp(text.bytes, json_string_value(wanted), text.n_bytes) == 0 &&
            (spans == NULL || check_spans(&text, spans));
    }
    if (!equal) {
        print_error("template: %s\n got: %s\nwanted: %s\n", template,
                    st == CS_OK ? text.bytes : error.message,
                    wanted != NULL
                        ? json_string_value(wanted)
                        : json_string_value(json_object_get(entry, "error")));
    }
    csi_jinja_text_fini(&text);
    return equal;
}

static void snippets_render_as_jinja_does(void **state)
{
    json_t *const golden = load("snippets.json");
    const json_t *const list = json_object_get(golden, "snippets");
    size_t n_wrong = 0;

    (void)state;
    assert_true(json_array_size(list) > 120);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const entry = json_array_get(list, i);

        n_wrong +=
            !check_one(json_string_value(json_object_get(entry, "template")),
                       json_object_get(golden, "context"), entry);
    }
    assert_int_equal(n_wrong, 0);
    json_decref(golden);
}

static void families_render_as_transformers_does(void **state)
{
    json_t *const golden = load("families.json");
    size_t n_wrong = 0;
    size_t n = 0;

    (void)state;
    for (size_t f = 0; f < json_array_size(golden); f++) {
        const json_t *const family = json_array_get(golden, f);
        const json_t *const list = json_object_get(family, "conversations");

        for (size_t i = 0; i < json_array_size(list); i++, n++) {
            const json_t *const entry = json_array_get(list, i);

            n_wrong +=
                !check_one(json_string_value(json_object_get(family,
                                                             "template")),
                           json_object_get(entry, "context"), entry);
        }
    }
    assert_int_equal(n_wrong, 0);
    assert_true(n >= 15 * 14);
    json_decref(golden);
}

static json_t *parse(const char *text)
{
    json_t *json = NULL;

    assert_ok(csi_json_parse(text, strlen(text), "context", &json));
    return json;
}

/* Bytes with their marks: letters of message i as they are, others as '.'. */
static void marks_say_whose_words_they_are(void **state)
{
    static const struct {
        const char *template, *text, *marks;
    } CASES[] = {
        {"<{{ messages[1].content }}>", "< bC >", "022220"},
        {"{{ messages[0].content ~ '-' ~ messages[1].content|trim|upper }}",
         "a-BC", "1022"},
        {"{{ messages[0].role }}{{ messages[1].content[1:3] }}", "userbC",
         "000022"},
        {"{% set x %}<{{ messages[0].content }}>{% endset %}{{ x * 2 }}",
         "<a><a>", "010010"},
        {"{{ messages[1].content.replace('b', messages[0].content) }}", " aC ",
         "2122"},
        {"{{ [messages[0].content]|tojson }}{{ messages[1].content|length }}",
         "[\"a\"]4", "001000"},
        {"{% for c in messages[1].content.split() %}{{ c }};{% endfor %}",
         "bC;", "220"},
        {"{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[0].content) }}",
         "[a]", "010"},
    };
    json_t *const context =
        parse("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
              "{\"role\": \"user\", \"content\": \" bC \"}]}");

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        csi_jinja_text text = {.n_bytes = 0};

        assert_ok(render(CASES[i].template, context, &text));
        assert_string_equal(text.bytes, CASES[i].text);
        for (size_t b = 0; b < text.n_bytes; b++) {
            assert_int_equal(text.marks[b], CASES[i].marks[b] - '0');
        }
        csi_jinja_text_fini(&text);
    }
    json_decref(context);
}

static void what_is_not_offered_is_named_with_its_line(void **state)
{
    static const struct {
        const char *template, *part;
    } CASES[] = {
        {"\n\n{% include 'x' %}", "t.jinja:3: unsupported: {% include %}"},
        {"{% import 'x' as y %}", "unsupported: {% import %}"},
        {"{% for x in y recursive %}{% endfor %}", "a recursive loop"},
        {"{{ f(*args) }}", "* and ** in arguments"},
        {"\n{{ 'a' | wordwrap }}", "t.jinja:2: unsupported: filter 'wordwrap'"},
        {"{{ 1 is filter }}", "unsupported: test 'filter'"},
        {"{{ 'a'.format(1) }}", "unsupported: str.format"},
        {"{{ [1].append(2) }}", "unsupported: list.append"},
        {"{{ {}.update({}) }}", "unsupported: dict.update"},
        {"{{ '%s' % 'a' }}", "unsupported: % formats a string"},
        {"{{ [] | tojson(sort_keys=true) }}", "tojson with sort_keys"},
        {"{{ cycler('a') }}", "unsupported: cycler"},
        {"{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "caller"},
    };
    json_t *const context = parse("{}");

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        csi_jinja_text text = {.n_bytes = 0};

        assert_fails(render(CASES[i].template, context, &text),
                     CS_ERR_UNSUPPORTED, CASES[i].part);
    }
    json_decref(context);
}

static void errors_name_the_template_and_the_line(void **state)
{
    static const struct {
        const char *template, *part;
    } CASES[] = {
        {"a\n{{ x.y }}", "t.jinja:2: 'x' is undefined"},
        {"{% if x %}\n\n", "t.jinja:2: the template ends, wanted {% endif %}"},
        {"\n{{ 'a }}", "t.jinja:2: a string has no end"},
        {"{{ raise_exception('turns must alternate') }}",
         "t.jinja:1: the template refuses: turns must alternate"},
        {"{% frobnicate %}", "unknown tag 'frobnicate'"},
        {"\n\n{{ 1 / 0 }}", "t.jinja:3: division by zero"},
    };
    json_t *const context = parse("{}");

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        csi_jinja_text text = {.n_bytes = 0};
        const cs_status st = render(CASES[i].template, context, &text);

        assert_true(st == CS_ERR_FORMAT || st == CS_ERR_ARG);
        assert_fails(st, st, CASES[i].part);
    }
    json_decref(context);
}

static void templates_that_never_end_are_stopped(void **state)
{
    static const struct {
        const char *template, *part;
    } CASES[] = {
        {"{% for i in range(99999) %}{% for j in range(99999) %}"
         "{% endfor %}{% endfor %}",
         "more than"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests more than"},
        {"{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
         "{% set ns.x = ns.x + ns.x %}{% endfor %}",
         "MiB"},
        {"{{ 'aaaaaaaaaaaaaaaa' * 999999999999 }}", "MiB"},
        {"{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
         "{% set ns.x = ns.x + ns.x %}{% endfor %}",
         "MiB"},
        {"{% set ns = namespace(x=[]) %}{% for i in range(5000) %}"
         "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x == [[ns.x]] }}{{ ns.x }}",
         "nests more than"},
        {"{{ range(1000000) }}", "range: more than"},
    };
    json_t *const context = parse("{}");
    csi_str deep = {0};
    csi_jinja_text text = {.n_bytes = 0};

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_fails(render(CASES[i].template, context, &text), CS_ERR_ARG,
                     CASES[i].part);
    }
    csi_str_add(&deep, "{{ ");
    for (int i = 0; i < 5000; i++) {
        csi_str_add(&deep, "(");
    }
    assert_fails(render(csi_str_get(&deep), context, &text), CS_ERR_FORMAT,
                 "nested more than");
    csi_str_clear(&deep);
    csi_str_add(&deep, "{{ 1");
    for (int i = 0; i < 5000; i++) {
        csi_str_add(&deep, "+1");
    }
    csi_str_add(&deep, " }}");
    assert_fails(render(csi_str_get(&deep), context, &text), CS_ERR_ARG,
                 "nests more than");
    csi_str_fini(&deep);
    json_decref(context);
}

static cs_status render_family(void *arg)
{
    const json_t *const family = arg;
    const json_t *const entry =
        json_array_get(json_object_get(family, "conversations"), 3);
    csi_jinja_text text = {.n_bytes = 0};

    CS_TRY(render(json_string_value(json_object_get(family, "template")),
                  json_object_get(entry, "context"), &text));
    csi_jinja_text_fini(&text);
    return CS_OK;
}

static void every_failed_call_is_reported(void **state)
{
    json_t *const golden = load("families.json");

    (void)state;
    for (size_t f = 0; f < json_array_size(golden); f++) {
        json_t *const family = json_array_get(golden, f);
        const json_t *const entry =
            json_array_get(json_object_get(family, "conversations"), 3);

        if (json_object_get(entry, "text") != NULL) {
            assert_true(cst_torture(render_family, family) > 3);
        }
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(snippets_render_as_jinja_does),
        CST_TEST(families_render_as_transformers_does),
        CST_TEST(marks_say_whose_words_they_are),
        CST_TEST(what_is_not_offered_is_named_with_its_line),
        CST_TEST(errors_name_the_template_and_the_line),
        CST_TEST(templates_that_never_end_are_stopped),
        CST_TEST(every_failed_call_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
