/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.html: one file that opens anywhere, fetches nothing and runs nothing.
 * Numbers first, then curves, the step, evaluations, samples, and at the end
 * what the run was made of. Built in memory and written at once.
 */
#include "base/alloc.h"
#include "base/file.h"

#include "chart.h"
#include "metrics.h"
#include "page.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    ALL_MEDIA_BYTES = 24 * 1024 * 1024,
    MAX_NAME_BYTES = 256,
    MAX_TEXT_BYTES = 16 * 1024,
    MAX_DETAILS_BYTES = 1024 * 1024,
    WIDE = 1040,
    SMALL = 340
};

/* ---- summary ---- */

static void add_tile(csi_str *html, const char *value, const char *name)
{
    csi_str_addf(html, "<div class=\"tile\"><b>%s</b><span>", value);
    csi_page_text(html, name, MAX_NAME_BYTES);
    csi_str_add(html, "</span></div>\n");
}

static double last_of(const csi_table *table, int32_t column)
{
    return table->n > 0
               ? table->values[(table->n - 1) * table->n_columns + column]
               : (double)NAN;
}

static cs_status add_loss_tile(csi_str *html, const csi_table *steps)
{
    char text[64];

    CS_TRY(csi_format(text, sizeof text, "%.4g \u2192 %.4g",
                      steps->values[CSI_METRIC_LOSS],
                      last_of(steps, CSI_METRIC_SMOOTH)));
    add_tile(html, text, "training loss, first and last (smoothed)");
    return CS_OK;
}

static cs_status add_eval_tiles(csi_str *html, const csi_metrics *m)
{
    enum {
        MAX_TILES = 3
    };
    char text[64];

    for (int32_t i = 0; i < m->n_sets && i < MAX_TILES; i++) {
        csi_str name = {0};
        const csi_table *t = &m->sets[i].table;
        CS_TRY(csi_format(text, sizeof text, "%.4f \u00b1 %.4f",
                          last_of(t, CSI_EVAL_LOSS),
                          last_of(t, CSI_EVAL_STDERR)));
        csi_str_addf(&name, "loss on %s, last", m->sets[i].name);
        add_tile(html, text, csi_str_get(&name));
        html->failed = html->failed || name.failed;
        csi_str_fini(&name);
    }
    return CS_OK;
}

static cs_status add_speed_tiles(csi_str *html, const csi_metrics *m)
{
    double median = NAN;
    char text[32];

    CS_TRY(csi_table_median(&m->steps, CSI_METRIC_TOKENS_PER_S, &median));
    if (isfinite(median)) {
        add_tile(html, csi_human_count(text, median),
                 "tokens per second (median)");
    }
    CS_TRY(csi_table_median(&m->steps, CSI_METRIC_STEP_S, &median));
    if (isfinite(median)) {
        add_tile(html, csi_human_seconds(text, median), "per step (median)");
    }
    CS_TRY(csi_table_median(&m->steps, CSI_METRIC_FLOPS_PER_S, &median));
    if (isfinite(median)) {
        add_tile(html, csi_human_count(text, median),
                 "FLOP per second (median)");
    }
    return CS_OK;
}

static cs_status add_summary(csi_str *html, const csi_metrics *m)
{
    char text[32];

    if (m->steps.n == 0) {
        return CS_OK;
    }
    csi_str_add(html, "<div class=\"tiles\">\n");
    CS_TRY(csi_format(text, sizeof text, "%.0f",
                      last_of(&m->steps, CSI_METRIC_STEP)));
    add_tile(html, text, "steps");
    CS_TRY(add_loss_tile(html, &m->steps));
    CS_TRY(add_eval_tiles(html, m));
    add_tile(html, csi_human_seconds(text, m->train_s), "in training steps");
    add_tile(html, csi_human_count(text, m->tokens), "tokens");
    CS_TRY(add_speed_tiles(html, m));
    if (m->skipped_samples > 0.0) {
        add_tile(html, csi_human_count(text, m->skipped_samples),
                 "samples skipped");
    }
    csi_str_add(html, "</div>\n");
    return CS_OK;
}

/* ---- curves ---- */

static void add_curve_key(csi_str *html, int32_t color, const char *shape,
                          const char *name)
{
    csi_str_addf(html, "<span class=\"c%d\"><i class=\"%s\"></i>", color,
                 shape);
    csi_page_text(html, name, MAX_NAME_BYTES);
    csi_str_add(html, "</span>\n");
}

static void add_loss_chart(csi_str *html, const csi_metrics *m)
{
    enum {
        N_COLORS = 7
    };
    csi_series series[CSI_MAX_EVAL_SETS + 2] = {
        {"training loss", &m->steps, CSI_METRIC_STEP, CSI_METRIC_LOSS, -1,
         CSI_MARK_FAINT, 0},
        {"training loss, smoothed", &m->steps, CSI_METRIC_STEP,
         CSI_METRIC_SMOOTH, -1, CSI_MARK_LINE, 0},
    };
    csi_chart chart = {
        .x_label = "step",
        .y_label = "loss (nats per label token)",
        .width = WIDE,
        .height = 340,
        .n_series = 2,
        .series = series,
        .may_be_log = true,
    };

    csi_str_add(html, "<h2>Loss</h2>\n<div class=\"key\">\n");
    add_curve_key(html, 0, "thin", "training, smoothed (pale: each step)");
    for (int32_t i = 0; i < m->n_sets; i++) {
        const int32_t color = 1 + i % (N_COLORS - 1);
        series[chart.n_series++] = (csi_series){m->sets[i].name,
                                                &m->sets[i].table,
                                                CSI_EVAL_STEP,
                                                CSI_EVAL_LOSS,
                                                CSI_EVAL_STDERR,
                                                CSI_MARK_POINTS,
                                                color};
        add_curve_key(html, color, "dot", m->sets[i].name);
    }
    csi_str_add(html, "</div>\n<div class=\"scroll\">");
    csi_chart_add(html, &chart);
    csi_str_add(html, "</div>\n");
}

static void add_small_charts(csi_str *html, const csi_metrics *m)
{
    static const struct {
        int32_t column;
        const char *label;
        bool may_be_log, starts_at_0;
    } CHARTS[] = {
        {CSI_METRIC_LEARNING_RATE, "learning rate", false, true},
        {CSI_METRIC_TOKENS_PER_S, "tokens per second", false, true},
        {CSI_METRIC_GRAD_NORM, "gradient norm", true, true},
    };

    csi_str_add(html, "<div class=\"grid3\">\n");
    for (size_t i = 0; i < sizeof CHARTS / sizeof CHARTS[0]; i++) {
        const csi_series series =
            {CHARTS[i].label, &m->steps, CSI_METRIC_STEP, CHARTS[i].column, -1,
             CSI_MARK_LINE,   0};
        const csi_chart chart = {
            .x_label = "step",
            .y_label = CHARTS[i].label,
            .width = SMALL,
            .height = 190,
            .n_series = 1,
            .series = &series,
            .may_be_log = CHARTS[i].may_be_log,
            .starts_at_0 = CHARTS[i].starts_at_0,
        };
        csi_str_add(html, "<div>");
        csi_chart_add(html, &chart);
        csi_str_add(html, "</div>\n");
    }
    csi_str_add(html, "</div>\n");
}

static void add_curves(csi_str *html, const csi_metrics *m)
{
    if (m->is_missing || m->is_too_long) {
        csi_str_addf(html,
                     "<p class=\"note\">No curves: metrics.jsonl %s."
                     "</p>\n",
                     m->is_missing ? "is not there" : "is larger than 256 MiB");
        return;
    }
    add_loss_chart(html, m);
    add_small_charts(html, m);
    if (m->n_bad_lines > 0) {
        csi_str_addf(html,
                     "<p class=\"note\">%" PRId64 " line%s of metrics.jsonl "
                     "could not be read.</p>\n",
                     m->n_bad_lines, m->n_bad_lines == 1 ? "" : "s");
    }
}

/* ---- evaluations ---- */

static void add_rows(csi_str *html, const cs_report_input *input)
{
    if (input->n_rows == 0) {
        return;
    }
    csi_str_add(html, "<h2>Evaluation</h2>\n<div class=\"scroll\"><table>\n"
                      "<tr><th>set</th><th class=\"name\">variant</th>"
                      "<th>loss (nats per label token)</th>"
                      "<th>standard error</th><th>samples</th></tr>\n");
    for (int32_t i = 0; i < input->n_rows; i++) {
        const cs_report_row *row = &input->rows[i];
        const bool is_same = i > 0 && row->group != NULL &&
                             input->rows[i - 1].group != NULL &&
                             strcmp(row->group, input->rows[i - 1].group) == 0;
        csi_str_add(html, "<tr><td dir=\"auto\">");
        csi_page_text(html, is_same ? "" : row->group, MAX_NAME_BYTES);
        csi_str_add(html, "</td><td class=\"name\" dir=\"auto\">");
        csi_page_text(html, row->name, MAX_NAME_BYTES);
        csi_str_addf(html,
                     "</td><td>%.4f</td><td>\u00b1 %.4f</td><td>%" PRId64
                     "</td></tr>\n",
                     row->loss, row->stderr_, row->n_samples);
    }
    csi_str_add(html, "</table></div>\n");
}

/* ---- samples ---- */

static void add_field(csi_str *html, const char *name, const char *text)
{
    if (text != NULL) {
        csi_str_addf(html, "<dt>%s</dt><dd dir=\"auto\">", name);
        csi_page_text(html, text, MAX_TEXT_BYTES);
        csi_str_add(html, "</dd>\n");
    }
}

static cs_status add_sample(csi_str *html, const cs_report_sample *sample,
                            size_t *budget_bytes)
{
    csi_str_add(html, "<div class=\"sample\"><h3 dir=\"auto\">");
    csi_page_text(html, sample->id, MAX_NAME_BYTES);
    csi_str_add(html, "</h3>\n");
    if (sample->image_path != NULL) {
        CS_TRY(csi_page_media(html, CSI_MEDIA_PICTURE, sample->image_path,
                              budget_bytes));
    }
    if (sample->audio_path != NULL) {
        CS_TRY(csi_page_media(html, CSI_MEDIA_SOUND, sample->audio_path,
                              budget_bytes));
    }
    csi_str_add(html, "<dl>");
    add_field(html, "prompt", sample->prompt);
    add_field(html, "answer in the data", sample->answer);
    add_field(html, "generated", sample->generated);
    csi_str_add(html, "</dl></div>\n");
    return CS_OK;
}

static cs_status add_samples(csi_str *html, const cs_report_input *input)
{
    size_t budget_bytes = ALL_MEDIA_BYTES;

    if (input->n_samples == 0) {
        return CS_OK;
    }
    csi_str_add(html, "<h2>Samples</h2>\n<div class=\"samples\">\n");
    for (int32_t i = 0; i < input->n_samples; i++) {
        CS_TRY(add_sample(html, &input->samples[i], &budget_bytes));
    }
    csi_str_add(html, "</div>\n");
    return CS_OK;
}

/* ---- the page ---- */

static void add_details(csi_str *html, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        csi_str_addf(html, "<details><summary>%s</summary><pre>", name);
        csi_page_text(html, text, MAX_DETAILS_BYTES);
        csi_str_add(html, "</pre></details>\n");
    }
}

static cs_status add_page(csi_str *html, const cs_report_input *input,
                          const csi_metrics *metrics)
{
    csi_page_begin(html, input->title != NULL ? input->title : "cornstarch");
    csi_str_add(html, "<p class=\"sub\">cornstarch training run</p>\n");
    CS_TRY(add_summary(html, metrics));
    add_curves(html, metrics);
    add_rows(html, input);
    CS_TRY(add_samples(html, input));
    if (input->timeline != NULL) {
        CS_TRY(csi_page_timeline(html, input->timeline));
    }
    csi_str_add(html, "<h2>What ran</h2>\n");
    add_details(html, "Recipe, as resolved", input->recipe_text);
    add_details(html, "Model", input->model_text);
    add_details(html, "Plan", input->plan_text);
    add_details(html, "Machine", input->machine_text);
    csi_page_end(html);
    CS_TRY(csi_str_check(html));
    return CS_OK;
}

cs_status cs_report_write(const cs_report_input *input)
{
    csi_str html = {0};
    csi_metrics metrics = {0};
    char *metrics_path = NULL;
    char *path = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(input->run_folder, "metrics.jsonl",
                                    &metrics_path));
    CS_TRY_GOTO(done, csi_path_join(input->run_folder, "report.html", &path));
    CS_TRY_GOTO(done, csi_metrics_load(metrics_path, &metrics));
    CS_TRY_GOTO(done, add_page(&html, input, &metrics));
    CS_TRY_GOTO(done, csi_file_write(path, html.data, html.length));
done:
    csi_free(metrics_path);
    csi_free(path);
    csi_metrics_fini(&metrics);
    csi_str_fini(&html);
    return st;
}
