/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_PARTS_H
#define CS_CHECKPOINT_PARTS_H
/*
 * A model on disk is a list of parts: one Hugging Face folder for each module,
 * and one for each encoder's projector. Reading and exporting both go over
 * this list, so that they agree on folders and names.
 */
#include "cornstarch/param.h"
#include "cornstarch/safetensors.h"

typedef struct csi_part {
    int32_t module;
    bool is_projector;
    const char *source; /* borrowed; folder with weights, NULL = random */
    const char *config; /* borrowed; text of config.json, NULL = none */
} csi_part;

/* Two per module at most: part 2m is the module, 2m + 1 its projector. */
static inline int32_t csi_part_count(const cs_graph *graph)
{
    return 2 * graph->n_modules;
}
csi_part csi_part_at(const cs_graph *graph, int32_t index);
/* Whether graph parameter i is stored in this part. */
bool csi_part_has(const cs_graph *graph, const csi_part *part, int32_t i);
/* The part of graph parameter i: an index for csi_part_at(). */
int32_t csi_part_of(const cs_graph *graph, int32_t i);
/* The source's tensor of graph parameter i, whichever of the module's name
 * prefixes the source has; NULL when it is missing. */
const cs_safetensor *csi_part_find(const cs_graph *graph, const csi_part *part,
                                   const cs_safetensors *source, int32_t i);
bool csi_part_is_empty(const cs_graph *graph, const csi_part *part);
/* "vision", "vision/projector": the folder below model/. [out,own] */
CS_NODISCARD cs_status csi_part_folder(const cs_graph *graph,
                                       const csi_part *part, char **out);

/* Initial values of one graph parameter as f32. [out,own] csi_free. */
CS_NODISCARD cs_status csi_initial_values(const cs_graph *graph, int32_t param,
                                          uint64_t seed, float **out);
#endif
