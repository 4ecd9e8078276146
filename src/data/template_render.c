/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A draft: text waits in a buffer until something else comes (a special token,
 * an item, the border between what is learned and what is not), then it is
 * tokenised as one piece. Tokens that the mask treats alike are one run. Also
 * the format that a draft is rendered with.
 */
#include "base/alloc.h"
#include "base/checked.h"

#include "template.h"

#include <inttypes.h>
#include <string.h>

static const char *default_placeholder(cs_modality modality)
{
    return modality == CS_MODALITY_VISION ? "<image>" : "<audio>";
}

cs_status csi_chat_format_init(const cs_config *config, const cs_graph *graph,
                               const cs_tokenizer *tokenizer,
                               csi_chat_format *out)
{
    const int32_t n = config->model.n_encoders;
    const cs_module *const language_model =
        &graph->modules[cs_graph_language_model(graph)];
    csi_chat_format f = {.tokenizer = tokenizer,
                         .train_on_prompt = config->data.train_on_prompt,
                         .attention = graph->attention,
                         .vocab = language_model->vocab,
                         .max_positions = language_model->max_positions,
                         .n_modalities = n};

    CS_CHECK(n == graph->n_modules - 1 && n <= CSI_MAX_MODALITIES, CS_ERR_ARG,
             "the recipe has %" PRId32 " encoders, the graph %" PRId32
             ", at most %d fit",
             n, graph->n_modules - 1, (int)CSI_MAX_MODALITIES);
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo,
                csi_template_load(config->data.template_name, tokenizer, &f));
    for (int32_t m = 0; m < n; m++) {
        const cs_encoder_config *const encoder = &config->model.encoders[m];
        const cs_module *const module = &graph->modules[m];
        csi_chat_modality *const modality = &f.modality[m];

        modality->name = module->name;
        modality->placeholder = encoder->placeholder != NULL
                                    ? encoder->placeholder
                                    : default_placeholder(module->modality);
        CS_CHECK_GOTO(undo, modality->placeholder[0] != '\0', CS_ERR_ARG,
                      "model.encoders.%s.placeholder is empty", module->name);
        modality->max_positions = module->max_positions;
        modality->is_first_of_kind = true;
        for (int32_t other = 0; other < m; other++) {
            if (f.modality[other].processor.modality == module->modality) {
                modality->is_first_of_kind = false;
            }
        }
        CS_TRY_GOTO(undo,
                    cs_processor_init(module, encoder, &modality->processor));
    }
    *out = f;
    return CS_OK;

undo:
    csi_chat_format_fini(&f);
    return st;
}

void csi_chat_format_fini(csi_chat_format *format)
{
    csi_jinja_destroy(&format->jinja);
    json_decref(format->specials);
    format->specials = NULL;
}

void csi_draft_fini(csi_draft *draft)
{
    csi_free(draft->ids);
    csi_free(draft->runs);
    csi_free(draft->run_path);
    csi_str_fini(&draft->pending);
    *draft = (csi_draft){.n_ids = 0};
}

void csi_draft_clear(csi_draft *draft)
{
    draft->n_ids = 0;
    draft->n_runs = 0;
    csi_str_clear(&draft->pending);
    draft->pending_is_label = false;
    draft->is_prompt = true;
    draft->place = CSI_PLACE_START;
    draft->branch = 0;
    memset(draft->n_items, 0, sizeof draft->n_items);
}

static cs_status reserve_ids(csi_draft *d, int64_t n_more)
{
    if (d->ids_capacity - d->n_ids >= n_more) {
        return CS_OK;
    }
    const int64_t capacity = 2 * (d->n_ids + n_more) + 256;
    int32_t *const grown =
        csi_realloc(d->ids, (size_t)capacity * sizeof *grown);

    CS_CHECK(grown != NULL, CS_ERR_NOMEM,
             "no memory for a sample of %" PRId64 " tokens", capacity);
    d->ids = grown;
    d->ids_capacity = capacity;
    return CS_OK;
}

static cs_status add_run(csi_draft *d, const cs_index_run *run,
                         const char *path)
{
    if (d->n_runs == d->runs_capacity) {
        const int32_t capacity = 2 * d->n_runs + 8;
        cs_index_run *const runs =
            csi_realloc(d->runs, (size_t)capacity * sizeof *runs);

        CS_CHECK(runs != NULL, CS_ERR_NOMEM,
                 "no memory for a sample of %" PRId32 " runs", capacity);
        d->runs = runs;
        const char **const paths =
            csi_realloc(d->run_path, (size_t)capacity * sizeof *paths);

        CS_CHECK(paths != NULL, CS_ERR_NOMEM,
                 "no memory for a sample of %" PRId32 " runs", capacity);
        d->run_path = paths;
        d->runs_capacity = capacity;
    }
    d->runs[d->n_runs] = *run;
    d->run_path[d->n_runs++] = path;
    return CS_OK;
}

static bool continues(const csi_draft *d)
{
    if (d->n_runs == 0) {
        return false;
    }
    const cs_index_run *const last = &d->runs[d->n_runs - 1];

    return last->modality < 0 && last->branch == d->branch &&
           last->is_prompt == d->is_prompt;
}

/* Counts n_ids new text tokens into the last run, or into a new one. */
static cs_status extend_run(csi_draft *d, int64_t n_ids)
{
    if (!continues(d)) {
        CS_TRY(add_run(d,
                       &(cs_index_run){.modality = -1,
                                       .branch = d->branch,
                                       .is_prompt = d->is_prompt},
                       NULL));
    }
    cs_index_run *const last = &d->runs[d->n_runs - 1];

    CS_CHECK(n_ids <= INT32_MAX - last->llm_rows, CS_ERR_ARG,
             "a text of more than 2^31 - 1 tokens");
    last->llm_rows += (int32_t)n_ids;
    return CS_OK;
}

static cs_status check_ids(const csi_chat_format *f, const int32_t *ids,
                           int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        CS_CHECK(ids[i] < f->vocab, CS_ERR_ARG,
                 "token id %" PRId32
                 " is outside the language model's vocabulary of %" PRId64,
                 ids[i], f->vocab);
    }
    return CS_OK;
}

cs_status csi_draft_id(const csi_chat_format *f, csi_draft *d, int32_t id,
                       bool is_label)
{
    CS_TRY(check_ids(f, &id, 1));
    CS_TRY(reserve_ids(d, 1));
    CS_TRY(extend_run(d, 1));
    d->ids[d->n_ids++] = id | (is_label ? CSI_TOKEN_IS_LABEL : 0);
    return CS_OK;
}

cs_status csi_draft_flush(const csi_chat_format *f, csi_draft *d)
{
    const int32_t flag = d->pending_is_label ? CSI_TOKEN_IS_LABEL : 0;
    const csi_encode_options options = {.place = d->place};
    csi_id_sink sink;

    CS_TRY(csi_str_check(&d->pending));
    if (d->pending.length == 0) {
        return CS_OK;
    }
    sink.count = 0;
    /* A token is mostly more than a byte; normal forms can be longer. */
    do {
        CS_TRY(reserve_ids(d, csi_max_i64(sink.count,
                                          (int64_t)d->pending.length)));
        sink = (csi_id_sink){.ids = d->ids + d->n_ids,
                             .capacity = d->ids_capacity - d->n_ids};
        CS_TRY(csi_tokenizer_run(f->tokenizer, d->pending.data,
                                 d->pending.length, &options, &sink));
    } while (sink.count > sink.capacity);
    csi_str_clear(&d->pending);
    d->place = CSI_PLACE_INSIDE;
    if (sink.count == 0) {
        return CS_OK; /* letters that the tokenizer does not know */
    }
    CS_TRY(check_ids(f, sink.ids, sink.count));
    for (int64_t i = 0; i < sink.count; i++) {
        sink.ids[i] |= flag;
    }
    CS_TRY(extend_run(d, sink.count));
    d->n_ids += sink.count;
    return CS_OK;
}

cs_status csi_draft_text(const csi_chat_format *f, csi_draft *d,
                         const char *text, size_t n_bytes, bool is_label)
{
    if (n_bytes == 0) {
        return CS_OK;
    }
    if (is_label != d->pending_is_label) {
        CS_TRY(csi_draft_flush(f, d));
    }
    d->pending_is_label = is_label;
    csi_str_add_bytes(&d->pending, text, n_bytes);
    return CS_OK;
}

cs_status csi_draft_token(const csi_chat_format *f, csi_draft *d, int32_t id,
                          bool is_label)
{
    CS_TRY(csi_draft_flush(f, d));
    d->place = CSI_PLACE_AFTER_TOKEN;
    return csi_draft_id(f, d, id, is_label);
}

cs_status csi_draft_media(const csi_chat_format *f, csi_draft *d,
                          int32_t modality, const char *path)
{
    CS_TRY(csi_draft_flush(f, d));
    d->place = CSI_PLACE_AFTER_TOKEN;
    return add_run(d,
                   &(cs_index_run){.modality = modality,
                                   .item = d->n_items[modality]++,
                                   .is_prompt = d->is_prompt},
                   path);
}
