/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table as a whole: every field, whatever it is, can be set, is printed
 * and reads back; every default is accepted; the manual knows every field and
 * docs/recipe.md is the manual. Under `make golden` (CORNSTARCH_UPDATE_GOLDEN)
 * the page is written instead of compared.
 */
#include "cornstarch/config.h"

#include "base/alloc.h"
#include "base/file.h"

#include "field.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

/* An entry in every mapping and list, so that each field has a place. */
static const char BASE[] =
    "version: 1\n"
    "model:\n"
    "  encoders:\n"
    "    vision: {from: siglip, placeholder: \"<image>\"}\n"
    "  language_model: {from: lm}\n"
    "data:\n"
    "  train: [{path: train.json}]\n"
    "  eval: [{name: held, path: held.json}]\n"
    "  max_length: 5\n"
    "training:\n"
    "  max_steps: 100\n"
    "  modules: {vision: {}}\n"
    "parallel: {plan: manual, modules: {language_model: {}}}\n";

/* Keys that cannot change alone, and what must change with them. */
static const struct {
    const char *key, *with;
} COMPANIONS[] = {
    {"num_train_epochs", "training.max_steps=null"},
    {"model.encoders.vision.config", "model.encoders.vision.from=null"},
    {"model.encoders.vision.preset", "model.encoders.vision.from=null"},
    {"model.language_model.config", "model.language_model.from=null"},
    {"model.language_model.preset", "model.language_model.from=null"},
    {"patience", "early_stop.metric=held.eval_loss"},
    {"what", "checkpoint.keep_best=held.eval_loss"},
    {"plan", "parallel.modules={}"},
    {"cuts", "parallel.modules.language_model.pp=2"},
    {"data.eval[0].name", "seed=7"},
};

typedef struct place {
    const csi_field *field;
    char dotted[160]; /* with the entries of BASE */
    char manual[160]; /* as the manual writes it */
} place;

enum {
    MAX_PLACES = 256
};

static int32_t collect(const csi_field_group *group, const char *dotted,
                       const char *manual, place *out, int32_t n)
{
    static const char *const entries[][2] = {
        {"encoders", ".vision"},
        {"model", ""},
        {"modules", ".vision"},
    };

    for (int32_t i = 0; i < group->n_fields; i++) {
        const csi_field *const field = &group->fields[i];
        place *const p = &out[n];

        assert_true(n < MAX_PLACES);
        p->field = field;
        (void)snprintf(p->dotted, sizeof p->dotted, "%s%s%s", dotted,
                       dotted[0] != '\0' ? "." : "", field->name);
        (void)snprintf(p->manual, sizeof p->manual, "%s%s%s", manual,
                       manual[0] != '\0' ? "." : "", field->name);
        if (field->group == NULL) {
            n++;
            continue;
        }
        char below[200];
        char below_manual[200];
        const char *entry = field->type == CSI_FIELD_LIST ? "[0]" : "";

        for (size_t e = 0; field->type == CSI_FIELD_MAP &&
                           e < sizeof entries / sizeof entries[0];
             e++) {
            entry =
                strcmp(field->name, entries[e][0]) == 0 ? entries[e][1] : entry;
        }
        if (strcmp(p->dotted, "parallel.modules") == 0) {
            entry = ".language_model";
        }
        (void)snprintf(below, sizeof below, "%s%s", p->dotted, entry);
        (void)snprintf(below_manual, sizeof below_manual, "%s%s%s", p->manual,
                       field->type == CSI_FIELD_LIST  ? "[]"
                       : field->type == CSI_FIELD_MAP ? "."
                                                      : "",
                       field->type == CSI_FIELD_MAP ? field->group->key_name
                                                    : "");
        n = collect(field->group, below, below_manual, out, n);
    }
    return n;
}

/* A value that is offered and, where there is one, not the default. */
static const char *sample(const csi_field *field, char buf[64])
{
    const double low = field->min < 0 ? 0 : field->min;

    if ((field->flags & CSI_FIELD_ONLY) != 0) {
        return field->fallback;
    }
    switch (field->type) {
    case CSI_FIELD_BOOL:
        return strcmp(field->fallback, "true") == 0 ? "false" : "true";
    case CSI_FIELD_I32:
    case CSI_FIELD_I64:
        (void)snprintf(buf, 64, "%.0f", field->max > low + 7 ? low + 7 : low);
        return buf;
    case CSI_FIELD_U64:
        return "18446744073709551615";
    case CSI_FIELD_F64:
        return "0.12345678901234566";
    case CSI_FIELD_F64_PAIR:
        return "[0.125, 0.3]";
    case CSI_FIELD_WORD_BOOL:
        return field->words[1];
    case CSI_FIELD_WORD:
    case CSI_FIELD_WORD_TEXT:
        for (int32_t i = 0; field->words[i] != NULL; i++) {
            if (csi_field_is_offered(field, i) &&
                strcmp(field->words[i], field->fallback) != 0) {
                return field->words[i];
            }
        }
        return field->fallback;
    case CSI_FIELD_WORD_SET:
        (void)snprintf(buf, 64, "[%s]", field->words[1]);
        return buf;
    case CSI_FIELD_I32_LIST:
        return "[0, 3]";
    case CSI_FIELD_I64_LIST:
        return "[3, 9]";
    case CSI_FIELD_FREEZE:
        return "[\"a.b\", c]";
    case CSI_FIELD_JSON:
        return "{model_type: x, n: 1.5}";
    case CSI_FIELD_TEXT:
        return strcmp(field->name, "metric") == 0 ||
                       strcmp(field->name, "keep_best") == 0
                   ? "held.eval_loss"
                   : "something";
    default:
        return "some/where";
    }
}

static cs_status load(const char *yaml, const char *const *overrides,
                      int32_t n_overrides, char **printed)
{
    cs_config *c = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_config_parse(yaml, strlen(yaml), "/base", overrides, n_overrides,
                           &c));
    CS_TRY_GOTO(done, cs_config_print(c, printed));
done:
    cs_config_destroy(&c);
    return st;
}

static void every_field_can_be_set_and_reads_back(void **state)
{
    (void)state;
    static place places[MAX_PLACES];
    const int32_t n = collect(&csi_recipe_group, "", "", places, 0);
    char *base = NULL;

    assert_true(n > 90);
    assert_ok(load(BASE, NULL, 0, &base));
    for (int32_t i = 0; i < n; i++) {
        const csi_field *const field = places[i].field;
        char buf[64];
        char override[256];
        const char *overrides[2] = {override, NULL};
        char *text = NULL;
        char *again = NULL;
        int32_t n_overrides = 1;
        const char *const value = sample(field, buf);

        for (size_t k = 0; k < sizeof COMPANIONS / sizeof COMPANIONS[0]; k++) {
            if (strcmp(COMPANIONS[k].key, field->name) == 0 ||
                strcmp(COMPANIONS[k].key, places[i].dotted) == 0) {
                overrides[n_overrides++] = COMPANIONS[k].with;
            }
        }
        (void)snprintf(override, sizeof override, "%s=%s", places[i].dotted,
                       value);
        assert_ok(load(BASE, overrides, n_overrides, &text));
        assert_ok(load(text, NULL, 0, &again));
        assert_string_equal(text, again);
        if (field->fallback == NULL || strcmp(value, field->fallback) != 0) {
            assert_string_not_equal(text, base);
        }
        csi_free(text);
        csi_free(again);
    }
    csi_free(base);
}

static void every_default_is_accepted_when_written(void **state)
{
    (void)state;
    static place places[MAX_PLACES];
    const int32_t n = collect(&csi_recipe_group, "", "", places, 0);
    char *base = NULL;

    assert_ok(load(BASE, NULL, 0, &base));
    for (int32_t i = 0; i < n; i++) {
        char override[256];
        const char *const one = override;
        char *text = NULL;
        const bool is_given =
            strcmp(places[i].field->name, "from") == 0 ||
            strcmp(places[i].field->name, "max_steps") == 0 ||
            strcmp(places[i].field->name, "max_length") == 0 ||
            strcmp(places[i].dotted, "parallel.plan") == 0;

        if (places[i].field->fallback == NULL || is_given ||
            strcmp(places[i].field->name, "output_dir") == 0) {
            continue;
        }
        (void)snprintf(override, sizeof override, "%s=%s", places[i].dotted,
                       places[i].field->fallback);
        assert_ok(load(BASE, &one, 1, &text));
        assert_string_equal(text, base);
        csi_free(text);
    }
    csi_free(base);
}

static void the_manual_knows_every_field(void **state)
{
    (void)state;
    static place places[MAX_PLACES];
    const int32_t n = collect(&csi_recipe_group, "", "", places, 0);
    char *all = NULL;

    assert_ok(cs_config_explain(NULL, false, &all));
    for (int32_t i = 0; i < n; i++) {
        char line[200];
        char *one = NULL;

        assert_ok(cs_config_explain(places[i].dotted, false, &one));
        (void)snprintf(line, sizeof line, "%s\n", places[i].manual);
        assert_true(strncmp(one, line, strlen(line)) == 0);
        assert_contains(all, line);
        assert_contains(all, one);
        csi_free(one);
        assert_non_null(places[i].field->help);
    }
    csi_free(all);
}

static void the_manual_names_unknown_keys(void **state)
{
    (void)state;
    char *text = NULL;

    assert_fails(cs_config_explain("trainng", false, &text), CS_ERR_ARG,
                 "unknown key 'trainng'; did you mean 'training'?");
    assert_fails(cs_config_explain("training.learning_rate", false, &text),
                 CS_ERR_ARG,
                 "did you mean 'training.optimizer.learning_rate'?");
    assert_fails(cs_config_explain("seed.x", false, &text), CS_ERR_ARG,
                 "unknown key 'seed.x'");
    assert_null(text);
}

static void the_manual_page_is_current(void **state)
{
    (void)state;
    const char *const path = cst_source_path("docs/recipe.md");
    char *page = NULL;
    size_t n_bytes = 0;

    assert_ok(cs_config_explain(NULL, true, &page));
    if (getenv("CORNSTARCH_UPDATE_GOLDEN") != NULL) {
        assert_ok(csi_file_write(path, page, strlen(page)));
    }
    char *const kept = cst_read(path, &n_bytes);

    assert_string_equal(kept, page);
    cst_free(kept);
    csi_free(page);
}

static void policies_have_the_words_of_the_mask(void **state)
{
    (void)state;
    const csi_field *const field =
        csi_field_find(&csi_model_group, "attention");

    for (int32_t i = 0; field->words[i] != NULL; i++) {
        assert_string_equal(field->words[i],
                            cs_mask_policy_name((cs_mask_policy)i));
    }
}

static void numbers_print_short_and_read_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } all[] =
        {{30, "30.0"},      {0, "0.0"},     {1e-4, "0.0001"},
         {1e-5, "1e-05"},   {0.1, "0.1"},   {1e15, "1000000000000000.0"},
         {1e22, "1e+22"},   {-2.5, "-2.5"}, {1.0 / 3, "0.3333333333333333"},
         {1e-300, "1e-300"}};
    char buf[32];

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_string_equal(csi_number_text(all[i].value, buf), all[i].text);
        assert_true(strtod(buf, NULL) == all[i].value);
        assert_int_equal(csi_scalar_of_text(buf), CSI_SCALAR_FLOAT);
    }
}

static void plain_scalars_mean_what_yaml_1_2_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        csi_scalar kind;
    } all[] = {{"", CSI_SCALAR_EMPTY},     {"null", CSI_SCALAR_NULL},
               {"~", CSI_SCALAR_TEXT},     {"true", CSI_SCALAR_BOOL},
               {"True", CSI_SCALAR_TEXT},  {"yes", CSI_SCALAR_TEXT},
               {"0", CSI_SCALAR_INT},      {"-7", CSI_SCALAR_INT},
               {"+7", CSI_SCALAR_INT},     {"010", CSI_SCALAR_TEXT},
               {"0x1f", CSI_SCALAR_TEXT},  {"1_000", CSI_SCALAR_TEXT},
               {"1.", CSI_SCALAR_FLOAT},   {".5", CSI_SCALAR_FLOAT},
               {".", CSI_SCALAR_TEXT},     {"1e-4", CSI_SCALAR_FLOAT},
               {"1E+4", CSI_SCALAR_FLOAT}, {"1e", CSI_SCALAR_TEXT},
               {"e4", CSI_SCALAR_TEXT},    {".inf", CSI_SCALAR_TEXT},
               {"nan", CSI_SCALAR_TEXT},   {"1.2.3", CSI_SCALAR_TEXT},
               {"-", CSI_SCALAR_TEXT},     {"12:30", CSI_SCALAR_TEXT}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(csi_scalar_of_text(all[i].text), all[i].kind);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_field_can_be_set_and_reads_back),
        CST_TEST(every_default_is_accepted_when_written),
        CST_TEST(the_manual_knows_every_field),
        CST_TEST(the_manual_names_unknown_keys),
        CST_TEST(the_manual_page_is_current),
        CST_TEST(policies_have_the_words_of_the_mask),
        CST_TEST(numbers_print_short_and_read_back),
        CST_TEST(plain_scalars_mean_what_yaml_1_2_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
