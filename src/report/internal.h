/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_REPORT_INTERNAL_H
#define CS_REPORT_INTERNAL_H
/* What the files of this folder share: timelines and where their time went. */
#include "cornstarch/report.h"

#include "base/str.h"

#include <stddef.h>

/* ---- timelines ---- */

/* Kinds, ranks, stages and edges are in range, times finite and in order;
 * errors are ARG and say which event. */
CS_NODISCARD cs_status csi_timeline_check(const cs_timeline *timeline);

bool csi_action_is_compute(cs_action_kind kind);
/* Sends, receives, reductions. */
bool csi_action_is_communication(cs_action_kind kind);

/* The stage of an action: its own, or for a message the end of the edge that
 * sends or receives it; -1 = none. */
int32_t csi_timeline_stage(const cs_timeline *timeline,
                           const cs_action *action);
/* Length of the module in a stage's name ("vision 0" -> 6). */
size_t csi_module_length(const char *stage_name);
/* modules[stage] = number of its module, in order of first appearance;
 * [out,own]: csi_free. *first_stage, [out,own], has one stage per module. */
CS_NODISCARD cs_status csi_timeline_modules(const cs_timeline *timeline,
                                            int32_t *n_modules,
                                            int32_t **modules,
                                            int32_t **first_stage);

/* Earliest start (at most 0) and latest end over events of one kind; 0, 0
 * when there is none. */
void csi_timeline_span(const cs_timeline *timeline, cs_timeline_kind kind,
                       double *start_s, double *end_s);

/* ---- where the time went ---- */

/* Columns after those of the modules. */
typedef enum csi_share {
    CSI_SHARE_WAITING,
    CSI_SHARE_COMMUNICATION,
    CSI_SHARE_OPTIMIZER,
    CSI_SHARE_OTHER,
    CSI_SHARE_COUNT
} csi_share;

typedef struct csi_shares {
    int32_t n_ranks, n_modules;
    int32_t n_columns;    /* n_modules + CSI_SHARE_COUNT */
    int32_t *modules;     /* owned, [n_stages] */
    int32_t *first_stage; /* owned, [n_modules] */
    /* owned, [n_ranks + 1][n_columns]: tenths of a per cent, each row sums to
     * 1000; the last row is all ranks together */
    int32_t *tenths;
} csi_shares;

CS_NODISCARD cs_status csi_shares_init(const cs_timeline *timeline,
                                       csi_shares *out);
void csi_shares_fini(csi_shares *shares);
/* Name of a column that is not a module's. */
const char *csi_share_name(csi_share share);

/* ---- TensorBoard ---- */

/* CRC-32C (Castagnoli), as TFRecord files carry it, unmasked. */
uint32_t csi_crc32c(const void *data, size_t n_bytes);
#endif
