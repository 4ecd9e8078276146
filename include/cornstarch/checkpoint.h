/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_CHECKPOINT_H
#define CORNSTARCH_CHECKPOINT_H
/*
 * Weights in and out: Hugging Face folders (read at start, written at the
 * end), and checkpoints in global coordinates, saved under one layout and
 * resumed under any other. Formats: docs/formats.md.
 */
#include "cornstarch/comm.h"
#include "cornstarch/config.h"
#include "cornstarch/param.h"

CS_BEGIN_DECLS

/* ---- start: values of every held parameter ---- */

/* Parameters of modules with a source folder are read from it, all others get
 * their initial values from the seed. Every held parameter of a source must be
 * there with its shape, in a float type (FORMAT error listing by name what is
 * missing, reshaped or of another type); unexpected tensors are counted and
 * named on the log. A tied parameter takes the values of its twin; if the file
 * has it too, its bytes must be equal. Ranks: each reads only what it holds;
 * not collective. */
CS_API CS_NODISCARD cs_status cs_weights_load(cs_param_set *set, uint64_t seed);
/* The same errors from the headers alone, for every part of the model. */
CS_API CS_NODISCARD cs_status cs_weights_check(const cs_graph *graph);

/* ---- export: RUN/model, one folder per module ---- */

/* What stands beside the weights; texts are written as they are. */
typedef struct cs_export_extras {
    const char *cornstarch_json;          /* model/cornstarch.json */
    const char *const *preprocessor_json; /* [n_encoders] */
    const char *tokenizer_folder;         /* its tokenizer files are copied */
    const char *generation_config_json;
    int64_t max_shard_bytes; /* of one file of weights; 0 = 5 GB */
} cs_export_extras;

/* Writes model/ from all ranks' parameters: first into `folder`.tmp, then
 * renamed over the old one. Frozen parameters are written with the very bytes
 * (and dtype) of their source; trainable ones as f32 from the master; all in
 * the layout that their family's files have. Tied ones are not written. Ranks:
 * collective over `replica` (the ranks that together hold everything); call it
 * on the first replica only. Parameters travel to rank 0, one at a time. */
CS_API CS_NODISCARD cs_status cs_model_export(const cs_param_set *set,
                                              uint64_t seed, cs_comm *replica,
                                              const cs_export_extras *extras,
                                              const char *folder);

/* Folders of weights that become one, byte for byte. */
typedef struct cs_merge_part {
    const char *folder;
    const char *prefix; /* put in front of every name of the folder */
} cs_merge_part;
typedef struct cs_merge_options {
    int32_t n_parts, n_padded;
    const cs_merge_part *parts;
    const char *const *padded; /* names, with prefix, that get rows of zeros */
    int64_t padded_rows;       /* ... up to so many */
    int64_t max_shard_bytes;   /* of one file; 0 = 5 GB */
} cs_merge_options;
/* Writes model.safetensors, or shards with their index, into `folder`. */
CS_API CS_NODISCARD cs_status cs_weights_merge(const cs_merge_options *options,
                                               const char *folder);

/* ---- checkpoints ---- */

/* What must be restored besides tensors: RUN/checkpoints/step-N/state.json. */
typedef struct cs_train_state {
    int64_t step;   /* last finished step */
    int64_t update; /* optimizer updates done */
    double epoch;
    uint64_t sample_hash; /* chain over the sample ids of all steps */
    int64_t skipped_samples, non_finite_in_a_row;
    double best_metric; /* NAN = none yet */
    int64_t best_step;
    int64_t n_stale_evaluations; /* without improvement (early stop) */
    int64_t n_dropped;           /* samples found bad so far */
    int64_t *dropped;            /* owned by the caller: csi_free */
    int64_t metrics_bytes;       /* length of metrics.jsonl at this step */
    char recipe_hash[17];
} cs_train_state;

typedef struct cs_checkpoint_options {
    const char *run_folder; /* checkpoints/ is inside */
    const char *recipe_hash;
    const char *plan_hash;
    int32_t keep;      /* newest complete ones kept; 0 = all */
    int64_t keep_step; /* best step, never deleted; 0 = none */
} cs_checkpoint_options;

typedef struct cs_checkpoint_writer cs_checkpoint_writer;

/* `is_async`: tensors are copied and written by a thread of this rank. */
CS_API CS_NODISCARD cs_status
cs_checkpoint_writer_create(const cs_param_set *set, cs_comm *world,
                            bool is_first_replica, bool is_async,
                            cs_checkpoint_writer **out);
/* Waits for a write under way, for other ranks' parts of it only seconds; its
 * failure is lost unless finish was called. */
CS_API void cs_checkpoint_writer_destroy(cs_checkpoint_writer **writer);
/* Starts checkpoint step-N of `state` (on async: returns when the tensors are
 * copied; the previous one is finished first). Ranks: collective over the
 * world; `state` must be equal on all. Files are written into step-N.tmp,
 * checksummed, listed in manifest.json, then the folder is renamed and
 * `latest` replaced: a crash leaves the previous checkpoint whole. A fully
 * frozen module's parameters are not written: they are named with their
 * source. A full disk is one error and removes step-N.tmp. */
CS_API CS_NODISCARD cs_status
cs_checkpoint_save(cs_checkpoint_writer *writer,
                   const cs_checkpoint_options *options,
                   const cs_train_state *state);
/* Completes a save under way. Ranks: collective over the world. */
CS_API CS_NODISCARD cs_status
cs_checkpoint_finish(cs_checkpoint_writer *writer);

/* Loads step N (0 = latest) into *set and *state: parameters (master), m, v.
 * Damaged files are found by checksum; with step 0 the checkpoint before is
 * used and *fallback says so (sentence; "" = none). Errors: ARG when there is
 * none; FORMAT when recipe_hash differs (names both) unless it is NULL.
 * Weights only when the set has no optimizer state. Ranks: each reads what it
 * holds; call cs_comm_agree afterwards. */
CS_API CS_NODISCARD cs_status cs_checkpoint_load(const char *run_folder,
                                                 int64_t step,
                                                 const char *recipe_hash,
                                                 cs_param_set *set,
                                                 cs_train_state *state,
                                                 char fallback[512]);
/* Step of the newest complete checkpoint; 0 = none. */
CS_API int64_t cs_checkpoint_latest(const char *run_folder);
/* Table of the checkpoints of a run, or of one step, for `inspect`.
 * [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_checkpoint_print(const char *run_folder,
                                                  int64_t step, char **out);

CS_END_DECLS
#endif
