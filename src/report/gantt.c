/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The picture of a step: a pair of rows per rank, what happened above what the
 * simulator said, on one axis of time, so that a wrong prediction is seen as a
 * shift. Very wide worlds are cut; trace.json has all of them.
 */
#include "base/alloc.h"

#include "chart.h"
#include "page.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    MAX_RANKS = 64,
    MAX_BOXES = 20000,
    MAX_NAME_BYTES = 128,
    N_HUES = 8,
    LEFT = 64,
    RIGHT = 14,
    TOP = 6,
    ACTUAL_HEIGHT = 22,
    PREDICTED_HEIGHT = 12,
    RANK_HEIGHT = ACTUAL_HEIGHT + PREDICTED_HEIGHT + 12,
    LEAST_WIDTH = 1040,
    MOST_WIDTH = 8000,
    BOX_WIDTH = 16 /* on average, of a rank with many boxes */
};

typedef struct gantt {
    csi_str *html;
    const cs_timeline *t;
    const csi_shares *shares;
    int32_t n_ranks; /* shown */
    int32_t width;
    double start_s, end_s;
    double unit_s; /* of times as people read them */
    const char *unit;
} gantt;

/* CSS class of an action; the module's hue comes from a second class. */
static const char *class_of(cs_action_kind kind)
{
    switch (kind) {
    case CS_ACTION_FORWARD:
        return "F";
    case CS_ACTION_BACKWARD_INPUT:
        return "B";
    case CS_ACTION_BACKWARD_WEIGHT:
        return "W";
    case CS_ACTION_RECV_ACTIVATION:
    case CS_ACTION_RECV_GRADIENT:
    case CS_ACTION_AGREE:
        return "R";
    case CS_ACTION_SEND_ACTIVATION:
    case CS_ACTION_SEND_GRADIENT:
    case CS_ACTION_REDUCE_GRADIENTS:
    case CS_ACTION_REDUCE_TIED:
        return "S";
    default:
        return "O";
    }
}

static double place(const gantt *g, double t_s)
{
    return LEFT + (t_s - g->start_s) / (g->end_s - g->start_s) *
                      (g->width - LEFT - RIGHT);
}

static void choose_unit(gantt *g)
{
    const double span_s = g->end_s - g->start_s;

    if (span_s >= 2.0) {
        g->unit_s = 1.0;
        g->unit = "s";
    } else if (span_s >= 2e-3) {
        g->unit_s = 1e-3;
        g->unit = "ms";
    } else {
        g->unit_s = 1e-6;
        g->unit = "\u00b5s";
    }
}

/* ---- boxes ---- */

static void add_hover(const gantt *g, const cs_timeline_event *e)
{
    const int32_t stage = csi_timeline_stage(g->t, &e->action);

    csi_str_add(g->html, "<title>");
    csi_str_add(g->html, cs_action_name(e->action.kind));
    if (stage >= 0) {
        csi_str_add(g->html, ", ");
        csi_page_text(g->html, g->t->stage_name[stage], MAX_NAME_BYTES);
    }
    if (e->action.microbatch >= 0) {
        csi_str_addf(g->html, ", microbatch %d", e->action.microbatch);
    }
    csi_str_addf(g->html, "\n%s: %.4g to %.4g %s (%.4g %s)</title>",
                 e->kind == CS_TIMELINE_ACTUAL ? "actual" : "predicted",
                 e->start_s / g->unit_s, e->end_s / g->unit_s, g->unit,
                 (e->end_s - e->start_s) / g->unit_s, g->unit);
}

/* The microbatch's number, where the box has room for it. */
static void add_number(const gantt *g, const cs_timeline_event *e, double x,
                       double width, double y)
{
    const int32_t m = e->action.microbatch;
    const int n_digits = m < 10 ? 1 : (m < 100 ? 2 : 4);

    if (csi_action_is_compute(e->action.kind) &&
        e->kind == CS_TIMELINE_ACTUAL && width >= n_digits * 6.5 + 2.0) {
        csi_str_addf(g->html,
                     "<text class=\"n %s\" x=\"%.1f\" y=\"%.1f\" "
                     "text-anchor=\"middle\">%d</text>",
                     class_of(e->action.kind), x + width / 2.0, y + 15.0, m);
    }
}

static void add_box(const gantt *g, const cs_timeline_event *e)
{
    const bool is_actual = e->kind == CS_TIMELINE_ACTUAL;
    const bool is_compute = csi_action_is_compute(e->action.kind);
    const double x = place(g, e->start_s);
    const double width = fmax(place(g, e->end_s) - x, 0.4);
    const double row = is_actual ? ACTUAL_HEIGHT : PREDICTED_HEIGHT;
    const double thin = is_compute ? 0.0 : row * 0.25;
    const double y = TOP + (double)e->rank * RANK_HEIGHT +
                     (is_actual ? 0.0 : ACTUAL_HEIGHT + 2.0);

    csi_str_addf(g->html, "<rect class=\"%s", class_of(e->action.kind));
    if (is_compute) {
        csi_str_addf(g->html, " m%d",
                     g->shares->modules[e->action.stage] % N_HUES);
    }
    csi_str_addf(g->html,
                 "\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">", x,
                 y + thin, fmax(width - 0.3, 0.4), row - 2.0 * thin);
    add_hover(g, e);
    csi_str_add(g->html, "</rect>");
    add_number(g, e, x, width, y);
    csi_str_add(g->html, "\n");
}

/* Messages first, so that a compute box is never hidden by a thin one. */
static void add_boxes(const gantt *g, cs_timeline_kind kind)
{
    int64_t n = 0;

    csi_str_addf(g->html, "<g class=\"%s\">\n",
                 kind == CS_TIMELINE_ACTUAL ? "a" : "p");
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < g->t->n_events && n < MAX_BOXES; i++) {
            const cs_timeline_event *e = &g->t->events[i];
            if (e->kind == kind && e->rank < g->n_ranks &&
                csi_action_is_compute(e->action.kind) == (pass == 1)) {
                add_box(g, e);
                n++;
            }
        }
    }
    csi_str_add(g->html, "</g>\n");
}

/* ---- around the boxes ---- */

static void add_axis(const gantt *g)
{
    const int32_t bottom = TOP + g->n_ranks * RANK_HEIGHT;
    const double low = g->start_s / g->unit_s;
    const double high = g->end_s / g->unit_s;
    const double step = csi_nice_step(high - low, g->width / 110);
    double tick = ceil(low / step) * step;

    for (int i = 0; i < 200 && tick <= high; i++) {
        const double x = place(g, tick * g->unit_s);
        csi_str_addf(g->html,
                     "<path class=\"grid\" d=\"M%.1f %dV%d\"/>"
                     "<text class=\"tick\" x=\"%.1f\" y=\"%d\" "
                     "text-anchor=\"middle\">%.4g</text>\n",
                     x, TOP, bottom, x, bottom + 14,
                     fabs(tick) < step * 1e-6 ? 0.0 : tick);
        tick += step;
    }
    csi_str_addf(g->html,
                 "<text class=\"label\" x=\"%d\" y=\"%d\" "
                 "text-anchor=\"middle\">time from the start of the step "
                 "(%s)</text>\n",
                 (LEFT + g->width - RIGHT) / 2, bottom + 32, g->unit);
    for (int32_t rank = 0; rank < g->n_ranks; rank++) {
        csi_str_addf(g->html,
                     "<text class=\"label\" x=\"2\" y=\"%d\">rank %d</text>\n",
                     TOP + rank * RANK_HEIGHT + 15, rank);
    }
}

static void add_key(const gantt *g, const char *class, const char *name)
{
    csi_str_addf(g->html, "<span><i class=\"%s\"></i>%s</span>\n", class, name);
}

/* The module's name: its stage's name without the number. */
static void add_module(const gantt *g, int32_t module)
{
    const char *stage = g->t->stage_name[g->shares->first_stage[module]];
    csi_str name = {0};

    csi_str_add_bytes(&name, stage, csi_module_length(stage));
    csi_page_text(g->html, csi_str_get(&name), MAX_NAME_BYTES);
    g->html->failed = g->html->failed || name.failed;
    csi_str_fini(&name);
}

static void add_module_keys(const gantt *g, int32_t module)
{
    static const struct {
        cs_action_kind kind;
        const char *name;
    } KINDS[] = {
        {CS_ACTION_FORWARD, "forward"},
        {CS_ACTION_BACKWARD_INPUT, "backward, inputs"},
        {CS_ACTION_BACKWARD_WEIGHT, "backward, weights"},
    };

    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        bool is_used = false;
        for (int64_t k = 0; k < g->t->n_events && !is_used; k++) {
            const cs_action *a = &g->t->events[k].action;
            is_used = a->kind == KINDS[i].kind &&
                      g->shares->modules[a->stage] == module;
        }
        if (is_used) {
            csi_str_addf(g->html, "<span><i class=\"%s m%d\"></i>",
                         class_of(KINDS[i].kind), module % N_HUES);
            add_module(g, module);
            csi_str_addf(g->html, " %s</span>\n", KINDS[i].name);
        }
    }
}

static void add_keys(const gantt *g)
{
    csi_str_add(g->html, "<div class=\"key\">\n");
    for (int32_t m = 0; m < g->shares->n_modules; m++) {
        add_module_keys(g, m);
    }
    add_key(g, "R", "waiting (receive, agree)");
    add_key(g, "S", "communication (send, reduce)");
    add_key(g, "O", "optimizer");
    csi_str_add(g->html, "</div>\n");
}

/* "Step 5 took 120 ms; 110 ms were predicted (-8.3 %)." */
static void add_caption(const gantt *g)
{
    double start = 0.0;
    double actual_s = 0.0;
    double predicted_s = 0.0;
    char text[32];

    csi_timeline_span(g->t, CS_TIMELINE_ACTUAL, &start, &actual_s);
    csi_timeline_span(g->t, CS_TIMELINE_PREDICTED, &start, &predicted_s);
    csi_str_addf(g->html, "<p class=\"sub\">Step %" PRId64 " took %s",
                 g->t->step, csi_human_seconds(text, actual_s));
    if (predicted_s > 0.0) {
        csi_str_addf(g->html, "; the simulator said %s",
                     csi_human_seconds(text, predicted_s));
    }
    if (predicted_s > 0.0 && actual_s > 0.0) {
        csi_str_addf(g->html, " (%+.1f %%)",
                     (predicted_s / actual_s - 1.0) * 100.0);
    }
    csi_str_add(g->html, ". Per rank, the upper row is what happened, the "
                         "lower row the prediction; numbers are "
                         "microbatches.</p>\n");
}

static void add_svg(const gantt *g)
{
    csi_str_addf(g->html,
                 "<div class=\"scroll\"><svg viewBox=\"0 0 %d %d\" "
                 "width=\"%d\" height=\"%d\" role=\"img\" "
                 "aria-label=\"timeline\">\n",
                 g->width, TOP + g->n_ranks * RANK_HEIGHT + 40, g->width,
                 TOP + g->n_ranks * RANK_HEIGHT + 40);
    add_axis(g);
    add_boxes(g, CS_TIMELINE_PREDICTED);
    add_boxes(g, CS_TIMELINE_ACTUAL);
    csi_str_add(g->html, "</svg></div>\n");
    if (g->n_ranks < g->t->n_ranks) {
        csi_str_addf(g->html,
                     "<p class=\"note\">The first %d of %d ranks; trace.json "
                     "has all of them.</p>\n",
                     g->n_ranks, g->t->n_ranks);
    }
}

/* ---- the table ---- */

static void add_share_row(const gantt *g, int32_t row)
{
    const csi_shares *s = g->shares;
    int32_t sum = 0;

    if (row < s->n_ranks) {
        csi_str_addf(g->html, "<tr><td>%d</td>", row);
    } else {
        csi_str_add(g->html, "<tr class=\"all\"><td>all</td>");
    }
    for (int32_t i = 0; i < s->n_columns; i++) {
        const int32_t tenths = s->tenths[(int64_t)row * s->n_columns + i];
        csi_str_addf(g->html, "<td>%d.%d</td>", tenths / 10, tenths % 10);
        sum += tenths;
    }
    csi_str_addf(g->html, "<td>%d.%d</td></tr>\n", sum / 10, sum % 10);
}

static void add_share_table(const gantt *g)
{
    const csi_shares *s = g->shares;

    csi_str_add(g->html, "<h3>Where the time went, in per cent of the step"
                         "</h3>\n<div class=\"scroll\"><table>\n<tr><th>rank"
                         "</th>");
    for (int32_t i = 0; i < s->n_modules; i++) {
        csi_str_add(g->html, "<th>");
        add_module(g, i);
        csi_str_add(g->html, "</th>");
    }
    for (int i = 0; i < (int)CSI_SHARE_COUNT; i++) {
        csi_str_addf(g->html, "<th>%s</th>", csi_share_name((csi_share)i));
    }
    csi_str_add(g->html, "<th>sum</th></tr>\n");
    for (int32_t row = 0; row < g->n_ranks; row++) {
        add_share_row(g, row);
    }
    if (s->n_ranks > 1) {
        add_share_row(g, s->n_ranks);
    }
    csi_str_add(g->html, "</table></div>\n");
}

/* Wide enough for the rank with the most boxes. */
static cs_status choose_width(gantt *g)
{
    int64_t most = 0;
    int64_t *n_boxes = csi_calloc((size_t)g->t->n_ranks, sizeof *n_boxes);

    CS_CHECK(n_boxes != NULL, CS_ERR_NOMEM, "report: timeline");
    for (int64_t i = 0; i < g->t->n_events; i++) {
        const cs_timeline_event *e = &g->t->events[i];
        if (e->kind == CS_TIMELINE_ACTUAL &&
            csi_action_is_compute(e->action.kind)) {
            n_boxes[e->rank]++;
            most = n_boxes[e->rank] > most ? n_boxes[e->rank] : most;
        }
    }
    csi_free(n_boxes);
    g->width = LEAST_WIDTH;
    if (most * BOX_WIDTH > LEAST_WIDTH) {
        g->width = most * BOX_WIDTH < MOST_WIDTH ? (int32_t)(most * BOX_WIDTH)
                                                 : (int32_t)MOST_WIDTH;
    }
    return CS_OK;
}

cs_status csi_page_timeline(csi_str *html, const cs_timeline *timeline)
{
    csi_shares shares = {0};
    cs_status st = CS_OK;
    double start = 0.0;
    double end = 0.0;
    gantt g = {.html = html, .t = timeline, .shares = &shares};

    CS_TRY(csi_timeline_check(timeline));
    CS_TRY(csi_shares_init(timeline, &shares));
    csi_timeline_span(timeline, CS_TIMELINE_ACTUAL, &g.start_s, &g.end_s);
    csi_timeline_span(timeline, CS_TIMELINE_PREDICTED, &start, &end);
    g.start_s = fmin(g.start_s, start);
    g.end_s = fmax(g.end_s, end);
    if (!(g.end_s > g.start_s)) {
        g.end_s = g.start_s + 1e-6;
    }
    g.n_ranks = timeline->n_ranks < MAX_RANKS ? timeline->n_ranks : MAX_RANKS;
    choose_unit(&g);
    CS_TRY_GOTO(done, choose_width(&g));
    csi_str_add(html, "<h2>One step, rank by rank</h2>\n");
    add_caption(&g);
    add_keys(&g);
    add_svg(&g);
    add_share_table(&g);
done:
    csi_shares_fini(&shares);
    return st;
}
