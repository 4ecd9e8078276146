/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_SAFETENSORS_HEADER_H
#define CS_SAFETENSORS_HEADER_H
/* One file's header, checked: what safetensors.c builds its tables from. */
#include "cornstarch/safetensors.h"

#include "base/arena.h"
#include "base/json.h"

enum {
    CSI_SAFETENSORS_MAX_HEADER_BYTES = 100 * 1024 * 1024
};

/* A file in memory: 8 bytes of length, the header, the data. */
typedef struct csi_safetensors_bytes {
    const char *path;
    const uint8_t *data;
    size_t n_bytes;
} csi_safetensors_bytes;

/* [out,own]: json_decref. header_bytes: length of the JSON text. */
CS_NODISCARD cs_status csi_safetensors_parse(csi_safetensors_bytes file,
                                             json_t **header,
                                             int64_t *header_bytes);
/* Tensors of a parsed header (members without __metadata__). */
int64_t csi_safetensors_header_count(const json_t *header);
/* Fills `entries` in the order of the data; names are copied to the arena.
 * Refuses holes, overlaps and whatever does not fit. */
CS_NODISCARD cs_status csi_safetensors_read_entries(csi_safetensors_bytes file,
                                                    json_t *header,
                                                    int64_t header_bytes,
                                                    csi_arena *arena,
                                                    cs_safetensor *entries);
#endif
