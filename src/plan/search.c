/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The automatic planner. Ranks per module are chosen so that no module holds
 * the others up: first one rank each, then again and again one more for the
 * module whose dearest stage is dearest. That reaches the least period; what a
 * period does not know (run-up, messages, cores) the simulator judges, on every
 * division in the neighbourhood of that one, nearest periods first.
 */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/str.h"

#include "internal.h"

#include <math.h>
#include <string.h>

enum {
    MAX_DIVISIONS = 4096, /* looked at per dp */
    MAX_SIMULATED = 32,   /* per dp */
    MIN_SIMULATED = CSI_PLAN_MAX_RUNNERS_UP + 1,
    SIMULATED_CELLS = 1 << 16 /* stages x microbatches x simulations */
};

typedef struct search {
    const cs_plan_input *input;
    cs_plan *best; /* owned */
    int32_t n_ranked;
    cs_plan_candidate ranked[CSI_PLAN_MAX_RUNNERS_UP + 1]; /* best first */
    /* for the dp at hand */
    int32_t dp;
    csi_partition *partitions; /* owned */
    int32_t *low, *high, *pp;  /* owned, [n_modules] */
    int32_t n_kept, max_kept;
    int32_t *kept; /* owned, [MAX_SIMULATED][n_modules] */
    double period[MAX_SIMULATED];
} search;

static void end_search(search *s)
{
    cs_plan_destroy(&s->best);
    for (int32_t i = 0; i < s->n_ranked; i++) {
        csi_free(s->ranked[i].text);
    }
    csi_partitions_free(&s->partitions, s->input->graph->n_modules);
    csi_free(s->low);
    csi_free(s->high);
    csi_free(s->pp);
    csi_free(s->kept);
}

/* --- one candidate ---------------------------------------------------- */

static cs_status describe(const cs_plan *plan, char **out)
{
    csi_str text = {0};

    csi_str_addf(&text, "dp %d", plan->dp);
    for (int32_t m = 0; m < plan->n_modules; m++) {
        csi_str_addf(&text, ", %s pp %d", plan->modules[m].name,
                     plan->modules[m].pp);
    }
    if (text.failed) {
        csi_str_fini(&text);
    }
    CS_CHECK(text.data != NULL, CS_ERR_NOMEM, "no memory for a candidate");
    *out = text.data;
    return CS_OK;
}

/* Inserts behind all that are at least as fast; the slowest falls out. */
static void rank_candidate(search *s, char *text, double step_s)
{
    int32_t at = s->n_ranked;

    while (at > 0 && s->ranked[at - 1].step_s > step_s) {
        at--;
    }
    if (at > CSI_PLAN_MAX_RUNNERS_UP) {
        csi_free(text);
        return;
    }
    if (s->n_ranked > CSI_PLAN_MAX_RUNNERS_UP) {
        s->n_ranked--;
        csi_free(s->ranked[s->n_ranked].text);
    }
    memmove(&s->ranked[at + 1], &s->ranked[at],
            (size_t)(s->n_ranked - at) * sizeof s->ranked[0]);
    s->ranked[at] = (cs_plan_candidate){.text = text, .step_s = step_s};
    s->n_ranked++;
}

static cs_status build_plan(const search *s, const int32_t *pp,
                            cs_placement placement, cs_plan **out)
{
    const cs_plan_input *const input = s->input;
    cs_plan *p = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_plan_new(input->graph, input->n_ranks, s->dp, &p));
    p->placement = placement;
    p->n_microbatches = csi_microbatches_of_replica(input, s->dp);
    for (int32_t m = 0; m < p->n_modules; m++) {
        CS_TRY_GOTO(undo, csi_plan_add_stages(&p->modules[m], pp[m]));
        csi_partition_cuts(&s->partitions[m], pp[m], p->modules[m].cuts);
    }
    csi_plan_place(p);
    CS_TRY_GOTO(undo, csi_plan_choose_schedule(input, p));
    *out = p;
    return CS_OK;

undo:
    cs_plan_destroy(&p);
    return st;
}

static cs_status try_candidate(search *s, const int32_t *pp,
                               cs_placement placement)
{
    cs_plan *p = NULL;
    char *text = NULL;
    cs_status st = CS_OK;

    CS_TRY(build_plan(s, pp, placement, &p));
    CS_TRY_GOTO(undo, describe(p, &text));
    const bool is_best =
        s->best == NULL || p->predicted_step_s < s->best->predicted_step_s;

    rank_candidate(s, text, p->predicted_step_s);
    if (is_best) {
        cs_plan_destroy(&s->best);
        s->best = p;
        return CS_OK;
    }
undo:
    cs_plan_destroy(&p);
    return st;
}

/* --- divisions of the ranks of a replica ------------------------------ */

/* The next rank goes to the module that holds the others up. */
static void divide_greedily(search *s, int32_t n_ranks)
{
    const int32_t n_modules = s->input->graph->n_modules;

    for (int32_t m = 0; m < n_modules; m++) {
        s->pp[m] = 1;
    }
    for (int32_t left = n_ranks - n_modules; left > 0; left--) {
        int32_t slowest = -1;

        for (int32_t m = n_modules - 1; m >= 0; m--) {
            const csi_partition *const p = s->partitions;

            if (s->pp[m] < p[m].max_stages &&
                (slowest < 0 || p[m].worst[s->pp[m] - 1] >
                                    p[slowest].worst[s->pp[slowest] - 1])) {
                slowest = m;
            }
        }
        s->pp[slowest]++;
    }
}

/* How many divisions lie between low and high, the last module apart, which
 * gets the rest; stops counting past the limit. */
static int64_t count_box(const search *s)
{
    int64_t count = 1;

    for (int32_t m = 0; m < s->input->graph->n_modules - 1; m++) {
        if (count <= MAX_DIVISIONS) {
            count *= s->high[m] - s->low[m] + 1;
        }
    }
    return count;
}

/* The largest neighbourhood of the greedy division that is small enough. */
static void choose_box(search *s, int32_t n_ranks)
{
    int32_t reach = n_ranks;

    for (;; reach = reach > 64 ? reach / 2 : reach - 1) {
        for (int32_t m = 0; m < s->input->graph->n_modules; m++) {
            const int32_t most = s->partitions[m].max_stages;
            const int32_t low = s->pp[m] - reach;
            const int32_t high = s->pp[m] + reach;

            s->low[m] = low > 1 ? low : 1;
            s->high[m] = high < most ? high : most;
        }
        if (reach == 0 || count_box(s) <= MAX_DIVISIONS) {
            return;
        }
    }
}

/* Keeps the divisions of least period, in the order in which they came. */
static void keep_division(search *s)
{
    const int32_t n_modules = s->input->graph->n_modules;
    const size_t width = (size_t)n_modules;
    double period = 0.0;
    int32_t at = s->n_kept;

    for (int32_t m = 0; m < n_modules; m++) {
        period = fmax(period, s->partitions[m].worst[s->pp[m] - 1]);
    }
    while (at > 0 && s->period[at - 1] > period) {
        at--;
    }
    if (at >= s->max_kept) {
        return;
    }
    if (s->n_kept < s->max_kept) {
        s->n_kept++;
    }
    for (int32_t i = s->n_kept - 1; i > at; i--) {
        s->period[i] = s->period[i - 1];
        memcpy(&s->kept[(size_t)i * width], &s->kept[(size_t)(i - 1) * width],
               width * sizeof *s->kept);
    }
    s->period[at] = period;
    memcpy(&s->kept[(size_t)at * width], s->pp, width * sizeof *s->kept);
}

/* Counts pp through the box like an odometer; the last module has the rest. */
static void list_divisions(search *s, int32_t n_ranks)
{
    const int32_t last = s->input->graph->n_modules - 1;
    int32_t turned = 0;

    memcpy(s->pp, s->low, (size_t)last * sizeof *s->pp);
    while (turned <= last) {
        int32_t rest = n_ranks;

        for (int32_t m = 0; m < last; m++) {
            rest -= s->pp[m];
        }
        s->pp[last] = rest;
        if (rest >= 1 && rest <= s->partitions[last].max_stages) {
            keep_division(s);
        }
        for (turned = 0; turned < last; turned++) {
            if (s->pp[turned] < s->high[turned]) {
                s->pp[turned]++;
                break;
            }
            s->pp[turned] = s->low[turned];
        }
        if (turned == last) {
            return;
        }
    }
}

static int32_t count_simulations(const search *s, int32_t n_ranks)
{
    const int64_t cells =
        (int64_t)n_ranks * csi_microbatches_of_replica(s->input, s->dp);
    const int64_t n = SIMULATED_CELLS / csi_max_i64(cells, 1);

    return (int32_t)csi_max_i64(csi_min_i64(n, MAX_SIMULATED), MIN_SIMULATED);
}

/* --- one dp ----------------------------------------------------------- */

static cs_status prepare(search *s, int32_t max_stages)
{
    const size_t n = (size_t)s->input->graph->n_modules;

    csi_partitions_free(&s->partitions, s->input->graph->n_modules);
    CS_TRY(csi_partition_modules(s->input, max_stages, &s->partitions));
    if (s->pp == NULL) {
        s->low = csi_calloc(n, sizeof *s->low);
        s->high = csi_calloc(n, sizeof *s->high);
        s->pp = csi_calloc(n, sizeof *s->pp);
        s->kept = csi_calloc(n * MAX_SIMULATED, sizeof *s->kept);
        CS_CHECK(s->low != NULL && s->high != NULL && s->pp != NULL &&
                     s->kept != NULL,
                 CS_ERR_NOMEM, "no memory to search a plan");
    }
    return CS_OK;
}

static cs_status search_single(search *s)
{
    CS_TRY(prepare(s, 1));
    for (int32_t m = 0; m < s->input->graph->n_modules; m++) {
        s->pp[m] = 1;
    }
    return try_candidate(s, s->pp, CS_PLACEMENT_SINGLE);
}

static cs_status search_modality_parallel(search *s, int32_t n_ranks)
{
    const cs_graph *const graph = s->input->graph;

    CS_TRY(prepare(s, n_ranks - graph->n_modules + 1));
    divide_greedily(s, n_ranks);
    choose_box(s, n_ranks);
    s->n_kept = 0;
    s->max_kept = count_simulations(s, n_ranks);
    list_divisions(s, n_ranks);
    for (int32_t i = 0; i < s->n_kept; i++) {
        CS_TRY(try_candidate(s, &s->kept[(size_t)i * (size_t)graph->n_modules],
                             CS_PLACEMENT_MODALITY_PARALLEL));
    }
    return CS_OK;
}

static cs_status search_dp(search *s, int32_t dp)
{
    const cs_plan_input *const input = s->input;
    const int32_t n_ranks = input->n_ranks / dp;
    const cs_placement wanted = input->config->parallel.placement;
    int64_t n_layers = 0;

    s->dp = dp;
    for (int32_t m = 0; m < input->graph->n_modules; m++) {
        n_layers += input->graph->modules[m].n_layers;
    }
    if (n_ranks == 1 &&
        (wanted != CS_PLACEMENT_MODALITY_PARALLEL || input->n_ranks == 1)) {
        return search_single(s);
    }
    if (wanted == CS_PLACEMENT_SINGLE || n_ranks < input->graph->n_modules ||
        n_ranks > n_layers) {
        return CS_OK;
    }
    return search_modality_parallel(s, n_ranks);
}

/* --- all -------------------------------------------------------------- */

static cs_status fail_empty(const cs_plan_input *input)
{
    const cs_config *const c = input->config;
    const int32_t dp = c->parallel.dp > 0 ? c->parallel.dp : 1;
    int64_t n_layers = 0;
    char *names = NULL;

    CS_CHECK(c->parallel.placement != CS_PLACEMENT_SINGLE || dp > 1 ||
                 c->parallel.zero == 0,
             CS_ERR_UNSUPPORTED,
             "unsupported: placement single on %d ranks is parallel.dp %d, "
             "which parallel.zero 1 does not do: set parallel.zero: 0",
             input->n_ranks, input->n_ranks);
    CS_CHECK(c->parallel.placement != CS_PLACEMENT_SINGLE, CS_ERR_ARG,
             "placement single has one rank per replica: wanted %d ranks for "
             "dp %d, got %d",
             dp, dp, input->n_ranks);
    for (int32_t m = 0; m < input->graph->n_modules; m++) {
        n_layers += input->graph->modules[m].n_layers;
    }
    CS_TRY(csi_plan_list_modules(input->graph, &names));
    const cs_status st = CS_FAIL(
        CS_ERR_ARG,
        "placement modality_parallel gives each module a rank of its own and "
        "each rank a layer: wanted %lld to %lld ranks (%s; dp %d), got %d",
        (long long)input->graph->n_modules * dp, (long long)n_layers * dp,
        names, dp, input->n_ranks);

    csi_free(names);
    return st;
}

/* The best becomes the plan, the others its runners-up. */
static cs_status finish(search *s, cs_plan **out)
{
    cs_plan *const p = s->best;
    const int32_t n = s->n_ranked - 1;

    CS_TRY(csi_plan_explain(s->input->graph, s->input->costs->source, p));
    CS_TRY(cs_plan_check(p, s->input->graph));
    if (n > 0) {
        p->runners_up = csi_calloc((size_t)n, sizeof *p->runners_up);
        CS_CHECK(p->runners_up != NULL, CS_ERR_NOMEM,
                 "no memory for %d runners-up", n);
        memcpy(p->runners_up, &s->ranked[1], (size_t)n * sizeof *p->runners_up);
        p->n_runners_up = n;
        s->n_ranked = 1;
    }
    *out = p;
    s->best = NULL;
    return CS_OK;
}

cs_status csi_plan_search(const cs_plan_input *input, cs_plan **out)
{
    const cs_config *const c = input->config;
    const int32_t most =
        c->parallel.dp > 0 || c->parallel.zero == 0 ? input->n_ranks : 1;
    search s = {.input = input};
    cs_status st = CS_OK;

    for (int32_t dp = 1; dp <= most; dp++) {
        if (input->n_ranks % dp == 0 &&
            (c->parallel.dp == 0 || c->parallel.dp == dp)) {
            CS_TRY_GOTO(done, search_dp(&s, dp));
        }
    }
    if (s.best == NULL) {
        st = fail_empty(input);
        goto done;
    }
    CS_TRY_GOTO(done, finish(&s, out));
done:
    end_search(&s);
    return st;
}
