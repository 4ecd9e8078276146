/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_BUILD_H
#define CS_ZOO_BUILD_H
/* Layers and parameters of one module, appended to a graph under
 * construction. */
#include "family.h"
#include "sizes.h"

typedef struct csi_builder {
    cs_graph *graph; /* borrowed: grows */
    int32_t module;  /* index of the module under construction */
    int32_t capacity_params;
} csi_builder;

/* Adds one parameter to the layer under construction. `shape` has out first,
 * as in Hugging Face files. */
CS_NODISCARD cs_status csi_builder_param(csi_builder *b, int32_t layer,
                                         cs_slot slot, const char *name,
                                         cs_shape shape, cs_init_kind init,
                                         double init_std);
/* The same for one weight, by its std (0 = 1 / sqrt(fan in)), one vector, or a
 * norm's weight and bias. Nothing where the name is NULL. */
CS_NODISCARD cs_status csi_builder_weight(csi_builder *b, int32_t layer,
                                          cs_slot slot, const char *name,
                                          cs_shape shape, double std);
CS_NODISCARD cs_status csi_builder_vector(csi_builder *b, int32_t layer,
                                          cs_slot slot, const char *name,
                                          int64_t n, cs_init_kind init);
CS_NODISCARD cs_status csi_builder_norm(csi_builder *b, int32_t layer,
                                        cs_slot slot_w, cs_slot slot_b,
                                        const char *const *names, int64_t dim);
/* Room for n_layers empty layers. */
CS_NODISCARD cs_status csi_builder_layers(cs_module *module, int64_t n_layers);
/* Transformer block `index` as layer `layer` of the module. */
CS_NODISCARD cs_status csi_build_block(csi_builder *b, const csi_family *family,
                                       const csi_sizes *sizes, int32_t layer,
                                       int32_t index);
struct csi_decoder;
CS_NODISCARD cs_status csi_build_language_model(csi_builder *b,
                                                const struct csi_decoder *d);
#endif
