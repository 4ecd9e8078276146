/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CPU_ONEDNN_H
#define CS_CPU_ONEDNN_H
/*
 * bf16 products by oneDNN, which has AMX kernels, and f32 products for CPUs
 * that our kernels do not reach. onednn.c is the only file that knows its API
 * (version 2; version 3 changed it). One object per rank; not thread-safe.
 */
#include "cpu.h"

CS_NODISCARD cs_status csi_onednn_create(csi_onednn **out);
void csi_onednn_destroy(csi_onednn **onednn);
/* Writes e.g. "2.6.3". */
void csi_onednn_version(char *text, size_t n_bytes);

/* Bytes of `work` that csi_onednn_product wants; both operands are bf16. */
size_t csi_onednn_bytes(const csi_onednn *onednn, const csi_product *p);
CS_NODISCARD cs_status csi_onednn_product(cs_backend *backend,
                                          csi_onednn *onednn,
                                          const csi_product *p, void *work);
/* c (+)= a b^T in f32, row-major, no epilogue beside accumulate. */
CS_NODISCARD cs_status csi_onednn_sgemm(cs_backend *backend,
                                        const csi_product *p);
#endif
