/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.json: measurements with their machine and commit, one entry per
 * layer and size. Lines are never stored: they are fitted to the entries when
 * the file is read, so that entries of several runs can be put together.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include "internal.h"

#include <math.h>
#include <string.h>

enum {
    MAX_FILE_BYTES = 64 << 20,
    MAX_ENTRIES = 1 << 20
};

/* --- save ------------------------------------------------------------- */

static json_t *sample_to_json(const cs_graph *graph, const char *precision,
                              const cs_cost_sample *s)
{
    return json_pack("{s:s, s:i, s:i, s:i, s:s, s:f, s:f, s:b, s:f, s:f, s:f, "
                     "s:f, s:f, s:f}",
                     "module", graph->modules[s->module].name, "layer",
                     s->layer, "tp", 1, "cp", 1, "precision", precision,
                     "tokens", s->rows, "visible_pairs", s->pairs, "recompute",
                     0, "forward_s", s->forward_s, "backward_input_s",
                     s->backward_input_s, "backward_weight_s",
                     s->backward_weight_s, "recompute_s", 0.0, "saved_bytes",
                     s->saved_bytes, "spread", s->spread);
}

static json_t *samples_to_json(const cs_cost_table *table,
                               const cs_graph *graph)
{
    const char *const precision =
        table->precision == CS_PRECISION_BF16 ? "bf16" : "f32";
    json_t *const array = json_array();

    for (int32_t i = 0; i < table->n_samples; i++) {
        if (json_array_append_new(array, sample_to_json(graph, precision,
                                                        &table->samples[i])) !=
            0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

cs_status cs_cost_save(const cs_cost_table *table, const cs_graph *graph,
                       const char *machine, const char *commit,
                       const char *path)
{
    json_t *o = NULL;
    cs_status st = CS_OK;

    CS_CHECK(table->n_samples > 0, CS_ERR_ARG,
             "%s: only measured costs are stored, got an estimate", path);
    CS_TRY(csi_json_new("cornstarch.profile", &o));
    const bool is_complete =
        json_object_set_new(o, "machine", json_string(machine)) == 0 &&
        json_object_set_new(o, "commit", json_string(commit)) == 0 &&
        json_object_set_new(o, "entries", samples_to_json(table, graph)) == 0;

    CS_CHECK_GOTO(done, is_complete, CS_ERR_NOMEM, "no memory to write %s",
                  path);
    CS_TRY_GOTO(done, csi_json_save(path, o));
done:
    json_decref(o);
    return st;
}

/* --- load ------------------------------------------------------------- */

typedef struct profile {
    json_t *json; /* owned */
    const char *machine, *commit;
    json_t *entries;         /* borrowed from json */
    cs_cost_sample *samples; /* owned */
    int32_t n_samples;
    cs_precision precision;
} profile;

static cs_status read_amount(const json_t *o, const char *key,
                             const char *where, double least, double *out)
{
    double value = 0.0;

    CS_TRY(csi_json_f64(o, key, where, &value));
    CS_CHECK(isfinite(value) && value >= least, CS_ERR_FORMAT,
             "%s: key '%s': wanted at least %g, got %g", where, key, least,
             value);
    *out = value;
    return CS_OK;
}

static cs_status read_place(const json_t *o, const char *where,
                            const cs_graph *graph, cs_cost_sample *out)
{
    const char *name = NULL;
    int64_t layer = 0;

    CS_TRY(csi_json_string(o, "module", where, &name));
    out->module = cs_graph_find_module(graph, name);
    CS_CHECK(out->module >= 0, CS_ERR_FORMAT,
             "%s: the model has no module '%.60s'", where, name);
    CS_TRY(csi_json_i64(o, "layer", where, 0,
                        graph->modules[out->module].n_layers - 1, &layer));
    out->layer = (int32_t)layer;
    return CS_OK;
}

static cs_status read_precision(const json_t *o, const char *where,
                                bool is_first, cs_precision *precision)
{
    const char *word = NULL;

    CS_TRY(csi_json_string(o, "precision", where, &word));
    const bool is_bf16 = strcmp(word, "bf16") == 0;

    CS_CHECK(is_bf16 || strcmp(word, "f32") == 0, CS_ERR_FORMAT,
             "%s: key 'precision': wanted f32 or bf16, got '%.20s'", where,
             word);
    const cs_precision found = is_bf16 ? CS_PRECISION_BF16 : CS_PRECISION_F32;

    CS_CHECK(is_first || found == *precision, CS_ERR_FORMAT,
             "%s: key 'precision': entries before it have %s, got %s", where,
             is_bf16 ? "f32" : "bf16", word);
    *precision = found;
    return CS_OK;
}

/* What this version measures one way only. */
static cs_status check_fixed(const json_t *o, const char *where)
{
    int64_t tp = 0;
    int64_t cp = 0;
    bool recompute = false;
    double recompute_s = 0.0;

    CS_TRY(csi_json_i64(o, "tp", where, 1, INT32_MAX, &tp));
    CS_TRY(csi_json_i64(o, "cp", where, 1, INT32_MAX, &cp));
    CS_TRY(csi_json_bool(o, "recompute", where, &recompute));
    CS_TRY(read_amount(o, "recompute_s", where, 0.0, &recompute_s));
    CS_CHECK(tp == 1 && cp == 1 && !recompute && recompute_s <= 0.0,
             CS_ERR_UNSUPPORTED,
             "unsupported: %s: tp, cp or recompute (only 1, 1, false)", where);
    return CS_OK;
}

static cs_status read_entry(profile *p, int32_t index, const char *path,
                            const cs_graph *graph)
{
    const json_t *const o = json_array_get(p->entries, (size_t)index);
    cs_cost_sample *const s = &p->samples[index];
    char where[256];

    (void)snprintf(where, sizeof where, "%s: entry %d", path, index);
    CS_TRY(read_place(o, where, graph, s));
    CS_TRY(check_fixed(o, where));
    CS_TRY(read_precision(o, where, index == 0, &p->precision));
    CS_TRY(read_amount(o, "tokens", where, 1.0, &s->rows));
    CS_TRY(read_amount(o, "visible_pairs", where, 0.0, &s->pairs));
    CS_TRY(read_amount(o, "forward_s", where, 0.0, &s->forward_s));
    CS_TRY(read_amount(o, "backward_input_s", where, 0.0,
                       &s->backward_input_s));
    CS_TRY(read_amount(o, "backward_weight_s", where, 0.0,
                       &s->backward_weight_s));
    CS_TRY(read_amount(o, "saved_bytes", where, 0.0, &s->saved_bytes));
    CS_TRY(read_amount(o, "spread", where, 0.0, &s->spread));
    return CS_OK;
}

static cs_status read_profile(profile *p, const char *path,
                              const cs_graph *graph)
{
    CS_TRY(csi_json_check_format(p->json, "cornstarch.profile", path));
    CS_TRY(csi_json_string(p->json, "machine", path, &p->machine));
    CS_TRY(csi_json_string(p->json, "commit", path, &p->commit));
    CS_TRY(csi_json_array(p->json, "entries", path, &p->entries));
    const size_t n = json_array_size(p->entries);

    CS_CHECK(n >= 1 && n <= MAX_ENTRIES, CS_ERR_FORMAT,
             "%s: key 'entries': wanted 1..%d, got %zu", path, MAX_ENTRIES, n);
    p->samples = csi_calloc(n, sizeof *p->samples);
    CS_CHECK(p->samples != NULL, CS_ERR_NOMEM, "%s: no memory for %zu entries",
             path, n);
    p->n_samples = (int32_t)n;
    for (int32_t i = 0; i < p->n_samples; i++) {
        CS_TRY(read_entry(p, i, path, graph));
    }
    return CS_OK;
}

static cs_status fit_profile(const profile *p, const char *path,
                             const cs_graph *graph, cs_cost_table **out)
{
    const char *const slash = strrchr(path, '/');
    char source[sizeof((cs_cost_table *)NULL)->source];
    char sentence[CS_ERROR_MESSAGE_BYTES];

    (void)snprintf(source, sizeof source, "%.60s, %.50s, commit %.20s",
                   slash != NULL ? slash + 1 : path, p->machine, p->commit);
    const cs_status st =
        cs_cost_fit(graph, p->precision, p->samples, p->n_samples, source, out);

    if (st != CS_ERR_ARG) {
        return st;
    }
    (void)snprintf(sentence, sizeof sentence, "%s", cs_error_message());
    return CS_FAIL(CS_ERR_FORMAT, "%s: %s", path, sentence);
}

cs_status csi_cost_parse(const char *text, size_t n_bytes, const char *where,
                         const cs_graph *graph, cs_cost_table **out)
{
    profile p = {0};
    cs_status st = CS_OK;

    CS_TRY(csi_json_parse(text, n_bytes, where, &p.json));
    CS_TRY_GOTO(done, read_profile(&p, where, graph));
    CS_TRY_GOTO(done, fit_profile(&p, where, graph, out));
done:
    csi_free(p.samples);
    json_decref(p.json);
    return st;
}

cs_status cs_cost_load(const char *path, const cs_graph *graph,
                       cs_cost_table **out)
{
    char *text = NULL;
    size_t n_bytes = 0;

    CS_TRY(csi_file_read(path, MAX_FILE_BYTES, &text, &n_bytes));
    const cs_status st = csi_cost_parse(text, n_bytes, path, graph, out);

    csi_free(text);
    return st;
}
