/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of at most one timer per rank. Ties go to the lower rank, so
 * that equal times give the same run everywhere. */
#include "engine.h"

static bool goes_first(const csi_timer *a, const csi_timer *b)
{
    return a->key < b->key || (a->key == b->key && a->rank < b->rank);
}

void csi_timer_push(csi_timer_heap *heap, double key, int32_t rank)
{
    const csi_timer timer = {.key = key, .rank = rank};
    int32_t at = heap->n++;

    while (at > 0 && goes_first(&timer, &heap->timers[(at - 1) / 2])) {
        heap->timers[at] = heap->timers[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->timers[at] = timer;
}

int32_t csi_timer_pop(csi_timer_heap *heap)
{
    const int32_t rank = heap->timers[0].rank;
    const csi_timer last = heap->timers[--heap->n];
    int32_t at = 0;

    while (2 * at + 1 < heap->n) {
        int32_t child = 2 * at + 1;

        if (child + 1 < heap->n &&
            goes_first(&heap->timers[child + 1], &heap->timers[child])) {
            child++;
        }
        if (!goes_first(&heap->timers[child], &last)) {
            break;
        }
        heap->timers[at] = heap->timers[child];
        at = child;
    }
    heap->timers[at] = last;
    return rank;
}
