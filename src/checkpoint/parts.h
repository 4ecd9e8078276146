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
enum {
    CSI_TENSOR_NAME_BYTES = 512
};

/* The tensor of a file that holds (a piece of) a parameter. */
typedef struct csi_file_tensor {
    char name[CSI_TENSOR_NAME_BYTES]; /* as we write it */
    cs_shape shape;                   /* as files hold it */
    const cs_safetensor *found;       /* in the source; NULL = missing */
} csi_file_tensor;

/* Piece k (below cs_param_file_count()) of graph parameter i, in the source
 * (NULL = none) under whichever of the module's name prefixes it has. */
CS_NODISCARD cs_status csi_part_find(const cs_graph *graph,
                                     const csi_part *part,
                                     const cs_safetensors *source, int32_t i,
                                     int32_t k, csi_file_tensor *out);
bool csi_part_is_empty(const cs_graph *graph, const csi_part *part);
/* "vision", "vision/projector": the folder below model/. [out,own] */
CS_NODISCARD cs_status csi_part_folder(const cs_graph *graph,
                                       const csi_part *part, char **out);

/* Initial values of one graph parameter as f32. [out,own] csi_free. */
CS_NODISCARD cs_status csi_initial_values(const cs_graph *graph, int32_t param,
                                          uint64_t seed, float **out);
#endif
