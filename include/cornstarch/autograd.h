/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_AUTOGRAD_H
#define CORNSTARCH_AUTOGRAD_H
/*
 * The tape of one microbatch on one stage. Each function below runs an op and
 * records it only if a gradient needs it: a value needs a gradient if it is
 * made from a trainable weight or from a value that does. That is decided by
 * the graph, never by the data, and it is the one home of frozen-awareness:
 * what is not recorded is not saved, computed, reduced or sent.
 *
 * Memory. `saved` lives until the input half of backward is done, `deferred`
 * (inputs and output gradients of trainable products) until the weight half
 * is; both belong to the tape. The workspace is the rank's and is emptied per
 * action: temporary values live there until their layer ends. A caller says
 * with cs_keep what its consumers will want; wanting more is an INTERNAL error
 * at record time, never a stale read.
 *
 * Readers. A value may be read by several ops, with two exceptions that keep
 * backward free of copies: q, k, v, gates, gated values and the head's input
 * have one reader; and where a sum has a trunk and a branch (add: a and b;
 * norm: x and r), the branch is read by the sum alone and is made after all
 * other readers of the trunk.
 *
 * Gradients of weights accumulate; biases, norms, scales, embeddings and the
 * head do so in the input half, products (also of experts) in the weight half.
 *
 * Not thread-safe: one rank's thread. No heap allocation once every arena has
 * seen its largest microbatch.
 */
#include "cornstarch/op.h"

CS_BEGIN_DECLS

struct csi_arena;
typedef struct cs_tape cs_tape;

typedef enum cs_keep {
    CS_KEEP_TEMP,   /* gone at the end of the layer */
    CS_KEEP_SAVED,  /* until the input half is done */
    CS_KEEP_PRODUCT /* until the weight half is done */
} cs_keep;

/* A parameter as an op sees it. */
typedef struct cs_weight {
    cs_tensor w; /* working copy, of the tape's dtype */
    void *grad;  /* real, borrowed; NULL = frozen */
} cs_weight;

typedef struct cs_value {
    cs_tensor t;
    void *grad;         /* NULL until the first contribution; dtype of t */
    cs_keep where;      /* t's memory */
    cs_keep grad_where; /* TEMP or PRODUCT (deferred) */
    bool needs_grad;
    bool defers_grad; /* its gradient must outlive the layer */
} cs_value;

/* `workspace` (borrowed) is reset by the caller between actions. dtype: f32,
 * f64 or bf16. */
CS_API CS_NODISCARD cs_status cs_tape_create(cs_backend *backend,
                                             struct csi_arena *workspace,
                                             cs_dtype dtype, cs_tape **out);
CS_API void cs_tape_destroy(cs_tape **tape);
/* Empties the tape. is_training false: nothing is ever recorded. */
CS_API void cs_tape_reset(cs_tape *tape, bool is_training);
CS_API cs_backend *cs_tape_backend(const cs_tape *tape);
CS_API cs_dtype cs_tape_dtype(const cs_tape *tape);
CS_API bool cs_tape_is_training(const cs_tape *tape);
/* Live bytes of the two arenas, and records; for tests and statistics. */
CS_API size_t cs_tape_saved_bytes(const cs_tape *tape);
CS_API size_t cs_tape_deferred_bytes(const cs_tape *tape);
CS_API int64_t cs_tape_records(const cs_tape *tape);

/* Memory with the life of `keep` (also for receive buffers). */
CS_API CS_NODISCARD cs_status cs_tape_alloc(cs_tape *tape, cs_keep keep,
                                            size_t n_bytes, void **out);
/* A value from outside, whose memory outlives the tape's use of it. Its
 * gradient, if needed, survives the input half (it will be sent). */
CS_API CS_NODISCARD cs_status cs_tape_input(cs_tape *tape, cs_tensor t,
                                            bool needs_grad, cs_value **out);
/* A new value of the tape's dtype, [rows, columns], not written. */
CS_API CS_NODISCARD cs_status cs_tape_value(cs_tape *tape, int64_t rows,
                                            int64_t columns, cs_keep keep,
                                            cs_value **out);

/* Marks where this action's temporaries begin: call before the first layer of
 * a forward. */
CS_API void cs_tape_begin(cs_tape *tape);
/* A layer's temporaries die at its end; *x (the only value that goes on) is
 * moved to the front when it is temporary. */
CS_API CS_NODISCARD cs_status cs_tape_layer_begin(cs_tape *tape, cs_value *x);
CS_API CS_NODISCARD cs_status cs_tape_layer_end(cs_tape *tape, cs_value *x);

/* y = act(x W^T + b); b may be NULL. x must be kept when W is trainable. */
CS_API CS_NODISCARD cs_status cs_tape_linear(cs_tape *tape, cs_value *x,
                                             const cs_weight *w,
                                             const cs_weight *b,
                                             cs_activation activation,
                                             cs_keep keep, cs_value **y);

typedef struct cs_tape_norm_args {
    cs_norm_kind kind;
    double eps;
    double weight_offset; /* rms: w + this */
    int64_t dim; /* columns of one group (a head); 0 = a whole row; no r then */
    cs_value *x;
    cs_value *r; /* opt: s = x + r, else s = x */
    const cs_weight *w;
    const cs_weight *b; /* opt */
    cs_keep keep_s, keep_y;
} cs_tape_norm_args;
CS_API CS_NODISCARD cs_status cs_tape_norm(cs_tape *tape,
                                           const cs_tape_norm_args *args,
                                           cs_value **s, cs_value **y);

/* Rotates q and k in place. `args` gives positions, frequencies and heads. */
CS_API CS_NODISCARD cs_status cs_tape_rope(cs_tape *tape,
                                           const cs_rope_args *args,
                                           cs_value *q, cs_value *k);
/* `args` gives everything but q, k, v, o, lse. */
CS_API CS_NODISCARD cs_status cs_tape_attention(cs_tape *tape,
                                                const cs_attention_args *args,
                                                cs_value *q, cs_value *k,
                                                cs_value *v, cs_keep keep,
                                                cs_value **o);
CS_API CS_NODISCARD cs_status cs_tape_gated(cs_tape *tape, cs_value *gate,
                                            cs_value *up,
                                            cs_activation activation,
                                            cs_keep keep, cs_value **y);
CS_API CS_NODISCARD cs_status cs_tape_add(cs_tape *tape, cs_value *a,
                                          cs_value *b, cs_keep keep,
                                          cs_value **y);
/* y[t] = table[index[t]], zeros for -1. `index` must outlive the tape's use. */
CS_API CS_NODISCARD cs_status cs_tape_embed(cs_tape *tape,
                                            const cs_weight *table,
                                            const int32_t *index, int64_t rows,
                                            cs_keep keep, cs_value **y);
/* y = factor * x. */
CS_API CS_NODISCARD cs_status cs_tape_multiply(cs_tape *tape, cs_value *x,
                                               double factor, cs_keep keep,
                                               cs_value **y);
/* y = x * w column by column. x must be kept (saved) when w is trainable. */
CS_API CS_NODISCARD cs_status cs_tape_scale(cs_tape *tape, cs_value *x,
                                            const cs_weight *w, cs_keep keep,
                                            cs_value **y);
/* y [rows, group * columns of x]: its row t is group rows x[index[t * group +
 * j]] side by side, zeros for -1. `index` must outlive the tape's use. */
CS_API CS_NODISCARD cs_status cs_tape_gather(cs_tape *tape, cs_value *x,
                                             const int32_t *index, int64_t rows,
                                             int64_t group, cs_keep keep,
                                             cs_value **y);
/* x[t] += sum over j < k of weight[t, j] * table[index[t, j]] in place: a
 * position table read at places between its rows. `index` and `weight` (real)
 * must outlive the tape's use. */
CS_API CS_NODISCARD cs_status cs_tape_add_mixed(cs_tape *tape, cs_value *x,
                                                const cs_weight *table,
                                                int32_t k, const int32_t *index,
                                                const void *weight);
/* Mixture of experts (Shazeer et al. 2017; Fedus et al. 2021 eq. 4 for the
 * balance loss). x is routed by router_w [experts, D]; each chosen expert gives
 * (act(x Wg) * x Wu) Wd; results are summed with the router's weights. Balance,
 * when coefficient > 0: per document, experts * sum over e of (share of the
 * document's choices that are e, summed over the k choices) * (mean p of e);
 * its gradient and value weigh coefficient * labels of the document *
 * loss_scale (value: without loss_scale, added to *balance_sum). x must be
 * kept as a product when the router, the gates or the ups train; the arrays of
 * documents must outlive the tape's use. An expert without rows costs nothing
 * and gets nothing; a weight's gradient sums its rows in ascending order, in
 * the weight half. Errors: SHAPE for sizes that do not fit together. */
typedef struct cs_tape_moe_args {
    int32_t experts, top_k;
    bool normalises;
    cs_activation activation;
    const cs_weight *router_w;
    const cs_weight *gate_w, *up_w, *down_w; /* [experts, ...] */
    double coefficient, loss_scale;
    int32_t n_documents;
    const int64_t *document_begin;  /* [n_documents + 1] */
    const int64_t *document_labels; /* [n_documents] */
    double *balance_sum;            /* opt */
} cs_tape_moe_args;
CS_API CS_NODISCARD cs_status cs_tape_moe(cs_tape *tape,
                                          const cs_tape_moe_args *args,
                                          cs_value *x, cs_keep keep,
                                          cs_value **y);
/* x[t] += table[index[t]] in place. */
CS_API CS_NODISCARD cs_status cs_tape_add_embed(cs_tape *tape, cs_value *x,
                                                const cs_weight *table,
                                                const int32_t *index);
/* x[t] += features[index[t]] in place, nothing for -1. */
CS_API CS_NODISCARD cs_status cs_tape_merge(cs_tape *tape, cs_value *x,
                                            cs_value *features,
                                            const int32_t *index);
CS_API CS_NODISCARD cs_status cs_tape_pool(cs_tape *tape, cs_value *x,
                                           const int64_t *begin, int64_t groups,
                                           cs_keep keep, cs_value **y);
/* `args` gives items, begins, channels, kernel, stride, pad. */
CS_API CS_NODISCARD cs_status cs_tape_im2col(cs_tape *tape,
                                             const cs_im2col_args *args,
                                             cs_value *x, cs_keep keep,
                                             cs_value **cols);
/* Loss of the microbatch: adds the sum of nll to *loss_sum, counts correct
 * rows (opt), writes nll rows (opt, real [rows]). */
typedef struct cs_tape_loss_args {
    const int32_t *labels; /* shifted; must outlive the tape's use */
    double loss_scale;     /* 1 / label tokens of the global batch */
    double softcap;        /* of the logits; 0 = none */
    double *loss_sum;
    int64_t *n_correct; /* opt */
    void *nll;          /* opt */
} cs_tape_loss_args;
CS_API CS_NODISCARD cs_status cs_tape_head_loss(cs_tape *tape, cs_value *x,
                                                const cs_weight *w,
                                                const cs_tape_loss_args *args);

/* Input half: walks the tape back from `output` (its gradient set by the
 * caller in output->grad) or, with NULL, from the loss. */
CS_API CS_NODISCARD cs_status cs_tape_backward_input(cs_tape *tape,
                                                     cs_value *output);
/* Weight half: all deferred products. */
CS_API CS_NODISCARD cs_status cs_tape_backward_weight(cs_tape *tape);

CS_END_DECLS
#endif
