/* SPDX-License-Identifier: Apache-2.0 */
/* A block's experts. The balance loss is wanted where documents are known: in
 * training and evaluation, not in generation. */
#include "layer.h"

cs_status csi_experts(const csi_layer_run *run, cs_value *x, cs_keep keep,
                      cs_value **y)
{
    const cs_layer *l = run->layer;
    const cs_nn_batch *batch = run->nn->batch;
    cs_weight router;
    cs_weight gate;
    cs_weight up;
    cs_weight down;

    CS_CHECK(csi_layer_weight(run, CS_SLOT_ROUTER_W, &router) &&
                 csi_layer_weight(run, CS_SLOT_EXPERT_GATE_W, &gate) &&
                 csi_layer_weight(run, CS_SLOT_EXPERT_UP_W, &up) &&
                 csi_layer_weight(run, CS_SLOT_EXPERT_DOWN_W, &down),
             CS_ERR_INTERNAL, "experts of this layer are not held here");
    const cs_tape_moe_args args = {
        .experts = l->n_experts,
        .top_k = l->top_k,
        .normalises = l->normalises_top_k,
        .activation = l->activation,
        .router_w = &router,
        .gate_w = &gate,
        .up_w = &up,
        .down_w = &down,
        .coefficient = batch->n_documents > 0 ? l->balance_coefficient : 0.0,
        .loss_scale = batch->loss.loss_scale,
        .n_documents = batch->n_documents,
        .document_begin = batch->document_begin,
        .document_labels = batch->document_labels,
        .balance_sum = batch->balance_sums != NULL
                           ? &batch->balance_sums[run->index]
                           : batch->loss.loss_sum,
    };
    return cs_tape_moe(run->nn->tape, &args, x, keep, y);
}
