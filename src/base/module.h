/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_MODULE_H
#define CS_BASE_MODULE_H
/* Shared objects of ours that are opened only when somebody asks for what they
 * bring: the program starts in milliseconds and runs where their libraries are
 * missing. */
#include "cornstarch/status.h"

#include <stddef.h>

/* Opens `name` (libcornstarch_x.so) in CORNSTARCH_MODULES, beside the program,
 * in ../lib/cornstarch beside it, or where the system looks. It is never
 * unmapped: threads of its libraries may live in it. `is_global` shows its
 * symbols to libraries that open plug-ins of their own. */
CS_NODISCARD cs_status csi_module_open(const char *name, bool is_global,
                                       void **handle);
/* The function `symbol`, copied into *function (a function pointer). */
CS_NODISCARD cs_status csi_module_find(void *handle, const char *name,
                                       const char *symbol, void *function,
                                       size_t n_bytes);
#endif
