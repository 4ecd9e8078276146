/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_SIZES_H
#define CS_ZOO_SIZES_H
/* The numbers of one module, read from its config.json by its family's keys. */
#include "base/json.h"

#include "family.h"

enum {
    CSI_MAX_SIZE = 1 << 24,  /* any one size */
    CSI_MAX_LAYERS = 1 << 12 /* blocks of a module */
};

typedef struct csi_sizes {
    int64_t width, layers, heads, kv_heads, head_dim, mlp_dim;
    int64_t vocab, max_positions, image_size, patch_size, channels;
    int64_t experts; /* of the block to build, mlp_dim wide each; 0 = dense */
    cs_activation activation;
    double norm_eps;
    double init_std;    /* 0 = 1 / sqrt(fan in) */
    double layer_scale; /* initial value */
    bool has_attention_bias, has_mlp_bias;
} csi_sizes;

/* Errors: FORMAT naming `where` and the key; UNSUPPORTED for values that
 * would change the numbers and are not offered. */
CS_NODISCARD cs_status csi_sizes_read(const csi_family *family,
                                      const json_t *config, const char *where,
                                      csi_sizes *out);
/* One size by its key or its other name, by its fallback where it is absent. */
CS_NODISCARD cs_status csi_size_read(const json_t *config, const char *where,
                                     csi_size_key key, int64_t *out);
CS_NODISCARD cs_status csi_activation_parse(const char *name, const char *where,
                                            cs_activation *out);
#endif
