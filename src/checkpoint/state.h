/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_STATE_H
#define CS_CHECKPOINT_STATE_H
/* state.json: everything of cs_train_state. */
#include "cornstarch/checkpoint.h"

#include "base/str.h"

void csi_state_print(const cs_train_state *state, csi_str *text);
/* On success out->dropped is new: csi_free. */
CS_NODISCARD cs_status csi_state_parse(const char *text, size_t n_bytes,
                                       const char *where, cs_train_state *out);
CS_NODISCARD cs_status csi_state_read(const char *folder, cs_train_state *out);
#endif
