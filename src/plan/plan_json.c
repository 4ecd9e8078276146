/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.json. People edit it, so reading is strict: an unknown key is a
 * mistake, numbers have ranges, and the whole is checked against the model
 * before anybody sees it.
 */
#include "cornstarch/plan.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include "internal.h"

#include <math.h>
#include <string.h>

enum {
    MAX_FILE_BYTES = 16 << 20
};

/* --- save ------------------------------------------------------------- */

/* json_*_new functions take what they are given even when they fail. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *ints_to_json(const int32_t *values, int32_t n)
{
    json_t *const array = json_array();

    for (int32_t i = 0; i < n; i++) {
        if (json_array_append_new(array, json_integer(values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *numbers_to_json(const double *values, int32_t n)
{
    json_t *const array = json_array();

    for (int32_t i = 0; i < n; i++) {
        if (json_array_append_new(array, json_real(values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *module_to_json(const cs_plan_module *m)
{
    json_t *const o = json_object();

    if (set(o, "name", json_string(m->name)) && set(o, "tp", json_integer(1)) &&
        set(o, "cp", json_integer(1)) && set(o, "pp", json_integer(m->pp)) &&
        set(o, "cuts", ints_to_json(m->cuts, m->pp)) &&
        set(o, "ranks", ints_to_json(m->ranks, m->pp)) &&
        set(o, "recompute", json_string("none")) &&
        set(o, "distribution", json_string("balanced")) &&
        set(o, "exchange", json_string("needed")) &&
        set(o, "stage_s", numbers_to_json(m->stage_s, m->pp))) {
        return o;
    }
    json_decref(o);
    return NULL;
}

static json_t *modules_to_json(const cs_plan *plan)
{
    json_t *const array = json_array();

    for (int32_t i = 0; i < plan->n_modules; i++) {
        if (json_array_append_new(array, module_to_json(&plan->modules[i])) !=
            0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *runners_up_to_json(const cs_plan *plan)
{
    json_t *const array = json_array();

    for (int32_t i = 0; i < plan->n_runners_up; i++) {
        if (json_array_append_new(array,
                                  json_pack("{s:s, s:f}", "text",
                                            plan->runners_up[i].text, "step_s",
                                            plan->runners_up[i].step_s)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static cs_status plan_to_json(const cs_plan *plan, const char *where,
                              json_t **out)
{
    json_t *o = NULL;

    CS_TRY(csi_json_new("cornstarch.plan", &o));
    const bool is_complete =
        set(o, "recipe_hash", json_string(plan->recipe_hash)) &&
        set(o, "n_ranks", json_integer(plan->n_ranks)) &&
        set(o, "dp", json_integer(plan->dp)) &&
        set(o, "placement", json_string(csi_placement_name(plan->placement))) &&
        set(o, "schedule", json_string(csi_schedule_name(plan->schedule))) &&
        set(o, "microbatches", json_integer(plan->n_microbatches)) &&
        set(o, "modules", modules_to_json(plan)) &&
        set(o, "predicted",
            json_pack("{s:f, s:f}", "step_s", plan->predicted_step_s, "bubble",
                      plan->predicted_bubble)) &&
        set(o, "runners_up", runners_up_to_json(plan)) &&
        set(o, "reason", json_string(plan->reason != NULL ? plan->reason : ""));

    if (!is_complete) {
        json_decref(o);
        return CS_FAIL(CS_ERR_NOMEM, "no memory to write %s", where);
    }
    *out = o;
    return CS_OK;
}

cs_status cs_plan_print_json(const cs_plan *plan, char **out)
{
    json_t *o = NULL;

    CS_TRY(plan_to_json(plan, "the plan", &o));
    const cs_status st = csi_json_print(o, "the plan", out);

    json_decref(o);
    CS_TRY(st);
    return CS_OK;
}

cs_status cs_plan_save(const cs_plan *plan, const char *path)
{
    json_t *o = NULL;

    CS_TRY(plan_to_json(plan, path, &o));
    const cs_status st = csi_json_save(path, o);

    json_decref(o);
    CS_TRY(st);
    return CS_OK;
}

/* --- load ------------------------------------------------------------- */

static cs_status check_keys(const json_t *object, const char *const *known,
                            int n_known, const char *where)
{
    const char *key = NULL;
    json_t *value = NULL;

    CS_CHECK(json_is_object(object), CS_ERR_FORMAT, "%s: wanted an object",
             where);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool is_known = false;

        for (int i = 0; i < n_known; i++) {
            is_known |= strcmp(key, known[i]) == 0;
        }
        const char *const near = csi_str_nearest(key, known, n_known);

        CS_CHECK(is_known, CS_ERR_FORMAT, "%s: unknown key '%.60s'%s%s%s",
                 where, key, near != NULL ? "; did you mean '" : "",
                 near != NULL ? near : "", near != NULL ? "'?" : "");
    }
    return CS_OK;
}

#define CHECK_KEYS(object, where, ...)                                   \
    CS_TRY(check_keys((object), (const char *const[]){__VA_ARGS__},      \
                      (int)(sizeof((const char *const[]){__VA_ARGS__}) / \
                            sizeof(const char *)),                       \
                      (where)))

static cs_status read_word(const json_t *o, const char *key, const char *where,
                           const char *const *words, int n_words, int *out)
{
    const char *word = NULL;
    csi_str list = {0};

    CS_TRY(csi_json_string(o, key, where, &word));
    for (int i = 0; i < n_words; i++) {
        if (strcmp(word, words[i]) == 0) {
            csi_str_fini(&list);
            *out = i;
            return CS_OK;
        }
        csi_str_addf(&list, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    const cs_status st =
        CS_FAIL(CS_ERR_UNSUPPORTED,
                "unsupported: %s: key '%s': wanted %s, got '%.60s'", where, key,
                csi_str_get(&list), word);

    csi_str_fini(&list);
    return st;
}

static cs_status read_time(const json_t *o, const char *key, const char *where,
                           double *out)
{
    double value = 0.0;

    CS_TRY(csi_json_f64(o, key, where, &value));
    CS_CHECK(isfinite(value) && value >= 0.0, CS_ERR_FORMAT,
             "%s: key '%s': wanted at least 0, got %g", where, key, value);
    *out = value;
    return CS_OK;
}

static cs_status read_copy(const json_t *o, const char *key, const char *where,
                           char **out)
{
    const char *text = NULL;

    CS_TRY(csi_json_string(o, key, where, &text));
    *out = csi_strdup(text);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "%s: no memory for key '%s'", where,
             key);
    return CS_OK;
}

static cs_status read_ints(const json_t *o, const char *key, const char *where,
                           int32_t n, int32_t *out)
{
    json_t *array = NULL;

    CS_TRY(csi_json_array(o, key, where, &array));
    CS_CHECK(json_array_size(array) == (size_t)n, CS_ERR_FORMAT,
             "%s: key '%s': wanted %d numbers (pp), got %zu", where, key, n,
             json_array_size(array));
    for (int32_t i = 0; i < n; i++) {
        const json_t *const value = json_array_get(array, (size_t)i);
        const json_int_t number = json_integer_value(value);

        CS_CHECK(json_is_integer(value) && number >= 0 && number <= INT32_MAX,
                 CS_ERR_FORMAT,
                 "%s: key '%s': wanted integers from 0, not so at index %d",
                 where, key, i);
        out[i] = (int32_t)number;
    }
    return CS_OK;
}

/* Absent in files written by hand: nothing is predicted then. */
static cs_status read_stage_s(const json_t *o, const char *where, int32_t n,
                              double *out)
{
    const json_t *const array = json_object_get(o, "stage_s");

    if (array == NULL) {
        return CS_OK;
    }
    CS_CHECK(json_is_array(array) && json_array_size(array) == (size_t)n,
             CS_ERR_FORMAT, "%s: key 'stage_s': wanted an array of %d (pp)",
             where, n);
    for (int32_t i = 0; i < n; i++) {
        const json_t *const value = json_array_get(array, (size_t)i);
        const double number = json_number_value(value);

        CS_CHECK(json_is_number(value) && isfinite(number) && number >= 0.0,
                 CS_ERR_FORMAT,
                 "%s: key 'stage_s': wanted numbers from 0, not so at index %d",
                 where, i);
        out[i] = number;
    }
    return CS_OK;
}

/* What a module entry says about things that this version does one way. */
static cs_status check_fixed(const json_t *o, const char *where)
{
    static const char *const NONE[] = {"none"};
    static const char *const BALANCED[] = {"balanced"};
    static const char *const NEEDED[] = {"needed"};
    int64_t tp = 1;
    int64_t cp = 1;
    int word = 0;

    CS_TRY(csi_json_opt_i64(o, "tp", where, 1, CSI_PLAN_MAX_RANKS, &tp));
    CS_TRY(csi_json_opt_i64(o, "cp", where, 1, CSI_PLAN_MAX_RANKS, &cp));
    CS_CHECK(tp == 1 && cp == 1, CS_ERR_UNSUPPORTED,
             "unsupported: %s: tp %d, cp %d (only 1)", where, (int)tp, (int)cp);
    if (json_object_get(o, "recompute") != NULL) {
        CS_TRY(read_word(o, "recompute", where, NONE, 1, &word));
    }
    if (json_object_get(o, "distribution") != NULL) {
        CS_TRY(read_word(o, "distribution", where, BALANCED, 1, &word));
    }
    if (json_object_get(o, "exchange") != NULL) {
        CS_TRY(read_word(o, "exchange", where, NEEDED, 1, &word));
    }
    return CS_OK;
}

static cs_status read_module(const json_t *o, const char *path,
                             const cs_module *wanted, cs_plan_module *m)
{
    char where[256];
    int64_t pp = 0;

    (void)snprintf(where, sizeof where, "%s: module %s", path, wanted->name);
    CHECK_KEYS(o, where, "name", "tp", "cp", "pp", "cuts", "ranks", "recompute",
               "distribution", "exchange", "stage_s");
    csi_free(m->name);
    m->name = NULL;
    CS_TRY(read_copy(o, "name", where, &m->name));
    CS_TRY(csi_json_i64(o, "pp", where, 1, wanted->n_layers, &pp));
    CS_TRY(check_fixed(o, where));
    CS_TRY(csi_plan_add_stages(m, (int32_t)pp));
    CS_TRY(read_ints(o, "cuts", where, m->pp, m->cuts));
    CS_TRY(read_ints(o, "ranks", where, m->pp, m->ranks));
    CS_TRY(read_stage_s(o, where, m->pp, m->stage_s));
    return CS_OK;
}

static cs_status read_modules(const json_t *o, const char *where,
                              const cs_graph *graph, cs_plan *p)
{
    json_t *array = NULL;

    CS_TRY(csi_json_array(o, "modules", where, &array));
    CS_CHECK(json_array_size(array) == (size_t)graph->n_modules, CS_ERR_FORMAT,
             "%s: key 'modules': the model has %d modules, got %zu", where,
             graph->n_modules, json_array_size(array));
    for (int32_t i = 0; i < graph->n_modules; i++) {
        CS_TRY(read_module(json_array_get(array, (size_t)i), where,
                           &graph->modules[i], &p->modules[i]));
    }
    return CS_OK;
}

static cs_status read_prediction(const json_t *o, const char *where, cs_plan *p)
{
    json_t *predicted = NULL;

    if (json_object_get(o, "predicted") == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_json_object(o, "predicted", where, &predicted));
    CHECK_KEYS(predicted, where, "step_s", "bubble");
    CS_TRY(read_time(predicted, "step_s", where, &p->predicted_step_s));
    CS_TRY(read_time(predicted, "bubble", where, &p->predicted_bubble));
    CS_CHECK(p->predicted_bubble <= 1.0, CS_ERR_FORMAT,
             "%s: key 'bubble': wanted 0..1, got %g", where,
             p->predicted_bubble);
    return CS_OK;
}

static cs_status read_runners_up(const json_t *o, const char *where, cs_plan *p)
{
    json_t *array = NULL;

    if (json_object_get(o, "runners_up") == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_json_array(o, "runners_up", where, &array));
    const size_t n = json_array_size(array);

    CS_CHECK(n <= CSI_PLAN_MAX_RUNNERS_UP, CS_ERR_FORMAT,
             "%s: key 'runners_up': wanted at most %d, got %zu", where,
             CSI_PLAN_MAX_RUNNERS_UP, n);
    p->runners_up = csi_calloc(n, sizeof *p->runners_up);
    CS_CHECK(n == 0 || p->runners_up != NULL, CS_ERR_NOMEM,
             "%s: no memory for %zu runners-up", where, n);
    p->n_runners_up = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *const item = json_array_get(array, i);

        CHECK_KEYS(item, where, "text", "step_s");
        CS_TRY(read_copy(item, "text", where, &p->runners_up[i].text));
        CS_TRY(read_time(item, "step_s", where, &p->runners_up[i].step_s));
    }
    return CS_OK;
}

static cs_status read_hash(const json_t *o, const char *where, char out[17])
{
    const char *hash = NULL;

    CS_TRY(csi_json_string(o, "recipe_hash", where, &hash));
    CS_CHECK(strspn(hash, "0123456789abcdef") == strlen(hash) &&
                 (hash[0] == '\0' || strlen(hash) == 16),
             CS_ERR_FORMAT,
             "%s: key 'recipe_hash': wanted 16 hexadecimal digits, got '%.40s'",
             where, hash);
    (void)snprintf(out, 17, "%s", hash);
    return CS_OK;
}

static cs_status read_plan(const json_t *o, const char *where,
                           const cs_graph *graph, cs_plan *p)
{
    static const char *const PLACEMENTS[] = {"single", "modality_parallel"};
    static const char *const SCHEDULES[] = {"gpipe", "1f1b"};
    int word = 0;
    int64_t number = 0;

    CHECK_KEYS(o, where, "format", "version", "recipe_hash", "n_ranks", "dp",
               "placement", "schedule", "microbatches", "modules", "predicted",
               "runners_up", "reason");
    CS_TRY(read_hash(o, where, p->recipe_hash));
    CS_TRY(csi_json_i64(o, "n_ranks", where, 1, CSI_PLAN_MAX_RANKS, &number));
    p->n_ranks = (int32_t)number;
    CS_TRY(csi_json_i64(o, "dp", where, 1, CSI_PLAN_MAX_RANKS, &number));
    p->dp = (int32_t)number;
    CS_TRY(read_word(o, "placement", where, PLACEMENTS, 2, &word));
    p->placement =
        word == 0 ? CS_PLACEMENT_SINGLE : CS_PLACEMENT_MODALITY_PARALLEL;
    CS_TRY(read_word(o, "schedule", where, SCHEDULES, 2, &word));
    p->schedule = word == 0 ? CS_SCHEDULE_GPIPE : CS_SCHEDULE_1F1B;
    CS_TRY(csi_json_i64(o, "microbatches", where, 1, CSI_PLAN_MAX_MICROBATCHES,
                        &number));
    p->n_microbatches = (int32_t)number;
    CS_TRY(read_modules(o, where, graph, p));
    CS_TRY(read_prediction(o, where, p));
    CS_TRY(read_runners_up(o, where, p));
    if (json_object_get(o, "reason") != NULL) {
        CS_TRY(read_copy(o, "reason", where, &p->reason));
    }
    return CS_OK;
}

/* The sentence of the check, with the file before it. */
static cs_status check_plan(const cs_plan *p, const cs_graph *graph,
                            const char *where)
{
    char sentence[CS_ERROR_MESSAGE_BYTES];
    const cs_status st = cs_plan_check(p, graph);

    if (st != CS_ERR_ARG) {
        return st;
    }
    (void)snprintf(sentence, sizeof sentence, "%s", cs_error_message());
    return CS_FAIL(CS_ERR_FORMAT, "%s: %s", where, sentence);
}

cs_status csi_plan_parse(const char *text, size_t n_bytes, const char *where,
                         const cs_graph *graph, cs_plan **out)
{
    json_t *o = NULL;
    cs_plan *p = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_json_parse(text, n_bytes, where, &o));
    CS_TRY_GOTO(done, csi_json_check_format(o, "cornstarch.plan", where));
    CS_TRY_GOTO(done, csi_plan_new(graph, 1, 1, &p));
    CS_TRY_GOTO(done, read_plan(o, where, graph, p));
    CS_TRY_GOTO(done, check_plan(p, graph, where));
    *out = p;
    p = NULL;
done:
    cs_plan_destroy(&p);
    json_decref(o);
    return st;
}

cs_status cs_plan_load(const char *path, const cs_graph *graph, cs_plan **out)
{
    char *text = NULL;
    size_t n_bytes = 0;

    CS_TRY(csi_file_read(path, MAX_FILE_BYTES, &text, &n_bytes));
    const cs_status st = csi_plan_parse(text, n_bytes, path, graph, out);

    csi_free(text);
    return st;
}
