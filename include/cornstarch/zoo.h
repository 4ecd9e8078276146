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

/* Builds the graph of a recipe: each module from its `config:` map or from
 * the config.json in its `from` folder. Errors name the recipe entry, the key,
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

CS_END_DECLS
#endif
