/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing, at most 3/4 full. Keys lie one after
 * another in one buffer, so that a tokenizer's hundred thousand keys cost a
 * handful of allocations.
 */
#include "base/hash_map.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <string.h>

enum {
    FIRST_SLOTS = 16,
    FIRST_KEY_BYTES = 256
};

typedef struct slot {
    uint64_t hash; /* 0 = free */
    size_t key_at; /* in key_data */
    size_t key_bytes;
    int64_t value;
} slot;

struct csi_hash_map {
    slot *slots;    /* owned; n_slots is a power of two */
    char *key_data; /* owned */
    size_t n_slots;
    size_t n_used;
    size_t key_used;
    size_t key_capacity;
};

cs_status csi_hash_map_create(csi_hash_map **out)
{
    csi_hash_map *map = csi_calloc(1, sizeof *map);

    CS_CHECK(map != NULL, CS_ERR_NOMEM, "out of memory for a hash map");
    map->slots = csi_calloc(FIRST_SLOTS, sizeof *map->slots);
    if (map->slots == NULL) {
        csi_hash_map_destroy(&map);
        return CS_FAIL(CS_ERR_NOMEM, "out of memory for a hash map");
    }
    map->n_slots = FIRST_SLOTS;
    *out = map;
    return CS_OK;
}

void csi_hash_map_destroy(csi_hash_map **map)
{
    if (*map != NULL) {
        csi_free((*map)->slots);
        csi_free((*map)->key_data);
        csi_free(*map);
        *map = NULL;
    }
}

/* FNV-1a leaves its low bits weak; the multiplication mixes high ones in. */
static uint64_t hash_key(const void *key, size_t key_bytes)
{
    const uint64_t hash =
        csi_hash64_bytes(key, key_bytes) * 0x9e3779b97f4a7c15u;

    return (hash ^ hash >> 32) | 1u;
}

/* The slot that holds the key, or the free one where it belongs. */
static slot *find_slot(const csi_hash_map *map, uint64_t hash, const void *key,
                       size_t key_bytes)
{
    const size_t mask = map->n_slots - 1;

    for (size_t i = (size_t)(hash >> 1) & mask;; i = (i + 1) & mask) {
        slot *const s = &map->slots[i];
        if (s->hash == 0) {
            return s;
        }
        if (s->hash == hash && s->key_bytes == key_bytes &&
            (key_bytes == 0 ||
             memcmp(map->key_data + s->key_at, key, key_bytes) == 0)) {
            return s;
        }
    }
}

static cs_status grow_slots(csi_hash_map *map)
{
    const size_t n_slots = map->n_slots * 2;
    slot *const slots = csi_calloc(n_slots, sizeof *slots);

    CS_CHECK(slots != NULL, CS_ERR_NOMEM,
             "out of memory for a hash map of %zu slots", n_slots);
    for (size_t i = 0; i < map->n_slots; i++) {
        const slot *const from = &map->slots[i];
        size_t to = (size_t)(from->hash >> 1) & (n_slots - 1);

        if (from->hash == 0) {
            continue;
        }
        while (slots[to].hash != 0) {
            to = (to + 1) & (n_slots - 1);
        }
        slots[to] = *from;
    }
    csi_free(map->slots);
    map->slots = slots;
    map->n_slots = n_slots;
    return CS_OK;
}

static cs_status grow_keys(csi_hash_map *map, size_t n_more)
{
    size_t capacity =
        map->key_capacity != 0 ? map->key_capacity : FIRST_KEY_BYTES;

    CS_CHECK(n_more < SIZE_MAX / 4 - map->key_used, CS_ERR_ARG,
             "hash map key of %zu bytes is too long", n_more);
    while (capacity < map->key_used + n_more) {
        capacity *= 2;
    }
    char *const data = csi_realloc(map->key_data, capacity);

    CS_CHECK(data != NULL, CS_ERR_NOMEM,
             "out of memory for %zu bytes of hash map keys", capacity);
    map->key_data = data;
    map->key_capacity = capacity;
    return CS_OK;
}

cs_status csi_hash_map_put(csi_hash_map *map, const void *key, size_t key_bytes,
                           int64_t value)
{
    const uint64_t hash = hash_key(key, key_bytes);
    slot *s = find_slot(map, hash, key, key_bytes);

    if (s->hash != 0) {
        s->value = value;
        return CS_OK;
    }
    if (map->key_capacity - map->key_used < key_bytes) {
        CS_TRY(grow_keys(map, key_bytes));
    }
    if ((map->n_used + 1) * 4 > map->n_slots * 3) {
        CS_TRY(grow_slots(map));
        s = find_slot(map, hash, key, key_bytes);
    }
    if (key_bytes > 0) {
        memcpy(map->key_data + map->key_used, key, key_bytes);
    }
    *s = (slot){.hash = hash,
                .key_at = map->key_used,
                .key_bytes = key_bytes,
                .value = value};
    map->key_used += key_bytes;
    map->n_used++;
    return CS_OK;
}

bool csi_hash_map_get(const csi_hash_map *map, const void *key,
                      size_t key_bytes, int64_t *value)
{
    const slot *const s =
        find_slot(map, hash_key(key, key_bytes), key, key_bytes);

    if (s->hash == 0) {
        return false;
    }
    *value = s->value;
    return true;
}

int64_t csi_hash_map_count(const csi_hash_map *map)
{
    return (int64_t)map->n_used;
}
