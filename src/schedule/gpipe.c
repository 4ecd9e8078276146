/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPipe (Huang et al. 2019): all forwards, then all backwards. Holds the
 * activations of every microbatch; here because it is the simplest schedule
 * and the yardstick for the others.
 *
 *     stage 0 | F0 F1 F2 F3             B0 B1 B2 B3
 *     stage 1 |    F0 F1 F2 F3 B0 B1 B2 B3
 *
 * Backwards run in microbatch order, as in every generator, so that weight
 * gradients add up in the same order and the bits agree.
 */
#include "internal.h"

void csi_warmup_gpipe(const csi_topology *topology, int32_t n_microbatches,
                      int32_t *warmup)
{
    for (int32_t stage = 0; stage < topology->graph->n_stages; stage++) {
        warmup[stage] = n_microbatches;
    }
}
