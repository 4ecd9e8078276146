/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention backward: the scores are made again from q, k and the stored
 * log-sum-exp. A piece of work is one key/value head with all query heads that
 * share it, so that the gradients of keys and values are summed by one thread
 * in one order: query blocks ascending, heads inside. With more threads than
 * key/value heads the query blocks of a head are cut into parts, each with its
 * own sums, which are added in order at the end.
 */
#include "base/checked.h"

#include "attention.h"

#include <string.h>

/* Buffers of one piece of work; sums are f32, [k_rows][width]. */
typedef struct worker {
    csi_meeting *met;
    float *k_lanes;  /* [blocks][BLOCK + ROOM lanes of mr][words] */
    float *v_lanes;  /* the same of v */
    float *k_head;   /* [blocks][width / nr][BLOCK][nr] */
    float *dk, *dv;  /* [k_rows][width] */
    float *q_lanes;  /* [BLOCK / nr][words][nr] */
    float *do_lanes; /* the same of do */
    float *q_head;   /* [width / nr][BLOCK][nr] */
    float *do_head;  /* the same of do */
    float *s, *dp;   /* [BLOCK + ROOM][BLOCK_STRIDE] */
    float *dq;       /* [BLOCK + ROOM][width] */
} worker;

typedef struct backward {
    csi_attention t;
    const cs_attention_backward_args *args;
    int64_t n_q_blocks, n_k_blocks;
    int64_t n_parts; /* per key/value head */
    int64_t n_workers;
    worker *workers;
} backward;

static size_t lane_floats(const csi_attention *t)
{
    return (size_t)(CSI_CPU_BLOCK + CSI_CPU_ROOM) * (size_t)t->words;
}

static size_t head_floats(const csi_attention *t)
{
    return (size_t)CSI_CPU_BLOCK * (size_t)t->width;
}

static worker carve_worker(const backward *b, csi_carver *c)
{
    const csi_attention *t = &b->t;
    const size_t blocks = (size_t)b->n_k_blocks;
    const size_t sums = (size_t)(t->a->k_rows * t->width) * sizeof(float);
    const size_t room = CSI_CPU_BLOCK + CSI_CPU_ROOM;
    const size_t lanes = lane_floats(t) * sizeof(float);
    const size_t head = head_floats(t) * sizeof(float);
    const size_t scores = room * CSI_CPU_BLOCK_STRIDE * sizeof(float);

    return (worker){
        .met = csi_cpu_carve(c, blocks * sizeof(csi_meeting)),
        .k_lanes = csi_cpu_carve(c, blocks * lanes),
        .v_lanes = csi_cpu_carve(c, blocks * lanes),
        .k_head = csi_cpu_carve(c, blocks * head),
        .dk = csi_cpu_carve(c, sums),
        .dv = csi_cpu_carve(c, sums),
        .q_lanes = csi_cpu_carve(c, lanes),
        .do_lanes = csi_cpu_carve(c, lanes),
        .q_head = csi_cpu_carve(c, head),
        .do_head = csi_cpu_carve(c, head),
        .s = csi_cpu_carve(c, scores),
        .dp = csi_cpu_carve(c, scores),
        .dq = csi_cpu_carve(c, room * (size_t)t->width * sizeof(float)),
    };
}

static size_t lay_out(backward *b, char *base)
{
    csi_carver c = {.base = base};

    csi_cpu_attention_carve_words(&b->t, &c);
    b->workers = csi_cpu_carve(&c, (size_t)b->n_workers * sizeof *b->workers);
    for (int64_t i = 0; i < b->n_workers; i++) {
        const worker w = carve_worker(b, &c);

        if (base != NULL) {
            b->workers[i] = w;
        }
    }
    return c.used;
}

static void pack_keys(const backward *b, const worker *w, int64_t g)
{
    const csi_attention *t = &b->t;
    const cs_attention_args *a = t->a;
    const csi_operand k =
        csi_cpu_head_operand(t, a->k_TGK, a->kv_heads, g, true);
    const csi_operand v =
        csi_cpu_head_operand(t, a->v_TGK, a->kv_heads, g, true);
    const csi_operand k_head =
        csi_cpu_head_operand(t, a->k_TGK, a->kv_heads, g, false);

    for (int64_t i = 0; i < b->n_k_blocks; i++) {
        const size_t lanes = (size_t)i * lane_floats(t);

        csi_cpu_pack_rows(t, &k, a->k_rows, i, t->mr, w->k_lanes + lanes);
        csi_cpu_pack_rows(t, &v, a->k_rows, i, t->mr, w->v_lanes + lanes);
        csi_cpu_pack_head(t, &k_head, a->k_rows, i,
                          w->k_head + (size_t)i * head_floats(t));
    }
}

static void pack_queries(const backward *b, const worker *w, int64_t q_block,
                         int64_t h)
{
    const csi_attention *t = &b->t;
    const cs_attention_args *a = t->a;
    const void *data[2] = {a->q_THK, b->args->do_THK};
    float *const lanes[2] = {w->q_lanes, w->do_lanes};
    float *const heads[2] = {w->q_head, w->do_head};

    for (int i = 0; i < 2; i++) {
        const csi_operand inner =
            csi_cpu_head_operand(t, data[i], a->heads, h, true);
        const csi_operand outer =
            csi_cpu_head_operand(t, data[i], a->heads, h, false);

        csi_cpu_pack_rows(t, &inner, a->q_rows, q_block, t->nr, lanes[i]);
        csi_cpu_pack_head(t, &outer, a->q_rows, q_block, heads[i]);
    }
}

/* lse and sum(do o) of the block's rows; rows that do not exist get zeros. */
static void row_statistics(const backward *b, int64_t q_block, int64_t h,
                           float *lse, float *delta)
{
    const csi_attention *t = &b->t;
    const cs_attention_args *a = t->a;
    const float *lse_HT = a->lse_HT;
    const int64_t first = q_block * CSI_CPU_BLOCK;
    const int64_t rows = csi_cpu_block_rows(a->q_rows, q_block);
    const size_t size = csi_cpu_dtype_bytes(t->is_bf16);

    memset(lse, 0, CSI_CPU_BLOCK * sizeof *lse);
    memset(delta, 0, CSI_CPU_BLOCK * sizeof *delta);
    for (int64_t i = 0; i < rows; i++) {
        const size_t at = (size_t)(((first + i) * a->heads + h) * t->head);

        lse[i] = lse_HT[h * a->q_rows + first + i];
        delta[i] = t->kernels->dot((const char *)b->args->do_THK + at * size,
                                   (const char *)a->o_THK + at * size,
                                   t->is_bf16, t->head);
    }
}

static void store(const csi_attention *t, void *to, int64_t heads, int64_t h,
                  int64_t first, int64_t rows, const float *sum)
{
    const csi_epilogue end = {
        .c = (char *)to +
             (size_t)(h * t->head) * csi_cpu_dtype_bytes(t->is_bf16),
        .ldc = heads * t->head,
        .is_bf16 = t->is_bf16,
    };

    t->kernels->finish(&end, sum, t->width, first, 0, rows, t->head);
}

static void run_meeting(const backward *b, const worker *w,
                        const csi_meeting *m, int64_t rows, const float *lse,
                        const float *delta)
{
    const csi_attention *t = &b->t;
    const size_t lanes = (size_t)m->k_block * lane_floats(t);
    const int64_t sums = m->k_block * CSI_CPU_BLOCK * t->width;
    const csi_scores scores = {
        .keys = csi_cpu_block_rows(t->a->k_rows, m->k_block),
        .queries = rows,
        .seen = m->is_full ? NULL : m->seen,
        .scale = (float)t->a->scale,
        .softcap = (float)t->a->softcap,
        .s = w->s,
    };

    csi_cpu_tiles_scores(t, m, scores.keys, w->k_lanes + lanes, w->q_lanes,
                         w->s);
    csi_cpu_tiles_scores(t, m, scores.keys, w->v_lanes + lanes, w->do_lanes,
                         w->dp);
    t->kernels->softmax_backward(&scores, lse, delta, w->dp);
    csi_cpu_tiles_to_keys(t, m, scores.keys, w->s, w->do_head, w->dv + sums);
    csi_cpu_tiles_to_keys(t, m, scores.keys, w->dp, w->q_head, w->dk + sums);
    csi_cpu_tiles_to_queries(t, m, rows, w->dp,
                             w->k_head + (size_t)m->k_block * head_floats(t),
                             w->dq);
}

/* All heads of group g over query blocks [begin, end). */
static void run_group(const backward *b, const worker *w, int64_t g,
                      int64_t begin, int64_t end)
{
    const csi_attention *t = &b->t;
    float lse[CSI_CPU_BLOCK];
    float delta[CSI_CPU_BLOCK];

    for (int64_t q = begin; q < end; q++) {
        const int64_t rows = csi_cpu_block_rows(t->a->q_rows, q);
        const int64_t n_met = csi_cpu_attention_list(t, q, w->met);

        for (int64_t h = g * t->group; h < (g + 1) * t->group; h++) {
            memset(w->dq, 0, (size_t)(rows * t->width) * sizeof *w->dq);
            pack_queries(b, w, q, h);
            row_statistics(b, q, h, lse, delta);
            for (int64_t i = 0; i < n_met; i++) {
                run_meeting(b, w, &w->met[i], rows, lse, delta);
            }
            store(t, b->args->dq_THK, t->a->heads, h, q * CSI_CPU_BLOCK, rows,
                  w->dq);
        }
    }
}

static void store_keys(const backward *b, const worker *w, int64_t g)
{
    const csi_attention *t = &b->t;

    store(t, b->args->dk_TGK, t->a->kv_heads, g, 0, t->a->k_rows, w->dk);
    store(t, b->args->dv_TGK, t->a->kv_heads, g, 0, t->a->k_rows, w->dv);
}

/* Pieces of work [begin, end): (key/value head, part). */
static void run_pieces(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const backward *b = arg;
    const csi_attention *t = &b->t;
    const size_t n_bytes = (size_t)(t->a->k_rows * t->width) * sizeof(float);

    for (int64_t i = begin; i < end; i++) {
        const worker *w = &b->workers[b->n_parts > 1 ? i : thread];
        const int64_t g = i / b->n_parts;
        const int64_t part = i % b->n_parts;

        pack_keys(b, w, g);
        memset(w->dk, 0, n_bytes);
        memset(w->dv, 0, n_bytes);
        run_group(b, w, g, b->n_q_blocks * part / b->n_parts,
                  b->n_q_blocks * (part + 1) / b->n_parts);
        if (b->n_parts == 1) {
            store_keys(b, w, g);
        }
    }
}

/* Adds the parts of key/value heads [begin, end). */
static void add_parts(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const backward *b = arg;
    const csi_attention *t = &b->t;
    const int64_t n = t->a->k_rows * t->width;

    (void)thread;
    for (int64_t g = begin; g < end; g++) {
        const worker *first = &b->workers[g * b->n_parts];

        for (int64_t part = 1; part < b->n_parts; part++) {
            t->kernels->add_row(first->dk, first[part].dk, false, n);
            t->kernels->add_row(first->dv, first[part].dv, false, n);
        }
        store_keys(b, first, g);
    }
}

cs_status csi_cpu_attention_backward(cs_backend *backend,
                                     const cs_attention_backward_args *args)
{
    const cs_attention_args *a = &args->forward;
    backward b = {.args = args};

    if (!csi_cpu_attention_fits(a)) {
        return csi_cpu_state_of(backend)->ref.attention_backward(backend, args);
    }
    csi_cpu_attention_init(&b.t, backend, a);
    b.n_q_blocks = a->tiles->n_q_blocks;
    b.n_k_blocks = a->tiles->n_k_blocks;
    b.n_parts = csi_max_i64(backend->n_threads / a->kv_heads, 1);
    b.n_workers =
        b.n_parts > 1 ? a->kv_heads * b.n_parts : (int64_t)backend->n_threads;
    void *base = csi_backend_scratch(backend, lay_out(&b, NULL));
    CS_CHECK(base != NULL, CS_ERR_NOMEM, "cpu attention_backward: scratch");
    (void)lay_out(&b, base);
    csi_cpu_attention_split_words(&b.t);
    const int64_t tiles = a->tiles->n_full + a->tiles->n_partial;
    const int64_t work =
        20 * tiles * a->tiles->k_block * a->head_dim * (a->heads / a->kv_heads);
    csi_cpu_parallel(backend, a->kv_heads * b.n_parts, work / b.n_parts,
                     run_pieces, &b);
    if (b.n_parts > 1) {
        csi_cpu_parallel(backend, a->kv_heads,
                         a->k_rows * a->head_dim * b.n_parts, add_parts, &b);
    }
    return CS_OK;
}
