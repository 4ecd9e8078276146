/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's door: input is checked here, so that the engine can trust
 * every index and every number, and the result is summed up and drawn.
 */
#include "base/alloc.h"
#include "base/str.h"

#include "engine.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool is_amount(double value)
{
    return isfinite(value) && value >= 0.0;
}

static cs_status check_costs(const cs_sim_input *input)
{
    const int64_t m = input->schedule->n_microbatches;

    for (int64_t i = 0; i < input->graph->n_stages * m; i++) {
        const cs_stage_cost *const c = &input->cost[i];

        CS_CHECK(is_amount(c->forward_s) && is_amount(c->backward_input_s) &&
                     is_amount(c->backward_weight_s),
                 CS_ERR_ARG,
                 "simulator: stage %" PRId64 ", microbatch %" PRId64
                 " costs %g, %g, %g s; wanted finite, at least 0",
                 i / m, i % m, c->forward_s, c->backward_input_s,
                 c->backward_weight_s);
    }
    for (int64_t i = 0; i < input->graph->n_edges * m; i++) {
        CS_CHECK(is_amount(input->edge_bytes[i]), CS_ERR_ARG,
                 "simulator: edge %" PRId64 ", microbatch %" PRId64
                 " carries %g bytes; wanted finite, at least 0",
                 i / m, i % m, input->edge_bytes[i]);
    }
    for (int32_t rank = 0;
         input->optimizer_s != NULL && rank < input->graph->n_ranks; rank++) {
        CS_CHECK(is_amount(input->optimizer_s[rank]), CS_ERR_ARG,
                 "simulator: the optimizer of rank %d takes %g s; wanted "
                 "finite, at least 0",
                 rank, input->optimizer_s[rank]);
    }
    return CS_OK;
}

static cs_status check_input(const cs_sim_input *input)
{
    const cs_schedule *const schedule = input->schedule;
    bool is_training = false;

    CS_CHECK(input->link_bytes_per_s > 0.0, CS_ERR_ARG,
             "simulator: a link moves %g bytes per second; wanted above 0",
             input->link_bytes_per_s);
    CS_CHECK(is_amount(input->link_latency_s), CS_ERR_ARG,
             "simulator: a link's latency is %g s; wanted finite, at least 0",
             input->link_latency_s);
    CS_CHECK(input->n_cores >= 0, CS_ERR_ARG,
             "simulator: %d cores; wanted 0 (one per rank) or more",
             input->n_cores);
    for (int64_t i = 0; i < schedule->begin[schedule->n_ranks]; i++) {
        is_training |= schedule->actions[i].kind == CS_ACTION_OPTIMIZER_STEP;
    }
    CS_TRY(cs_schedule_check(input->graph, schedule, is_training));
    CS_TRY(check_costs(input));
    return CS_OK;
}

static cs_status init_result(const cs_sim_input *input, cs_sim_result *result)
{
    const size_t n_ranks = (size_t)input->graph->n_ranks;

    result->n_ranks = input->graph->n_ranks;
    result->n_events = input->schedule->begin[n_ranks];
    result->events =
        csi_calloc((size_t)result->n_events, sizeof *result->events);
    result->busy_s = csi_calloc(n_ranks, sizeof *result->busy_s);
    result->peak_microbatches = csi_calloc((size_t)input->graph->n_stages,
                                           sizeof *result->peak_microbatches);
    CS_CHECK(result->events != NULL && result->busy_s != NULL &&
                 result->peak_microbatches != NULL,
             CS_ERR_NOMEM, "no memory to simulate %zu ranks", n_ranks);
    return CS_OK;
}

static void sum_up(cs_sim_result *result)
{
    double busy_s = 0.0;

    for (int64_t i = 0; i < result->n_events; i++) {
        result->step_s = fmax(result->step_s, result->events[i].end_s);
    }
    for (int32_t rank = 0; rank < result->n_ranks; rank++) {
        busy_s += result->busy_s[rank];
    }
    if (result->step_s > 0.0) {
        result->bubble = 1.0 - busy_s / (result->n_ranks * result->step_s);
    }
}

cs_status cs_sim_run(const cs_sim_input *input, cs_sim_result *out)
{
    cs_sim_result result = {0};
    csi_sim sim = {0};
    cs_status st = CS_OK;

    CS_TRY(check_input(input));
    CS_TRY_GOTO(undo, init_result(input, &result));
    CS_TRY_GOTO(undo, csi_sim_init(&sim, input, &result));
    CS_TRY_GOTO(undo, csi_sim_play(&sim));
    sum_up(&result);
    *out = result;
    result = (cs_sim_result){0};
undo:
    csi_sim_fini(&sim);
    cs_sim_result_fini(&result);
    return st;
}

void cs_sim_result_fini(cs_sim_result *result)
{
    if (result != NULL) {
        csi_free(result->events);
        csi_free(result->busy_s);
        csi_free(result->peak_microbatches);
        *result = (cs_sim_result){0};
    }
}

/* --- drawing ---------------------------------------------------------- */

enum {
    MIN_WIDTH = 8,
    MAX_WIDTH = 4096
};

/* One row: the letter of a column is the action that fills most of it. */
typedef struct row {
    double column_s;
    int32_t width;
    char *letters;    /* owned, [width + 1] */
    double *filled_s; /* owned, [width] */
} row;

static char letter_of(cs_action_kind kind)
{
    switch (kind) {
    case CS_ACTION_FORWARD:
        return 'F';
    case CS_ACTION_BACKWARD_INPUT:
        return 'B';
    case CS_ACTION_BACKWARD_WEIGHT:
        return 'W';
    case CS_ACTION_OPTIMIZER_STEP:
        return 'O';
    default:
        return '\0';
    }
}

static void fill(const row *r, const cs_sim_event *event, char letter)
{
    const double last = r->width - 1;
    const int32_t begin = (int32_t)fmin(event->start_s / r->column_s, last);
    const int32_t end = (int32_t)fmin(event->end_s / r->column_s, last);

    for (int32_t i = begin; i <= end; i++) {
        const double from_s = fmax(event->start_s, i * r->column_s);
        const double to_s = fmin(event->end_s, (i + 1) * r->column_s);

        if (to_s - from_s > r->filled_s[i]) {
            r->filled_s[i] = to_s - from_s;
            r->letters[i] = letter;
        }
    }
}

static void draw_rank(const cs_sim_input *input, const cs_sim_result *result,
                      int32_t rank, const row *r, csi_str *s)
{
    const cs_schedule *const schedule = input->schedule;

    memset(r->letters, '.', (size_t)r->width);
    memset(r->filled_s, 0, (size_t)r->width * sizeof *r->filled_s);
    for (int64_t i = schedule->begin[rank];
         result->step_s > 0.0 && i < schedule->begin[rank + 1]; i++) {
        const char letter = letter_of(schedule->actions[i].kind);

        if (letter != '\0') {
            fill(r, &result->events[i], letter);
        }
    }
    csi_str_addf(s, "rank %-3d |%s| %3.0f %%\n", rank, r->letters,
                 result->step_s > 0.0
                     ? 100.0 * result->busy_s[rank] / result->step_s
                     : 0.0);
}

cs_status cs_sim_draw(const cs_sim_input *input, const cs_sim_result *result,
                      int32_t width, char **out)
{
    char step[32];
    csi_str s = {0};
    row r = {0};
    cs_status st = CS_OK;

    CS_CHECK(width >= MIN_WIDTH && width <= MAX_WIDTH, CS_ERR_ARG,
             "drawing of %d columns, wanted %d to %d", width, MIN_WIDTH,
             MAX_WIDTH);
    r.width = width;
    r.column_s = result->step_s / width;
    r.letters = csi_calloc((size_t)width + 1, 1);
    r.filled_s = csi_calloc((size_t)width, sizeof *r.filled_s);
    CS_CHECK_GOTO(undo, r.letters != NULL && r.filled_s != NULL, CS_ERR_NOMEM,
                  "no memory to draw %d columns", width);
    csi_str_addf(&s,
                 "step %s, bubble %.1f %%; F forward, B and W backward halves, "
                 "O optimizer; right: busy\n",
                 csi_human_seconds(step, result->step_s),
                 100.0 * result->bubble);
    for (int32_t rank = 0; rank < result->n_ranks; rank++) {
        draw_rank(input, result, rank, &r, &s);
    }
    CS_TRY_GOTO(undo, csi_str_check(&s));
    *out = s.data;
    s = (csi_str){0};
undo:
    csi_str_fini(&s);
    csi_free(r.letters);
    csi_free(r.filled_s);
    return st;
}
