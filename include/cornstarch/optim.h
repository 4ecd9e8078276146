/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_OPTIM_H
#define CORNSTARCH_OPTIM_H
/*
 * AdamW over a rank's trainable parameters, the learning-rate schedule, the
 * global gradient norm.
 */
#include "cornstarch/comm.h"
#include "cornstarch/config.h"
#include "cornstarch/op.h"
#include "cornstarch/param.h"

CS_BEGIN_DECLS

typedef struct cs_optim cs_optim;

/* Per-parameter learning rate and weight decay follow the recipe: module or
 * regex overrides, no decay for biases, norms, embeddings as asked. Errors:
 * ARG when an override matches nothing in the whole graph. */
CS_API CS_NODISCARD cs_status cs_optim_create(const cs_config *config,
                                              const cs_graph *graph,
                                              cs_param_set *params,
                                              cs_backend *backend,
                                              cs_optim **out);
CS_API void cs_optim_destroy(cs_optim **optim);

/* Learning rate of step `step` (from 1) of n_steps: linear warm-up, then
 * cosine, linear or constant. min_lr_ratio would be that of step n_steps + 1:
 * no step is wasted on a rate of 0. */
CS_API double cs_learning_rate(const cs_config *config, int64_t step,
                               int64_t n_steps);

/* Sums over all ranks of the world, in f64 and in a fixed order. */
typedef struct cs_step_sums {
    double grad_norm; /* of the whole model, before clipping */
    double loss_sum;  /* with balance losses */
    double n_correct;
    double label_tokens;
} cs_step_sums;

/* Squares are summed per parameter, exchanged, then added in graph order: the
 * same bits for every placement. Only the first replica's holders count.
 * `sums` holds this rank's loss_sum, n_correct, label_tokens on entry;
 * balance_sums (opt, [layers of the language model]) are added to the loss in layer
 * order. Ranks: collective over `world`. */
CS_API CS_NODISCARD cs_status cs_optim_reduce_sums(cs_optim *optim,
                                                   cs_comm *world,
                                                   bool is_first_replica,
                                                   const double *balance_sums,
                                                   cs_step_sums *sums);
/* One update with learning rate factor `learning_rate` (that of the recipe's
 * optimizer at this step; overrides scale alike); grad_scale multiplies
 * gradients (clipping). `update` counts updates from 1. */
CS_API CS_NODISCARD cs_status cs_optim_step(cs_optim *optim, int64_t update,
                                            double learning_rate,
                                            double grad_scale);

CS_END_DECLS
#endif
