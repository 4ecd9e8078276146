/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_INFER_H
#define CORNSTARCH_INFER_H
/*
 * A trained model in one process: evaluation with right and with swapped
 * media, generation with a key/value cache. Opens a
 * run's model/ folder or one of its checkpoints.
 */
#include "cornstarch/comm.h"
#include "cornstarch/config.h"
#include "cornstarch/data.h"
#include "cornstarch/param.h"

CS_BEGIN_DECLS

typedef struct cs_model cs_model;

typedef struct cs_model_options {
    const char *run_folder;
    int64_t checkpoint; /* step; 0 = model/, or the newest where absent */
    const char *backend;
    int32_t n_threads;
} cs_model_options;

/* Reads RUN/recipe.yaml, builds the graph, loads weights and tokenizer. */
CS_API CS_NODISCARD cs_status cs_model_open(const cs_model_options *options,
                                            cs_model **out);
CS_API void cs_model_close(cs_model **model);
CS_API const cs_config *cs_model_config(const cs_model *model);
CS_API const cs_graph *cs_model_graph(const cs_model *model);
CS_API const cs_tokenizer *cs_model_tokenizer(const cs_model *model);
/* Opens the dataset of a recipe list with the model's settings. */
CS_API CS_NODISCARD cs_status cs_model_dataset(const cs_model *model,
                                               const cs_dataset_config *files,
                                               int32_t n_files,
                                               cs_dataset **out);

/* What each sample of an evaluation has lost, in the order of the dataset. */
typedef struct cs_sample_losses {
    int64_t n;
    double *nll;     /* [n], owned: nats, summed over its label tokens */
    int64_t *tokens; /* [n], owned: label tokens; -1 = could not be read */
} cs_sample_losses;
CS_API void cs_sample_losses_fini(cs_sample_losses *losses);

/* Runs the samples, decoding ahead on data.num_workers threads (0 = one per
 * core). max_samples 0 = all. only_modality >= 0 restricts to samples that
 * have an item of it. swap_modality >= 0 restricts likewise and exchanges
 * every item of that modality for the one of another sample, in a fixed
 * rotation: element i is the same sample in both, so that right and swapped
 * compare like with like. Bad samples: as data.bad_sample says. */
CS_API CS_NODISCARD cs_status cs_model_evaluate(cs_model *model,
                                                const cs_dataset *dataset,
                                                int64_t max_samples,
                                                int32_t only_modality,
                                                int32_t swap_modality,
                                                cs_sample_losses *out);

/* Loss in nats per label token and its standard error over samples: ratio of
 * sums (Cochran 1977, section 6.3). */
typedef struct cs_evaluation {
    double loss, stderr_;
    int64_t n_samples, label_tokens;
} cs_evaluation;
CS_API cs_evaluation cs_evaluation_summarise(const cs_sample_losses *losses);

/* The paired difference swapped - right in nats per label token over the
 * samples that both could read, and its standard error by the same formula.
 * ARG: the two are not of the same samples. */
typedef struct cs_gain {
    double gain, stderr_;
    int64_t n_samples;
} cs_gain;
CS_API CS_NODISCARD cs_status
cs_evaluation_compare(const cs_sample_losses *right,
                      const cs_sample_losses *swapped, cs_gain *out);

typedef struct cs_generate_options {
    int32_t max_new_tokens;
    double temperature; /* 0 = greedy */
    double top_p;       /* (0, 1] */
    uint64_t seed;
    /* called with each new piece of text; NULL = none */
    void (*on_text)(void *context, const char *text);
    void *context;
} cs_generate_options;
/* [out,own] csi_free: the answer without special tokens. Stops at the end
 * token, at max_new_tokens, or at the model's context length. */
CS_API CS_NODISCARD cs_status
cs_model_generate(cs_model *model, const cs_prompt_input *input,
                  const cs_generate_options *options, char **text);

/* ---- forward: a model beside the one that it was ported from ---- */

typedef struct cs_forward_options {
    /* a recipe, a run folder, or the Hugging Face folder of a language model
     * or an encoder */
    const char *model;
    int64_t checkpoint;           /* of a run; 0 = model/ */
    const char *const *overrides; /* dotted, over the recipe */
    int32_t n_overrides;
    const char
        *precision; /* f32 or bf16; NULL = the recipe's, f32 for a folder */
    const char *input, *output; /* safetensors files: docs/formats.md */
    bool with_gradients;
    int32_t n_ranks; /* threads of this process, in the recipe's layout */
    const char *backend;
    int32_t n_threads; /* of a rank */
    /* rows of logits, or items of an encoder, that are done now; may be called
     * from several threads at once; NULL = none */
    void (*on_progress)(void *context, int64_t n_done);
    void *context;
} cs_forward_options;

typedef struct cs_forward_result {
    bool has_loss;
    double loss; /* mean over label tokens, with balance losses of experts */
    int64_t n_documents, n_tokens, label_tokens, n_items;
    int64_t n_tensors; /* written */
} cs_forward_result;

/* Reads the input, computes logits (or an encoder's last hidden state), the
 * loss where there are labels and, if wanted, the gradient of every trainable
 * parameter, and writes them as f32. The numbers of the loss do not depend on
 * the layout. Errors: FORMAT, SHAPE, DTYPE name file, tensor, wanted and got;
 * UNSUPPORTED names what is not offered. */
CS_API CS_NODISCARD cs_status cs_forward(const cs_forward_options *options,
                                         cs_forward_result *out);

/* ---- a model's folders ---- */

/* RUN/model from all ranks' parameters: cs_model_export() with the texts that
 * follow from the recipe. Ranks: collective over `replica`. */
CS_API CS_NODISCARD cs_status cs_model_write(const cs_config *config,
                                             const cs_tokenizer *tokenizer,
                                             const cs_param_set *params,
                                             cs_comm *replica,
                                             const char *folder);

typedef struct cs_convert_options {
    const char *run_folder;
    int64_t checkpoint;      /* 0 = model/, or the newest where absent */
    const char *to;          /* "modules": as model/; "llava": one folder for
                           LlavaForConditionalGeneration */
    const char *output;      /* a folder that is empty or not there */
    int64_t max_shard_bytes; /* of one file; 0 = 5 GB */
} cs_convert_options;
/* UNSUPPORTED names the part that the form has no place for. */
CS_API CS_NODISCARD cs_status cs_convert(const cs_convert_options *options);

CS_END_DECLS
#endif
