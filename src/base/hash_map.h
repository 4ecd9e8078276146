/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_HASH_MAP_H
#define CS_BASE_HASH_MAP_H
/* String (any bytes) -> int64. Keys are copied. Not thread-safe. */
#include "cornstarch/status.h"

#include <stddef.h>

typedef struct csi_hash_map csi_hash_map;

CS_NODISCARD cs_status csi_hash_map_create(csi_hash_map **out);
void csi_hash_map_destroy(csi_hash_map **map);
/* Sets or replaces. */
CS_NODISCARD cs_status csi_hash_map_put(csi_hash_map *map, const void *key,
                                        size_t key_bytes, int64_t value);
bool csi_hash_map_get(const csi_hash_map *map, const void *key,
                      size_t key_bytes, int64_t *value);
int64_t csi_hash_map_count(const csi_hash_map *map);
#endif
