/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table, model: encoders in recipe order (their order is rank order and
 * mask kind), each with its processor and projector, and the language model.
 */
#include "field.h"

#define COUNT(table)     ((int32_t)(sizeof(table) / sizeof(table)[0]))
#define MEMBER(name)     offsetof(struct cs_config, model.name)
#define OF_ENCODER(name) offsetof(cs_encoder_config, name)

enum {
    MAX_ENCODERS = CS_MASK_MAX_KINDS - 1 /* kind bit 0 is text */
};

static const char *const POLICIES[] = {[CS_MASK_CAUSAL] = "causal",
                                       [CS_MASK_ISLANDS] = "islands",
                                       [CS_MASK_ISLANDS_PER_MODALITY] =
                                           "islands_per_modality",
                                       [CS_MASK_IMAGE_SEES_PROMPT] =
                                           "image_sees_prompt",
                                       [CS_MASK_PREFIX_LM] = "prefix_lm",
                                       [CS_MASK_BRANCHES] = "branches",
                                       NULL};
static const char *const SELECTS[] = {"default", "full", NULL};
static const char *const PROJECTORS[] = {"mlp", "linear", "merger", NULL};
static const char *const ACTIVATIONS[] = {"gelu", "gelu_pytorch_tanh", "silu",
                                          "relu", "quick_gelu",        NULL};
static const char *const RECOMPUTES[] = {"none", "full", "selective", NULL};

#define FROM_FIELDS(owner, prefix)                                          \
    {.name = "from",                                                        \
     .type = CSI_FIELD_PATH,                                                \
     .offset = offsetof(owner, prefix from),                                \
     .fallback = "null",                                                    \
     .empty = "null",                                                       \
     .help = "Folder with config.json and weights. Exactly one of from, "   \
             "preset and config is given."},                                \
        {.name = "preset",                                                  \
         .type = CSI_FIELD_TEXT,                                            \
         .offset = offsetof(owner, prefix preset),                          \
         .fallback = "null",                                                \
         .empty = "null",                                                   \
         .help = "Name of a published size (`cornstarch models`); weights " \
                 "start random."},                                          \
        {.name = "config",                                                  \
         .type = CSI_FIELD_JSON,                                            \
         .offset = offsetof(owner, prefix hf_config_json),                  \
         .fallback = "null",                                                \
         .empty = "null",                                                   \
         .help = "Keys of a Hugging Face config.json, model_type first; "   \
                 "weights start random."},                                  \
    {                                                                       \
        .name = "freeze", .type = CSI_FIELD_FREEZE,                         \
        .offset = offsetof(owner, prefix freeze), .fallback = "false",      \
        .help = "true: nothing of the module is trained; a list: the "      \
                "parameters whose Hugging Face name one of the regular "    \
                "expressions matches are not."                              \
    }
#define RECOMPUTE_AND_LORA                                                \
    {.name = "gradient_checkpointing",                                    \
     .type = CSI_FIELD_WORD,                                              \
     .flags = CSI_FIELD_UNSTORED,                                         \
     .fallback = "none",                                                  \
     .words = RECOMPUTES,                                                 \
     .offered = 1U,                                                       \
     .help = "Which activations are computed again in the backward pass " \
             "instead of kept."},                                         \
    {                                                                     \
        .name = "lora", .type = CSI_FIELD_ABSENT,                         \
        .flags = CSI_FIELD_UNSTORED | CSI_FIELD_ONLY, .fallback = "null", \
        .empty = "null",                                                  \
        .help = "Small trainable linears beside frozen ones: {r, "        \
                "lora_alpha, lora_dropout, target_modules}."              \
    }

static const csi_field PROCESSOR[] = {
    {.name = "image_size",
     .type = CSI_FIELD_I64,
     .offset = OF_ENCODER(processor.image_size),
     .fallback = "null",
     .min = 1,
     .max = 65536,
     .empty = "null",
     .unit = "pixels",
     .help = "Side of the square that a picture is brought to."},
    {.name = "min_pixels",
     .type = CSI_FIELD_I64,
     .offset = OF_ENCODER(processor.min_pixels),
     .fallback = "null",
     .min = 1,
     .max = 1e10,
     .empty = "null",
     .unit = "pixels",
     .help = "Fewest pixels of a picture, for encoders that keep its shape."},
    {.name = "max_pixels",
     .type = CSI_FIELD_I64,
     .offset = OF_ENCODER(processor.max_pixels),
     .fallback = "null",
     .min = 1,
     .max = 1e10,
     .empty = "null",
     .unit = "pixels",
     .help = "Most pixels of a picture, for encoders that keep its shape."},
    {.name = "sampling_rate",
     .type = CSI_FIELD_I64,
     .offset = OF_ENCODER(processor.sampling_rate),
     .fallback = "null",
     .min = 1000,
     .max = 1e6,
     .empty = "null",
     .unit = "samples per second",
     .help = "Rate that sound is brought to."},
    {.name = "max_seconds",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_ABOVE,
     .offset = OF_ENCODER(processor.max_seconds),
     .fallback = "null",
     .min = 0,
     .max = 1e6,
     .empty = "null",
     .unit = "seconds",
     .help = "Longer sound is a bad sample (data.bad_sample); null: 30, or "
             "less where the model has positions for less."},
};
static const csi_field_group PROCESSOR_GROUP = {.fields = PROCESSOR,
                                                .n_fields = COUNT(PROCESSOR)};

static const csi_field PROJECTOR[] = {
    {.name = "from",
     .type = CSI_FIELD_PATH,
     .offset = OF_ENCODER(projector.from),
     .fallback = "null",
     .empty = "null",
     .help = "Folder with config.json and weights; null: random weights."},
    {.name = "type",
     .type = CSI_FIELD_WORD,
     .offset = OF_ENCODER(projector.type),
     .fallback = "mlp",
     .words = PROJECTORS,
     .help = "mlp: linear, activation, linear; linear: one linear; merger: "
             "Qwen2-VL's (layer norm, stacking, mlp), whose weights come from "
             "the encoder's folder when both have one."},
    {.name = "activation",
     .type = CSI_FIELD_WORD_TEXT,
     .offset = OF_ENCODER(projector.activation),
     .fallback = "gelu",
     .words = ACTIVATIONS,
     .help = "Activation of an mlp."},
    {.name = "hidden_size",
     .type = CSI_FIELD_I64,
     .offset = OF_ENCODER(projector.hidden_size),
     .fallback = "null",
     .min = 1,
     .max = 1e6,
     .empty = "null",
     .help = "Width inside an mlp; null: the language model's."},
    {.name = "freeze",
     .type = CSI_FIELD_BOOL,
     .offset = OF_ENCODER(projector.freeze),
     .fallback = "false",
     .help = "true: the projector is not trained."},
};
static const csi_field_group PROJECTOR_GROUP = {.fields = PROJECTOR,
                                                .n_fields = COUNT(PROJECTOR)};

static const csi_field ENCODER[] = {
    FROM_FIELDS(cs_encoder_config, ),
    {.name = "placeholder",
     .type = CSI_FIELD_TEXT,
     .flags = CSI_FIELD_REQUIRED,
     .offset = OF_ENCODER(placeholder),
     .help = "Text in a conversation that stands for one item of this "
             "encoder, such as \"<image>\". None may contain another."},
    {.name = "feature_layer",
     .type = CSI_FIELD_I32,
     .offset = OF_ENCODER(feature_layer),
     .fallback = "-1",
     .min = -1000,
     .max = 1000,
     .help =
         "Which of the encoder's hidden states is projected "
         "(vision_feature_layer), from its end where negative; -1: its last, "
         "through its last norm. Layers above are not run."},
    {.name = "feature_select",
     .type = CSI_FIELD_WORD,
     .offset = OF_ENCODER(feature_select),
     .fallback = "full",
     .words = SELECTS,
     .help = "default drops the class token, full keeps all rows "
             "(vision_feature_select_strategy)."},
    {.name = "pool",
     .type = CSI_FIELD_I32,
     .offset = OF_ENCODER(pool),
     .fallback = "1",
     .min = 1,
     .max = 1024,
     .unit = "tokens",
     .help = "Neighbouring tokens averaged into one before the projector."},
    {.name = "stack",
     .type = CSI_FIELD_I32,
     .offset = OF_ENCODER(stack),
     .fallback = "null",
     .min = 1,
     .max = 1024,
     .empty = "null",
     .unit = "tokens",
     .help = "Neighbouring tokens (after pool) laid side by side as one before "
             "the projector; null: 1, with a merger the encoder's own number."},
    {.name = "processor",
     .type = CSI_FIELD_GROUP,
     .group = &PROCESSOR_GROUP,
     .help = "Values over preprocessor_config.json; null: as it says."},
    RECOMPUTE_AND_LORA,
    {.name = "projector",
     .type = CSI_FIELD_GROUP,
     .group = &PROJECTOR_GROUP,
     .help = "From the encoder's width to the language model's. Its global "
             "name is <encoder>.projector."},
};
static const csi_field_group ENCODER_GROUP = {.fields = ENCODER,
                                              .n_fields = COUNT(ENCODER),
                                              .bytes =
                                                  sizeof(cs_encoder_config),
                                              .key_offset = OF_ENCODER(name),
                                              .key_rule = CSI_KEY_NAME,
                                              .key_name = "<encoder>"};

static const csi_field LANGUAGE_MODEL[] = {
    FROM_FIELDS(struct cs_config, model.language_model.),
    {.name = "tokenizer",
     .type = CSI_FIELD_PATH,
     .offset = MEMBER(language_model.tokenizer),
     .fallback = "null",
     .empty = "null",
     .help = "Folder with tokenizer.json; null: beside the weights, so a "
             "model from scratch needs one."},
    {.name = "dropout",
     .type = CSI_FIELD_F64,
     .flags = CSI_FIELD_UNSTORED | CSI_FIELD_ONLY | CSI_FIELD_BELOW,
     .fallback = "0.0",
     .min = 0,
     .max = 1,
     .help = "Share of activations set to zero in training."},
    RECOMPUTE_AND_LORA,
};
static const csi_field_group LANGUAGE_MODEL_GROUP = {.fields = LANGUAGE_MODEL,
                                                     .n_fields =
                                                         COUNT(LANGUAGE_MODEL)};

static const csi_field MODEL[] = {
    {.name = "attention",
     .type = CSI_FIELD_WORD,
     .offset = MEMBER(attention),
     .fallback = "islands",
     .words = POLICIES,
     .help = "Which token sees which in the language model. causal: "
             "everything sees everything before it; islands: an item sees "
             "itself, text sees all before; islands_per_modality: all items "
             "of a modality see each other; image_sees_prompt: islands that "
             "also see what is before; prefix_lm: media and prompt are one "
             "island; branches: questions about one item do not see each "
             "other."},
    {.name = "encoders",
     .type = CSI_FIELD_MAP,
     .offset = MEMBER(encoders),
     .count_offset = MEMBER(n_encoders),
     .fallback = "{}",
     .max = MAX_ENCODERS,
     .group = &ENCODER_GROUP,
     .help = "By name, [a-z][a-z0-9_]*, not language_model. Their order is "
             "rank order."},
    {.name = "language_model",
     .type = CSI_FIELD_GROUP,
     .group = &LANGUAGE_MODEL_GROUP,
     .help = "The decoder that reads text and projected features."},
};
const csi_field_group csi_model_group = {.fields = MODEL,
                                         .n_fields = COUNT(MODEL)};
