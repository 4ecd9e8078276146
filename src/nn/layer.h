/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_NN_LAYER_H
#define CS_NN_LAYER_H
/* What the layer kinds share: their weights, and what must be kept. */
#include "cornstarch/nn.h"

/* One layer about to run. */
typedef struct csi_layer_run {
    const cs_nn *nn;
    const cs_layer *layer;
    int32_t index;    /* in the module */
    cs_keep keep_out; /* what the next layer needs of the result */
} csi_layer_run;

typedef cs_status (*csi_layer_fn)(const csi_layer_run *run, cs_value *x,
                                  cs_value **out);

/* Weight of a slot; false when the layer has none. */
bool csi_layer_weight(const csi_layer_run *run, cs_slot slot, cs_weight *out);
/* PRODUCT if the slot's weight is trainable here, else `otherwise`. */
cs_keep csi_layer_feeds(const csi_layer_run *run, cs_slot slot,
                        cs_keep otherwise);

/* x W^T + b by slots. */
CS_NODISCARD cs_status csi_layer_linear(const csi_layer_run *run, cs_value *x,
                                        cs_slot w, cs_slot b,
                                        cs_activation activation, cs_keep keep,
                                        cs_value **y);
/* A product of a layer: its weight and bias, and which of the rows of a fused
 * weight (rows 0: all). */
typedef struct csi_product {
    cs_slot w, b;
    int64_t first, rows;
} csi_product;
CS_NODISCARD cs_status csi_layer_product(const csi_layer_run *run, cs_value *x,
                                         const csi_product *product,
                                         cs_activation activation, cs_keep keep,
                                         cs_value **y);
/* What a norm leaves: the sum that goes on and the normalised value. */
typedef struct csi_normed {
    cs_value *s, *y;
} csi_normed;
/* The norm whose weight is slot w (its bias is the next slot) over x (+ r). */
CS_NODISCARD cs_status csi_layer_norm(const csi_layer_run *run, cs_value *x,
                                      cs_value *r, cs_slot w, cs_keep keep_s,
                                      cs_keep keep_y, csi_normed *out);

/* x += the table of positions, resampled to the layer's grid. */
CS_NODISCARD cs_status csi_add_resampled(const csi_layer_run *run, cs_value *x,
                                         const cs_weight *table);
CS_NODISCARD cs_status csi_patch_stem(const csi_layer_run *run, cs_value *x,
                                      cs_value **out);
CS_NODISCARD cs_status csi_conv_stem(const csi_layer_run *run, cs_value *x,
                                     cs_value **out);
CS_NODISCARD cs_status csi_block(const csi_layer_run *run, cs_value *x,
                                 cs_value **out);
/* A block's MLP where it has experts. */
CS_NODISCARD cs_status csi_experts(const csi_layer_run *run, cs_value *x,
                                   cs_keep keep, cs_value **y);
CS_NODISCARD cs_status csi_encoder_norm(const csi_layer_run *run, cs_value *x,
                                        cs_value **out);
CS_NODISCARD cs_status csi_projector(const csi_layer_run *run, cs_value *x,
                                     cs_value **out);
/* Hands the logits of y's rows to batch->on_logits; y is the head's input. */
CS_NODISCARD cs_status csi_stream_logits(const csi_layer_run *run,
                                         const cs_value *y);
CS_NODISCARD cs_status csi_embed(const csi_layer_run *run, cs_value *x,
                                 cs_value **out);
CS_NODISCARD cs_status csi_head(const csi_layer_run *run, cs_value *x,
                                cs_value **out);
#endif
