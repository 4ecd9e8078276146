/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of attention: who meets whom, and operands in panels. */
#include "base/checked.h"

#include "attention.h"

#include <string.h>

void *csi_cpu_carve(csi_carver *carver, size_t n_bytes)
{
    void *at = carver->base != NULL ? carver->base + carver->used : NULL;
    const size_t align = CSI_CPU_SCRATCH_ALIGN;

    carver->used += (n_bytes + align - 1) / align * align;
    return at;
}

bool csi_cpu_attention_fits(const cs_attention_args *a)
{
    return csi_cpu_is_ours(a->dtype) && a->head_dim % 8 == 0 &&
           a->head_dim <= CSI_CPU_MAX_HEAD && a->tiles != NULL &&
           a->tiles->q_block == CSI_CPU_BLOCK &&
           a->tiles->k_block == CSI_CPU_BLOCK;
}

void csi_cpu_attention_init(csi_attention *t, cs_backend *backend,
                            const cs_attention_args *a)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const csi_cpu_kernels *kernels = state->kernels;
    const bool is_bf16 = a->dtype == CS_BF16;
    const csi_gemm_kernels *dots =
        is_bf16 && state->bf16_gemm != NULL ? state->bf16_gemm : &kernels->gemm;

    *t = (csi_attention){
        .a = a,
        .kernels = kernels,
        .gemm = &kernels->gemm,
        .dots = dots,
        .is_bf16 = is_bf16,
        .head = a->head_dim,
        .words = a->head_dim / dots->pair,
        .width = csi_round_up(a->head_dim, kernels->gemm.nr),
        .group = a->heads / a->kv_heads,
        .mr = kernels->gemm.mr,
        .nr = kernels->gemm.nr,
    };
}

static void carve_words(csi_words *words, int64_t n, csi_carver *carver)
{
    const size_t n_bytes =
        (size_t)csi_round_up(n, CSI_CPU_BLOCK) * sizeof(uint32_t);

    words->high = csi_cpu_carve(carver, n_bytes);
    words->low = csi_cpu_carve(carver, n_bytes);
    words->position = csi_cpu_carve(carver, n_bytes);
}

void csi_cpu_attention_carve_words(csi_attention *t, csi_carver *carver)
{
    carve_words(&t->q, t->a->q_rows, carver);
    carve_words(&t->k, t->a->k_rows, carver);
}

static void split_words(const cs_mask *mask, int64_t n, const csi_words *words)
{
    for (int64_t i = 0; i < csi_round_up(n, CSI_CPU_BLOCK); i++) {
        const uint64_t word = i < n ? mask->word[i] : 0;

        words->high[i] = (uint32_t)(word >> 32);
        words->low[i] = (uint32_t)word;
        words->position[i] = i < n ? mask->position[i] : 0;
    }
}

void csi_cpu_attention_split_words(csi_attention *t)
{
    split_words(&t->a->q_mask, t->a->q_rows, &t->q);
    split_words(&t->a->k_mask, t->a->k_rows, &t->k);
}

/* Bits of the queries of a block that exist and see anything at all. */
static uint64_t live_queries(const csi_attention *t, int64_t q_block,
                             int64_t rows)
{
    const uint32_t *high = t->q.high + q_block * CSI_CPU_BLOCK;
    uint64_t live = 0;

    for (int64_t i = 0; i < rows; i++) {
        live |= (uint64_t)(high[i] >> 16 != 0) << i;
    }
    return live;
}

static csi_span bits_span(uint64_t bits)
{
    if (bits == 0) {
        return (csi_span){0, 0};
    }
    return (csi_span){__builtin_ctzll(bits), 64 - __builtin_clzll(bits)};
}

static void meet_fully(const csi_attention *t, int64_t rows, int64_t keys,
                       csi_meeting *m)
{
    for (int64_t i = 0; i * t->mr < CSI_CPU_BLOCK; i++) {
        m->any[i] = ~0ULL;
        m->queries[i] = (csi_span){0, (int32_t)rows};
        m->keys[i] = (csi_span){0, (int32_t)keys};
    }
}

/* Fills what follows from m's k_block and is_full. */
static void meet(const csi_attention *t, int64_t q_block, csi_meeting *m)
{
    const int64_t rows = csi_cpu_block_rows(t->a->q_rows, q_block);
    const int64_t keys = csi_cpu_block_rows(t->a->k_rows, m->k_block);
    uint64_t seen_by[CSI_CPU_MAX_TILES] = {0}; /* per tile of queries: keys */

    if (m->is_full) {
        meet_fully(t, rows, keys, m);
        return;
    }
    const uint64_t live = live_queries(t, q_block, rows);
    const int32_t window =
        t->a->window > INT32_MAX ? INT32_MAX : (int32_t)t->a->window;

    t->kernels->visible(&t->q, q_block * CSI_CPU_BLOCK, &t->k,
                        m->k_block * CSI_CPU_BLOCK, keys, window, m->seen);
    memset(m->any, 0, sizeof m->any);
    for (int64_t key = 0; key < keys; key++) {
        m->seen[key] &= live;
        m->any[key / t->mr] |= m->seen[key];
    }
    for (int64_t i = 0; i * t->mr < CSI_CPU_BLOCK; i++) {
        const uint64_t tile = (1ULL << t->mr) - 1ULL;

        for (int64_t key = 0; key < keys; key++) {
            const uint64_t hit = (m->seen[key] >> (i * t->mr)) & tile;
            seen_by[i] |= (uint64_t)(hit != 0) << key;
        }
        m->keys[i] = bits_span(seen_by[i]);
        m->queries[i] = bits_span(m->any[i]);
    }
}

int64_t csi_cpu_attention_list(const csi_attention *t, int64_t q_block,
                               csi_meeting *met)
{
    const cs_tile_map *map = t->a->tiles;
    int64_t n = 0;

    for (int64_t r = map->row_begin[q_block]; r < map->row_begin[q_block + 1];
         r++) {
        const cs_tile_run *run = &map->runs[r];

        for (int64_t block = run->first; block < run->last; block++) {
            met[n].k_block = block;
            met[n].is_full = run->tile_class == CS_TILE_FULL;
            meet(t, q_block, &met[n]);
            n++;
        }
    }
    return n;
}

void csi_cpu_pack_rows(const csi_attention *t, const csi_operand *x,
                       int64_t rows, int64_t block, int64_t step, float *to)
{
    const int64_t first = block * CSI_CPU_BLOCK;
    const int64_t lanes = csi_min_i64(rows, first + CSI_CPU_BLOCK);

    const csi_box box = {.lanes = lanes,
                         .lane = first,
                         .panels = (CSI_CPU_BLOCK + step - 1) / step,
                         .n = t->head};

    t->dots->pack(to, (int32_t)step, x, &box);
}

void csi_cpu_pack_head(const csi_attention *t, const csi_operand *x,
                       int64_t rows, int64_t block, float *to)
{
    const int64_t first = block * CSI_CPU_BLOCK;
    const int64_t depth = csi_min_i64(rows - first, CSI_CPU_BLOCK);

    for (int64_t j = 0; j < t->width; j += t->nr) {
        const csi_box box = {.lanes = t->head,
                             .lane = j,
                             .panels = 1,
                             .d = first,
                             .n = depth};

        t->gemm->pack(to + j * CSI_CPU_BLOCK, (int32_t)t->nr, x, &box);
    }
}

void csi_cpu_tiles_scores(const csi_attention *t, const csi_meeting *m,
                          int64_t keys, const float *of_keys,
                          const float *of_queries, float *s)
{
    for (int64_t i = 0; i < keys; i += t->mr) {
        for (int64_t j = 0; j < CSI_CPU_BLOCK; j += t->nr) {
            const uint64_t lanes = ((1ULL << t->nr) - 1ULL) << j;
            const csi_tile tile = {.k = t->words,
                                   .a = of_keys + i * t->words,
                                   .a_step = t->mr,
                                   .b = of_queries + j * t->words,
                                   .c = s + i * CSI_CPU_BLOCK_STRIDE + j,
                                   .ldc = CSI_CPU_BLOCK_STRIDE,
                                   .rows = csi_min_i64(t->mr, keys - i)};

            if ((m->any[i / t->mr] & lanes) != 0) {
                t->dots->tile(&tile);
            }
        }
    }
}

void csi_cpu_tiles_to_queries(const csi_attention *t, const csi_meeting *m,
                              int64_t queries, const float *s,
                              const float *of_keys, float *o)
{
    for (int64_t i = 0; i < queries; i += t->mr) {
        const csi_span span = m->keys[i / t->mr];

        for (int64_t j = 0; span.first < span.end && j < t->width; j += t->nr) {
            const csi_tile tile =
                {.k = span.end - span.first,
                 .a = s + (int64_t)span.first * CSI_CPU_BLOCK_STRIDE + i,
                 .a_step = CSI_CPU_BLOCK_STRIDE,
                 .b = of_keys + j * CSI_CPU_BLOCK + span.first * t->nr,
                 .c = o + i * t->width + j,
                 .ldc = t->width,
                 .rows = csi_min_i64(t->mr, queries - i),
                 .add = true};

            t->gemm->tile(&tile);
        }
    }
}

void csi_cpu_tiles_to_keys(const csi_attention *t, const csi_meeting *m,
                           int64_t keys, const float *s,
                           const float *of_queries, float *o)
{
    for (int64_t i = 0; i < keys; i += t->mr) {
        const csi_span span = m->queries[i / t->mr];

        for (int64_t j = 0; span.first < span.end && j < t->width; j += t->nr) {
            const csi_tile tile = {.k = span.end - span.first,
                                   .a = s + i * CSI_CPU_BLOCK_STRIDE +
                                        span.first,
                                   .a_step = CSI_CPU_BLOCK_STRIDE,
                                   .b = of_queries + j * CSI_CPU_BLOCK +
                                        span.first * t->nr,
                                   .c = o + i * t->width + j,
                                   .ldc = t->width,
                                   .rows = csi_min_i64(t->mr, keys - i),
                                   .add = true};

            t->gemm->tile_rows(&tile);
        }
    }
}
