/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_ALLOC_H
#define CS_BASE_ALLOC_H
/*
 * The only door to the heap. Every call is counted, so that tests can ask for
 * leaks and for allocations in the steady state, and can be made to fail, so
 * that tests can walk every failure path (torture). Thread-safe.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *csi_malloc(size_t n_bytes);
void *csi_calloc(size_t count, size_t n_bytes); /* checks the product */
void *csi_realloc(void *p, size_t n_bytes);
void *csi_aligned(size_t n_bytes); /* 64-byte aligned, not cleared */
char *csi_strdup(const char *text);
void csi_free(void *p); /* any of the above; NULL is fine */

int64_t csi_alloc_live(void);  /* allocations not freed yet */
int64_t csi_alloc_count(void); /* allocations ever made */

/* Torture: the n-th fallible call from now (allocation or file) fails, and
 * all after it until csi_fault_off(). n >= 1. Per process. */
void csi_fault_arm(int64_t n);
int64_t csi_fault_off(void); /* returns how many fallible calls were seen */
bool csi_fault_point(void);  /* for callers of fallible system functions */
#endif
