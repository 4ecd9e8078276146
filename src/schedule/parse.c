/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the text of print.c, also when a person wrote it. Errors name the
 * line and the word. What the words mean together is the checker's question;
 * here only their form and their ranges matter.
 */
#include "base/alloc.h"

#include "internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct reader {
    const cs_stage_graph *graph; /* borrowed */
    const char *where;           /* borrowed */
    const char *at;              /* borrowed */
    int32_t line;
    int32_t rank; /* whose actions are being read; -1 = none */
    int32_t max_microbatch;
    cs_action *actions; /* owned, in the order of the text */
    int32_t *ranks;     /* owned, parallel to actions */
    int64_t n, capacity;
    bool *has_line; /* owned, [n_ranks] */
} reader;

enum {
    WORD_BYTES = 40
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool ends_word(char c)
{
    return c == '\0' || c == '\n' || c == '#' || is_blank(c);
}

/* Skips blanks and comments, and newlines while counting them. Returns whether
 * a word starts here. */
static bool find_word(reader *r)
{
    for (;;) {
        while (is_blank(*r->at)) {
            r->at++;
        }
        if (*r->at == '#') {
            r->at += strcspn(r->at, "\n");
        }
        if (*r->at != '\n') {
            return *r->at != '\0';
        }
        r->at++;
        r->line++;
        r->rank = -1;
    }
}

static cs_status take_word(reader *r, char word[WORD_BYTES])
{
    size_t n = 0;

    while (!ends_word(r->at[n])) {
        n++;
    }
    CS_CHECK(n < WORD_BYTES, CS_ERR_FORMAT,
             "%s:%d: a word of %zu characters is no action", r->where, r->line,
             n);
    memcpy(word, r->at, n);
    word[n] = '\0';
    r->at += n;
    return CS_OK;
}

/* A decimal number below `limit`; *text moves behind it. */
static bool read_number(const char **text, int32_t limit, int32_t *out)
{
    int64_t value = 0;
    const char *at = *text;

    while (*at >= '0' && *at <= '9' && value < limit) {
        value = value * 10 + (*at - '0');
        at++;
    }
    if (at == *text || value >= limit) {
        return false;
    }
    *text = at;
    *out = (int32_t)value;
    return true;
}

static bool read_compute(const reader *r, const char *word, cs_action *a)
{
    static const char LETTERS[] = "FBW";
    static const cs_action_kind KINDS[] = {CS_ACTION_FORWARD,
                                           CS_ACTION_BACKWARD_INPUT,
                                           CS_ACTION_BACKWARD_WEIGHT};

    if (!read_number(&word, r->graph->n_stages, &a->stage) || *word == '\0') {
        return false;
    }
    const char *const letter = strchr(LETTERS, *word++);

    if (letter == NULL) {
        return false;
    }
    a->kind = KINDS[letter - LETTERS];
    return read_number(&word, CSI_MAX_MICROBATCHES, &a->microbatch) &&
           *word == '\0';
}

static bool read_message(const reader *r, const char *word, cs_action *a)
{
    const bool is_send = *word++ == 's';

    if (!read_number(&word, r->graph->n_edges, &a->edge)) {
        return false;
    }
    if (*word == '>') {
        a->kind =
            is_send ? CS_ACTION_SEND_ACTIVATION : CS_ACTION_RECV_ACTIVATION;
    } else if (*word == '<') {
        a->kind = is_send ? CS_ACTION_SEND_GRADIENT : CS_ACTION_RECV_GRADIENT;
    } else {
        return false;
    }
    word++;
    return read_number(&word, CSI_MAX_MICROBATCHES, &a->microbatch) &&
           *word == '\0';
}

static bool read_action(const reader *r, const char *word, cs_action *a)
{
    *a = (cs_action){.stage = -1, .microbatch = -1, .edge = -1};
    switch (word[0]) {
    case 's':
    case 'r':
        return read_message(r, word, a);
    case 'R':
        word++;
        a->kind = CS_ACTION_REDUCE_GRADIENTS;
        return read_number(&word, r->graph->n_stages, &a->stage) &&
               *word == '\0';
    case 'T':
        a->kind = CS_ACTION_REDUCE_TIED;
        return word[1] == '\0';
    case 'N':
        a->kind = CS_ACTION_GRADIENT_NORM;
        return word[1] == '\0';
    case 'O':
        a->kind = CS_ACTION_OPTIMIZER_STEP;
        return word[1] == '\0';
    case 'A':
        a->kind = CS_ACTION_AGREE;
        return word[1] == '\0';
    default:
        return read_compute(r, word, a);
    }
}

static cs_status append(reader *r, const cs_action *action)
{
    if (r->n == r->capacity) {
        const int64_t capacity = r->capacity > 0 ? r->capacity * 2 : 256;
        cs_action *const actions =
            csi_realloc(r->actions, (size_t)capacity * sizeof *actions);

        CS_CHECK(actions != NULL, CS_ERR_NOMEM,
                 "%s: no memory for %" PRId64 " actions", r->where, capacity);
        r->actions = actions;
        int32_t *const ranks =
            csi_realloc(r->ranks, (size_t)capacity * sizeof *ranks);

        CS_CHECK(ranks != NULL, CS_ERR_NOMEM,
                 "%s: no memory for %" PRId64 " actions", r->where, capacity);
        r->ranks = ranks;
        r->capacity = capacity;
    }
    r->actions[r->n] = *action;
    r->ranks[r->n] = r->rank;
    r->n++;
    return CS_OK;
}

/* "3:" at the start of a line. */
static cs_status start_line(reader *r, const char *word)
{
    const char *at = word;
    int32_t rank = -1;

    CS_CHECK(read_number(&at, r->graph->n_ranks, &rank) && strcmp(at, ":") == 0,
             CS_ERR_FORMAT,
             "%s:%d: '%s': wanted a rank below %d and a colon, as in \"0:\"",
             r->where, r->line, word, r->graph->n_ranks);
    CS_CHECK(!r->has_line[rank], CS_ERR_FORMAT,
             "%s:%d: a second line for rank %d", r->where, r->line, rank);
    r->has_line[rank] = true;
    r->rank = rank;
    return CS_OK;
}

static cs_status read_word(reader *r)
{
    char word[WORD_BYTES];
    cs_action action;

    CS_TRY(take_word(r, word));
    if (r->rank < 0) {
        return start_line(r, word);
    }
    CS_CHECK(read_action(r, word, &action), CS_ERR_FORMAT,
             "%s:%d: '%s' is no action of %d stages and %d edges", r->where,
             r->line, word, r->graph->n_stages, r->graph->n_edges);
    CS_TRY(append(r, &action));
    if (action.microbatch > r->max_microbatch) {
        r->max_microbatch = action.microbatch;
    }
    return CS_OK;
}

static cs_status read_all(reader *r)
{
    while (find_word(r)) {
        CS_TRY(read_word(r));
    }
    for (int32_t rank = 0; rank < r->graph->n_ranks; rank++) {
        CS_CHECK(r->has_line[rank], CS_ERR_FORMAT, "%s: no line for rank %d",
                 r->where, rank);
    }
    CS_CHECK(r->max_microbatch >= 0, CS_ERR_FORMAT,
             "%s: no action names a microbatch", r->where);
    return CS_OK;
}

/* Lines may come in any order: gathers the actions by rank. */
static cs_status build(const reader *r, cs_schedule **out)
{
    const int32_t n_ranks = r->graph->n_ranks;
    int64_t *const begin = csi_calloc((size_t)n_ranks + 1, sizeof *begin);
    cs_schedule *schedule = NULL;
    cs_status st = CS_OK;

    CS_CHECK_GOTO(undo, begin != NULL, CS_ERR_NOMEM,
                  "%s: no memory for %d ranks", r->where, n_ranks);
    for (int64_t i = 0; i < r->n; i++) {
        begin[r->ranks[i] + 1]++;
    }
    for (int32_t rank = 0; rank < n_ranks; rank++) {
        begin[rank + 1] += begin[rank];
    }
    CS_TRY_GOTO(undo, csi_schedule_new(n_ranks, r->max_microbatch + 1, begin,
                                       &schedule));
    for (int64_t i = 0; i < r->n; i++) {
        schedule->actions[begin[r->ranks[i]]++] = r->actions[i];
    }
    *out = schedule;
undo:
    csi_free(begin);
    return st;
}

cs_status cs_schedule_parse(const cs_stage_graph *graph, const char *text,
                            const char *where, cs_schedule **out)
{
    reader r = {.graph = graph,
                .where = where,
                .at = text,
                .line = 1,
                .rank = -1,
                .max_microbatch = -1};
    cs_status st = CS_OK;

    CS_TRY(cs_stage_graph_check(graph));
    r.has_line = csi_calloc((size_t)graph->n_ranks, sizeof *r.has_line);
    CS_CHECK_GOTO(undo, r.has_line != NULL, CS_ERR_NOMEM,
                  "%s: no memory for %d ranks", where, graph->n_ranks);
    CS_TRY_GOTO(undo, read_all(&r));
    CS_TRY_GOTO(undo, build(&r, out));
undo:
    csi_free(r.actions);
    csi_free(r.ranks);
    csi_free(r.has_line);
    return st;
}
