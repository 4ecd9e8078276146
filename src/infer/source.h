/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_INFER_SOURCE_H
#define CS_INFER_SOURCE_H
/* Where a model comes from: a run, a recipe, or one Hugging Face folder. */
#include "cornstarch/config.h"
#include "cornstarch/data.h"
#include "cornstarch/param.h"

typedef struct csi_model_source {
    cs_config *config; /* owned */
    char **folders;    /* owned: strings that the config points to */
    int32_t n_folders;
    const char *run_folder; /* borrowed; NULL = no run */
    int64_t checkpoint;     /* of the run: over its sources; 0 = none */
    bool is_encoder_alone;  /* a folder of module 0; the rest is a stand-in */
} csi_model_source;

/* "dotted.key=value" over the recipe. */
typedef struct csi_overrides {
    const char *const *texts;
    int32_t n;
} csi_overrides;

/* RUN/recipe.yaml with the weights of RUN/model, or of a checkpoint (0 = of
 * model/, or the newest checkpoint where there is none). */
CS_NODISCARD cs_status csi_source_open_run(const char *run_folder,
                                           int64_t checkpoint,
                                           csi_overrides overrides,
                                           csi_model_source *out);
/* A run folder, a folder with config.json, or else a recipe file. A folder's
 * module is computed in f32 with all of it trainable, an encoder up to its
 * last hidden state. */
CS_NODISCARD cs_status csi_source_open(const char *path, int64_t checkpoint,
                                       csi_overrides overrides,
                                       csi_model_source *out);
void csi_source_close(csi_model_source *source);
/* Id of each encoder's placeholder, ids[n_encoders]: what the run's
 * cornstarch.json says; else the tokenizer's own token of that text; else an id
 * behind the tokenizer's, or (without one) behind the vocabulary. */
CS_NODISCARD cs_status csi_source_placeholders(const csi_model_source *source,
                                               const cs_graph *graph,
                                               int64_t *ids);
/* All weights that the set holds. */
CS_NODISCARD cs_status csi_source_load(const csi_model_source *source,
                                       cs_param_set *set);
#endif
