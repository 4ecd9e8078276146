/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_COST_INTERNAL_H
#define CS_COST_INTERNAL_H
/* What the makers of cost tables share. */
#include "cornstarch/cost.h"

/* An empty table with room for every layer of the graph. */
CS_NODISCARD cs_status csi_cost_new(const cs_graph *graph, cs_cost_table **out);

/* Rows that one layer works on: features after pooling, or hidden rows. */
double csi_layer_rows(const cs_layer *layer, cs_work work);

/* profile.json from text, for cs_cost_load and fuzzing. */
CS_NODISCARD cs_status csi_cost_parse(const char *text, size_t n_bytes,
                                      const char *where, const cs_graph *graph,
                                      cs_cost_table **out);
#endif
