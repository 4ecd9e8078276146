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
/* Allocates the layers of module `m` (family's stem, blocks, last norm or
 * head; encoders: projector) and all their parameters. */
CS_NODISCARD cs_status csi_build_encoder(csi_builder *b,
                                         const csi_family *family,
                                         const csi_sizes *sizes, int32_t pool);
CS_NODISCARD cs_status csi_build_projector(csi_builder *b,
                                           cs_projector_type type,
                                           cs_activation activation, int64_t in,
                                           int64_t hidden, int64_t out);
CS_NODISCARD cs_status csi_build_language_model(csi_builder *b,
                                                const csi_family *family,
                                                const csi_sizes *sizes);
#endif
