/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CPU_ATTENTION_H
#define CS_CPU_ATTENTION_H
/*
 * What forward and backward attention share. Queries and keys are worked on in
 * blocks of CSI_CPU_BLOCK; the tile map says which key blocks a query block
 * meets at all. Inside a partial block, register tiles of products that no
 * pair of it needs are skipped too, so the waste along a mask's border is a
 * few rows, not a block. Memory is O(tokens).
 */
#include "cpu.h"

enum {
    CSI_CPU_MAX_TILES = 16, /* register tiles along a block */
    CSI_CPU_ROOM = 8,       /* rows that a last tile may hang over */
    CSI_CPU_SCRATCH_ALIGN = 64
};

/* Positions [first, end) of a block that a register tile needs. */
typedef struct csi_span {
    int32_t first, end;
} csi_span;

/* One key block that a query block meets. */
typedef struct csi_meeting {
    int64_t k_block;
    bool is_full;
    uint64_t seen[CSI_CPU_BLOCK];        /* per key: the queries that see it */
    uint64_t any[CSI_CPU_MAX_TILES];     /* per tile of keys: or of seen */
    csi_span keys[CSI_CPU_MAX_TILES];    /* per tile of queries */
    csi_span queries[CSI_CPU_MAX_TILES]; /* per tile of keys */
} csi_meeting;

/* A call under way. */
typedef struct csi_attention {
    const cs_attention_args *a;
    const csi_cpu_kernels *kernels;
    const csi_gemm_kernels *gemm;
    const csi_gemm_kernels *dots; /* products over the head */
    bool is_bf16;
    int64_t head;  /* head_dim */
    int64_t words; /* of it when packed for dots */
    int64_t width; /* head_dim in whole panels */
    int64_t group; /* query heads per key/value head */
    int64_t mr, nr;
    csi_words q, k; /* all tokens, padded to whole blocks */
} csi_attention;

/* A bump allocator over the backend's scratch; base NULL only measures. */
typedef struct csi_carver {
    char *base;
    size_t used;
} csi_carver;
void *csi_cpu_carve(csi_carver *carver, size_t n_bytes);

/* Whether the tile map and the head fit these kernels. */
bool csi_cpu_attention_fits(const cs_attention_args *a);
void csi_cpu_attention_init(csi_attention *t, cs_backend *backend,
                            const cs_attention_args *a);
/* Words of all tokens, once per call. */
void csi_cpu_attention_carve_words(csi_attention *t, csi_carver *carver);
void csi_cpu_attention_split_words(csi_attention *t);
/* The key blocks that a query block meets, at most n_k_blocks of them. */
int64_t csi_cpu_attention_list(const csi_attention *t, int64_t q_block,
                               csi_meeting *met);

/* Products of register tiles, leaving out what nobody needs.
 *   scores: s[key][query] = sum over the head of rows[key] columns[query]
 *   to_queries: o[query] += sum over keys of s[key][query] of_keys[key]
 *   to_keys: o[key] += sum over queries of s[key][query] of_queries[query] */
void csi_cpu_tiles_scores(const csi_attention *t, const csi_meeting *m,
                          int64_t keys, const float *of_keys,
                          const float *of_queries, float *s);
void csi_cpu_tiles_to_queries(const csi_attention *t, const csi_meeting *m,
                              int64_t queries, const float *s,
                              const float *of_keys, float *o);
void csi_cpu_tiles_to_keys(const csi_attention *t, const csi_meeting *m,
                           int64_t keys, const float *s,
                           const float *of_queries, float *o);

/* The backward slot (attention_backward.c). */
cs_status csi_cpu_attention_backward(cs_backend *backend,
                                     const cs_attention_backward_args *a);

static inline int64_t csi_cpu_block_rows(int64_t rows, int64_t block)
{
    const int64_t left = rows - block * CSI_CPU_BLOCK;

    return left < CSI_CPU_BLOCK ? left : CSI_CPU_BLOCK;
}

/* Head h of a [rows, heads, head_dim] array as an operand with one lane per
 * row (depth: the head) or one lane per element of the head (depth: rows). */
static inline csi_operand csi_cpu_head_operand(const csi_attention *t,
                                               const void *data, int64_t heads,
                                               int64_t h, bool depth_inner)
{
    const size_t size = csi_cpu_dtype_bytes(t->is_bf16);

    return (csi_operand){
        .data = (const char *)data + (size_t)(h * t->head) * size,
        .ld = heads * t->head,
        .is_bf16 = t->is_bf16,
        .depth_inner = depth_inner,
    };
}

/* Packs rows of one block for dots: `step` lanes per panel, the head as depth.
 * Floats written: CSI_CPU_BLOCK + CSI_CPU_ROOM lanes at most, times words. */
void csi_cpu_pack_rows(const csi_attention *t, const csi_operand *x,
                       int64_t rows, int64_t block, int64_t step, float *to);
/* Packs one block with the head as lanes: [width / nr][CSI_CPU_BLOCK][nr]. */
void csi_cpu_pack_head(const csi_attention *t, const csi_operand *x,
                       int64_t rows, int64_t block, float *to);
#endif
