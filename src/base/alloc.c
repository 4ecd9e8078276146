/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap behind two counters and one fault injector. Plain atomics: the
 * cost is a few nanoseconds, and the hot path allocates nothing anyway.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64
};

static atomic_int_fast64_t n_live;
static atomic_int_fast64_t n_made;
static atomic_bool fault_is_armed;
static atomic_int_fast64_t fault_n_seen;
static atomic_int_fast64_t fault_first; /* number of the first failing call */

void csi_fault_arm(int64_t n)
{
    atomic_store(&fault_n_seen, 0);
    atomic_store(&fault_first, n);
    atomic_store(&fault_is_armed, true);
}

int64_t csi_fault_off(void)
{
    atomic_store(&fault_is_armed, false);
    return (int64_t)atomic_load(&fault_n_seen);
}

bool csi_fault_point(void)
{
    if (!atomic_load_explicit(&fault_is_armed, memory_order_relaxed)) {
        return false;
    }
    return atomic_fetch_add(&fault_n_seen, 1) + 1 >= atomic_load(&fault_first);
}

/* Counts a new allocation; passes NULL on. */
static void *count_new(void *p)
{
    if (p != NULL) {
        atomic_fetch_add_explicit(&n_live, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&n_made, 1, memory_order_relaxed);
    }
    return p;
}

void *csi_malloc(size_t n_bytes)
{
    return csi_fault_point() ? NULL : count_new(malloc(n_bytes + !n_bytes));
}

void *csi_calloc(size_t count, size_t n_bytes)
{
    if (csi_fault_point() || (n_bytes != 0 && count > SIZE_MAX / n_bytes)) {
        return NULL;
    }
    if (count == 0 || n_bytes == 0) {
        count = n_bytes = 1;
    }
    return count_new(calloc(count, n_bytes));
}

void *csi_realloc(void *p, size_t n_bytes)
{
    if (p == NULL) {
        return csi_malloc(n_bytes);
    }
    if (csi_fault_point()) {
        return NULL;
    }
    void *const moved = realloc(p, n_bytes + !n_bytes);

    if (moved != NULL) {
        atomic_fetch_add_explicit(&n_made, 1, memory_order_relaxed);
    }
    return moved;
}

void *csi_aligned(size_t n_bytes)
{
    const size_t unit = ALIGNMENT;

    if (csi_fault_point() || n_bytes > SIZE_MAX - unit) {
        return NULL;
    }
    const size_t rounded = (n_bytes + !n_bytes + unit - 1) / unit * unit;

    return count_new(aligned_alloc(unit, rounded));
}

char *csi_strdup(const char *text)
{
    const size_t n_bytes = strlen(text) + 1;
    char *const copy = csi_malloc(n_bytes);

    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
    }
    return copy;
}

void csi_free(void *p)
{
    if (p != NULL) {
        atomic_fetch_sub_explicit(&n_live, 1, memory_order_relaxed);
        free(p);
    }
}

int64_t csi_alloc_live(void)
{
    return (int64_t)atomic_load(&n_live);
}

int64_t csi_alloc_count(void)
{
    return (int64_t)atomic_load(&n_made);
}
