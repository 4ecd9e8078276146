/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_BUILD_ENCODER_H
#define CS_ZOO_BUILD_ENCODER_H
/* Layers and parameters of one encoder and its projector. */
#include "build.h"

/* Stem, blocks, last norm; one more layer is left for the projector. */
CS_NODISCARD cs_status csi_build_encoder(csi_builder *b,
                                         const csi_family *family,
                                         const csi_sizes *sizes, int32_t pool);
CS_NODISCARD cs_status csi_build_projector(csi_builder *b,
                                           cs_projector_type type,
                                           cs_activation activation, int64_t in,
                                           int64_t hidden, int64_t out);
#endif
