/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a timeline says, once for the trace, the table and the picture: which
 * stage an action belongs to, and where each rank's time went. Shares are
 * kept as whole tenths of a per cent, rounded by largest remainder, so that
 * what is printed sums to 100.0 and not to 99.9.
 */
#include "base/alloc.h"

#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    ALL_TENTHS = 1000
};

bool csi_action_is_compute(cs_action_kind kind)
{
    return kind == CS_ACTION_FORWARD || kind == CS_ACTION_BACKWARD_INPUT ||
           kind == CS_ACTION_BACKWARD_WEIGHT;
}

bool csi_action_is_communication(cs_action_kind kind)
{
    return kind == CS_ACTION_SEND_ACTIVATION ||
           kind == CS_ACTION_RECV_ACTIVATION ||
           kind == CS_ACTION_SEND_GRADIENT || kind == CS_ACTION_RECV_GRADIENT ||
           kind == CS_ACTION_REDUCE_GRADIENTS || kind == CS_ACTION_REDUCE_TIED;
}

static bool is_message(cs_action_kind kind)
{
    return csi_action_is_communication(kind) &&
           kind != CS_ACTION_REDUCE_GRADIENTS && kind != CS_ACTION_REDUCE_TIED;
}

static cs_status check_event(const cs_timeline *t, int64_t i)
{
    const cs_timeline_event *e = &t->events[i];
    const cs_action *a = &e->action;

    CS_CHECK((unsigned)e->kind < (unsigned)CS_TIMELINE_COUNT &&
                 (unsigned)a->kind < (unsigned)CS_ACTION_COUNT,
             CS_ERR_ARG, "timeline event %" PRId64 ": unknown kind", i);
    CS_CHECK(e->rank >= 0 && e->rank < t->n_ranks, CS_ERR_ARG,
             "timeline event %" PRId64 ": wanted a rank below %d, got %d", i,
             t->n_ranks, e->rank);
    CS_CHECK(isfinite(e->start_s) && isfinite(e->end_s) &&
                 e->end_s >= e->start_s,
             CS_ERR_ARG, "timeline event %" PRId64 ": starts at %g, ends at %g",
             i, e->start_s, e->end_s);
    CS_CHECK(!csi_action_is_compute(a->kind) ||
                 (a->stage >= 0 && a->stage < t->n_stages),
             CS_ERR_ARG, "timeline event %" PRId64 ": %s of stage %d of %d", i,
             cs_action_name(a->kind), a->stage, t->n_stages);
    CS_CHECK(!is_message(a->kind) || (a->edge >= 0 && a->edge < t->n_edges),
             CS_ERR_ARG, "timeline event %" PRId64 ": %s on edge %d of %d", i,
             cs_action_name(a->kind), a->edge, t->n_edges);
    return CS_OK;
}

cs_status csi_timeline_check(const cs_timeline *t)
{
    CS_CHECK(t->n_ranks > 0 && t->n_events >= 0 && t->n_stages >= 0 &&
                 t->n_edges >= 0,
             CS_ERR_ARG, "timeline: %d ranks, %" PRId64 " events, %d stages",
             t->n_ranks, t->n_events, t->n_stages);
    for (int32_t i = 0; i < t->n_edges; i++) {
        CS_CHECK(t->edge_from[i] >= 0 && t->edge_from[i] < t->n_stages &&
                     t->edge_to[i] >= 0 && t->edge_to[i] < t->n_stages,
                 CS_ERR_ARG, "timeline: edge %d joins stages %d and %d of %d",
                 i, t->edge_from[i], t->edge_to[i], t->n_stages);
    }
    for (int64_t i = 0; i < t->n_events; i++) {
        CS_TRY(check_event(t, i));
    }
    return CS_OK;
}

int32_t csi_timeline_stage(const cs_timeline *timeline, const cs_action *action)
{
    switch (action->kind) {
    case CS_ACTION_SEND_ACTIVATION:
    case CS_ACTION_RECV_GRADIENT:
        return timeline->edge_from[action->edge];
    case CS_ACTION_RECV_ACTIVATION:
    case CS_ACTION_SEND_GRADIENT:
        return timeline->edge_to[action->edge];
    default:
        return action->stage >= 0 && action->stage < timeline->n_stages
                   ? action->stage
                   : -1;
    }
}

size_t csi_module_length(const char *stage_name)
{
    const char *space = strrchr(stage_name, ' ');

    return space != NULL ? (size_t)(space - stage_name) : strlen(stage_name);
}

static bool is_same_module(const char *a, const char *b)
{
    const size_t n = csi_module_length(a);

    return n == csi_module_length(b) && memcmp(a, b, n) == 0;
}

cs_status csi_timeline_modules(const cs_timeline *timeline, int32_t *n_modules,
                               int32_t **modules, int32_t **first_stage)
{
    const size_t n_stages = (size_t)timeline->n_stages;
    int32_t *of_stage = csi_calloc(n_stages + 1, sizeof *of_stage);
    int32_t *first = csi_calloc(n_stages + 1, sizeof *first);
    int32_t n = 0;

    if (of_stage == NULL || first == NULL) {
        csi_free(of_stage);
        csi_free(first);
        return CS_FAIL(CS_ERR_NOMEM, "timeline: modules of %d stages",
                       timeline->n_stages);
    }
    for (int32_t s = 0; s < timeline->n_stages; s++) {
        int32_t m = 0;
        while (m < n && !is_same_module(timeline->stage_name[s],
                                        timeline->stage_name[first[m]])) {
            m++;
        }
        if (m == n) {
            first[n++] = s;
        }
        of_stage[s] = m;
    }
    *n_modules = n;
    *modules = of_stage;
    *first_stage = first;
    return CS_OK;
}

void csi_timeline_span(const cs_timeline *timeline, cs_timeline_kind kind,
                       double *start_s, double *end_s)
{
    double start = 0.0;
    double end = 0.0;

    for (int64_t i = 0; i < timeline->n_events; i++) {
        const cs_timeline_event *e = &timeline->events[i];
        if (e->kind == kind) {
            start = fmin(start, e->start_s);
            end = fmax(end, e->end_s);
        }
    }
    *start_s = start;
    *end_s = end;
}

/* ---- shares ---- */

static int32_t column_of(const cs_action *action, const csi_shares *shares)
{
    switch (action->kind) {
    case CS_ACTION_FORWARD:
    case CS_ACTION_BACKWARD_INPUT:
    case CS_ACTION_BACKWARD_WEIGHT:
        return shares->modules[action->stage];
    case CS_ACTION_RECV_ACTIVATION:
    case CS_ACTION_RECV_GRADIENT:
    case CS_ACTION_AGREE:
        return shares->n_modules + (int32_t)CSI_SHARE_WAITING;
    case CS_ACTION_SEND_ACTIVATION:
    case CS_ACTION_SEND_GRADIENT:
    case CS_ACTION_REDUCE_GRADIENTS:
    case CS_ACTION_REDUCE_TIED:
        return shares->n_modules + (int32_t)CSI_SHARE_COMMUNICATION;
    default:
        return shares->n_modules + (int32_t)CSI_SHARE_OPTIMIZER;
    }
}

/* Remainders closer than this are equal: the first column gets the tenth. */
#define TIE 1e-6

/* Whole tenths that sum to ALL_TENTHS: floors, then one more for the largest
 * remainders. Without any time, all of it is "other". */
static void round_row(double *seconds, int32_t n, int32_t *tenths)
{
    double sum = 0.0;
    int32_t left = ALL_TENTHS;

    for (int32_t i = 0; i < n; i++) {
        sum += seconds[i];
    }
    if (!(sum > 0.0)) {
        tenths[n - 1] = ALL_TENTHS;
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        const double exact = seconds[i] / sum * ALL_TENTHS;
        tenths[i] = (int32_t)floor(exact);
        seconds[i] = exact - tenths[i]; /* from here on the remainder */
        left -= tenths[i];
    }
    for (; left > 0; left--) {
        int32_t best = 0;
        for (int32_t i = 1; i < n; i++) {
            best = seconds[i] > seconds[best] + TIE ? i : best;
        }
        tenths[best]++;
        seconds[best] = -1.0;
    }
}

/* What a rank's events leave of the step is "other". */
static void add_other(double *seconds, int32_t n, double step_s)
{
    for (int32_t i = 0; i < n - 1; i++) {
        step_s -= seconds[i];
    }
    seconds[n - 1] = fmax(step_s, 0.0);
}

static cs_status fill_shares(const cs_timeline *timeline, csi_shares *s)
{
    const int32_t n = s->n_columns;
    const size_t n_rows = (size_t)s->n_ranks + 1;
    double start = 0.0;
    double end = 0.0;
    double *seconds = csi_calloc(n_rows * (size_t)n, sizeof *seconds);

    s->tenths = csi_calloc(n_rows * (size_t)n, sizeof *s->tenths);
    if (seconds == NULL || s->tenths == NULL) {
        csi_free(seconds);
        return CS_FAIL(CS_ERR_NOMEM, "timeline: shares of %d ranks",
                       s->n_ranks);
    }
    csi_timeline_span(timeline, CS_TIMELINE_ACTUAL, &start, &end);
    for (int64_t i = 0; i < timeline->n_events; i++) {
        const cs_timeline_event *e = &timeline->events[i];
        if (e->kind == CS_TIMELINE_ACTUAL) {
            seconds[(int64_t)e->rank * n + column_of(&e->action, s)] +=
                e->end_s - e->start_s;
        }
    }
    double *all = &seconds[(int64_t)s->n_ranks * n];
    for (int32_t rank = 0; rank < s->n_ranks; rank++) {
        double *row = &seconds[(int64_t)rank * n];
        add_other(row, n, end - start);
        for (int32_t i = 0; i < n; i++) {
            all[i] += row[i];
        }
        round_row(row, n, &s->tenths[(int64_t)rank * n]);
    }
    round_row(all, n, &s->tenths[(int64_t)s->n_ranks * n]);
    csi_free(seconds);
    return CS_OK;
}

cs_status csi_shares_init(const cs_timeline *timeline, csi_shares *out)
{
    csi_shares s = {.n_ranks = timeline->n_ranks};
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo, csi_timeline_modules(timeline, &s.n_modules, &s.modules,
                                           &s.first_stage));
    s.n_columns = s.n_modules + (int32_t)CSI_SHARE_COUNT;
    CS_TRY_GOTO(undo, fill_shares(timeline, &s));
    *out = s;
    return CS_OK;
undo:
    csi_shares_fini(&s);
    return st;
}

void csi_shares_fini(csi_shares *shares)
{
    csi_free(shares->modules);
    csi_free(shares->first_stage);
    csi_free(shares->tenths);
    *shares = (csi_shares){0};
}

const char *csi_share_name(csi_share share)
{
    static const char *const NAMES[CSI_SHARE_COUNT] = {
        [CSI_SHARE_WAITING] = "waiting",
        [CSI_SHARE_COMMUNICATION] = "communication",
        [CSI_SHARE_OPTIMIZER] = "optimizer",
        [CSI_SHARE_OTHER] = "other",
    };

    return (unsigned)share < (unsigned)CSI_SHARE_COUNT ? NAMES[share] : "?";
}

/* ---- as text ---- */

static void print_row(csi_str *text, const csi_shares *s,
                      const cs_timeline *timeline, int32_t row)
{
    int32_t sum = 0;

    if (row < s->n_ranks) {
        csi_str_addf(text, "%4d", row);
    } else {
        csi_str_add(text, " all");
    }
    for (int32_t i = 0; i < s->n_columns; i++) {
        const int32_t tenths = s->tenths[(int64_t)row * s->n_columns + i];
        const int width =
            i < s->n_modules
                ? (int)
                      csi_module_length(timeline->stage_name[s->first_stage[i]])
                : (int)strlen(csi_share_name((csi_share)(i - s->n_modules)));
        csi_str_addf(text, "  %*d.%d", width > 5 ? width - 2 : 3, tenths / 10,
                     tenths % 10);
        sum += tenths;
    }
    csi_str_addf(text, "  %3d.%d\n", sum / 10, sum % 10);
}

cs_status cs_timeline_table(const cs_timeline *timeline, char **out)
{
    csi_shares s = {0};
    csi_str text = {0};
    cs_status st = CS_OK;

    CS_TRY(csi_timeline_check(timeline));
    CS_TRY(csi_shares_init(timeline, &s));
    csi_str_add(&text, "rank");
    for (int32_t i = 0; i < s.n_modules; i++) {
        const char *name = timeline->stage_name[s.first_stage[i]];
        csi_str_addf(&text, "  %5.*s", (int)csi_module_length(name), name);
    }
    for (int i = 0; i < (int)CSI_SHARE_COUNT; i++) {
        csi_str_addf(&text, "  %5s", csi_share_name((csi_share)i));
    }
    csi_str_add(&text, "  total %\n");
    for (int32_t row = 0; row <= s.n_ranks; row++) {
        print_row(&text, &s, timeline, row);
    }
    CS_TRY_GOTO(done, csi_str_check(&text));
    *out = text.data;
    text = (csi_str){0};
done:
    csi_str_fini(&text);
    csi_shares_fini(&s);
    return st;
}
