/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_CONFIG_H
#define CORNSTARCH_CONFIG_H
/*
 * A recipe as data: parsed from YAML (or overrides), defaulted, checked,
 * frozen. One field table (name, type, range, default, unit, help) is behind
 * the parser, the printer and `cornstarch explain`. Immutable after load:
 * share freely. Strings are owned by the config; NULL means null / not given.
 * Paths are absolute or relative to the working folder after loading (the
 * recipe's own folder has been put in front), except base_dir itself.
 */
#include "cornstarch/mask.h"
#include "cornstarch/status.h"

CS_BEGIN_DECLS

typedef struct cs_config cs_config;

typedef enum cs_device {
    CS_DEVICE_AUTO,
    CS_DEVICE_CPU,
    CS_DEVICE_CUDA
} cs_device;
typedef enum cs_precision {
    CS_PRECISION_F32,
    CS_PRECISION_BF16
} cs_precision;
typedef enum cs_placement {
    CS_PLACEMENT_SINGLE,
    CS_PLACEMENT_MODALITY_PARALLEL,
    CS_PLACEMENT_COLOCATED,
    CS_PLACEMENT_REPLICATED,
    CS_PLACEMENT_SHARDED,
    CS_PLACEMENT_AUTO
} cs_placement;
typedef enum cs_schedule_kind {
    CS_SCHEDULE_GPIPE,
    CS_SCHEDULE_1F1B,
    CS_SCHEDULE_INTERLEAVED,
    CS_SCHEDULE_ZERO_BUBBLE,
    CS_SCHEDULE_AUTO
} cs_schedule_kind;
typedef enum cs_plan_mode {
    CS_PLAN_AUTO,
    CS_PLAN_MANUAL,
    CS_PLAN_FILE
} cs_plan_mode;
typedef enum cs_projector_type {
    CS_PROJECTOR_MLP,
    CS_PROJECTOR_LINEAR,
    CS_PROJECTOR_MERGER
} cs_projector_type;
typedef enum cs_feature_select {
    CS_FEATURE_DEFAULT,
    CS_FEATURE_FULL
} cs_feature_select;
typedef enum cs_data_format {
    CS_DATA_LLAVA,
    CS_DATA_SHAREGPT,
    CS_DATA_WEBDATASET
} cs_data_format;
typedef enum cs_too_long {
    CS_TOO_LONG_ERROR,
    CS_TOO_LONG_SKIP,
    CS_TOO_LONG_TRUNCATE
} cs_too_long;
typedef enum cs_bad_sample {
    CS_BAD_SAMPLE_ERROR,
    CS_BAD_SAMPLE_SKIP
} cs_bad_sample;
typedef enum cs_mixing {
    CS_MIXING_CONCAT,
    CS_MIXING_WEIGHTED
} cs_mixing;
typedef enum cs_lr_kind {
    CS_LR_COSINE,
    CS_LR_LINEAR,
    CS_LR_CONSTANT
} cs_lr_kind;
typedef enum cs_non_finite {
    CS_NON_FINITE_STOP,
    CS_NON_FINITE_SKIP
} cs_non_finite;

/* true | false | [regexes on HF parameter names] */
typedef struct cs_freeze {
    bool all;
    int32_t n_patterns;
    char **patterns;
} cs_freeze;

typedef struct cs_projector_config {
    const char *from; /* folder with weights */
    cs_projector_type type;
    const char *activation; /* HF name: gelu, gelu_pytorch_tanh, silu, relu */
    int64_t hidden_size;    /* 0 = the language model's width */
    bool freeze;
} cs_projector_config;

/* Overrides of preprocessor_config.json; 0 = not given. */
typedef struct cs_processor_config {
    int64_t image_size, min_pixels, max_pixels;
    int64_t sampling_rate;
    double max_seconds;
} cs_processor_config;

typedef struct cs_encoder_config {
    const char *name; /* key in the recipe */
    const char *from; /* exactly one of from, preset, hf_config_json */
    const char *preset;
    const char *hf_config_json; /* the `config:` map as JSON text */
    cs_freeze freeze;
    const char *placeholder;
    int32_t feature_layer; /* -1 = last */
    cs_feature_select feature_select;
    int32_t pool;  /* >= 1 */
    int32_t stack; /* rows side by side; 0 = not given */
    cs_processor_config processor;
    cs_projector_config projector;
} cs_encoder_config;

typedef struct cs_language_model_config {
    const char *from, *preset, *hf_config_json;
    const char *tokenizer; /* folder or NULL */
    cs_freeze freeze;
} cs_language_model_config;

typedef struct cs_dataset_config {
    const char *name; /* eval sets only */
    const char *path;
    cs_data_format format;
    const char *media_root; /* default: folder of path */
    double weight;
    int64_t max_samples; /* 0 = all */
} cs_dataset_config;

/* training.modules.<pattern>: overrides of the optimizer for one module or a
 * regex over global parameter names. NAN = not given. */
typedef struct cs_optimizer_override {
    const char *pattern;
    double learning_rate, weight_decay;
} cs_optimizer_override;

/* parallel.modules.<name> (manual plans) */
typedef struct cs_module_parallel {
    const char *name;
    int32_t tp, cp, pp;
    int32_t n_cuts; /* 0 = not given */
    int32_t *cuts;  /* first layer of each stage */
} cs_module_parallel;

struct cs_config {
    const char *path;     /* recipe file, or "<memory>" */
    const char *base_dir; /* its folder */
    const char *name;
    const char *output_dir;
    uint64_t seed;
    cs_device device;

    struct {
        cs_mask_policy attention;
        int32_t n_encoders;
        cs_encoder_config *encoders;
        cs_language_model_config language_model;
    } model;

    struct {
        const char
            *template_name; /* "auto", a built-in name, or a .jinja path */
        bool train_on_prompt;
        int32_t n_train, n_eval;
        cs_dataset_config *train, *eval;
        cs_mixing mixing;
        int64_t max_length;
        cs_too_long too_long;
        cs_bad_sample bad_sample;
        bool packing;
        int64_t max_tokens_per_microbatch;
        bool shuffle;
        int32_t num_workers;
    } data;

    struct {
        int64_t max_steps;       /* 0 = not given: num_train_epochs is */
        double num_train_epochs; /* 0 = not given */
        int64_t global_batch_size;
        int32_t microbatches; /* 0 = auto */
        cs_precision precision;
        double max_grad_norm; /* 0 = off */
        double learning_rate, beta1, beta2, eps, weight_decay;
        bool no_decay_bias, no_decay_norm, no_decay_embedding;
        cs_lr_kind lr_kind;
        int64_t warmup_steps;
        double warmup_ratio; /* < 0 = not given */
        double min_lr_ratio;
        int32_t n_overrides;
        cs_optimizer_override *overrides;
        cs_non_finite non_finite;
    } training;

    struct {
        int64_t every; /* 0 = never */
        bool at_end;
        int64_t max_samples; /* 0 = all */
        int32_t generate;
    } evaluation;

    struct {
        const char *metric;
        int64_t patience; /* 0 = off */
        double min_delta;
    } early_stop;

    struct {
        int64_t every; /* 0 = never */
        int32_t keep;
        const char *keep_best; /* NULL = off */
        bool async;
        bool resume_auto;
    } checkpoint;

    struct {
        bool at_end;
        bool best; /* what: last | best */
    } export_;

    struct {
        int64_t every;
        bool tensorboard;
        int32_t n_trace_steps;
        int64_t *trace_steps;
        bool report;
    } logging;

    struct {
        cs_plan_mode plan;
        const char *plan_path;
        cs_placement placement;
        cs_schedule_kind schedule;
        int32_t dp; /* 0 = auto */
        int32_t zero;
        double peer_timeout_s, action_timeout_s;
        int32_t n_modules;
        cs_module_parallel *modules;
    } parallel;
};

/* `overrides` are "dotted.key=value" strings. Errors: ARG with
 * "recipe.yaml:12:5: unknown key 'learning_rte'; did you mean ...". */
CS_API CS_NODISCARD cs_status cs_config_load(const char *path,
                                             const char *const *overrides,
                                             int32_t n_overrides,
                                             cs_config **out);
/* From text, for tests and fuzzing; base_dir as given. */
CS_API CS_NODISCARD cs_status cs_config_parse(const char *yaml, size_t n_bytes,
                                              const char *base_dir,
                                              const char *const *overrides,
                                              int32_t n_overrides,
                                              cs_config **out);
CS_API void cs_config_destroy(cs_config **config);
/* The resolved recipe as YAML: every key, defaults included; parses back to
 * an equal config (paths made absolute). [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_config_print(const cs_config *config,
                                              char **out);
/* 16 hex digits over everything that changes the numbers of a run (model,
 * data, training, seed), not over output, logging, parallel, checkpoint. */
CS_API void cs_config_hash(const cs_config *config, char out[17]);
/* The first thing that makes two hashes differ, such as "training:
 * 'max_steps: 3' was 'max_steps: 5'"; "" when they are equal. [out,own]
 * csi_free. */
CS_API CS_NODISCARD cs_status cs_config_compare(const cs_config *now,
                                                const cs_config *was,
                                                char **out);
/* The manual of one dotted key, of a subtree, or of all ("" or NULL), as text
 * or as Markdown (docs/recipe.md is this output). [out,own] csi_free. */
CS_API CS_NODISCARD cs_status cs_config_explain(const char *key, bool markdown,
                                                char **out);

CS_END_DECLS
#endif
