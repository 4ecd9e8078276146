/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_BACKEND_H
#define CORNSTARCH_BACKEND_H
/*
 * The device interface: one table of kernels, filled first by the reference
 * backend (plain loops, fixed order, f32 f64 bf16: the truth) and overridden
 * slot by slot by faster ones. Kernels trust their arguments: `op` checks
 * them. Letters in names: T tokens (rows), I and O in and out features, D
 * model width, H query heads, G key/value heads, K head_dim, V vocabulary.
 *
 * Numerics. `dtype` is the type of activations and working weights: f32, f64
 * or bf16. Sums, statistics, softmax and losses are f32 (f64 when dtype is
 * f64): "real" below. Gradients of parameters are real. bf16 results are
 * rounded once, at the store.
 *
 * `accumulate` = add to what the output holds; false = overwrite.
 * A backend is used by one thread (its rank's); ranks have one each. It may
 * use n_threads OpenMP threads inside. Results never depend on timing, and
 * rows of a result do not depend on which other rows are computed beside them
 * unless said so.
 */
#include "cornstarch/mask.h"
#include "cornstarch/tensor.h"

CS_BEGIN_DECLS

typedef struct cs_backend cs_backend;

/* y = act(x W^T + b). `pre` (the value before act) is written when not NULL:
 * backward of act needs it. */
typedef struct cs_linear_args {
    cs_dtype dtype;
    int64_t rows, in, out;
    const void *x_TI;
    const void *w_OI;
    const void *b_O; /* opt */
    cs_activation activation;
    void *pre_TO; /* opt */
    void *y_TO;
} cs_linear_args;

/* dx (+)= dy W */
typedef struct cs_linear_input_args {
    cs_dtype dtype;
    int64_t rows, in, out;
    const void *dy_TO;
    const void *w_OI;
    void *dx_TI;
    bool accumulate;
} cs_linear_input_args;

/* dw += dy^T x, db += column sums of dy; always accumulating, real. */
typedef struct cs_linear_weight_args {
    cs_dtype dtype;
    int64_t rows, in, out;
    const void *dy_TO;
    const void *x_TI;
    void *dw_OI; /* opt: f32, or f64 for f64 */
    void *db_O;  /* opt */
} cs_linear_weight_args;

/* y = act(x), or dx = dy * act'(x) with dy given (dx may alias dy). */
typedef struct cs_activation_args {
    cs_dtype dtype;
    int64_t count;
    cs_activation activation;
    const void *x;
    const void *dy; /* backward only */
    void *y;        /* forward: y; backward: dx */
} cs_activation_args;

/* y = act(gate) * up; backward writes dgate and dup. */
typedef struct cs_gated_args {
    cs_dtype dtype;
    int64_t count;
    cs_activation activation;
    const void *gate;
    const void *up;
    void *y;
    const void *dy; /* backward only, below too */
    void *dgate;
    void *dup;
} cs_gated_args;

/* Fused residual + norm:
 *   s = x + r (r NULL: s = x and nothing is written)
 *   rms:   y = s * rstd * w,                 rstd = 1/sqrt(mean(s^2) + eps)
 *   layer: y = (s - mean) * rstd * w + b,    rstd = 1/sqrt(var(s) + eps)
 */
typedef struct cs_norm_args {
    cs_dtype dtype;
    cs_norm_kind kind;
    int64_t rows, dim;
    double eps;
    double weight_offset; /* rms: w + this is used; 0 usual, 1 Gemma */
    const void *x_TD;
    const void *r_TD; /* opt: residual branch */
    const void *w_D;
    const void *b_D; /* layer only, opt */
    void *s_TD;      /* opt: the sum; required when r is given; may alias x */
    void *y_TD;
    void *mean_T; /* opt, real; layer only */
    void *rstd_T; /* opt, real */
} cs_norm_args;

/* ds (+)= d/ds; dw, db += (real). */
typedef struct cs_norm_backward_args {
    cs_dtype dtype;
    cs_norm_kind kind;
    int64_t rows, dim;
    double weight_offset;
    const void *s_TD;
    const void *w_D;
    const void *mean_T;
    const void *rstd_T;
    const void *dy_TD;
    void *ds_TD; /* opt */
    void *dw_D;  /* opt */
    void *db_D;  /* opt */
    bool accumulate;
} cs_norm_backward_args;

/* Rotary embedding, half-split pairs (d, d + rotary/2) as in Hugging Face
 * Llama: x' = x cos(p f) + rotate_half(x) sin(p f), frequency of pair d given
 * in `inverse_frequency` (real f64 table of rotary_dim/2). In place on q and k.
 * `inverse` rotates by -p: the backward. */
typedef struct cs_rope_args {
    cs_dtype dtype;
    int64_t rows;
    int32_t q_heads, k_heads, head_dim, rotary_dim;
    int32_t n_axes;                  /* of position; 0 and 1 are one */
    const int32_t *position_T;       /* [n_axes, rows], restarts per document */
    const double *inverse_frequency; /* [rotary_dim / 2] */
    const uint8_t *axis;             /* opt [rotary_dim / 2]: axis of a pair */
    const double *long_frequency;    /* opt: for rows with is_long_T */
    const uint8_t *is_long_T;        /* with long_frequency */
    double scale;                    /* of cos and sin; 1 usual */
    bool inverse;
    void *q_THK; /* opt */
    void *k_TGK; /* opt */
} cs_rope_args;

/* Attention over words. Query head h uses key/value head h / (H / G).
 * o = softmax(scale * q k^T restricted to visible pairs) v; a token that sees
 * nothing gives 0, lse = -inf and no gradient. softcap c > 0:
 * logit = c tanh(logit / c). `tiles` covers (q_mask, k_mask, window). */
typedef struct cs_attention_args {
    cs_dtype dtype;
    int64_t q_rows, k_rows;
    int32_t heads, kv_heads, head_dim;
    double scale, softcap;
    int64_t window; /* 0 = none */
    cs_mask q_mask, k_mask;
    const cs_tile_map *tiles;
    const void *q_THK;
    const void *k_TGK;
    const void *v_TGK;
    void *o_THK;
    void *lse_HT; /* real, [heads, q_rows]; opt in forward */
} cs_attention_args;

typedef struct cs_attention_backward_args {
    cs_attention_args forward; /* o and lse as forward left them */
    const void *do_THK;
    void *dq_THK; /* overwritten */
    void *dk_TGK; /* overwritten */
    void *dv_TGK; /* overwritten */
} cs_attention_backward_args;

/* y[t] = x[index[t]] (+ y[t] if accumulate); index -1 gives zeros. */
typedef struct cs_gather_args {
    cs_dtype dtype;
    int64_t rows, columns, x_rows;
    const int32_t *index_T; /* -1 .. x_rows - 1 */
    const void *x;
    void *y_TD;
    bool accumulate;
} cs_gather_args;

/* dx[index[t]] += dy[t], t ascending; index -1 is skipped. dx has dtype
 * dx_dtype: dtype (an activation) or real (an embedding's gradient). */
typedef struct cs_scatter_add_args {
    cs_dtype dtype, dx_dtype;
    int64_t rows, columns, x_rows;
    const int32_t *index_T;
    const void *dy_TD;
    void *dx;
} cs_scatter_add_args;

/* y[j] = mean of rows begin[j] .. begin[j+1]-1 of x; backward spreads
 * dx (+)= dy / count. */
typedef struct cs_pool_args {
    cs_dtype dtype;
    int64_t groups, columns;
    const int64_t *begin; /* [groups + 1] */
    const void *x;
    void *y;
    const void *dy; /* backward */
    void *dx;
    bool accumulate;
} cs_pool_args;

/* 1-D convolution input as rows: item i covers rows in_begin[i]..in_begin[i+1]
 * of x and out_begin[i].. of cols; out length = (n + 2 pad - kernel)/stride + 1.
 * cols[t, c * kernel + j] = x[t * stride + j - pad, c], zero outside the item
 * (so a Hugging Face Conv1d weight [O, C, kernel] is a plain [O, C*kernel]).
 * Backward: dx (+)= transpose. */
typedef struct cs_im2col_args {
    cs_dtype dtype;
    int64_t items;
    const int64_t *in_begin;  /* [items + 1] */
    const int64_t *out_begin; /* [items + 1] */
    int64_t channels;
    int32_t kernel, stride, pad;
    const void *x;
    void *cols;
    const void *dcols; /* backward */
    void *dx;
    bool accumulate;
} cs_im2col_args;

/* y[t] = sum over j < k of weight[t, j] * x[index[t, j]], j ascending; index
 * -1 adds nothing. Backward: dx[index[t, j]] += weight[t, j] * dy[t] (t, then j
 * ascending; dx of dx_dtype: dtype or real), dweight[t, j] = x[index] . dy[t]
 * (overwritten). Experts' results are combined with it, position tables are
 * resampled with it. */
typedef struct cs_mix_args {
    cs_dtype dtype, dx_dtype;
    int64_t rows, columns, x_rows;
    int32_t k;
    const int32_t *index_TK;
    const void *weight_TK; /* real */
    const void *x;
    void *y_TD;
    const void *dy_TD; /* backward only, below too */
    void *dx;          /* opt */
    void *dweight_TK;  /* opt, real */
} cs_mix_args;

/* y = x * w, column by column (LayerScale). Backward: dx (+)= dy * w, dw +=
 * sum over rows of dy * x (real). */
typedef struct cs_scale_args {
    cs_dtype dtype;
    int64_t rows, columns;
    const void *x_TD;
    const void *w_D;
    void *y_TD;
    const void *dy_TD; /* backward only, below too */
    void *dx_TD;       /* opt */
    void *dw_D;        /* opt */
    bool accumulate;   /* dx */
} cs_scale_args;

/* Top-k routing of a mixture of experts. p = softmax of the row's logits; the
 * k experts with the largest p, ties to the lower number, in descending order
 * of p; weight = their p, divided by its sum over the k when `normalises`.
 * Backward: dlogits (overwritten) from dweight and, opt, from dp. */
typedef struct cs_route_args {
    cs_dtype dtype;
    int64_t rows;
    int32_t experts, top_k;
    bool normalises;
    const void *logits_TE;
    void *p_TE;             /* real */
    int32_t *expert_TK;     /* forward writes it, backward reads it */
    void *weight_TK;        /* real */
    const void *dweight_TK; /* real; backward only, below too */
    const void *dp_TE;      /* opt, real */
    void *dlogits_TE;
} cs_route_args;

/* y = a + b, y = a * scale, ...: y[i] = alpha * a[i] + beta * b[i] (b opt). */
typedef struct cs_axpby_args {
    cs_dtype dtype;
    int64_t count;
    double alpha, beta;
    const void *a;
    const void *b; /* opt */
    void *y;       /* may alias a or b */
} cs_axpby_args;

/* Head + cross-entropy, chunked over rows: logits never exist whole. Rows with
 * label -100 cost and give nothing. Forward: nll[t] = lse - logit[label] (0 if
 * ignored), lse kept, loss_sum += sum of nll (f64, ascending t). `correct`
 * counts rows whose largest logit is the label (opt). */
typedef struct cs_head_loss_args {
    cs_dtype dtype;
    int64_t rows, in, vocab;
    double softcap; /* c > 0: logit = c tanh(logit / c); 0 = none */
    const void *x_TI;
    const void *w_VI;
    const int32_t *label_T; /* -100 or 0 .. vocab - 1, already shifted */
    void *nll_T;            /* real */
    void *lse_T;            /* real */
    double *loss_sum;
    int64_t *n_correct; /* opt */
} cs_head_loss_args;

/* dlogits = (softmax - onehot) * scale; dx = dlogits W (overwritten);
 * dw += dlogits^T x (real). */
typedef struct cs_head_loss_backward_args {
    cs_head_loss_args forward;
    double scale; /* loss scale: 1 / label tokens of the global batch */
    void *dx_TI;  /* opt */
    void *dw_VI;  /* opt */
} cs_head_loss_backward_args;

/* One AdamW update (Loshchilov & Hutter 2019) of one parameter; decoupled
 * decay: p -= lr * (m^ / (sqrt(v^) + eps) + weight_decay * p).
 * m, v, master, grad: real. `working` (opt) receives the cast. */
typedef struct cs_adamw_item {
    int64_t count;
    void *master;
    void *m;
    void *v;
    const void *grad;
    void *working; /* opt, bf16 */
    double learning_rate, weight_decay;
} cs_adamw_item;

typedef struct cs_adamw_args {
    cs_dtype dtype; /* real: f32 or f64 */
    int64_t n_items;
    const cs_adamw_item *items;
    double beta1, beta2, eps;
    double grad_scale; /* clip factor */
    int64_t step;      /* from 1: bias correction */
} cs_adamw_args;

/* Table of kernels. Slots return a status because devices can fail. */
typedef struct cs_op_table {
    cs_status (*linear)(cs_backend *, const cs_linear_args *);
    cs_status (*linear_input)(cs_backend *, const cs_linear_input_args *);
    cs_status (*linear_weight)(cs_backend *, const cs_linear_weight_args *);
    cs_status (*activation)(cs_backend *, const cs_activation_args *);
    cs_status (*activation_backward)(cs_backend *, const cs_activation_args *);
    cs_status (*gated)(cs_backend *, const cs_gated_args *);
    cs_status (*gated_backward)(cs_backend *, const cs_gated_args *);
    cs_status (*norm)(cs_backend *, const cs_norm_args *);
    cs_status (*norm_backward)(cs_backend *, const cs_norm_backward_args *);
    cs_status (*rope)(cs_backend *, const cs_rope_args *);
    cs_status (*attention)(cs_backend *, const cs_attention_args *);
    cs_status (*attention_backward)(cs_backend *,
                                    const cs_attention_backward_args *);
    cs_status (*gather)(cs_backend *, const cs_gather_args *);
    cs_status (*scatter_add)(cs_backend *, const cs_scatter_add_args *);
    cs_status (*pool)(cs_backend *, const cs_pool_args *);
    cs_status (*pool_backward)(cs_backend *, const cs_pool_args *);
    cs_status (*im2col)(cs_backend *, const cs_im2col_args *);
    cs_status (*im2col_backward)(cs_backend *, const cs_im2col_args *);
    cs_status (*mix)(cs_backend *, const cs_mix_args *);
    cs_status (*mix_backward)(cs_backend *, const cs_mix_args *);
    cs_status (*scale)(cs_backend *, const cs_scale_args *);
    cs_status (*scale_backward)(cs_backend *, const cs_scale_args *);
    cs_status (*route)(cs_backend *, const cs_route_args *);
    cs_status (*route_backward)(cs_backend *, const cs_route_args *);
    cs_status (*axpby)(cs_backend *, const cs_axpby_args *);
    cs_status (*head_loss)(cs_backend *, const cs_head_loss_args *);
    cs_status (*head_loss_backward)(cs_backend *,
                                    const cs_head_loss_backward_args *);
    cs_status (*adamw)(cs_backend *, const cs_adamw_args *);
    /* sum of squares of `count` reals, f64, fixed order */
    cs_status (*sum_squares)(cs_backend *, cs_dtype dtype, const void *x,
                             int64_t count, double *out);
    /* y = (dst_dtype)x, any pair of f32 f64 bf16 f16 */
    cs_status (*cast)(cs_backend *, cs_dtype src_dtype, const void *x,
                      cs_dtype dst_dtype, void *y, int64_t count);
    void (*destroy)(cs_backend *); /* opt: frees state */
} cs_op_table;

/* What a step's time goes to; measured by `op`. */
typedef enum cs_op_family {
    CS_OP_PRODUCT,   /* linear and its halves, head */
    CS_OP_ATTENTION, /* attention and its backward */
    CS_OP_OTHER,
    CS_OP_FAMILY_COUNT
} cs_op_family;

struct cs_backend {
    const char *name;                /* "ref" or "cpu" */
    double op_s[CS_OP_FAMILY_COUNT]; /* seconds since create */
    double op_flops[CS_OP_FAMILY_COUNT];
    char detail[64]; /* e.g. "avx512 onednn 2.6.3" */
    cs_op_table ops;
    int32_t n_threads;
    void *state;              /* owned by the backend's destroy */
    int32_t q_block, k_block; /* tile sizes that attention prefers */
    void *scratch;            /* owned: grows, reused: csi_backend_scratch() */
    size_t scratch_bytes;
};

/* "ref", "cpu" (the cpu-fast module, on the best path that the CPU has and
 * CORNSTARCH_CPU = ref|plain|avx2|avx512|amx|onednn allows), or "auto": cpu
 * when its module opens, else ref. */
CS_API CS_NODISCARD cs_status cs_backend_create(const char *name,
                                                int32_t n_threads,
                                                cs_backend **out);
CS_API void cs_backend_destroy(cs_backend **backend);
/* At least n_bytes of 64-byte aligned memory, valid until the next call. */
CS_API void *csi_backend_scratch(cs_backend *backend, size_t n_bytes);
/* Fills the whole table with the reference kernels. */
CS_API void csi_ref_fill(cs_backend *backend);
/* The entry of the module libcornstarch_cpu.so, found by name: replaces the
 * slots that it has in a table filled by csi_ref_fill(). */
CS_API CS_NODISCARD cs_status csi_cpu_fill(cs_backend *backend);
/* f64 for f64, else f32. */
CS_API cs_dtype cs_real_dtype(cs_dtype dtype);

CS_END_DECLS
#endif
