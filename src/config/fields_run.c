/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table, data, training and parallel.
 */
#include "field.h"

#include <math.h>

#define COUNT(table)      ((int32_t)(sizeof(table) / sizeof(table)[0]))
#define MEMBER(name)      offsetof(struct cs_config, name)
#define OF_SET(name)      offsetof(cs_dataset_config, name)
#define OF_OVERRIDE(name) offsetof(cs_optimizer_override, name)
#define OF_MODULE(name)   offsetof(cs_module_parallel, name)
#define MAX_COUNT         1e15

static const char *const TEMPLATES[] = {"auto",   "plain",  "chatml",
                                        "llama3", "vicuna", NULL};
static const char *const FORMATS[] = {"llava", "sharegpt", "webdataset", NULL};
static const char *const MIXINGS[] = {"concat", "weighted", NULL};
static const char *const TOO_LONGS[] = {"error", "skip", "truncate", NULL};
static const char *const BAD_SAMPLES[] = {"error", "skip", NULL};
static const char *const PRECISIONS[] = {"f32", "bf16", NULL};
static const char *const OPTIMIZERS[] = {"adamw", NULL};
static const char *const NO_DECAYS[] = {"bias", "norm", "embedding", NULL};
static const char *const LR_KINDS[] = {"cosine", "linear", "constant", NULL};
static const char *const NON_FINITES[] = {"stop", "skip", NULL};
static const char *const PLACEMENTS[] = {"single",    "modality_parallel",
                                         "colocated", "replicated",
                                         "sharded",   "auto",
                                         NULL};
static const char *const SCHEDULES[] = {"gpipe",       "1f1b", "interleaved",
                                        "zero_bubble", "auto", NULL};
static const char *const DISTRIBUTIONS[] = {"balanced", "uniform", "zigzag",
                                            "random",   "lpt",     NULL};
static const char *const EXCHANGES[] = {"needed", "all_gather", NULL};

#define PATH_FIELD                                                            \
    {.name = "path",                                                          \
     .type = CSI_FIELD_PATH,                                                  \
     .flags = CSI_FIELD_REQUIRED,                                             \
     .offset = OF_SET(path),                                                  \
     .help = "File with the samples."},                                       \
        {.name = "format",                                                    \
         .type = CSI_FIELD_WORD,                                              \
         .offset = OF_SET(format),                                            \
         .fallback = "llava",                                                 \
         .words = FORMATS,                                                    \
         .offered = 1U << CS_DATA_LLAVA,                                      \
         .help = "How the file is written."},                                 \
    {                                                                         \
        .name = "media_root", .type = CSI_FIELD_PATH,                         \
        .flags = CSI_FIELD_SILENT, .offset = OF_SET(media_root),              \
        .fallback = "null", .empty = "null",                                  \
        .help = "Folder that media paths in the file are relative to; null: " \
                "the folder of the file.",                                    \
    }
#define MAX_SAMPLES_FIELD                                            \
    {                                                                \
        .name = "max_samples", .type = CSI_FIELD_I64,                \
        .offset = OF_SET(max_samples), .fallback = "null", .min = 1, \
        .max = MAX_COUNT, .empty = "null", .unit = "samples",        \
        .help = "Use only the first ones; null: all.",               \
    }

static const csi_field TRAIN_SET[] = {
    PATH_FIELD,
    {.name = "weight",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ONLY | CSI_FIELD_ABOVE,
     .offset = OF_SET(weight),
     .fallback = "1.0",
     .min = 0,
     .max = 1e9,
     .help = "Share of the set in data.mixing: weighted."},
    MAX_SAMPLES_FIELD,
};
static const csi_field_group TRAIN_SET_GROUP = {.fields = TRAIN_SET,
                                                .n_fields = COUNT(TRAIN_SET),
                                                .bytes =
                                                    sizeof(cs_dataset_config)};

static const csi_field EVAL_SET[] = {
    {.name = "name",
     .type = CSI_FIELD_TEXT,
     .flags = CSI_FIELD_REQUIRED,
     .offset = OF_SET(name),
     .help = "Stands before its metrics: <name>.eval_loss."},
    PATH_FIELD,
    MAX_SAMPLES_FIELD,
};
static const csi_field_group EVAL_SET_GROUP = {.fields = EVAL_SET,
                                               .n_fields = COUNT(EVAL_SET),
                                               .bytes =
                                                   sizeof(cs_dataset_config)};

static const csi_field DATA[] = {
    {.name = "template",
     .type = CSI_FIELD_WORD_TEXT,
     .flags = CSI_FIELD_OR_FILE,
     .offset = MEMBER(data.template_name),
     .fallback = "auto",
     .words = TEMPLATES,
     .help = "How a conversation becomes text; auto: the tokenizer's own "
             "chat template (Jinja), plain if it has none."},
    {.name = "train_on_prompt",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(data.train_on_prompt),
     .fallback = "false",
     .help = "false: only assistant turns have labels."},
    {.name = "train",
     .type = CSI_FIELD_LIST,
     .flags = CSI_FIELD_REQUIRED,
     .offset = MEMBER(data.train),
     .count_offset = MEMBER(data.n_train),
     .min = 1,
     .max = 1024,
     .group = &TRAIN_SET_GROUP,
     .help = "The training sets."},
    {.name = "mixing",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(data.mixing),
     .fallback = "concat",
     .words = MIXINGS,
     .offered = 1U << CS_MIXING_CONCAT,
     .help = "concat: every sample of every set once per epoch."},
    {.name = "eval",
     .type = CSI_FIELD_LIST,
     .flags = CSI_FIELD_SILENT,
     .offset = MEMBER(data.eval),
     .count_offset = MEMBER(data.n_eval),
     .fallback = "[]",
     .max = 64,
     .group = &EVAL_SET_GROUP,
     .help = "The evaluation sets."},
    {.name = "max_length",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(data.max_length),
     .fallback = "2048",
     .min = 1,
     .max = 1e9,
     .unit = "tokens",
     .help = "Longest sample, media included."},
    {.name = "too_long",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(data.too_long),
     .fallback = "error",
     .words = TOO_LONGS,
     .help = "What happens to a longer sample; truncate cuts text only."},
    {.name = "bad_sample",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(data.bad_sample),
     .fallback = "error",
     .words = BAD_SAMPLES,
     .help = "What happens to a sample that cannot be read; skipped ones are "
             "counted."},
    {.name = "packing",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(data.packing),
     .fallback = "true",
     .help = "Several samples share a microbatch; false: one sample each."},
    {.name = "max_tokens_per_microbatch",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(data.max_tokens_per_microbatch),
     .fallback = "4096",
     .min = 1,
     .max = 1e9,
     .unit = "tokens",
     .help = "What packing fills a microbatch up to."},
    {.name = "shuffle",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(data.shuffle),
     .fallback = "true",
     .help = "A new order in every epoch; false: the order of the files."},
    {.name = "num_workers",
     .type = CSI_FIELD_I32,
     .flags = CSI_FIELD_SILENT,
     .offset = MEMBER(data.num_workers),
     .fallback = "2",
     .min = 0,
     .max = 256,
     .unit = "threads",
     .help = "Threads of a rank that decode media ahead; 0: none."},
};
const csi_field_group csi_data_group = {.fields = DATA,
                                        .n_fields = COUNT(DATA)};

static const csi_field OPTIMIZER[] = {
    {.name = "name",
     .type = CSI_FIELD_WORD_TEXT,
     .flags = CSI_FIELD_UNSTORED,
     .fallback = "adamw",
     .words = OPTIMIZERS,
     .help = "Which optimizer."},
    {.name = "learning_rate",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = MEMBER(training.learning_rate),
     .fallback = "1e-4",
     .min = 0,
     .max = 1e3,
     .help = "Highest learning rate, after the warm-up."},
    {.name = "betas",
     .type = CSI_FIELD_F64_PAIR,
     .flags = CSI_FIELD_BELOW,
     .offset = MEMBER(training.beta1),
     .fallback = "[0.9, 0.999]",
     .min = 0,
     .max = 1,
     .help = "Decay of the first and second moment."},
    {.name = "eps",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = MEMBER(training.eps),
     .fallback = "1e-8",
     .min = 0,
     .max = 1,
     .help = "Added to the root of the second moment."},
    {.name = "weight_decay",
     .type = CSI_FIELD_F64,
     .offset = MEMBER(training.weight_decay),
     .fallback = "0.01",
     .min = 0,
     .max = 1e3,
     .help = "Decoupled weight decay."},
    {.name = "no_decay",
     .type = CSI_FIELD_WORD_SET,
     .offset = MEMBER(training.no_decay_bias),
     .fallback = "[bias, norm, embedding]",
     .words = NO_DECAYS,
     .help = "Parameters without weight decay."},
};
static const csi_field_group OPTIMIZER_GROUP = {.fields = OPTIMIZER,
                                                .n_fields = COUNT(OPTIMIZER)};

static const csi_field LR_SCHEDULER[] = {
    {.name = "name",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(training.lr_kind),
     .fallback = "cosine",
     .words = LR_KINDS,
     .help = "Course of the learning rate after the warm-up."},
    {.name = "warmup_steps",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(training.warmup_steps),
     .fallback = "0",
     .min = 0,
     .max = MAX_COUNT,
     .unit = "steps",
     .help = "Steps from 0 to the highest learning rate. Not together with "
             "warmup_ratio."},
    {.name = "warmup_ratio",
     .type = CSI_FIELD_F64,
     .offset = MEMBER(training.warmup_ratio),
     .fallback = "null",
     .min = 0,
     .max = 1,
     .empty = "null",
     .empty_value = -1,
     .help = "The warm-up as a share of all steps."},
    {.name = "min_lr_ratio",
     .type = CSI_FIELD_F64,
     .offset = MEMBER(training.min_lr_ratio),
     .fallback = "0.0",
     .min = 0,
     .max = 1,
     .help = "Where the learning rate arrives one step after the last, as a "
             "share of the highest; constant does not fall."},
};
static const csi_field_group LR_SCHEDULER_GROUP = {.fields = LR_SCHEDULER,
                                                   .n_fields =
                                                       COUNT(LR_SCHEDULER)};

static const csi_field TRAINING_MODULE[] = {
    {.name = "learning_rate",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = OF_OVERRIDE(learning_rate),
     .fallback = "null",
     .min = 0,
     .max = 1e3,
     .empty = "null",
     .empty_value = NAN,
     .help = "Instead of training.optimizer.learning_rate; null: that."},
    {.name = "weight_decay",
     .type = CSI_FIELD_F64,
     .offset = OF_OVERRIDE(weight_decay),
     .fallback = "null",
     .min = 0,
     .max = 1e3,
     .empty = "null",
     .empty_value = NAN,
     .help = "Instead of training.optimizer.weight_decay; null: that."},
};
static const csi_field_group TRAINING_MODULE_GROUP =
    {.fields = TRAINING_MODULE,
     .n_fields = COUNT(TRAINING_MODULE),
     .bytes = sizeof(cs_optimizer_override),
     .key_offset = OF_OVERRIDE(pattern),
     .key_rule = CSI_KEY_PATTERN,
     .key_name = "<module or regex>"};

static const csi_field TRAINING[] = {
    {.name = "max_steps",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(training.max_steps),
     .fallback = "null",
     .min = 1,
     .max = MAX_COUNT,
     .empty = "null",
     .unit = "steps",
     .help = "Optimizer steps. Exactly one of max_steps and num_train_epochs "
             "is given."},
    {.name = "num_train_epochs",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = MEMBER(training.num_train_epochs),
     .fallback = "null",
     .min = 0,
     .max = 1e9,
     .empty = "null",
     .unit = "epochs",
     .help = "Times that the training sets are gone through."},
    {.name = "global_batch_size",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(training.global_batch_size),
     .fallback = "64",
     .min = 1,
     .max = 1e9,
     .unit = "samples",
     .help = "Samples of one optimizer step, over all replicas."},
    {.name = "microbatches",
     .type = CSI_FIELD_I32,
     .offset = MEMBER(training.microbatches),
     .fallback = "auto",
     .min = 1,
     .max = 65536,
     .empty = "auto",
     .help = "Per replica and step (gradient accumulation, pipeline m): at "
             "least this many; auto: as many as packing gives."},
    {.name = "precision",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(training.precision),
     .fallback = "f32",
     .words = PRECISIONS,
     .help = "bf16: matrix products in bfloat16 with f32 sums over an f32 "
             "master copy."},
    {.name = "max_grad_norm",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = MEMBER(training.max_grad_norm),
     .fallback = "1.0",
     .min = 0,
     .max = 1e9,
     .empty = "null",
     .help = "Gradients are scaled down to this global norm; null: off."},
    {.name = "optimizer",
     .type = CSI_FIELD_GROUP,
     .group = &OPTIMIZER_GROUP,
     .help = "Optimizer and its numbers."},
    {.name = "lr_scheduler",
     .type = CSI_FIELD_GROUP,
     .group = &LR_SCHEDULER_GROUP,
     .help = "Course of the learning rate."},
    {.name = "modules",
     .type = CSI_FIELD_MAP,
     .offset = MEMBER(training.overrides),
     .count_offset = MEMBER(training.n_overrides),
     .fallback = "{}",
     .max = 256,
     .group = &TRAINING_MODULE_GROUP,
     .help = "Values over the optimizer's, by module name or by regular "
             "expression on global parameter names."},
    {.name = "non_finite",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(training.non_finite),
     .fallback = "stop",
     .words = NON_FINITES,
     .help = "A loss or gradient that is not finite: stop (exit 3), or skip "
             "the step (counted; stop after 5 in a row)."},
};
const csi_field_group csi_training_group = {.fields = TRAINING,
                                            .n_fields = COUNT(TRAINING)};

static const csi_field PARALLEL_MODULE[] = {
    {.name = "tp",
     .type = CSI_FIELD_I32,
     .flags = CSI_FIELD_ONLY,
     .offset = OF_MODULE(tp),
     .fallback = "1",
     .min = 1,
     .max = 65536,
     .unit = "ranks",
     .help = "Tensor parallel."},
    {.name = "cp",
     .type = CSI_FIELD_I32,
     .flags = CSI_FIELD_ONLY,
     .offset = OF_MODULE(cp),
     .fallback = "1",
     .min = 1,
     .max = 65536,
     .unit = "ranks",
     .help = "Context parallel."},
    {.name = "pp",
     .type = CSI_FIELD_I32,
     .offset = OF_MODULE(pp),
     .fallback = "1",
     .min = 1,
     .max = 4096,
     .unit = "stages",
     .help = "Pipeline parallel."},
    {.name = "cuts",
     .type = CSI_FIELD_I32_LIST,
     .offset = OF_MODULE(cuts),
     .count_offset = OF_MODULE(n_cuts),
     .fallback = "null",
     .min = 0,
     .max = 1e6,
     .empty = "null",
     .help = "First layer of each stage, [0, ...]; null: by cost."},
    {.name = "distribution",
     .type = CSI_FIELD_WORD,
     .flags = CSI_FIELD_UNSTORED,
     .fallback = "balanced",
     .words = DISTRIBUTIONS,
     .offered = 1U,
     .help = "How tokens go to context parallel ranks."},
    {.name = "exchange",
     .type = CSI_FIELD_WORD,
     .flags = CSI_FIELD_UNSTORED,
     .fallback = "needed",
     .words = EXCHANGES,
     .offered = 1U,
     .help = "Which keys and values context parallel ranks send."},
    {.name = "sequence_parallel",
     .type = CSI_FIELD_BOOL,
     .flags = CSI_FIELD_UNSTORED | CSI_FIELD_ONLY,
     .fallback = "true",
     .help = "Norms are split over tensor parallel ranks too."},
};
static const csi_field_group PARALLEL_MODULE_GROUP =
    {.fields = PARALLEL_MODULE,
     .n_fields = COUNT(PARALLEL_MODULE),
     .bytes = sizeof(cs_module_parallel),
     .key_offset = OF_MODULE(name),
     .key_rule = CSI_KEY_NAME,
     .key_name = "<module>"};

static const csi_field PARALLEL[] = {
    {.name = "plan",
     .type = CSI_FIELD_PLAN,
     .offset = MEMBER(parallel.plan),
     .fallback = "auto",
     .help = "auto: found from the keys below; manual: parallel.modules says "
             "it; a path: a plan.json."},
    {.name = "placement",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(parallel.placement),
     .fallback = "modality_parallel",
     .words = PLACEMENTS,
     .offered = 1U << CS_PLACEMENT_SINGLE |
                1U << CS_PLACEMENT_MODALITY_PARALLEL | 1U << CS_PLACEMENT_AUTO,
     .help = "single: all modules on one rank; modality_parallel: encoders as "
             "branches on ranks of their own."},
    {.name = "schedule",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(parallel.schedule),
     .fallback = "1f1b",
     .words = SCHEDULES,
     .offered = 1U << CS_SCHEDULE_GPIPE | 1U << CS_SCHEDULE_1F1B |
                1U << CS_SCHEDULE_AUTO,
     .help = "Order of the actions of a step."},
    {.name = "dp",
     .type = CSI_FIELD_I32,
     .offset = MEMBER(parallel.dp),
     .fallback = "auto",
     .min = 1,
     .max = 65536,
     .empty = "auto",
     .unit = "replicas",
     .help = "Data parallel: copies of the whole model."},
    {.name = "zero",
     .type = CSI_FIELD_I32,
     .offset = MEMBER(parallel.zero),
     .fallback = "1",
     .min = 0,
     .max = 1,
     .help = "1: optimizer state is split over replicas."},
    {.name = "peer_timeout_s",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = MEMBER(parallel.peer_timeout_s),
     .fallback = "10",
     .min = 0,
     .max = 1e6,
     .unit = "seconds",
     .help = "A rank in another process that gives no sign of life for this "
             "long is lost; ranks that are threads need none."},
    {.name = "action_timeout_s",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = MEMBER(parallel.action_timeout_s),
     .fallback = "600",
     .min = 0,
     .max = 1e6,
     .unit = "seconds",
     .help = "An action that takes longer ends the run."},
    {.name = "modules",
     .type = CSI_FIELD_MAP,
     .offset = MEMBER(parallel.modules),
     .count_offset = MEMBER(parallel.n_modules),
     .fallback = "{}",
     .max = CS_MASK_MAX_KINDS,
     .group = &PARALLEL_MODULE_GROUP,
     .help = "By encoder name and language_model; only with plan: manual."},
};
const csi_field_group csi_parallel_group = {.fields = PARALLEL,
                                            .n_fields = COUNT(PARALLEL)};

_Static_assert(MEMBER(training.no_decay_norm) ==
                       MEMBER(training.no_decay_bias) + sizeof(bool) &&
                   MEMBER(training.no_decay_embedding) ==
                       MEMBER(training.no_decay_bias) + 2 * sizeof(bool),
               "WORD_SET writes consecutive bools");
_Static_assert(MEMBER(training.beta2) ==
                   MEMBER(training.beta1) + sizeof(double),
               "F64_PAIR writes consecutive doubles");
_Static_assert(sizeof(cs_device) == sizeof(int32_t),
               "WORD stores enums as 32 bits");
