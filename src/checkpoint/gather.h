/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_GATHER_H
#define CS_CHECKPOINT_GATHER_H
/* Which rank answers for which parameter, when ranks hold different ones. */
#include "cornstarch/comm.h"
#include "cornstarch/param.h"

/* owner[i] = lowest rank of `comm` that holds graph parameter i and takes
 * part; -1 = none. [out,own] csi_free. Ranks: collective. */
CS_NODISCARD cs_status csi_find_owners(const cs_param_set *set, bool takes_part,
                                       cs_comm *comm, int32_t **out);
#endif
