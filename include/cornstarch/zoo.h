/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_ZOO_H
#define CORNSTARCH_ZOO_H
/*
 * Model families as tables, and the builder that glues encoders, projectors
 * and a language model into one graph. Reads Hugging Face config.json keys;
 * allocates no weights.
 */
#include "cornstarch/config.h"
#include "cornstarch/graph.h"

CS_BEGIN_DECLS

/* Builds the graph of a recipe: each module from its `config:` map, from its
 * preset, or from the config.json in its `from` folder. Errors name the recipe entry, the key,
 * wanted and got. Not collective. */
CS_API CS_NODISCARD cs_status cs_zoo_build(const cs_config *config,
                                           cs_graph **out);
/* Families that are offered, for `cornstarch models`: id, modality and the
 * accepted model_type values; false past the end. */
typedef struct cs_zoo_family {
    const char *id;
    const char *model_type;
    cs_modality modality;
    const char *architecture; /* transformers class that loads the export */
} cs_zoo_family;
CS_API bool cs_zoo_get(int32_t index, cs_zoo_family *out);

/* A published size, for `preset: NAME` in a recipe: false past the end. All
 * text is static. */
typedef struct cs_zoo_preset {
    const char *name;
    const char *config; /* the keys of config.json that make it */
    /* Parameters of what is published, and how many of them are in parts that
     * are not built: text towers, pooling heads, second copies of a tied head.
     * Whole millions are rounded figures (within 1 %), all others exact. */
    int64_t n_published, n_left_out;
    const char *source; /* repository of the Hugging Face hub, or a paper */
} cs_zoo_preset;
CS_API bool cs_zoo_preset_get(int32_t index, cs_zoo_preset *out);

/* What the builder makes of it: parameters without a projector, tied ones
 * counted once. Allocates no weights. */
typedef struct cs_zoo_size {
    const char *family; /* static */
    cs_modality modality;
    int64_t n_params;
} cs_zoo_size;
CS_API CS_NODISCARD cs_status cs_zoo_preset_size(const cs_zoo_preset *preset,
                                                 cs_zoo_size *out);

CS_END_DECLS
#endif
