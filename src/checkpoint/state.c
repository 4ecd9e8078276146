/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of a run as JSON. Doubles are printed with 17 digits, so that
 * they come back bit for bit; the hash is text, because it needs 64 bits
 * without a sign.
 */
#include "state.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include "manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STATE_FORMAT "cornstarch.train_state"

enum {
    MAX_STATE_BYTES = 256 * 1024 * 1024,
    HASH_DIGITS = 16
};

/* JSON knows no NaN: what is not finite is null. */
static void print_double(const char *key, double value, csi_str *text)
{
    if (isfinite(value)) {
        csi_str_addf(text, ",\n  \"%s\": %.17g", key, value);
    } else {
        csi_str_addf(text, ",\n  \"%s\": null", key);
    }
}

static void print_i64(const char *key, int64_t value, csi_str *text)
{
    csi_str_addf(text, ",\n  \"%s\": %" PRId64, key, value);
}

void csi_state_print(const cs_train_state *s, csi_str *text)
{
    csi_str_add(text, "{\n  \"format\": \"" STATE_FORMAT "\",\n"
                      "  \"version\": 1");
    print_i64("step", s->step, text);
    print_i64("update", s->update, text);
    print_double("epoch", s->epoch, text);
    csi_str_addf(text, ",\n  \"sample_hash\": \"%016" PRIx64 "\"",
                 s->sample_hash);
    print_i64("skipped_samples", s->skipped_samples, text);
    print_i64("non_finite_in_a_row", s->non_finite_in_a_row, text);
    print_double("best_metric", s->best_metric, text);
    print_i64("best_step", s->best_step, text);
    print_i64("n_stale_evaluations", s->n_stale_evaluations, text);
    print_i64("metrics_bytes", s->metrics_bytes, text);
    csi_str_add(text, ",\n  \"recipe_hash\": \"");
    csi_str_add_json(text, s->recipe_hash);
    csi_str_add(text, "\",\n  \"dropped\": [");
    for (int64_t i = 0; i < s->n_dropped; i++) {
        csi_str_addf(text, "%s%" PRId64, i > 0 ? ", " : "", s->dropped[i]);
    }
    csi_str_add(text, "]\n}\n");
}

static cs_status parse_counters(const json_t *json, const char *where,
                                cs_train_state *s)
{
    const struct {
        const char *key;
        int64_t min;
        int64_t *out;
    } fields[] = {
        {"step", 1, &s->step},
        {"update", 0, &s->update},
        {"skipped_samples", 0, &s->skipped_samples},
        {"non_finite_in_a_row", 0, &s->non_finite_in_a_row},
        {"best_step", 0, &s->best_step},
        {"n_stale_evaluations", 0, &s->n_stale_evaluations},
        {"metrics_bytes", 0, &s->metrics_bytes},
    };

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        CS_TRY(csi_json_i64(json, fields[i].key, where, fields[i].min,
                            INT64_MAX, fields[i].out));
    }
    CS_TRY(csi_json_f64(json, "epoch", where, &s->epoch));
    s->best_metric = NAN;
    CS_TRY(csi_json_opt_f64(json, "best_metric", where, &s->best_metric));
    return CS_OK;
}

static cs_status parse_hashes(const json_t *json, const char *where,
                              cs_train_state *s)
{
    const char *hash = NULL;
    const char *recipe = NULL;

    CS_TRY(csi_json_string(json, "sample_hash", where, &hash));
    CS_CHECK(strlen(hash) == HASH_DIGITS &&
                 strspn(hash, "0123456789abcdef") == HASH_DIGITS,
             CS_ERR_FORMAT, "%s: sample_hash '%.32s' is not 16 hex digits",
             where, hash);
    s->sample_hash = strtoull(hash, NULL, 16);
    CS_TRY(csi_json_string(json, "recipe_hash", where, &recipe));
    CS_CHECK(strlen(recipe) < sizeof s->recipe_hash, CS_ERR_FORMAT,
             "%s: recipe_hash '%.32s' is longer than %zu characters", where,
             recipe, sizeof s->recipe_hash - 1);
    memcpy(s->recipe_hash, recipe, strlen(recipe) + 1);
    return CS_OK;
}

static cs_status parse_dropped(const json_t *json, const char *where,
                               cs_train_state *s)
{
    json_t *array = NULL;

    CS_TRY(csi_json_array(json, "dropped", where, &array));
    const size_t n = json_array_size(array);
    int64_t *dropped = csi_calloc(n + 1, sizeof *dropped);

    CS_CHECK(dropped != NULL, CS_ERR_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        dropped[i] = json_integer_value(value);
        if (!json_is_integer(value) || dropped[i] < 0) {
            csi_free(dropped);
            return CS_FAIL(CS_ERR_FORMAT,
                           "%s: dropped[%zu] is no sample's number", where, i);
        }
    }
    s->n_dropped = (int64_t)n;
    s->dropped = dropped;
    return CS_OK;
}

cs_status csi_state_parse(const char *text, size_t n_bytes, const char *where,
                          cs_train_state *out)
{
    cs_status st = CS_OK;
    json_t *json = NULL;
    cs_train_state state = {0};

    CS_TRY(csi_json_parse(text, n_bytes, where, &json));
    CS_TRY_GOTO(done, csi_json_check_format(json, STATE_FORMAT, where));
    CS_TRY_GOTO(done, parse_counters(json, where, &state));
    CS_TRY_GOTO(done, parse_hashes(json, where, &state));
    CS_TRY_GOTO(done, parse_dropped(json, where, &state));
    *out = state;
done:
    json_decref(json);
    return st;
}

cs_status csi_state_read(const char *folder, cs_train_state *out)
{
    cs_status st = CS_OK;
    char *path = NULL;
    char *text = NULL;
    size_t n_bytes = 0;

    CS_TRY_GOTO(done, csi_path_join(folder, CSI_STATE_FILE, &path));
    CS_TRY_GOTO(done, csi_file_read(path, MAX_STATE_BYTES, &text, &n_bytes));
    CS_TRY_GOTO(done, csi_state_parse(text, n_bytes, path, out));
done:
    csi_free(path);
    csi_free(text);
    return st;
}
