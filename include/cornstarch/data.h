/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_DATA_H
#define CORNSTARCH_DATA_H
/*
 * Real data: tokenizer, chat template, media processors, the index over LLaVA
 * JSON files, and the loader that decodes one step ahead on worker threads.
 * Only ranks that embed or score ask for tokens, only encoder ranks for media.
 */
#include "cornstarch/batch.h"
#include "cornstarch/config.h"
#include "cornstarch/graph.h"

CS_BEGIN_DECLS

/* ---- tokenizer: Hugging Face's tokenizer.json with a BPE model ----
 * Byte-level BPE (GPT-2, Llama 3, Qwen) and BPE over letters with byte fallback
 * (Llama 2, Mistral, Gemma, Phi-3, InternLM2); other models are UNSUPPORTED.
 * Bytes that are no UTF-8 count as U+FFFD, one for each longest start of a
 * sequence, as in Python's bytes.decode(errors="replace"). */

typedef struct cs_tokenizer cs_tokenizer; /* immutable: share freely */

/* A token and the bytes [begin, end) of the text that it stands for, as Hugging
 * Face's offsets (whole letters; a prefix space stands for what follows it). */
typedef struct cs_token {
    int32_t id, begin, end;
} cs_token;

/* Ids that the post-processor of tokenizer.json puts around one text. */
typedef struct cs_token_frame {
    const int32_t *before, *after; /* borrowed from the tokenizer */
    int32_t n_before, n_after;
} cs_token_frame;

CS_API CS_NODISCARD cs_status cs_tokenizer_load(const char *folder,
                                                cs_tokenizer **out);
CS_API void cs_tokenizer_destroy(cs_tokenizer **tokenizer);
CS_API int32_t cs_tokenizer_size(const cs_tokenizer *tokenizer);
/* Id of a special/added token by text; -1 = none. */
CS_API int32_t cs_tokenizer_special(const cs_tokenizer *tokenizer,
                                    const char *text);
CS_API int32_t cs_tokenizer_bos(const cs_tokenizer *tokenizer); /* or -1 */
CS_API int32_t cs_tokenizer_eos(const cs_tokenizer *tokenizer); /* or -1 */
CS_API cs_token_frame cs_tokenizer_frame(const cs_tokenizer *tokenizer);
/* Appends nothing by itself (see cs_tokenizer_frame). Writes up to capacity
 * ids, *count = how many there are. parse_special: texts of special tokens
 * become their ids. */
CS_API CS_NODISCARD cs_status
cs_tokenizer_encode(const cs_tokenizer *tokenizer, const char *text,
                    size_t n_bytes, bool parse_special, int32_t *ids,
                    int64_t capacity, int64_t *count);
/* The same with offsets. */
CS_API CS_NODISCARD cs_status
cs_tokenizer_locate(const cs_tokenizer *tokenizer, const char *text,
                    size_t n_bytes, bool parse_special, cs_token *tokens,
                    int64_t capacity, int64_t *count);
/* [out,own] csi_free. Invalid UTF-8 is replaced by U+FFFD; a text with NUL
 * ends there. */
CS_API CS_NODISCARD cs_status cs_tokenizer_decode(const cs_tokenizer *tokenizer,
                                                  const int32_t *ids,
                                                  int64_t count,
                                                  bool skip_special,
                                                  char **text);
/* Copies tokenizer.json (and tokenizer_config.json, chat_template.jinja) into
 * `folder`. */
CS_API CS_NODISCARD cs_status cs_tokenizer_save(const cs_tokenizer *tokenizer,
                                                const char *folder);

/* ---- processors: file bytes -> encoder input rows ---- */

/* How a picture's size becomes that of the encoder's input. Longest and area
 * give each picture a grid of its own. */
typedef enum cs_resize {
    CS_RESIZE_EXACT,    /* both sides to `edge`, whatever the shape was */
    CS_RESIZE_SHORTEST, /* the shorter side to `edge`, the shape kept */
    CS_RESIZE_LONGEST,  /* smaller until no side exceeds `edge`, then sides up
                           to whole patches (Pixtral) */
    CS_RESIZE_AREA,     /* whole squares of merge x merge patches, between
                           min_pixels and max_pixels (Qwen2-VL) */
    CS_RESIZE_TILES     /* image_size^2 as exact; then, in the tiling that fits
                           best, the shape kept and black around it, tiles of
                           image_size^2 in reading order (LLaVA-NeXT) */
} cs_resize;

/* Pillow's numbers for its filters. */
typedef enum cs_resample {
    CS_RESAMPLE_NEAREST,
    CS_RESAMPLE_LANCZOS,
    CS_RESAMPLE_BILINEAR,
    CS_RESAMPLE_BICUBIC
} cs_resample;

enum {
    CS_MAX_TILINGS = 64
};

/* Numbers of one encoder's processor, from the graph's module, then the
 * source folder's preprocessor_config.json, then the recipe. */
typedef struct cs_processor {
    cs_modality modality;
    /* from an item's input rows to its features, as in cs_module */
    int32_t class_rows, feature_skip, pool, stack;
    /* vision: transparent pixels on white, resize (antialiased, as Pillow),
     * the middle image_size^2 (exact and shortest; black where the picture is
     * smaller), times `rescale`, normalise, cut into patches: rows in squares
     * of merge x merge, columns (channel, time, row, column); a picture is
     * repeated temporal_patch times */
    const char *type; /* static: Hugging Face's name of its class */
    cs_resize resize;
    cs_resample resample;
    int32_t edge, image_size, patch_size, merge, temporal_patch;
    int64_t min_pixels, max_pixels;
    int32_t n_tilings;
    struct {
        int32_t rows, columns; /* of tiles */
    } tiling[CS_MAX_TILINGS];
    double rescale, mean[3], std[3];
    /* audio: mono, resampled, log-mel as Whisper's feature extractor: rows
     * [frames, n_mels]. pad_frames 0: as long as the sound, frames even (conv
     * stride 2); else silence up to that many frames, and longer recordings
     * are cut. drops_silence (Qwen2-Audio): what is only padding is computed
     * as far as the sound's rows depend on it, and gives no rows */
    int32_t sampling_rate, n_mels, n_fft, hop, pad_frames;
    bool drops_silence;
    double max_seconds; /* longer recordings are an error (or skipped) */
    int64_t columns;    /* of an input row */
} cs_processor;

typedef struct cs_media_size {
    int64_t input_rows, encoder_rows, llm_rows;
    /* as in cs_index_run */
    int64_t grid_rows, grid_columns, tile_rows, tile_columns;
} cs_media_size;

CS_API CS_NODISCARD cs_status cs_processor_init(const cs_module *module,
                                                const cs_encoder_config *config,
                                                cs_processor *out);
/* preprocessor_config.json text for export. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_processor_print(const cs_processor *processor,
                                                 char **out);
/* From the header alone; `path` is named in errors. */
CS_API CS_NODISCARD cs_status cs_media_probe(const cs_processor *processor,
                                             const char *path,
                                             cs_media_size *out);
/* Decodes a file into rows[input_rows * columns] (as probed; FORMAT when the
 * file gives another number). */
CS_API CS_NODISCARD cs_status cs_media_read(const cs_processor *processor,
                                            const char *path,
                                            int64_t input_rows, float *rows);
/* From bytes in memory (fuzzing, tests). */
CS_API CS_NODISCARD cs_status cs_image_decode(const void *bytes, size_t n_bytes,
                                              const char *where, uint8_t **rgb,
                                              int32_t *width, int32_t *height);
CS_API CS_NODISCARD cs_status cs_audio_decode(const void *bytes, size_t n_bytes,
                                              const char *where,
                                              int32_t sampling_rate,
                                              double max_seconds,
                                              float **samples, int64_t *count);

/* ---- dataset: the files of one list of a recipe, with their index ---- */

typedef struct cs_dataset cs_dataset; /* immutable after open: share freely */

typedef struct cs_dataset_options {
    const cs_config *config;        /* borrowed for the call */
    const cs_graph *graph;          /* borrowed for the call */
    const cs_tokenizer *tokenizer;  /* borrowed: must outlive the dataset */
    const cs_dataset_config *files; /* borrowed for the call */
    int32_t n_files;
    const char *index_folder; /* where index files are kept */
    bool quiet;               /* no progress lines on the log */
} cs_dataset_options;

/* Counts of what the index left out (bad_sample: skip, too_long: skip). */
typedef struct cs_dataset_counts {
    int64_t n_samples, n_skipped, n_too_long, n_truncated;
    int64_t n_items, n_tokens, label_tokens;
    bool was_stale; /* the index was (re)built now */
} cs_dataset_counts;

/* Builds the index when it is missing or stale (data, tokenizer, template,
 * processor, limits), then maps it. */
CS_API CS_NODISCARD cs_status cs_dataset_open(const cs_dataset_options *options,
                                              cs_dataset **out);
CS_API void cs_dataset_destroy(cs_dataset **dataset);
CS_API const cs_index_view *cs_dataset_index(const cs_dataset *dataset);
CS_API cs_dataset_counts cs_dataset_counts_get(const cs_dataset *dataset);
CS_API const cs_processor *cs_dataset_processor(const cs_dataset *dataset,
                                                int32_t modality);
/* n_tokens ids (media rows: -1) and labels, already shifted: label[t] is the
 * token that position t must predict, -100 = none. */
CS_API CS_NODISCARD cs_status cs_dataset_tokens(const cs_dataset *dataset,
                                                int64_t sample, int32_t *ids,
                                                int32_t *labels);
CS_API CS_NODISCARD cs_status cs_dataset_media(const cs_dataset *dataset,
                                               int64_t sample, int32_t run,
                                               float *rows);
/* For reports and generate: "id" of the sample, path of a media run, and the
 * prompt tokens up to the first answer. [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_dataset_describe(const cs_dataset *dataset,
                                                  int64_t sample, char **id,
                                                  char **prompt, char **answer);
CS_API CS_NODISCARD cs_status cs_dataset_media_path(const cs_dataset *dataset,
                                                    int64_t sample, int32_t run,
                                                    char **path);

/* One sample made by hand (generate): a prompt with placeholders and files. */
typedef struct cs_prompt_input {
    const char *text; /* the user's words; missing placeholders are put
                                in front, in recipe order */
    int32_t n_media;
    const char *const *media_path;
    const int32_t *media_modality;
} cs_prompt_input;

typedef struct cs_prompt {
    int64_t n_tokens;
    int32_t *ids; /* -1 in media rows */
    int64_t n_runs;
    cs_index_run *runs;
    char **run_path; /* per run, NULL for text */
} cs_prompt;
CS_API CS_NODISCARD cs_status cs_prompt_create(const cs_config *config,
                                               const cs_graph *graph,
                                               const cs_tokenizer *tokenizer,
                                               const cs_prompt_input *input,
                                               cs_prompt *out);
CS_API void cs_prompt_fini(cs_prompt *prompt);

/* ---- loader: decodes the batch of the next step while this one runs ---- */

typedef struct cs_loader cs_loader;

typedef struct cs_loaded_microbatch {
    int32_t *ids;    /* [n_tokens] or NULL if tokens were not asked for */
    int32_t *labels; /* [n_tokens], shifted */
    float **input;   /* [n_modalities]: rows of the items, or NULL */
} cs_loaded_microbatch;

/* Where a loader reads when not the dataset's own samples: evaluation lays
 * them out anew around other items. Plans are of `index`; calls come from
 * many threads at once. */
typedef struct cs_loader_source {
    const void *context;
    const cs_index_view *index;
    cs_status (*tokens)(const void *context, int64_t sample, int32_t *ids,
                        int32_t *labels);
    cs_status (*media)(const void *context, int64_t sample, int32_t run,
                       float *rows);
} cs_loader_source;

typedef struct cs_loader_options {
    const cs_dataset *dataset; /* borrowed: must outlive the loader */
    cs_loader_source source;   /* borrowed; context NULL = the dataset */
    int32_t n_workers;         /* >= 1 */
    int32_t replica;           /* whose microbatches */
    bool want_tokens;
    uint32_t want_modalities; /* bit i = modality i */
} cs_loader_options;

CS_API CS_NODISCARD cs_status cs_loader_create(const cs_loader_options *options,
                                               cs_loader **out);
CS_API void cs_loader_destroy(cs_loader **loader);
/* Starts loading `plan` (borrowed until finish returns) on the workers; at
 * most one load is under way besides the one handed out. */
CS_API CS_NODISCARD cs_status cs_loader_begin(cs_loader *loader,
                                              const cs_batch_plan *plan);
/* Waits; *batch [n_microbatches] is valid until the finish after next. bad[i]
 * (one byte per plan->samples[i]) is set for samples that could not be
 * decoded; their first sentence is in *error (status OK = none bad). */
CS_API CS_NODISCARD cs_status
cs_loader_finish(cs_loader *loader, const cs_loaded_microbatch **batch,
                 uint8_t *bad, cs_error *error);

CS_END_DECLS
#endif
