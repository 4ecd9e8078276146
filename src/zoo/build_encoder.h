/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_BUILD_ENCODER_H
#define CS_ZOO_BUILD_ENCODER_H
/* Layers and parameters of one encoder and its projector. */
#include "build.h"
#include "encoder.h"

/* What the recipe says about rows and layers. */
typedef struct csi_feature_choice {
    int32_t layer; /* of HF's hidden_states; -1 = last_hidden_state */
    bool drops_class;
    int32_t pool, stack; /* >= 1 */
} csi_feature_choice;

/* Stem, the blocks that run, last norm; one more layer is left for the
 * projector. Parameters of what does not run are kept, frozen. */
CS_NODISCARD cs_status csi_build_encoder(csi_builder *b,
                                         const csi_encoder *encoder,
                                         const csi_feature_choice *choice);

/* What one projector is. */
typedef struct csi_projector {
    cs_projector_type type;
    char *activation; /* owned */
    int64_t hidden;   /* mlp: inner width */
    int64_t in, out;  /* 0 = not said */
    char *where;      /* owned: what errors call it */
} csi_projector;

/* From its folder, which wins over the recipe, or from the recipe. */
CS_NODISCARD cs_status csi_projector_read(const cs_encoder_config *config,
                                          csi_projector *out);
void csi_projector_fini(csi_projector *projector);
/* The module's last layer: its width (times stacked rows) -> `out`. */
CS_NODISCARD cs_status csi_build_projector(csi_builder *b,
                                           const csi_projector *projector,
                                           int64_t out);
#endif
