/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads metrics.jsonl for the report. The file may end in half a line (the run
 * died) and may be longer than a picture can show; neither is an error.
 */
#include "metrics.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_FILE_BYTES = 256 * 1024 * 1024,
    MAX_LINE_BYTES = 64 * 1024,
    MAX_ROWS = 256 * 1024,
    FIRST_ROWS = 256,
    SMOOTH_PARTS = 100 /* the loss is smoothed over a hundredth of the run */
};

typedef struct reader {
    csi_metrics *metrics;
    const char *path;
    int64_t stride; /* every stride-th step is kept */
    int64_t n_seen; /* steps since the table was thinned out last */
} reader;

static cs_status add_row(csi_table *table, const double *row)
{
    if (table->n == table->capacity) {
        const int64_t capacity =
            table->capacity > 0 ? table->capacity * 2 : FIRST_ROWS;
        double *values =
            csi_realloc(table->values,
                        (size_t)(capacity * table->n_columns) * sizeof *values);
        CS_CHECK(values != NULL, CS_ERR_NOMEM, "metrics: %lld rows",
                 (long long)capacity);
        table->values = values;
        table->capacity = capacity;
    }
    memcpy(&table->values[table->n * table->n_columns], row,
           (size_t)table->n_columns * sizeof *row);
    table->n++;
    return CS_OK;
}

/* Drops rows from `step` on: the run was resumed before them. */
static void rewind_to(csi_table *table, double step)
{
    while (table->n > 0 &&
           table->values[(table->n - 1) * table->n_columns] >= step) {
        table->n--;
    }
}

static void thin_out(reader *r, csi_table *table)
{
    const size_t n_bytes = (size_t)table->n_columns * sizeof(double);

    for (int64_t i = 0; i < table->n / 2; i++) {
        memmove(&table->values[i * table->n_columns],
                &table->values[2 * i * table->n_columns], n_bytes);
    }
    table->n /= 2;
    r->stride *= 2;
    r->n_seen = 1; /* the step that found the table full */
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static cs_status add_step(reader *r, const json_t *object, double step)
{
    csi_metrics *m = r->metrics;
    const double row[CSI_METRIC_COUNT] = {
        [CSI_METRIC_STEP] = step,
        [CSI_METRIC_LOSS] = number(object, "loss"),
        [CSI_METRIC_LEARNING_RATE] = number(object, "learning_rate"),
        [CSI_METRIC_GRAD_NORM] = number(object, "grad_norm"),
        [CSI_METRIC_TOKENS_PER_S] = number(object, "tokens_per_s"),
        [CSI_METRIC_STEP_S] = number(object, "step_s"),
        [CSI_METRIC_FLOPS_PER_S] = number(object, "flops_per_s"),
        [CSI_METRIC_SMOOTH] = NAN,
    };
    const double tokens = number(object, "tokens");
    const double skipped = number(object, "skipped_samples");

    m->train_s += fmax(row[CSI_METRIC_STEP_S], 0.0); /* fmax drops NAN */
    m->tokens += fmax(tokens, 0.0);
    m->skipped_samples = isfinite(skipped) ? skipped : m->skipped_samples;
    rewind_to(&m->steps, step);
    if (r->n_seen++ % r->stride != 0) {
        return CS_OK;
    }
    if (m->steps.n == MAX_ROWS) {
        thin_out(r, &m->steps);
    }
    CS_TRY(add_row(&m->steps, row));
    return CS_OK;
}

static cs_status add_evaluation(reader *r, const json_t *object, double step,
                                const char *name)
{
    csi_metrics *m = r->metrics;
    int32_t i = 0;
    const double row[CSI_EVAL_COUNT] = {
        [CSI_EVAL_STEP] = step,
        [CSI_EVAL_LOSS] = number(object, "eval_loss"),
        [CSI_EVAL_STDERR] = number(object, "eval_stderr"),
    };

    while (i < m->n_sets && strcmp(m->sets[i].name, name) != 0) {
        i++;
    }
    if (i == CSI_MAX_EVAL_SETS) {
        m->n_bad_lines++;
        return CS_OK;
    }
    if (i == m->n_sets) {
        m->sets[i].table.n_columns = CSI_EVAL_COUNT;
        m->sets[i].name = csi_strdup(name);
        CS_CHECK(m->sets[i].name != NULL, CS_ERR_NOMEM, "metrics: set '%s'",
                 name);
        m->n_sets++;
    }
    rewind_to(&m->sets[i].table, step);
    if (m->sets[i].table.n < MAX_ROWS) {
        CS_TRY(add_row(&m->sets[i].table, row));
    }
    return CS_OK;
}

static cs_status add_object(reader *r, const json_t *object)
{
    const json_t *step = json_object_get(object, "step");
    const json_t *name = json_object_get(object, "eval");

    if (!json_is_integer(step) || json_integer_value(step) < 0) {
        r->metrics->n_bad_lines++;
        return CS_OK;
    }
    if (name == NULL) {
        CS_TRY(add_step(r, object, (double)json_integer_value(step)));
    } else if (json_is_string(name)) {
        CS_TRY(add_evaluation(r, object, (double)json_integer_value(step),
                              json_string_value(name)));
    } else {
        r->metrics->n_bad_lines++;
    }
    return CS_OK;
}

static cs_status add_line(reader *r, const char *line, size_t n_bytes)
{
    json_t *object = NULL;

    if (n_bytes == 0) {
        return CS_OK;
    }
    if (n_bytes > MAX_LINE_BYTES) {
        r->metrics->n_bad_lines++;
        return CS_OK;
    }
    cs_status st = csi_json_parse(line, n_bytes, r->path, &object);
    if (st == CS_ERR_FORMAT) {
        cs_error_clear();
        r->metrics->n_bad_lines++;
        return CS_OK;
    }
    CS_TRY(st);
    st = add_object(r, object);
    json_decref(object);
    CS_TRY(st);
    return CS_OK;
}

/* Exponential means, freed of their bias towards the beginning. */
static void smooth(csi_table *steps)
{
    const double window = fmax(1.0, (double)steps->n / SMOOTH_PARTS);
    const double keep = 1.0 - 1.0 / window;
    double sum = 0.0;
    double weight = 0.0;

    for (int64_t i = 0; i < steps->n; i++) {
        double *row = &steps->values[i * steps->n_columns];
        if (isfinite(row[CSI_METRIC_LOSS])) {
            sum = keep * sum + row[CSI_METRIC_LOSS];
            weight = keep * weight + 1.0;
        }
        row[CSI_METRIC_SMOOTH] = weight > 0.0 ? sum / weight : NAN;
    }
}

cs_status csi_metrics_parse(const char *text, size_t n_bytes, const char *where,
                            csi_metrics *out)
{
    csi_metrics metrics = {.steps = {.n_columns = CSI_METRIC_COUNT},
                           .skipped_samples = NAN};
    reader r = {.metrics = &metrics, .path = where, .stride = 1};
    cs_status st = CS_OK;

    for (size_t at = 0; at < n_bytes;) {
        const char *end = memchr(text + at, '\n', n_bytes - at);
        const size_t n_line =
            end != NULL ? (size_t)(end - (text + at)) : n_bytes - at;
        CS_TRY_GOTO(undo, add_line(&r, text + at, n_line));
        at += n_line + 1;
    }
    smooth(&metrics.steps);
    *out = metrics;
    return CS_OK;
undo:
    csi_metrics_fini(&metrics);
    return st;
}

cs_status csi_metrics_load(const char *path, csi_metrics *out)
{
    const bool is_missing = !csi_file_exists(path);
    bool is_too_long = false;
    char *text = NULL;
    size_t n_bytes = 0;
    cs_status st = CS_OK;

    if (!is_missing) {
        st = csi_file_read(path, MAX_FILE_BYTES, &text, &n_bytes);
        is_too_long = st == CS_ERR_FORMAT;
    }
    if (is_too_long) {
        cs_error_clear();
    } else {
        CS_TRY(st);
    }
    CS_TRY_GOTO(done, csi_metrics_parse(text, n_bytes, path, out));
    out->is_missing = is_missing;
    out->is_too_long = is_too_long;
done:
    csi_free(text);
    return st;
}

void csi_metrics_fini(csi_metrics *metrics)
{
    for (int32_t i = 0; i < metrics->n_sets; i++) {
        csi_free(metrics->sets[i].name);
        csi_free(metrics->sets[i].table.values);
    }
    csi_free(metrics->steps.values);
    *metrics = (csi_metrics){0};
}

static int compare_numbers(const void *left, const void *right)
{
    double a = 0.0;
    double b = 0.0;

    memcpy(&a, left, sizeof a);
    memcpy(&b, right, sizeof b);
    return (a > b) - (a < b);
}

cs_status csi_table_median(const csi_table *table, int32_t column, double *out)
{
    double *values = csi_calloc((size_t)table->n + 1, sizeof *values);
    int64_t n = 0;

    CS_CHECK(values != NULL, CS_ERR_NOMEM, "metrics: median");
    for (int64_t i = 0; i < table->n; i++) {
        const double value = table->values[i * table->n_columns + column];
        if (isfinite(value)) {
            values[n++] = value;
        }
    }
    qsort(values, (size_t)n, sizeof *values, compare_numbers);
    *out = n > 0 ? (values[(n - 1) / 2] + values[n / 2]) / 2.0 : NAN;
    csi_free(values);
    return CS_OK;
}
