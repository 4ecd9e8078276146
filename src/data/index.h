/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_INDEX_H
#define CS_DATA_INDEX_H
/*
 * The index file: all that training needs to know about a list of data files,
 * tokens included, so that a step touches neither JSON nor tokenizer. Written
 * front to back while the data is read, mapped afterwards:
 *
 *     64 bytes   magic, zeros
 *     payload    per sample: its text tokens (int32), its media paths
 *                (NUL-terminated), zeros up to 8 bytes
 *     stamps     csi_index_stamp[n_files]
 *     samples    cs_index_sample[n_samples]
 *     token_at   int64[n_samples]  where a sample's tokens lie
 *     runs       cs_index_run[n_runs]
 *     path_at    int64[n_runs]     where a run's path lies; 0 = text
 *     footer     csi_index_footer
 *
 * The checksum covers everything before the footer, in blocks chained by their
 * seeds. A file that does not fit is made anew, never half-believed.
 */
#include "base/file.h"

#include "llava.h"

enum {
    CSI_INDEX_VERSION = 2,
    CSI_INDEX_HEAD_BYTES = 64,
    CSI_INDEX_BLOCK_BYTES = 64 * 1024
};

/* A data file as it was when it was read. */
typedef struct csi_index_stamp {
    int64_t n_bytes, mtime_ns;
    uint64_t hash; /* XXH3 of the content */
} csi_index_stamp;

typedef struct csi_index_footer {
    char magic[8];
    uint32_t version;
    int32_t n_modalities;
    uint64_t key; /* of tokenizer, template, processors, limits, paths */
    uint64_t checksum;
    int64_t n_files, n_samples, n_runs;
    int64_t stamps_at, samples_at, token_at, runs_at, path_at;
    int64_t n_skipped, n_too_long, n_truncated;
    int64_t n_items, n_tokens, label_tokens;
    uint64_t footer_hash; /* of the bytes above */
} csi_index_footer;
_Static_assert(sizeof(csi_index_footer) == 152, "on disk");
_Static_assert(sizeof(csi_index_stamp) == 24, "on disk");

extern const char csi_index_magic[8];

/* What decides the content of an index beside the data itself. */
typedef struct csi_index_job {
    const cs_dataset_config *files; /* borrowed */
    int32_t n_files;
    csi_chat_format format;
    int64_t max_length;
    cs_too_long too_long;
    cs_bad_sample bad_sample;
    int32_t n_threads;
    bool is_quiet;
    uint64_t key;
} csi_index_job;

typedef struct csi_index {
    csi_file_map map; /* owned */
    cs_index_view view;
    const csi_index_footer *footer; /* in the map, like all below */
    const csi_index_stamp *stamps;
    const int64_t *token_at, *path_at;
} csi_index;

/* FORMAT errors say why the file must be made anew (damaged, other key). */
CS_NODISCARD cs_status csi_index_open(const char *path,
                                      const csi_index_job *job, csi_index *out);
void csi_index_close(csi_index *index);
/* Whether the data files are still those of the stamps. */
CS_NODISCARD cs_status csi_index_is_fresh(const csi_index *index,
                                          const csi_index_job *job,
                                          bool *is_fresh);
CS_NODISCARD cs_status csi_index_build(const csi_index_job *job,
                                       const char *path);
uint64_t csi_index_key(const csi_index_job *job);
/* Chained hash of one block. */
uint64_t csi_index_chain(uint64_t hash, const void *block, size_t n_bytes);

/* ---- one sample in the making (index_sample.c) ---- */

typedef enum csi_sample_fate {
    CSI_SAMPLE_KEPT,
    CSI_SAMPLE_TRUNCATED, /* kept, shorter */
    CSI_SAMPLE_BAD,
    CSI_SAMPLE_TOO_LONG
} csi_sample_fate;

typedef struct csi_index_slot {
    csi_llava_element element; /* json owned */
    csi_llava_sample parsed;
    csi_draft draft;
    csi_sample_fate fate;
    cs_status status; /* with its trail in `error`: what is wrong with it */
    cs_error error;
    cs_index_sample sample;
} csi_index_slot;

/* From its JSON to tokens and runs. Threads may prepare different slots. The
 * slot carries the error; nothing is returned. */
void csi_index_prepare(const csi_index_job *job, int32_t file,
                       csi_index_slot *slot);
void csi_index_slot_clear(csi_index_slot *slot);
void csi_index_slot_fini(csi_index_slot *slot);
/* Probes the media of a draft and fills its runs; total = tokens of all. */
CS_NODISCARD cs_status csi_draft_probe(const csi_chat_format *format,
                                       const char *media_root, csi_draft *draft,
                                       int64_t *total);
/* "root/name" into a buffer; ARG when it does not fit. */
enum {
    CSI_MEDIA_PATH_BYTES = 4096
};
CS_NODISCARD cs_status csi_media_path(const char *root, const char *name,
                                      char out[CSI_MEDIA_PATH_BYTES]);
#endif
