/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table, top level and the small groups: everything around the model, the
 * data, the training and the layout. Order here is order in the printed
 * recipe and in the manual.
 */
#include "field.h"

#define COUNT(table) ((int32_t)(sizeof(table) / sizeof(table)[0]))
#define MEMBER(name) offsetof(struct cs_config, name)
#define MAX_COUNT    1e15

static const char *const DEVICES[] = {"auto", "cpu", "cuda", NULL};
static const char *const RESUMES[] = {"never", "auto", NULL};
static const char *const EXPORTS[] = {"last", "best", NULL};

static const csi_field EVALUATION[] = {
    {.name = "every",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(evaluation.every),
     .fallback = "200",
     .min = 1,
     .max = MAX_COUNT,
     .empty = "null",
     .unit = "steps",
     .help = "Evaluate on all sets of data.eval after this many steps; null: "
             "not during training."},
    {.name = "at_end",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(evaluation.at_end),
     .fallback = "true",
     .help = "Evaluate once more after the last step."},
    {.name = "max_samples",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(evaluation.max_samples),
     .fallback = "null",
     .min = 1,
     .max = MAX_COUNT,
     .empty = "null",
     .unit = "samples",
     .help = "Samples of each set that an evaluation looks at; null: all."},
    {.name = "generate",
     .type = CSI_FIELD_I32,
     .offset = MEMBER(evaluation.generate),
     .fallback = "4",
     .min = 0,
     .max = 1000,
     .unit = "samples",
     .help = "Answers written out for the report at the end."},
};
static const csi_field_group EVALUATION_GROUP = {.fields = EVALUATION,
                                                 .n_fields = COUNT(EVALUATION)};

static const csi_field EARLY_STOP[] = {
    {.name = "metric",
     .type = CSI_FIELD_TEXT,
     .offset = MEMBER(early_stop.metric),
     .fallback = "null",
     .empty = "null",
     .help = "<name of an eval set>.eval_loss. Needed when patience is "
             "given."},
    {.name = "patience",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(early_stop.patience),
     .fallback = "null",
     .min = 1,
     .max = 1e9,
     .empty = "null",
     .unit = "evaluations",
     .help = "Stop after this many evaluations in a row without a gain; null: "
             "never."},
    {.name = "min_delta",
     .type = CSI_FIELD_F64,
     .offset = MEMBER(early_stop.min_delta),
     .fallback = "0.0",
     .min = 0,
     .max = 1e9,
     .help = "A smaller fall of the metric is no gain."},
};
static const csi_field_group EARLY_STOP_GROUP = {.fields = EARLY_STOP,
                                                 .n_fields = COUNT(EARLY_STOP)};

static const csi_field CHECKPOINT[] = {
    {.name = "every",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(checkpoint.every),
     .fallback = "200",
     .min = 1,
     .max = MAX_COUNT,
     .empty = "null",
     .unit = "steps",
     .help = "Write a checkpoint after this many steps; null: only when a "
             "signal asks for one."},
    {.name = "keep",
     .type = CSI_FIELD_I32,
     .offset = MEMBER(checkpoint.keep),
     .fallback = "3",
     .min = 1,
     .max = 1e6,
     .unit = "checkpoints",
     .help = "Older ones are deleted, except those that a kept one refers "
             "to."},
    {.name = "keep_best",
     .type = CSI_FIELD_TEXT,
     .offset = MEMBER(checkpoint.keep_best),
     .fallback = "null",
     .empty = "null",
     .help = "<name of an eval set>.eval_loss: the checkpoint with the lowest "
             "is kept too; null: off."},
    {.name = "async",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(checkpoint.async),
     .fallback = "true",
     .help = "Write in the background while training goes on."},
    {.name = "resume",
     .type = CSI_FIELD_WORD_BOOL,
     .offset = MEMBER(checkpoint.resume_auto),
     .fallback = "never",
     .words = RESUMES,
     .help = "auto: go on from the latest checkpoint if the run folder holds "
             "one, as --resume does."},
};
static const csi_field_group CHECKPOINT_GROUP = {.fields = CHECKPOINT,
                                                 .n_fields = COUNT(CHECKPOINT)};

static const csi_field EXPORT[] = {
    {.name = "at_end",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(export_.at_end),
     .fallback = "true",
     .help = "Write the folder model/ of the run after the last step."},
    {.name = "what",
     .type = CSI_FIELD_WORD_BOOL,
     .offset = MEMBER(export_.best),
     .fallback = "last",
     .words = EXPORTS,
     .help = "Weights of the last step, or of the best checkpoint (needs "
             "checkpoint.keep_best)."},
    {.name = "merge_lora",
     .type = CSI_FIELD_BOOL,
     .flags = CSI_FIELD_UNSTORED | CSI_FIELD_ONLY,
     .fallback = "false",
     .help = "Add LoRA weights to the ones they sit beside."},
};
static const csi_field_group EXPORT_GROUP = {.fields = EXPORT,
                                             .n_fields = COUNT(EXPORT)};

static const csi_field LOGGING[] = {
    {.name = "every",
     .type = CSI_FIELD_I64,
     .offset = MEMBER(logging.every),
     .fallback = "1",
     .min = 1,
     .max = MAX_COUNT,
     .unit = "steps",
     .help = "A line in metrics.jsonl and in the log after this many steps."},
    {.name = "tensorboard",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(logging.tensorboard),
     .fallback = "true",
     .help = "Also write tensorboard/."},
    {.name = "trace_steps",
     .type = CSI_FIELD_I64_LIST,
     .offset = MEMBER(logging.trace_steps),
     .count_offset = MEMBER(logging.n_trace_steps),
     .fallback = "[5]",
     .min = 1,
     .max = MAX_COUNT,
     .help = "Steps whose actions go to trace.json, predicted beside "
             "actual."},
    {.name = "report",
     .type = CSI_FIELD_BOOL,
     .offset = MEMBER(logging.report),
     .fallback = "true",
     .help = "Write report.html at the end."},
};
static const csi_field_group LOGGING_GROUP = {.fields = LOGGING,
                                              .n_fields = COUNT(LOGGING)};

static const csi_field RECIPE[] = {
    {.name = "version",
     .type = CSI_FIELD_I64,
     .flags = CSI_FIELD_UNSTORED | CSI_FIELD_REQUIRED,
     .fallback = "1",
     .min = 1,
     .max = 1,
     .help = "Version of the recipe format."},
    {.name = "name",
     .type = CSI_FIELD_TEXT,
     .flags = CSI_FIELD_SILENT,
     .offset = MEMBER(name),
     .fallback = "null",
     .empty = "null",
     .help = "The run folder is <output_dir>/<name>; null: the recipe's file "
             "name without its ending."},
    {.name = "output_dir",
     .type = CSI_FIELD_PATH,
     .flags = CSI_FIELD_SILENT,
     .offset = MEMBER(output_dir),
     .fallback = "runs",
     .help = "Folder of the run folders."},
    {.name = "seed",
     .type = CSI_FIELD_U64,
     .offset = MEMBER(seed),
     .fallback = "42",
     .help = "Start of every random number: initial weights, order of "
             "samples."},
    {.name = "device",
     .type = CSI_FIELD_WORD,
     .flags = CSI_FIELD_SILENT,
     .offset = MEMBER(device),
     .fallback = "auto",
     .words = DEVICES,
     .offered = 1U << CS_DEVICE_AUTO | 1U << CS_DEVICE_CPU,
     .help = "What computes; auto takes the fastest that is there."},
    {.name = "model",
     .type = CSI_FIELD_GROUP,
     .group = &csi_model_group,
     .help = "Encoders, projectors, language model: which, from where, and "
             "what is frozen."},
    {.name = "data",
     .type = CSI_FIELD_GROUP,
     .group = &csi_data_group,
     .help = "What to train and evaluate on, and how samples become tokens."},
    {.name = "training",
     .type = CSI_FIELD_GROUP,
     .group = &csi_training_group,
     .help = "Steps, batch, precision, optimizer."},
    {.name = "evaluation",
     .type = CSI_FIELD_GROUP,
     .flags = CSI_FIELD_SILENT,
     .group = &EVALUATION_GROUP,
     .help = "When to measure the loss on data.eval."},
    {.name = "early_stop",
     .type = CSI_FIELD_GROUP,
     .flags = CSI_FIELD_SILENT,
     .group = &EARLY_STOP_GROUP,
     .help = "When to stop before the last step."},
    {.name = "checkpoint",
     .type = CSI_FIELD_GROUP,
     .flags = CSI_FIELD_SILENT,
     .group = &CHECKPOINT_GROUP,
     .help = "What is written so that a run can go on bitwise."},
    {.name = "export",
     .type = CSI_FIELD_GROUP,
     .flags = CSI_FIELD_SILENT,
     .group = &EXPORT_GROUP,
     .help = "One Hugging Face folder per module, under model/ of the run."},
    {.name = "logging",
     .type = CSI_FIELD_GROUP,
     .flags = CSI_FIELD_SILENT,
     .group = &LOGGING_GROUP,
     .help = "What a run writes about itself."},
    {.name = "parallel",
     .type = CSI_FIELD_GROUP,
     .flags = CSI_FIELD_SILENT,
     .group = &csi_parallel_group,
     .help = "How modules are laid out over ranks. It never changes what is "
             "computed."},
};
const csi_field_group csi_recipe_group = {.fields = RECIPE,
                                          .n_fields = COUNT(RECIPE)};
