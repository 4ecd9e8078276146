/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schedule as text, one line per rank, and as a drawing in unit time.
 *
 * Text: RANK ':' ACTION*, where s, e, i are stage, edge, microbatch:
 *
 *     sFi  forward             sBi   backward, input half
 *                              sWi   backward, weight half
 *     se>i send activation     re>i  receive activation
 *     se<i send gradient       re<i  receive gradient
 *     Rs   reduce gradients    N     gradient norm
 *     O    optimizer step      A     agree
 *
 * The words of messages begin with the letters s and r; their arrow points
 * with the activations or against them. '#' starts a comment. Example:
 *
 *     0: 0F0 s0>0 0F1 s0>1 r0<0 0B0 0W0 r0<1 0B1 0W1 R0 N O A
 *     1: r0>0 1F0 1B0 s0<0 1W0 r0>1 1F1 1B1 s0<1 1W1 R1 N O A
 */
#include "base/alloc.h"
#include "base/str.h"

#include "internal.h"

#include <string.h>

static void add_action(csi_str *s, const cs_action *a)
{
    switch (a->kind) {
    case CS_ACTION_FORWARD:
        csi_str_addf(s, "%dF%d", a->stage, a->microbatch);
        break;
    case CS_ACTION_BACKWARD_INPUT:
        csi_str_addf(s, "%dB%d", a->stage, a->microbatch);
        break;
    case CS_ACTION_BACKWARD_WEIGHT:
        csi_str_addf(s, "%dW%d", a->stage, a->microbatch);
        break;
    case CS_ACTION_SEND_ACTIVATION:
        csi_str_addf(s, "s%d>%d", a->edge, a->microbatch);
        break;
    case CS_ACTION_RECV_ACTIVATION:
        csi_str_addf(s, "r%d>%d", a->edge, a->microbatch);
        break;
    case CS_ACTION_SEND_GRADIENT:
        csi_str_addf(s, "s%d<%d", a->edge, a->microbatch);
        break;
    case CS_ACTION_RECV_GRADIENT:
        csi_str_addf(s, "r%d<%d", a->edge, a->microbatch);
        break;
    case CS_ACTION_REDUCE_GRADIENTS:
        csi_str_addf(s, "R%d", a->stage);
        break;
    case CS_ACTION_REDUCE_TIED:
        csi_str_add(s, "T");
        break;
    case CS_ACTION_GRADIENT_NORM:
        csi_str_add(s, "N");
        break;
    case CS_ACTION_OPTIMIZER_STEP:
        csi_str_add(s, "O");
        break;
    case CS_ACTION_AGREE:
    case CS_ACTION_COUNT:
        csi_str_add(s, "A");
        break;
    }
}

/* Hands the text over, or frees it and fails. */
static cs_status take_text(csi_str *s, char **out)
{
    const cs_status st = csi_str_check(s);

    if (st != CS_OK) {
        csi_str_fini(s);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    *out = s->data;
    return CS_OK;
}

cs_status cs_schedule_print(const cs_stage_graph *graph,
                            const cs_schedule *schedule, char **out)
{
    csi_str s = {0};

    CS_CHECK(schedule->n_ranks == graph->n_ranks, CS_ERR_ARG,
             "schedule has %d ranks, its stage graph has %d", schedule->n_ranks,
             graph->n_ranks);
    for (int32_t rank = 0; rank < schedule->n_ranks; rank++) {
        csi_str_addf(&s, "%d:", rank);
        for (int64_t i = schedule->begin[rank]; i < schedule->begin[rank + 1];
             i++) {
            csi_str_add(&s, " ");
            add_action(&s, &schedule->actions[i]);
        }
        csi_str_add(&s, "\n");
    }
    CS_TRY(take_text(&s, out));
    return CS_OK;
}

/* --- drawing ---------------------------------------------------------- */

typedef struct picture {
    const csi_topology *topology; /* borrowed */
    const cs_schedule *schedule;  /* borrowed */
    int64_t *start;               /* owned, [n actions] */
    int width;                    /* of one cell, without its space */
} picture;

static bool is_drawn(cs_action_kind kind)
{
    return kind == CS_ACTION_FORWARD || kind == CS_ACTION_BACKWARD_INPUT ||
           kind == CS_ACTION_BACKWARD_WEIGHT;
}

static const char *format_cell(const picture *p, int32_t rank,
                               const cs_action *a,
                               char text[CSI_ACTION_TEXT_BYTES])
{
    const csi_topology *const t = p->topology;
    const bool is_alone = t->rank_begin[rank + 1] - t->rank_begin[rank] == 1;
    const char letter = a->kind == CS_ACTION_FORWARD          ? 'F'
                        : a->kind == CS_ACTION_BACKWARD_INPUT ? 'B'
                                                              : 'W';

    if (is_alone) {
        (void)snprintf(text, CSI_ACTION_TEXT_BYTES, "%c%d", letter,
                       a->microbatch);
    } else {
        (void)snprintf(text, CSI_ACTION_TEXT_BYTES, "%d%c%d", a->stage, letter,
                       a->microbatch);
    }
    return text;
}

static void measure(picture *p)
{
    char text[CSI_ACTION_TEXT_BYTES];

    p->width = 1;
    for (int32_t rank = 0; rank < p->schedule->n_ranks; rank++) {
        for (int64_t i = p->schedule->begin[rank];
             i < p->schedule->begin[rank + 1]; i++) {
            const cs_action *const a = &p->schedule->actions[i];

            if (is_drawn(a->kind)) {
                (void)format_cell(p, rank, a, text);
                const int width = (int)strlen(text);

                p->width = width > p->width ? width : p->width;
            }
        }
    }
}

static void draw_rank(const picture *p, int32_t rank, csi_str *s)
{
    char text[CSI_ACTION_TEXT_BYTES];
    int64_t time = 0;
    size_t last = s->length;

    csi_str_addf(s, "rank %d |", rank);
    for (int64_t i = p->schedule->begin[rank]; i < p->schedule->begin[rank + 1];
         i++) {
        const cs_action *const a = &p->schedule->actions[i];

        if (!is_drawn(a->kind)) {
            continue;
        }
        for (; time < p->start[i]; time++) {
            csi_str_addf(s, " %-*s", p->width, ".");
        }
        csi_str_addf(s, " %-*s", p->width, format_cell(p, rank, a, text));
        time++;
    }
    /* No blanks at the end of a line. */
    while (!s->failed && s->length > last && s->data[s->length - 1] == ' ') {
        s->data[--s->length] = '\0';
    }
    csi_str_add(s, "\n");
}

cs_status cs_schedule_draw(const cs_stage_graph *graph,
                           const cs_schedule *schedule, char **out)
{
    csi_topology topology = {0};
    picture p = {.topology = &topology, .schedule = schedule};
    csi_str s = {0};
    bool is_training = false;
    cs_status st = CS_OK;

    CS_TRY(csi_schedule_check_frame(graph, schedule));
    CS_TRY(csi_topology_init(graph, &topology));
    const int64_t n_actions = schedule->begin[schedule->n_ranks];

    for (int64_t i = 0; i < n_actions; i++) {
        is_training |= schedule->actions[i].kind == CS_ACTION_OPTIMIZER_STEP;
    }
    p.start = csi_calloc((size_t)n_actions, sizeof *p.start);
    CS_CHECK_GOTO(undo, p.start != NULL, CS_ERR_NOMEM,
                  "no memory to draw a schedule of %d ranks", graph->n_ranks);
    CS_TRY_GOTO(undo,
                csi_schedule_walk(&topology, schedule, is_training, p.start));
    measure(&p);
    for (int32_t rank = 0; rank < schedule->n_ranks; rank++) {
        draw_rank(&p, rank, &s);
    }
    CS_TRY_GOTO(undo, take_text(&s, out));
undo:
    csi_free(p.start);
    csi_topology_fini(&topology);
    return st;
}
