/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens an index file: maps it, and believes nothing until the checksum, the
 * key and every offset have been looked at, so that a truncated, stale or
 * hostile file is a reason to make it anew and never a wild pointer.
 */
#include "index.h"
#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

const char csi_index_magic[8] = {'C', 'S', 'I', 'N', 'D', 'E', 'X', '1'};

uint64_t csi_index_chain(uint64_t hash, const void *block, size_t n_bytes)
{
    return XXH3_64bits_withSeed(block, n_bytes, hash);
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t n_bytes)
{
    return XXH3_64bits_withSeed(bytes, n_bytes, hash + n_bytes);
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    return text == NULL ? hash * 31 + 1 : mix(hash, text, strlen(text) + 1);
}

static uint64_t mix_i64(uint64_t hash, int64_t value)
{
    return mix(hash, &value, sizeof value);
}

static uint64_t mix_f64(uint64_t hash, double value)
{
    return mix(hash, &value, sizeof value);
}

static uint64_t mix_modality(uint64_t hash, const csi_chat_modality *m)
{
    const cs_processor *const p = &m->processor;
    const int64_t numbers[] = {
        m->is_first_of_kind,
        m->max_positions,
        (int64_t)p->modality,
        p->class_rows,
        p->feature_skip,
        p->pool,
        p->stack,
        (int64_t)p->resize,
        p->edge,
        p->image_size,
        p->patch_size,
        p->merge,
        p->n_tilings,
        p->min_pixels,
        p->max_pixels,
        p->pad_frames,
        p->drops_silence,
        p->sampling_rate,
        p->n_mels,
        p->n_fft,
        p->hop,
        p->columns,
    };

    hash = mix_text(mix_text(hash, m->name), m->placeholder);
    hash = mix(hash, numbers, sizeof numbers);
    hash = mix(hash, p->tiling, (size_t)p->n_tilings * sizeof p->tiling[0]);
    return mix_f64(hash, p->max_seconds);
}

uint64_t csi_index_key(const csi_index_job *job)
{
    const csi_chat_format *const f = &job->format;
    uint64_t hash = mix_i64(f->tokenizer->hash, CSI_INDEX_VERSION);
    const int64_t numbers[] = {
        f->train_on_prompt, f->attention == CS_MASK_BRANCHES,
        f->vocab,           f->max_positions,
        f->n_modalities,    job->max_length,
        job->too_long,      job->bad_sample,
        job->n_files,
    };

    hash = mix_text(hash, csi_template_name(f->chat));
    hash = mix_i64(hash, (int64_t)f->jinja_hash);
    hash = mix(hash, numbers, sizeof numbers);
    for (int32_t m = 0; m < f->n_modalities; m++) {
        hash = mix_modality(hash, &f->modality[m]);
    }
    for (int32_t i = 0; i < job->n_files; i++) {
        hash = mix_text(hash, job->files[i].path);
        hash = mix_text(hash, job->files[i].media_root);
        hash = mix_i64(hash, (int64_t)job->files[i].format);
        hash = mix_i64(hash, job->files[i].max_samples);
    }
    return hash;
}

/* count items of n_bytes each lie at `at`, aligned, before the footer. */
static cs_status check_section(const csi_index *index, const char *path,
                               int64_t at, int64_t count, size_t n_bytes)
{
    const int64_t end = (int64_t)(index->map.n_bytes - sizeof *index->footer);

    CS_CHECK(at >= CSI_INDEX_HEAD_BYTES && at <= end && at % 8 == 0 &&
                 count >= 0 && count <= (end - at) / (int64_t)n_bytes,
             CS_ERR_FORMAT,
             "%s: damaged index: %" PRId64 " items at byte %" PRId64 " of %zu",
             path, count, at, index->map.n_bytes);
    return CS_OK;
}

static cs_status check_footer(const csi_index *index, const char *path,
                              const csi_index_job *job)
{
    const csi_index_footer *const footer = index->footer;
    const size_t n_bytes = index->map.n_bytes - sizeof *footer;
    uint64_t hash = 0;

    CS_CHECK(memcmp(footer->magic, csi_index_magic, sizeof csi_index_magic) ==
                     0 &&
                 footer->footer_hash ==
                     csi_index_chain(0, footer,
                                     offsetof(csi_index_footer, footer_hash)),
             CS_ERR_FORMAT, "%s: damaged or truncated index", path);
    CS_CHECK(footer->version == CSI_INDEX_VERSION, CS_ERR_FORMAT,
             "%s: index of version %" PRIu32 ", wanted %d", path,
             footer->version, CSI_INDEX_VERSION);
    CS_CHECK(footer->key == job->key && footer->n_files == job->n_files &&
                 footer->n_modalities == job->format.n_modalities,
             CS_ERR_FORMAT,
             "%s: made with another tokenizer, template, processor or limit",
             path);
    for (size_t at = 0; at < n_bytes; at += CSI_INDEX_BLOCK_BYTES) {
        const size_t left = n_bytes - at;

        hash = csi_index_chain(hash, index->map.data + at,
                               left < CSI_INDEX_BLOCK_BYTES
                                   ? left
                                   : CSI_INDEX_BLOCK_BYTES);
    }
    CS_CHECK(hash == footer->checksum, CS_ERR_FORMAT,
             "%s: damaged index: wanted checksum %016" PRIx64
             ", got %016" PRIx64,
             path, footer->checksum, hash);
    return CS_OK;
}

static cs_status check_path(const csi_index *index, const char *path,
                            int64_t run)
{
    const int64_t at = index->path_at[run];
    const int64_t end = index->footer->stamps_at;

    if (index->view.runs[run].modality < 0) {
        return CS_OK;
    }
    CS_CHECK(at >= CSI_INDEX_HEAD_BYTES && at < end &&
                 memchr(index->map.data + at, '\0', (size_t)(end - at)) != NULL,
             CS_ERR_FORMAT,
             "%s: damaged index: run %" PRId64 " has its path at byte %" PRId64,
             path, run, at);
    return CS_OK;
}

static cs_status check_sample(const csi_index *index, const char *path,
                              int64_t sample)
{
    const cs_index_view *const view = &index->view;
    const cs_index_sample *const s = &view->samples[sample];
    const int64_t at = index->token_at[sample];
    int64_t n_tokens = 0;
    int64_t n_text = 0;

    CS_CHECK(s->first_run >= 0 && s->n_runs > 0 &&
                 s->first_run <= view->n_runs - s->n_runs && s->dataset >= 0 &&
                 s->dataset < index->footer->n_files && s->offset >= 0 &&
                 s->n_bytes > 0 && s->label_tokens >= 0,
             CS_ERR_FORMAT, "%s: damaged index: sample %" PRId64, path, sample);
    for (int64_t r = s->first_run; r < s->first_run + s->n_runs; r++) {
        const cs_index_run *const run = &view->runs[r];

        CS_CHECK(run->modality >= -1 && run->modality < view->n_modalities &&
                     run->llm_rows > 0 && run->encoder_rows >= 0 &&
                     run->input_rows >= 0 && run->item >= 0 &&
                     run->grid_rows >= 0 && run->grid_columns >= 0 &&
                     run->tile_rows >= 0 && run->tile_columns >= 0,
                 CS_ERR_FORMAT,
                 "%s: damaged index: run %" PRId64 " of sample %" PRId64, path,
                 r, sample);
        n_tokens += run->llm_rows;
        n_text += run->modality < 0 ? run->llm_rows : 0;
        CS_TRY(check_path(index, path, r));
    }
    CS_CHECK(n_tokens == s->n_tokens && at >= CSI_INDEX_HEAD_BYTES &&
                 at % 4 == 0 && at <= index->footer->stamps_at &&
                 n_text <= (index->footer->stamps_at - at) / 4,
             CS_ERR_FORMAT,
             "%s: damaged index: sample %" PRId64 " has %" PRId32
             " tokens, its runs %" PRId64,
             path, sample, s->n_tokens, n_tokens);
    return CS_OK;
}

static cs_status check_arrays(csi_index *index, const char *path)
{
    const csi_index_footer *const f = index->footer;
    const uint8_t *const data = index->map.data;

    CS_TRY(check_section(index, path, f->stamps_at, f->n_files,
                         sizeof(csi_index_stamp)));
    CS_TRY(check_section(index, path, f->samples_at, f->n_samples,
                         sizeof(cs_index_sample)));
    CS_TRY(check_section(index, path, f->token_at, f->n_samples,
                         sizeof(int64_t)));
    CS_TRY(check_section(index, path, f->runs_at, f->n_runs,
                         sizeof(cs_index_run)));
    CS_TRY(check_section(index, path, f->path_at, f->n_runs, sizeof(int64_t)));
    index->stamps = (const void *)(data + f->stamps_at);
    index->token_at = (const void *)(data + f->token_at);
    index->path_at = (const void *)(data + f->path_at);
    index->view = (cs_index_view){
        .n_samples = f->n_samples,
        .n_runs = f->n_runs,
        .samples = (const void *)(data + f->samples_at),
        .runs = (const void *)(data + f->runs_at),
        .n_modalities = f->n_modalities,
    };
    return CS_OK;
}

static cs_status check_all(csi_index *index, const char *path,
                           const csi_index_job *job)
{
    const size_t n_bytes = index->map.n_bytes;

    CS_CHECK(n_bytes >= CSI_INDEX_HEAD_BYTES + sizeof *index->footer &&
                 n_bytes % 8 == 0,
             CS_ERR_FORMAT, "%s: damaged or truncated index of %zu bytes", path,
             n_bytes);
    index->footer =
        (const void *)(index->map.data + n_bytes - sizeof *index->footer);
    CS_TRY(check_footer(index, path, job));
    CS_TRY(check_arrays(index, path));
    CS_CHECK(index->view.n_samples > 0, CS_ERR_FORMAT,
             "%s: damaged index: no samples", path);
    for (int64_t s = 0; s < index->view.n_samples; s++) {
        CS_TRY(check_sample(index, path, s));
    }
    return CS_OK;
}

cs_status csi_index_open(const char *path, const csi_index_job *job,
                         csi_index *out)
{
    cs_status st = CS_OK;
    csi_index index = {0};

    CS_TRY(csi_file_map_open(path, &index.map));
    CS_TRY_GOTO(undo, check_all(&index, path, job));
    *out = index;
    return CS_OK;

undo:
    csi_index_close(&index);
    return st;
}

void csi_index_close(csi_index *index)
{
    csi_file_map_close(&index->map);
    *index = (csi_index){.footer = NULL};
}

static cs_status matches_stamp(const char *path, const csi_index_stamp *stamp,
                               bool *out)
{
    int64_t n_bytes = 0;
    int64_t mtime_ns = 0;
    csi_file_map map = {0};

    *out = false;
    CS_TRY(csi_file_size(path, &n_bytes));
    if (n_bytes != stamp->n_bytes) {
        return CS_OK;
    }
    CS_TRY(csi_file_mtime_ns(path, &mtime_ns));
    if (mtime_ns == stamp->mtime_ns) {
        *out = true;
        return CS_OK;
    }
    CS_TRY(csi_file_map_open(path, &map));
    *out = XXH3_64bits(map.data != NULL ? map.data : (const uint8_t *)"",
                       map.n_bytes) == stamp->hash;
    csi_file_map_close(&map);
    return CS_OK;
}

cs_status csi_index_is_fresh(const csi_index *index, const csi_index_job *job,
                             bool *is_fresh)
{
    bool matches = true;

    for (int32_t i = 0; i < job->n_files && matches; i++) {
        CS_TRY(matches_stamp(job->files[i].path, &index->stamps[i], &matches));
    }
    *is_fresh = matches;
    return CS_OK;
}
