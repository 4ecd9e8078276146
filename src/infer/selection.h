/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_INFER_SELECTION_H
#define CS_INFER_SELECTION_H
/* The samples of a dataset that an evaluation looks at, as an index of their
 * own: with their own media or with somebody else's. */
#include "cornstarch/data.h"

typedef struct csi_selection {
    const cs_dataset *dataset; /* borrowed */
    int64_t n;
    int64_t *sample;          /* [n]: index in the dataset */
    cs_index_sample *samples; /* [n] */
    cs_index_run *runs;       /* with the donors' sizes */
    int64_t *run_sample;      /* per run: whose item is read ... */
    int32_t *run_index;       /* ... and which run of the dataset it is */
    int64_t n_runs;
    cs_index_view view; /* points to samples and runs */
} csi_selection;

/* The first `max_samples` (0 = all) samples; with only_modality >= 0 those
 * with an item of it; with swap_modality >= 0 also those, each item exchanged
 * for one with other content. ARG: none are left, or one with nobody to swap
 * with. */
CS_NODISCARD cs_status csi_selection_init(const cs_dataset *dataset,
                                          int64_t max_samples,
                                          int32_t only_modality,
                                          int32_t swap_modality,
                                          csi_selection *out);
void csi_selection_fini(csi_selection *selection);
/* Ids and labels of sample `i` of the selection, as cs_dataset_tokens. */
CS_NODISCARD cs_status csi_selection_tokens(const csi_selection *selection,
                                            int64_t i, int32_t *ids,
                                            int32_t *labels);
/* Rows of run `run` of the selection. */
CS_NODISCARD cs_status csi_selection_media(const csi_selection *selection,
                                           int32_t run, float *rows);
#endif
