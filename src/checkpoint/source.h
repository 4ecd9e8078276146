/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_SOURCE_H
#define CS_CHECKPOINT_SOURCE_H
/* What a folder must hold for a part of the model, and what it may. */
#include "parts.h"

/* Every parameter of the part that is held here (item_of NULL: anywhere) is
 * there, in name, shape and a float type; one FORMAT error names all that do
 * not fit, up to a limit, with file, wanted and got. Reads headers only. */
CS_NODISCARD cs_status csi_source_check(const cs_graph *graph,
                                        const int32_t *item_of,
                                        const csi_part *part,
                                        const cs_safetensors *source);
/* A tied parameter may be in a foreign file, as a bitwise copy only. */
CS_NODISCARD cs_status csi_source_check_tied(const cs_graph *graph,
                                             const int32_t *item_of,
                                             const csi_part *part,
                                             const cs_safetensors *source);
/* Tensors that the part has no place for, on the log: one line with a count
 * and the first names. Buffers that are no parameters are passed over. */
CS_NODISCARD cs_status csi_source_warn(const cs_graph *graph,
                                       const csi_part *part,
                                       const cs_safetensors *source);
#endif
