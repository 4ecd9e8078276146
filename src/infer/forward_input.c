/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input_ids, labels, attention_mask and position_ids -> documents, by the
 * rules of transformers:
 *
 *     a row of [B, T] is a document; attention_mask 0 leaves a token out
 *     without attention_mask, a document ends where position_ids do not go on
 *     by 1 (a packed row)
 *     without position_ids a token's position is its column
 *     the label of a token is that of the next one of its row
 *
 * Placeholder ids are media rows: as many, one after the other, as the item
 * has features.
 */
#include "base/checked.h"

#include "forward.h"

#include <inttypes.h>
#include <string.h>

static const int64_t NO_LABEL = -100;

/* Documents while they are laid out. */
typedef struct layout {
    csi_forward_input *in;
    const csi_forward_texts *t;
    cs_index_sample *samples;
    cs_index_run *runs;
    int64_t n_samples, n_runs, n_tokens;
    int64_t *next_item; /* [n_encoders] */
    bool has_answer;    /* of this document, so far */
} layout;

/* ---- documents ---- */

/* Whether the token at `at` opens a document; `last` is the kept token before
 * it in its row, or -1. */
static bool opens_document(const csi_forward_texts *t, int64_t last, int64_t at)
{
    if (last < 0) {
        return true;
    }
    return t->mask == NULL && t->position != NULL &&
           t->position[at] != t->position[last] + 1;
}

static void open_document(layout *l)
{
    l->in->token_begin[l->n_samples] = l->n_tokens;
    l->samples[l->n_samples++] = (cs_index_sample){.first_run = l->n_runs};
    l->has_answer = false;
}

/* Whether the next token of such a kind belongs to the last run. */
static bool joins_run(const layout *l, int32_t modality, int64_t item,
                      bool is_prompt)
{
    if (l->n_runs == 0 || l->samples[l->n_samples - 1].n_runs == 0) {
        return false;
    }
    const cs_index_run *run = &l->runs[l->n_runs - 1];

    return run->modality == modality &&
           l->in->run_item[l->n_runs - 1] == item &&
           (run->is_prompt != 0) == is_prompt;
}

/* The run that the next token joins; a new one where it differs. */
static cs_index_run *join_run(layout *l, int32_t modality, int64_t item,
                              bool is_prompt)
{
    if (!joins_run(l, modality, item, is_prompt)) {
        l->runs[l->n_runs] =
            (cs_index_run){.modality = modality, .is_prompt = is_prompt};
        l->in->run_item[l->n_runs++] = (int32_t)item;
        l->samples[l->n_samples - 1].n_runs++;
    }
    return &l->runs[l->n_runs - 1];
}

static int64_t position_at(const layout *l, int64_t at)
{
    return l->t->position != NULL ? l->t->position[at] : at % l->in->row_tokens;
}

/* Adds the token at place `at` of the file to the open document. */
static void add_token(layout *l, cs_index_run *run, int64_t at, int32_t id)
{
    csi_forward_input *in = l->in;
    cs_index_sample *sample = &l->samples[l->n_samples - 1];
    const int64_t k = l->n_tokens++;

    in->ids[k] = id;
    in->labels[k] = (int32_t)NO_LABEL;
    in->place[k] = at;
    in->position[k] = (int32_t)position_at(l, at);
    run->llm_rows++;
    sample->n_tokens++;
}

/* The encoder whose placeholder `id` is; -1 = text. */
static int32_t find_placeholder(const csi_forward_input *in, int64_t id)
{
    for (int32_t e = 0; e < in->graph->n_modules - 1; e++) {
        if (in->placeholder[e] == id) {
            return e;
        }
    }
    return -1;
}

/* The features of the encoder's next item start at `at`: all its rows must be
 * placeholders. Returns how many through *n. */
static cs_status measure_item(layout *l, int32_t e, int64_t at, int64_t *n)
{
    const csi_forward_input *in = l->in;
    const cs_module *m = &in->graph->modules[e];
    const csi_media *media = &in->media[e];
    const int64_t item = l->next_item[e];
    const int64_t row_end = (at / in->row_tokens + 1) * in->row_tokens;
    int64_t there = 0;

    CS_CHECK(item < media->n_items, CS_ERR_FORMAT,
             "%s: input_ids has a placeholder of %s (%" PRId64
             ") at row %" PRId64 ", column %" PRId64
             ", but the file has only %" PRId64 " items for it",
             in->path, m->name, in->placeholder[e], at / in->row_tokens,
             at % in->row_tokens, media->n_items);
    const int64_t input_rows =
        media->row_begin[item + 1] - media->row_begin[item];
    const int64_t wanted = csi_feature_rows(m, csi_encoder_rows(m, input_rows));

    while (at + there < row_end && there < wanted &&
           l->t->ids[at + there] == in->placeholder[e] &&
           (l->t->mask == NULL || l->t->mask[at + there] != 0)) {
        there++;
    }
    CS_CHECK(there == wanted, CS_ERR_FORMAT,
             "%s: item %" PRId64 " of '%s' has %" PRId64
             " features, but input_ids has %" PRId64 " placeholders (%" PRId64
             ") for it at row %" PRId64 ", column %" PRId64,
             in->path, item, media->name, wanted, there, in->placeholder[e],
             at / in->row_tokens, at % in->row_tokens);
    *n = wanted;
    return CS_OK;
}

static cs_status add_item(layout *l, int32_t e, int64_t at, bool is_prompt,
                          int64_t *n)
{
    const csi_media *media = &l->in->media[e];
    const cs_module *m = &l->in->graph->modules[e];

    CS_TRY(measure_item(l, e, at, n));
    const int64_t item = l->next_item[e]++;
    cs_index_run *run = join_run(l, e, item, is_prompt);

    run->input_rows =
        (int32_t)(media->row_begin[item + 1] - media->row_begin[item]);
    run->encoder_rows = (int32_t)csi_encoder_rows(m, run->input_rows);
    run->grid_rows = media->grid_rows[item];
    run->grid_columns = media->grid_columns[item];
    for (int64_t k = 0; k < *n; k++) {
        add_token(l, run, at + k, -1);
    }
    return CS_OK;
}

static cs_status check_id(const csi_forward_input *in, const char *name,
                          int64_t at, int64_t value)
{
    const cs_module *m =
        &in->graph->modules[cs_graph_language_model(in->graph)];

    CS_CHECK(value >= 0 && value < m->vocab, CS_ERR_FORMAT,
             "%s: tensor '%s', row %" PRId64 ", column %" PRId64
             ": wanted 0..%" PRId64 "%s, got %" PRId64,
             in->path, name, at / in->row_tokens, at % in->row_tokens,
             m->vocab - 1,
             strcmp(name, "labels") == 0 ? " or -100" : " or a placeholder",
             value);
    return CS_OK;
}

/* Positions that a table of learned ones does not have, or int32. */
static cs_status check_position(const csi_forward_input *in, int64_t at,
                                int64_t position)
{
    const cs_module *m =
        &in->graph->modules[cs_graph_language_model(in->graph)];
    const cs_layer *embed = &m->layers[0];
    const int64_t limit =
        embed->param[CS_SLOT_POSITION] >= 0 ? embed->n_positions : INT32_MAX;

    CS_CHECK(position >= 0 && position < limit, CS_ERR_FORMAT,
             "%s: position %" PRId64 " at row %" PRId64 ", column %" PRId64
             ", wanted 0..%" PRId64,
             in->path, position, at / in->row_tokens, at % in->row_tokens,
             limit - 1);
    return CS_OK;
}

/* Labels of a row's kept tokens [first, end), each from the token after it. */
static cs_status shift_labels(layout *l, int64_t first)
{
    csi_forward_input *in = l->in;

    for (int64_t k = first; k + 1 < l->n_tokens; k++) {
        const int64_t next = in->place[k + 1];
        const int64_t label = l->t->labels[next];
        if (label == NO_LABEL) {
            continue;
        }
        CS_TRY(check_id(in, "labels", next, label));
        in->labels[k] = (int32_t)label;
        in->label_tokens++;
    }
    return CS_OK;
}

static cs_status add_row(layout *l, int64_t row)
{
    const csi_forward_texts *t = l->t;
    csi_forward_input *in = l->in;
    const int64_t begin = row * in->row_tokens;
    const int64_t first = l->n_tokens;
    int64_t last = -1;

    for (int64_t at = begin; at < begin + in->row_tokens;) {
        int64_t n = 1;
        if (t->mask != NULL && t->mask[at] == 0) {
            at++;
            continue;
        }
        if (opens_document(t, last, at)) {
            open_document(l);
        }
        l->has_answer =
            l->has_answer || (t->labels != NULL && t->labels[at] != NO_LABEL);
        const int32_t e = find_placeholder(in, t->ids[at]);
        if (e >= 0) {
            CS_TRY(add_item(l, e, at, !l->has_answer, &n));
        } else {
            CS_TRY(check_id(in, "input_ids", at, t->ids[at]));
            add_token(l, join_run(l, -1, -1, !l->has_answer), at,
                      (int32_t)t->ids[at]);
        }
        for (int64_t k = 0; k < n; k++) {
            CS_TRY(check_position(in, at + k, position_at(l, at + k)));
        }
        at += n;
        last = at - 1;
    }
    CS_CHECK(last >= 0, CS_ERR_FORMAT,
             "%s: attention_mask leaves nothing of row %" PRId64, in->path,
             row);
    return t->labels != NULL ? shift_labels(l, first) : CS_OK;
}

/* Label tokens of each document and run, after all were shifted. */
static void count_labels(layout *l)
{
    const csi_forward_input *in = l->in;

    for (int64_t s = 0; s < l->n_samples; s++) {
        int64_t k = in->token_begin[s];
        for (int32_t r = 0; r < l->samples[s].n_runs; r++) {
            cs_index_run *run = &l->runs[l->samples[s].first_run + r];
            for (int32_t i = 0; i < run->llm_rows; i++, k++) {
                run->label_tokens += in->labels[k] != NO_LABEL;
            }
            l->samples[s].label_tokens += run->label_tokens;
        }
    }
}

static cs_status take_layout(csi_forward_input *in, layout *l)
{
    const int64_t n = in->n_rows * in->row_tokens;
    csi_arena *a = &in->arena;

    CS_TRY(csi_forward_take(a, n, sizeof *l->samples, &l->samples));
    CS_TRY(csi_forward_take(a, n, sizeof *l->runs, &l->runs));
    CS_TRY(csi_forward_take(a, in->graph->n_modules, sizeof *l->next_item,
                            &l->next_item));
    CS_TRY(csi_forward_take(a, n, sizeof *in->run_item, &in->run_item));
    CS_TRY(csi_forward_take(a, n, sizeof *in->token_begin, &in->token_begin));
    CS_TRY(csi_forward_take(a, n, sizeof *in->ids, &in->ids));
    CS_TRY(csi_forward_take(a, n, sizeof *in->labels, &in->labels));
    CS_TRY(csi_forward_take(a, n, sizeof *in->position, &in->position));
    CS_TRY(csi_forward_take(a, n, sizeof *in->place, &in->place));
    return CS_OK;
}

static cs_status lay_out(csi_forward_input *in, const csi_forward_texts *t)
{
    layout l = {.in = in, .t = t};

    CS_TRY(take_layout(in, &l));
    for (int64_t row = 0; row < in->n_rows; row++) {
        CS_TRY(add_row(&l, row));
    }
    in->token_begin[l.n_samples] = l.n_tokens;
    count_labels(&l);
    for (int32_t e = 0; e < in->graph->n_modules - 1; e++) {
        CS_CHECK(l.next_item[e] == in->media[e].n_items, CS_ERR_FORMAT,
                 "%s: tensor '%s' has %" PRId64
                 " items, input_ids has placeholders (%" PRId64
                 ") for %" PRId64,
                 in->path, in->media[e].name, in->media[e].n_items,
                 in->placeholder[e], l.next_item[e]);
    }
    in->view = (cs_index_view){
        .n_samples = l.n_samples,
        .n_runs = l.n_runs,
        .samples = l.samples,
        .runs = l.runs,
        .n_modalities = in->graph->n_modules - 1,
    };
    return CS_OK;
}

cs_status csi_forward_read(csi_forward_input *in,
                           const csi_model_source *source,
                           const cs_graph *graph, const char *path)
{
    const bool has_text = !source->is_encoder_alone;
    csi_forward_texts t = {0};

    in->path = path;
    in->graph = graph;
    CS_TRY(cs_safetensors_open(path, &in->file));
    CS_TRY(csi_forward_check_names(in, has_text));
    CS_TRY(csi_forward_take(&in->arena, graph->n_modules, sizeof *in->media,
                            &in->media));
    for (int32_t e = 0; e < graph->n_modules - 1; e++) {
        CS_TRY(csi_forward_read_media(in, e, &in->media[e]));
    }
    if (!has_text) {
        CS_CHECK(in->media[0].n_items > 0, CS_ERR_FORMAT,
                 "%s: wanted %s for the encoder, found none", path,
                 graph->modules[0].modality == CS_MODALITY_AUDIO
                     ? "input_features"
                     : "pixel_values");
        return CS_OK;
    }
    CS_TRY(csi_forward_read_texts(in, &t));
    return lay_out(in, &t);
}

void csi_forward_input_fini(csi_forward_input *input)
{
    cs_safetensors_close(&input->file);
    csi_arena_fini(&input->arena);
    *input = (csi_forward_input){0};
}
