/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_COST_H
#define CORNSTARCH_COST_H
/*
 * What a layer costs, in seconds, for so many rows and visible pairs: measured
 * (`cornstarch profile`, stored with provenance) or estimated from FLOPs and a
 * rate. Frozen rules are one pure function, used by cost, schedule, simulator
 * and runtime alike. Pure; immutable after create.
 */
#include "cornstarch/graph.h"

CS_BEGIN_DECLS

/* seconds = base_s + row_s * rows + pair_s * visible pairs */
typedef struct cs_cost_line {
    double base_s, row_s, pair_s;
} cs_cost_line;

typedef struct cs_layer_cost {
    cs_cost_line forward, backward_input, backward_weight;
} cs_layer_cost;

/* One measurement: a layer at so many of its own rows. Kept in the table, so
 * that saving loses nothing. */
typedef struct cs_cost_sample {
    int32_t module, layer;
    double rows, pairs; /* "tokens", "visible_pairs" in profile.json */
    double forward_s, backward_input_s, backward_weight_s;
    double saved_bytes;
    double spread; /* (slowest - fastest) / fastest of the repetitions */
} cs_cost_sample;

typedef struct cs_cost_table {
    int32_t n_modules;
    int32_t *n_layers;     /* owned, [n_modules] */
    cs_layer_cost **layer; /* owned, [n_modules][n_layers] */
    bool is_measured;
    cs_precision precision; /* of activations; estimates say f32 */
    int32_t n_samples;
    cs_cost_sample *samples; /* owned; what the lines were fitted to */
    char source[160];        /* "profile.json, cpu avx512, commit abc" or
                              "estimate at 50 GFLOP/s" */
} cs_cost_table;

/* What must run for a layer (DESIGN section 4): a pure function. */
typedef struct cs_frozen_rule {
    bool runs_backward_input;  /* trainable here or upstream */
    bool gives_input_gradient; /* trainable upstream */
    bool runs_backward_weight; /* a trainable product here */
} cs_frozen_rule;
CS_API cs_frozen_rule cs_frozen_rule_of(bool trainable_upstream,
                                        bool trainable_here,
                                        bool trainable_product_here);

/* From FLOPs: `flops_per_s` of one rank. Backward halves follow the rules of
 * what really runs: input half ~ 1x forward, weight half ~ 1x, attention's
 * input half ~ 2.5x. */
CS_API CS_NODISCARD cs_status cs_cost_estimate(const cs_graph *graph,
                                               double flops_per_s,
                                               cs_cost_table **out);
/* Lines from measurements: least squares of relative errors, no negative
 * coefficient. Rows are the layer's own (feature rows for a projector). The
 * input half of a stem or of the embedding is measured without, of every other
 * layer with the gradient of its input, and of the head with its weight
 * gradient, which has no half of its own. A layer without samples takes those
 * of an equal layer of its module. Errors: ARG when a layer has neither. */
CS_API CS_NODISCARD cs_status cs_cost_fit(const cs_graph *graph,
                                          cs_precision precision,
                                          const cs_cost_sample *samples,
                                          int32_t n_samples, const char *source,
                                          cs_cost_table **out);
/* profile.json. Only measured tables can be saved. */
CS_API CS_NODISCARD cs_status cs_cost_load(const char *path,
                                           const cs_graph *graph,
                                           cs_cost_table **out);
CS_API CS_NODISCARD cs_status cs_cost_save(const cs_cost_table *table,
                                           const cs_graph *graph,
                                           const char *machine,
                                           const char *commit,
                                           const char *path);
CS_API void cs_cost_destroy(cs_cost_table **table);

/* Rows and visible pairs of one module in one microbatch; feature_rows is what
 * an encoder hands on after pooling. No rows = no work. */
typedef struct cs_work {
    double rows, pairs, feature_rows;
} cs_work;
/* Seconds of layers [first, last) of a module under the frozen rules;
 * trainable_upstream: anything trainable before `first`. */
typedef struct cs_range_cost {
    double forward_s, backward_input_s, backward_weight_s;
} cs_range_cost;
CS_API cs_range_cost cs_cost_range(const cs_cost_table *table,
                                   const cs_graph *graph, int32_t module,
                                   int32_t first, int32_t last,
                                   bool trainable_upstream, cs_work work);

CS_END_DECLS
#endif
