/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedule text: anything may be parsed, whatever parses prints and parses
 * back to the same, and the checker and the drawing survive it.
 */
#include "cornstarch/schedule.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* An encoder stage on rank 0, two stages of a language model on rank 1. */
static cs_stage stages[] = {
    {.rank = 0, .has_backward_input = true, .has_backward_weight = true},
    {.module = 1, .rank = 1, .has_backward_input = true},
    {.module = 1,
     .position = 1,
     .rank = 1,
     .has_backward_input = true,
     .has_backward_weight = true},
};
static cs_edge edges[] = {
    {.from = 1, .to = 2, .n_slots = 1, .has_gradient = true},
    {.from = 0, .to = 1, .n_slots = 1, .has_gradient = true},
};
static const cs_stage_graph GRAPH = {.n_ranks = 2,
                                     .n_stages = 3,
                                     .n_edges = 2,
                                     .stages = stages,
                                     .edges = edges};

static void demand(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void print_and_parse_back(const cs_schedule *schedule)
{
    cs_schedule *back = NULL;
    char *text = NULL;
    char *again = NULL;

    demand(cs_schedule_print(&GRAPH, schedule, &text) == CS_OK);
    demand(cs_schedule_parse(&GRAPH, text, "printed", &back) == CS_OK);
    demand(cs_schedule_print(&GRAPH, back, &again) == CS_OK);
    demand(strcmp(text, again) == 0);
    demand(back->n_microbatches == schedule->n_microbatches);
    csi_free(text);
    csi_free(again);
    cs_schedule_destroy(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    cs_schedule *schedule = NULL;
    char *const text = malloc(n_bytes + 1);
    char *drawing = NULL;

    demand(text != NULL);
    if (n_bytes > 0) {
        memcpy(text, data, n_bytes);
    }
    text[n_bytes] = '\0';
    if (cs_schedule_parse(&GRAPH, text, "fuzz", &schedule) == CS_OK) {
        print_and_parse_back(schedule);
        const bool is_valid =
            cs_schedule_check(&GRAPH, schedule, true) == CS_OK ||
            cs_schedule_check(&GRAPH, schedule, false) == CS_OK;
        const bool is_drawn =
            cs_schedule_draw(&GRAPH, schedule, &drawing) == CS_OK;

        demand(is_valid == is_drawn);
    }
    csi_free(drawing);
    cs_schedule_destroy(&schedule);
    free(text);
    return 0;
}
