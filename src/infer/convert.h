/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_INFER_CONVERT_H
#define CS_INFER_CONVERT_H
/* A run as folders for other programs. */
#include "cornstarch/graph.h"
#include "cornstarch/infer.h"

#include "source.h"

/* What a run is, without its weights. */
typedef struct csi_convert_job {
    const cs_convert_options *o;
    csi_model_source source; /* owned, as graph */
    cs_graph *graph;
    const char *modules; /* folder with the exported modules */
} csi_convert_job;

/* UNSUPPORTED with the part that LlavaForConditionalGeneration has no place
 * for. Reads no weights. */
CS_NODISCARD cs_status csi_llava_check(const csi_convert_job *job);
/* The folder of that class, from the modules' folders, into `folder`, which
 * exists. */
CS_NODISCARD cs_status csi_llava_write(const csi_convert_job *job,
                                       const char *folder);
#endif
