/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks do not know each other's parameter sets: they exchange one flag per
 * parameter, and the lowest holder answers for it. */
#include "gather.h"

#include "base/alloc.h"

cs_status csi_find_owners(const cs_param_set *set, bool takes_part,
                          cs_comm *comm, int32_t **out)
{
    const size_t n = (size_t)set->graph->n_params;
    cs_status st = CS_OK;
    uint8_t *mine = csi_calloc(n, 1);
    uint8_t *all = csi_calloc(n, (size_t)comm->n_ranks);
    int32_t *owner = csi_calloc(n, sizeof *owner);

    if (mine == NULL || all == NULL || owner == NULL) {
        st = CS_FAIL(CS_ERR_NOMEM, "owners of %zu parameters", n);
    }
    CS_TRY_GOTO(done, cs_comm_agree(comm, st));
    CS_CHECK_GOTO(done, mine != NULL && all != NULL && owner != NULL,
                  CS_ERR_INTERNAL, "agreed in spite of a failure");
    for (size_t i = 0; i < n; i++) {
        mine[i] = takes_part && set->item_of[i] >= 0;
    }
    CS_TRY_GOTO(done, cs_comm_all_gather(comm, mine, n, all));
    for (size_t i = 0; i < n; i++) {
        owner[i] = -1;
        for (int32_t r = comm->n_ranks - 1; r >= 0; r--) {
            owner[i] = all[(size_t)r * n + i] != 0 ? r : owner[i];
        }
    }
    *out = owner;
    owner = NULL;
done:
    csi_free(mine);
    csi_free(all);
    csi_free(owner);
    return st;
}
