/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention forward: Dao et al. (2022), with blocks chosen by the tile map.
 * Keys and values are packed once for all query blocks; then each thread
 * takes every n-th query block and runs all heads over it, so that a partial
 * block's mask is worked out once for all heads. Scores are computed key by
 * key (transposed): the softmax then never leaves its lanes, and the product
 * with the values reads them as they lie.
 */
#include "attention.h"

#include "base/checked.h"

#include <math.h>
#include <string.h>

/* Buffers of one thread. */
typedef struct worker {
    csi_meeting *met; /* [n_k_blocks] */
    float *q;         /* [BLOCK / nr][words][nr] */
    float *s;         /* [BLOCK][BLOCK_STRIDE] */
    float *o;         /* [BLOCK + ROOM][width] */
} worker;

typedef struct forward {
    csi_attention t;
    int64_t n_q_blocks, n_k_blocks;
    int32_t n_threads;
    float *k; /* [kv_heads][n_k_blocks][BLOCK + ROOM lanes of mr][words] */
    float *v; /* [kv_heads][n_k_blocks][width / nr][BLOCK][nr] */
    worker *workers;
} forward;

static size_t k_floats(const csi_attention *t)
{
    return (size_t)(CSI_CPU_BLOCK + CSI_CPU_ROOM) * (size_t)t->words;
}

static size_t v_floats(const csi_attention *t)
{
    return (size_t)CSI_CPU_BLOCK * (size_t)t->width;
}

static size_t lay_out(forward *f, char *base)
{
    csi_attention *t = &f->t;
    csi_carver c = {.base = base};
    const size_t blocks = (size_t)t->a->kv_heads * (size_t)f->n_k_blocks;
    const size_t block = CSI_CPU_BLOCK;

    csi_cpu_attention_carve_words(t, &c);
    f->k = csi_cpu_carve(&c, blocks * k_floats(t) * sizeof(float));
    f->v = csi_cpu_carve(&c, blocks * v_floats(t) * sizeof(float));
    f->workers = csi_cpu_carve(&c, (size_t)f->n_threads * sizeof *f->workers);
    for (int32_t i = 0; i < f->n_threads; i++) {
        const worker w = {
            .met = csi_cpu_carve(&c, (size_t)f->n_k_blocks * sizeof *w.met),
            .q = csi_cpu_carve(&c, block * (size_t)t->words * sizeof(float)),
            .s = csi_cpu_carve(&c, (block + CSI_CPU_ROOM) *
                                       CSI_CPU_BLOCK_STRIDE * sizeof(float)),
            .o = csi_cpu_carve(&c, (block + CSI_CPU_ROOM) * (size_t)t->width *
                                       sizeof(float)),
        };
        if (base != NULL) {
            f->workers[i] = w;
        }
    }
    return c.used;
}

static void pack_keys(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const forward *f = arg;
    const csi_attention *t = &f->t;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const int64_t g = i / f->n_k_blocks;
        const int64_t block = i % f->n_k_blocks;
        const csi_operand k =
            csi_cpu_head_operand(t, t->a->k_TGK, t->a->kv_heads, g, true);
        const csi_operand v =
            csi_cpu_head_operand(t, t->a->v_TGK, t->a->kv_heads, g, false);

        csi_cpu_pack_rows(t, &k, t->a->k_rows, block, t->mr,
                          f->k + (size_t)i * k_floats(t));
        csi_cpu_pack_head(t, &v, t->a->k_rows, block,
                          f->v + (size_t)i * v_floats(t));
    }
}

static void store_head(const csi_attention *t, int64_t q_block, int64_t h,
                       const float *o, const float *largest, const float *total)
{
    const cs_attention_args *a = t->a;
    const int64_t first = q_block * CSI_CPU_BLOCK;
    const int64_t rows = csi_cpu_block_rows(a->q_rows, q_block);
    const size_t size = csi_cpu_dtype_bytes(t->is_bf16);
    float *lse_HT = a->lse_HT;

    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = ((first + i) * a->heads + h) * t->head;

        t->kernels->divide_row((char *)a->o_THK + (size_t)at * size,
                               o + i * t->width, total[i], t->is_bf16, t->head);
        if (lse_HT != NULL) {
            lse_HT[h * a->q_rows + first + i] =
                total[i] != 0.0F ? largest[i] + logf(total[i]) : -INFINITY;
        }
    }
}

static void run_head(const forward *f, const worker *w, int64_t q_block,
                     int64_t n_met, int64_t h)
{
    const csi_attention *t = &f->t;
    const int64_t rows = csi_cpu_block_rows(t->a->q_rows, q_block);
    const int64_t g = h / t->group;
    const csi_operand q =
        csi_cpu_head_operand(t, t->a->q_THK, t->a->heads, h, true);
    float largest[CSI_CPU_BLOCK];
    float total[CSI_CPU_BLOCK] = {0};
    float factor[CSI_CPU_BLOCK];

    for (int64_t i = 0; i < CSI_CPU_BLOCK; i++) {
        largest[i] = -INFINITY;
    }
    memset(w->o, 0, (size_t)(CSI_CPU_BLOCK * t->width) * sizeof *w->o);
    csi_cpu_pack_rows(t, &q, t->a->q_rows, q_block, t->nr, w->q);
    for (int64_t i = 0; i < n_met; i++) {
        const csi_meeting *m = &w->met[i];
        const size_t at = (size_t)(g * f->n_k_blocks + m->k_block);
        const csi_scores scores = {
            .keys = csi_cpu_block_rows(t->a->k_rows, m->k_block),
            .queries = rows,
            .seen = m->is_full ? NULL : m->seen,
            .scale = (float)t->a->scale,
            .softcap = (float)t->a->softcap,
            .s = w->s,
        };

        csi_cpu_tiles_scores(t, m, scores.keys, f->k + at * k_floats(t), w->q,
                             w->s);
        t->kernels->softmax(&scores, largest, total, factor);
        if (i > 0) {
            t->kernels->rescale(w->o, t->width, factor, rows);
        }
        csi_cpu_tiles_to_queries(t, m, rows, w->s, f->v + at * v_floats(t),
                                 w->o);
    }
    store_head(t, q_block, h, w->o, largest, total);
}

/* The range is one of threads: thread i takes blocks i, i + n, ... */
static void run_blocks(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const forward *f = arg;

    (void)thread;
    for (int64_t part = begin; part < end; part++) {
        const worker *w = &f->workers[part];

        for (int64_t q = part; q < f->n_q_blocks; q += f->n_threads) {
            const int64_t n_met = csi_cpu_attention_list(&f->t, q, w->met);

            for (int64_t h = 0; h < f->t.a->heads; h++) {
                run_head(f, w, q, n_met, h);
            }
        }
    }
}

static cs_status attention(cs_backend *backend, const cs_attention_args *a)
{
    forward f = {.n_threads = backend->n_threads};

    if (!csi_cpu_attention_fits(a)) {
        return csi_cpu_state_of(backend)->ref.attention(backend, a);
    }
    csi_cpu_attention_init(&f.t, backend, a);
    f.n_q_blocks = a->tiles->n_q_blocks;
    f.n_k_blocks = a->tiles->n_k_blocks;
    void *base = csi_backend_scratch(backend, lay_out(&f, NULL));
    CS_CHECK(base != NULL, CS_ERR_NOMEM, "cpu attention: scratch");
    (void)lay_out(&f, base);
    csi_cpu_attention_split_words(&f.t);
    const int64_t tiles = a->tiles->n_full + a->tiles->n_partial;
    const int64_t tile_work = 8 * (int64_t)a->tiles->k_block * a->head_dim;
    csi_cpu_parallel(backend, a->kv_heads * f.n_k_blocks, tile_work / 8,
                     pack_keys, &f);
    csi_cpu_parallel(backend, f.n_threads,
                     tiles * a->heads * tile_work / f.n_threads, run_blocks,
                     &f);
    return CS_OK;
}

void csi_cpu_fill_attention(cs_op_table *ops)
{
    ops->attention = attention;
    ops->attention_backward = csi_cpu_attention_backward;
}
