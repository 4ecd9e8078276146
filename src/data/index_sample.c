/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sample for the index: its tokens, the sizes of its media, whether it is
 * fit to train on. Pure but for the media files it looks at, so that several
 * threads prepare samples at once. Every error names the sample.
 */
#include "base/alloc.h"
#include "base/json.h"

#include "index.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

cs_status csi_media_path(const char *root, const char *name,
                         char out[CSI_MEDIA_PATH_BYTES])
{
    const bool is_alone = name[0] == '/' || root == NULL || root[0] == '\0';

    return csi_format(out, CSI_MEDIA_PATH_BYTES, "%s%s%s", is_alone ? "" : root,
                      is_alone ? "" : "/", name);
}

static cs_status hash_file(const char *path, uint64_t *out)
{
    csi_file_map map = {0};

    CS_TRY(csi_file_map_open(path, &map));
    *out = XXH3_64bits(map.data != NULL ? map.data : (const uint8_t *)"",
                       map.n_bytes);
    csi_file_map_close(&map);
    return CS_OK;
}

static cs_status probe_run(const csi_chat_modality *modality, const char *path,
                           cs_index_run *run)
{
    cs_media_size size = {0};

    CS_TRY(cs_media_probe(&modality->processor, path, &size));
    CS_CHECK(size.llm_rows > 0 && size.llm_rows <= INT32_MAX &&
                 size.encoder_rows > 0 && size.encoder_rows <= INT32_MAX &&
                 size.input_rows > 0 && size.input_rows <= INT32_MAX &&
                 size.grid_rows * size.grid_columns <= size.input_rows,
             CS_ERR_FORMAT, "%s: gives %" PRId64 " tokens", path,
             size.llm_rows);
    const int64_t rows =
        size.encoder_rows / (1 + size.tile_rows * size.tile_columns);
    CS_CHECK(modality->max_positions == 0 || rows <= modality->max_positions,
             CS_ERR_ARG, "%s: has %" PRId64 " encoder rows, %s holds %" PRId64,
             path, rows, modality->name, modality->max_positions);
    CS_TRY(hash_file(path, &run->content_hash));
    run->llm_rows = (int32_t)size.llm_rows;
    run->encoder_rows = (int32_t)size.encoder_rows;
    run->input_rows = (int32_t)size.input_rows;
    run->grid_rows = (int32_t)size.grid_rows;
    run->grid_columns = (int32_t)size.grid_columns;
    run->tile_rows = (int32_t)size.tile_rows;
    run->tile_columns = (int32_t)size.tile_columns;
    return CS_OK;
}

cs_status csi_draft_probe(const csi_chat_format *format, const char *media_root,
                          csi_draft *draft, int64_t *total)
{
    *total = 0;
    for (int32_t r = 0; r < draft->n_runs; r++) {
        cs_index_run *const run = &draft->runs[r];

        if (run->modality >= 0) {
            char path[CSI_MEDIA_PATH_BYTES];

            CS_TRY(csi_media_path(media_root, draft->run_path[r], path));
            CS_TRY(probe_run(&format->modality[run->modality], path, run));
        }
        *total += run->llm_rows;
    }
    CS_CHECK(*total > 0, CS_ERR_FORMAT, "it has no tokens");
    CS_CHECK(*total <= INT32_MAX, CS_ERR_FORMAT,
             "%" PRId64 " tokens are more than 2^31 - 1", *total);
    return CS_OK;
}

/* Takes text from the end; an item that would have to go is an error. */
static cs_status truncate_text(csi_draft *d, int64_t total, int64_t limit)
{
    int64_t excess = total - limit;

    while (excess > 0) {
        CS_CHECK(d->n_runs > 0 && d->runs[d->n_runs - 1].modality < 0,
                 CS_ERR_ARG,
                 "cannot be cut to %" PRId64
                 " tokens: a picture or recording lies behind them",
                 limit);
        cs_index_run *const last = &d->runs[d->n_runs - 1];
        const int32_t n =
            excess < last->llm_rows ? (int32_t)excess : last->llm_rows;

        last->llm_rows -= n;
        d->n_ids -= n;
        excess -= n;
        if (last->llm_rows == 0) {
            d->n_runs--;
        }
    }
    return CS_OK;
}

static cs_status fit_length(const csi_index_job *job, csi_index_slot *slot,
                            int64_t *total)
{
    const csi_chat_format *const f = &job->format;
    const bool is_model =
        f->max_positions > 0 && f->max_positions < job->max_length;
    const int64_t limit = is_model ? f->max_positions : job->max_length;

    if (*total <= limit) {
        return CS_OK;
    }
    if (job->too_long == CS_TOO_LONG_TRUNCATE) {
        CS_TRY(truncate_text(&slot->draft, *total, limit));
        slot->fate = CSI_SAMPLE_TRUNCATED;
        *total = limit;
        return CS_OK;
    }
    slot->fate = CSI_SAMPLE_TOO_LONG;
    return CS_FAIL(CS_ERR_ARG, "%" PRId64 " tokens, %s %" PRId64, *total,
                   is_model ? "the language model holds" : "data.max_length is",
                   limit);
}

/* A label sits on the token before the one that must be predicted. */
static int32_t count_labels(csi_draft *d)
{
    int64_t at = 0; /* in ids */
    int32_t total = 0;

    for (int32_t r = 0; r < d->n_runs; r++) {
        cs_index_run *const run = &d->runs[r];
        const bool is_text = run->modality < 0;
        const bool precedes_text =
            r + 1 < d->n_runs && d->runs[r + 1].modality < 0;
        const int64_t first = is_text ? at + 1 : at;
        const int64_t end =
            (is_text ? at + run->llm_rows : at) + (precedes_text ? 1 : 0);

        run->label_tokens = 0;
        for (int64_t i = first; i < end; i++) {
            run->label_tokens += (d->ids[i] & CSI_TOKEN_IS_LABEL) != 0;
        }
        at += is_text ? run->llm_rows : 0;
        total += run->label_tokens;
    }
    return total;
}

static cs_status check_branches(const csi_chat_format *f, const csi_draft *d)
{
    CS_CHECK(d->branch < CS_MASK_MAX_KINDS - f->n_modalities, CS_ERR_ARG,
             "%" PRId32 " questions, model.attention: branches holds %d",
             d->branch, CS_MASK_MAX_KINDS - f->n_modalities - 1);
    return CS_OK;
}

static cs_status prepare(const csi_index_job *job, int32_t file,
                         csi_index_slot *slot)
{
    const cs_dataset_config *const config = &job->files[file];
    csi_llava_sample *const parsed = &slot->parsed;
    csi_draft *const draft = &slot->draft;
    int64_t total = 0;

    CS_TRY(csi_llava_read(&job->format, config->path, &slot->element, parsed));
    CS_TRY(csi_template_render(&job->format, parsed->turns, parsed->n_turns,
                               parsed->media, false, parsed->where, draft));
    CS_TRY(check_branches(&job->format, draft));
    CS_TRY(csi_draft_probe(&job->format, config->media_root, draft, &total));
    CS_TRY(fit_length(job, slot, &total));
    const int32_t n_labels = count_labels(draft);

    CS_CHECK(n_labels > 0, CS_ERR_FORMAT, "it has no label tokens%s",
             slot->fate == CSI_SAMPLE_TRUNCATED
                 ? " left"
                 : " (nothing that the assistant says)");
    slot->sample = (cs_index_sample){
        .offset = slot->element.offset,
        .n_bytes = slot->element.n_bytes,
        .n_runs = draft->n_runs,
        .n_tokens = (int32_t)total,
        .label_tokens = n_labels,
        .dataset = file,
    };
    return CS_OK;
}

/* "file:line: sample N: " in front of sentences that do not have it. */
static cs_status name_sample(const char *where, cs_status st)
{
    cs_error error;

    cs_error_get(&error);
    if (strncmp(error.message, where, strlen(where)) == 0) {
        return st;
    }
    return CS_FAIL(st, "%s: %s", where, error.message);
}

void csi_index_prepare(const csi_index_job *job, int32_t file,
                       csi_index_slot *slot)
{
    slot->fate = CSI_SAMPLE_KEPT;
    slot->status = prepare(job, file, slot);
    if (slot->status != CS_OK) {
        slot->fate = slot->fate == CSI_SAMPLE_TOO_LONG ? CSI_SAMPLE_TOO_LONG
                                                       : CSI_SAMPLE_BAD;
        slot->status = name_sample(slot->parsed.where, slot->status);
        cs_error_get(&slot->error);
    }
}

void csi_index_slot_clear(csi_index_slot *slot)
{
    json_decref(slot->element.json);
    slot->element = (csi_llava_element){.json = NULL};
}

void csi_index_slot_fini(csi_index_slot *slot)
{
    csi_index_slot_clear(slot);
    csi_llava_sample_fini(&slot->parsed);
    csi_draft_fini(&slot->draft);
}
