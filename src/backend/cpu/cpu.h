/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BACKEND_CPU_H
#define CS_BACKEND_CPU_H
/*
 * The fast CPU backend from inside. Kernels are written once over the vectors
 * of vec_*.h and compiled per instruction set (kernels_avx2.c,
 * kernels_avx512.c) into a csi_cpu_kernels table; everything else is plain
 * x86-64 and calls through the table, so that the module loads anywhere.
 *
 * Kernels work on ranges (elements, rows, heads) and know nothing of threads:
 * csi_cpu_parallel() is the only place that does.
 */
#include "cornstarch/backend.h"

/* ---- products ---- */

/* A matrix as lanes x depth, where products sum over depth.
 *   depth_inner:  element (lane, d) at data[lane * ld + d]
 *   else:         element (lane, d) at data[d * ld + lane] */
typedef struct csi_operand {
    const void *data;
    int64_t ld;
    bool is_bf16;
    bool depth_inner;
} csi_operand;

/* Lanes from `lane` on in `panels` panels, depth [d, d + n). */
typedef struct csi_box {
    int64_t lanes; /* of the operand that exist */
    int64_t lane, panels;
    int64_t d, n;
} csi_box;

/* What happens to a finished sum: c (+)= act(sum + bias), pre = sum + bias. */
typedef struct csi_epilogue {
    void *c;
    int64_t ldc;
    bool is_bf16; /* c, bias and pre */
    bool accumulate;
    cs_activation activation;
    const void *bias; /* opt, one per column */
    void *pre;        /* opt, laid out like c */
} csi_epilogue;

/* c[m, n] = sum over k of a[m, k] b[n, k] */
typedef struct csi_product {
    int64_t m, n, k;
    csi_operand a, b;
    csi_epilogue end;
} csi_product;

enum {
    CSI_CPU_MAX_TILE = 8 * 32, /* elements of the largest register tile */
    CSI_CPU_DEPTH = 512        /* sums are cut here: part of the numerics */
};

/* c[mr, nr] (+)= sum over k words of a[p * a_step + i] b[p * nr + j]; of the
 * mr rows the first `rows` are written. */
typedef struct csi_tile {
    int64_t k;
    const float *a;
    int64_t a_step;
    const float *b;
    float *c;
    int64_t ldc;
    int64_t rows;
    bool add;
} csi_tile;

typedef struct csi_gemm_kernels {
    int32_t mr, nr;
    int32_t pair; /* depth elements per packed word: 1, or 2 for bf16 dots */
    /* Packs panels of `width` lanes, one after the other, each as
     * [box.n / pair][width] words; lanes that do not exist become zeros. */
    void (*pack)(float *dst, int32_t width, const csi_operand *x,
                 const csi_box *box);
    void (*tile)(const csi_tile *t);
    /* a[i * a_step + p] instead; NULL where pair is 2 */
    void (*tile_rows)(const csi_tile *t);
} csi_gemm_kernels;

/* ---- attention ---- */

enum {
    CSI_CPU_BLOCK = 64,        /* most queries or keys of a block */
    CSI_CPU_BLOCK_STRIDE = 80, /* floats from key to key in a block of scores */
    CSI_CPU_MAX_HEAD = 256
};

/* Mask words of many tokens, in halves, with room for a vector at the end. */
typedef struct csi_words {
    uint32_t *high, *low;
    int32_t *position;
} csi_words;

/* One block of scores of one head, key by key: [keys][CSI_CPU_BLOCK_STRIDE],
 * so that the lanes of a vector are queries. */
typedef struct csi_scores {
    int64_t keys, queries;
    const uint64_t *seen; /* [keys] one bit per query; NULL = all */
    float scale, softcap;
    float *s;
} csi_scores;

/* ---- the table ---- */

typedef struct csi_adamw_step {
    float beta1, beta2, rest1, rest2; /* rest = 1 - beta, rounded once */
    float fix1, fix2, eps, grad_scale;
} csi_adamw_step;

/* Running softmax of one row of logits. */
typedef struct csi_loss_row {
    float largest, total;
    int64_t best; /* first entry with the largest logit */
} csi_loss_row;

typedef struct csi_cpu_kernels {
    const char *name; /* "avx2" or "avx512" */
    csi_gemm_kernels gemm;

    /* rows x columns of a tile [., nr] at (row, column) of the epilogue */
    void (*finish)(const csi_epilogue *end, const float *tile, int64_t stride,
                   int64_t row, int64_t column, int64_t rows, int64_t columns);

    /* elements [begin, end) */
    void (*activation)(const cs_activation_args *a, int64_t begin, int64_t end);
    void (*activation_backward)(const cs_activation_args *a, int64_t begin,
                                int64_t end);
    void (*gated)(const cs_gated_args *a, int64_t begin, int64_t end);
    void (*gated_backward)(const cs_gated_args *a, int64_t begin, int64_t end);
    void (*axpby)(const cs_axpby_args *a, int64_t begin, int64_t end);
    void (*cast)(bool from_bf16, const void *x, bool to_bf16, void *y,
                 int64_t begin, int64_t end);
    void (*adamw)(const csi_adamw_step *step, const cs_adamw_item *item,
                  int64_t begin, int64_t end);
    double (*sum_squares)(const float *x, int64_t begin, int64_t end);

    /* rows [begin, end); sums are added to dw and db (f32, each opt) */
    void (*norm)(const cs_norm_args *a, int64_t begin, int64_t end);
    void (*norm_backward)(const cs_norm_backward_args *a, int64_t begin,
                          int64_t end, float *dw, float *db);
    /* `table`: csi_cpu_rope_floats() of room */
    void (*rope)(const cs_rope_args *a, int64_t begin, int64_t end,
                 float *table);
    /* y += x */
    void (*add_row)(float *y, const void *x, bool x_is_bf16, int64_t n);
    /* y += factor * x */
    void (*axpy_row)(void *y, bool y_is_bf16, const void *x, bool x_is_bf16,
                     float factor, int64_t n);
    /* y (+)= x * w */
    void (*multiply_row)(void *y, const void *x, const void *w, bool is_bf16,
                         bool accumulate, int64_t n);
    /* y += x * w, y f32 */
    void (*multiply_add_row)(float *y, const void *x, const void *w,
                             bool is_bf16, int64_t n);
    void (*softmax_row)(float *p, const void *x, bool is_bf16, int64_t n);
    /* y (+)= x / divisor */
    void (*move_row)(void *y, const void *x, bool is_bf16, bool accumulate,
                     float divisor, int64_t n);

    /* attention: seen[key] = the queries from `query` on that see it */
    void (*visible)(const csi_words *q, int64_t query, const csi_words *k,
                    int64_t key, int64_t keys, int32_t window, uint64_t *seen);
    /* One step of a running softmax: s becomes exp(s - largest), `factor` is
     * what sums so far are to be multiplied with. Arrays of CSI_CPU_BLOCK. */
    void (*softmax)(const csi_scores *b, float *largest, float *total,
                    float *factor);
    void (*rescale)(float *sum, int64_t stride, const float *factor,
                    int64_t rows);
    /* s becomes p = exp(s - lse); dp becomes ds */
    void (*softmax_backward)(const csi_scores *b, const float *lse,
                             const float *delta, float *dp);
    /* o = sum / divisor, 0 where the divisor is 0 */
    void (*divide_row)(void *o, const float *sum, float divisor, bool is_bf16,
                       int64_t n);
    float (*dot)(const void *x, const void *y, bool is_bf16, int64_t n);

    /* head: n logits of one row, the first is vocabulary entry v0 */
    void (*loss_row)(csi_loss_row *row, const float *logit, int64_t n,
                     int64_t v0);
    /* logit becomes softcap * tanh(logit / softcap) */
    void (*cap_row)(float *logit, int64_t n, float softcap);
    /* logit (capped) becomes exp(logit - lse) * scale * cap's slope */
    void (*loss_row_backward)(float *logit, int64_t n, float lse, float scale,
                              float softcap);
} csi_cpu_kernels;

const csi_cpu_kernels *csi_cpu_kernels_avx2(void);
const csi_cpu_kernels *csi_cpu_kernels_avx512(void);
const csi_gemm_kernels *csi_cpu_gemm_avx512bf16(void);

typedef struct csi_onednn csi_onednn;

typedef struct csi_cpu_state {
    const csi_cpu_kernels *kernels;    /* NULL below AVX2 */
    const csi_gemm_kernels *bf16_gemm; /* NULL: convert and multiply in f32 */
    csi_onednn *dnnl; /* owned; NULL where own products are the faster ones */
    cs_op_table ref;  /* what is not overridden falls back here */
} csi_cpu_state;

static inline csi_cpu_state *csi_cpu_state_of(cs_backend *backend)
{
    return backend->state;
}

/* Runs fn over [0, n) cut into one contiguous range per thread; with one
 * thread it is a plain call. `unit` is the work of one item in elements moved
 * (or 16 multiply-adds): ranges too small to share run here, one by one. */
typedef void (*csi_cpu_range_fn)(void *arg, int64_t begin, int64_t end,
                                 int32_t thread);
void csi_cpu_parallel(const cs_backend *backend, int64_t n, int64_t unit,
                      csi_cpu_range_fn fn, void *arg);

/* Computes p by whatever is fastest here; `work` has csi_cpu_product_bytes(). */
size_t csi_cpu_product_bytes(cs_backend *backend, const csi_product *p);
CS_NODISCARD cs_status csi_cpu_product(cs_backend *backend,
                                       const csi_product *p, void *work);
/* The same by our own kernels. */
size_t csi_cpu_gemm_bytes(cs_backend *backend, const csi_product *p);
void csi_cpu_gemm(cs_backend *backend, const csi_product *p, void *work);

/* Floats that one row's cosines, sines and angles (f64) take. */
static inline size_t csi_cpu_rope_floats(const cs_rope_args *a)
{
    return 2 * (size_t)a->rotary_dim + 16;
}

/* Slots. */
void csi_cpu_fill_products(cs_op_table *ops);
void csi_cpu_fill_pointwise(cs_op_table *ops);
void csi_cpu_fill_rows(cs_op_table *ops);
void csi_cpu_fill_mix(cs_op_table *ops);
void csi_cpu_fill_moves(cs_op_table *ops);
void csi_cpu_fill_attention(cs_op_table *ops);
void csi_cpu_fill_loss(cs_op_table *ops);
/* f32 linears by oneDNN, where there is no AVX2. */
void csi_cpu_fill_plain(cs_op_table *ops);

static inline size_t csi_cpu_dtype_bytes(bool is_bf16)
{
    return is_bf16 ? sizeof(uint16_t) : sizeof(float);
}
static inline bool csi_cpu_is_ours(cs_dtype dtype)
{
    return dtype == CS_F32 || dtype == CS_BF16;
}
#endif
