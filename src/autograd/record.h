/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_AUTOGRAD_RECORD_H
#define CS_AUTOGRAD_RECORD_H
/* What the tape writes down: one record per op whose backward is needed. */
#include "cornstarch/autograd.h"

#include "base/arena.h"

typedef enum csi_record_kind {
    CSI_RECORD_LAYER, /* the layer that begins here takes x */
    CSI_RECORD_LINEAR,
    CSI_RECORD_NORM,
    CSI_RECORD_ROPE,
    CSI_RECORD_ATTENTION,
    CSI_RECORD_GATED,
    CSI_RECORD_ADD,
    CSI_RECORD_EMBED,  /* also the in-place form: y = x */
    CSI_RECORD_GATHER, /* also merge: y = the value merged into */
    CSI_RECORD_MULTIPLY,
    CSI_RECORD_SCALE,
    CSI_RECORD_MIXED, /* in place: y = x */
    CSI_RECORD_POOL,
    CSI_RECORD_IM2COL,
    CSI_RECORD_MOE,
    CSI_RECORD_LOSS,
    CSI_RECORD_COUNT
} csi_record_kind;

typedef struct csi_record csi_record;
struct csi_record {
    csi_record_kind kind;
    csi_record *previous;
    cs_value *x; /* first input */
    cs_value *r; /* second input: residual, up, k, features */
    cs_value *v; /* third input of attention */
    cs_value *y; /* output */
    cs_weight w, b;
    union {
        struct {
            cs_activation activation;
            void *pre; /* saved; NULL without activation */
            void *dy;  /* set by the input half for the weight half */
        } linear;
        struct {
            cs_norm_kind kind;
            double weight_offset;
            int64_t dim; /* columns of one group */
            cs_value *s;
            void *mean;
            void *rstd;
        } norm;
        cs_rope_args rope;
        cs_attention_args attention;
        cs_activation activation;
        const int32_t *index;
        double factor;
        cs_mix_args mix;
        struct csi_moe *moe; /* in the book */
        cs_pool_args pool;
        cs_im2col_args im2col;
        struct {
            cs_head_loss_args args;
            double scale;
        } loss;
    } u;
};

struct cs_tape {
    cs_backend *backend;         /* borrowed */
    struct csi_arena *workspace; /* borrowed */
    cs_dtype dtype, real;
    bool is_training;
    csi_arena saved, deferred, book;
    csi_arena_mark base; /* where temporaries of this action begin */
    csi_record *last;
    int64_t n_records;
};

static inline bool csi_tape_trains(const cs_tape *tape, const cs_weight *w)
{
    return tape->is_training && w != NULL && w->grad != NULL;
}

/* Refuses a value that backward will read but that nobody kept. */
CS_NODISCARD cs_status csi_tape_require_kept(const cs_value *x, cs_keep least,
                                             const char *what);
/* The buffer of x's gradient; *accumulate says whether it holds something. */
CS_NODISCARD cs_status csi_tape_grad_buffer(cs_tape *tape, cs_value *x,
                                            bool *accumulate);
/* The same for ops whose backward overwrites: a second reader's share would
 * be lost. */
CS_NODISCARD cs_status csi_tape_only_grad_buffer(cs_tape *tape, cs_value *x,
                                                 const char *what);
/* The backward of ops that move rows (backward_rows.c). */
CS_NODISCARD cs_status csi_backward_embed(cs_tape *tape, csi_record *record);
CS_NODISCARD cs_status csi_backward_gather(cs_tape *tape, csi_record *record);
CS_NODISCARD cs_status csi_backward_mixed(cs_tape *tape, csi_record *record);
CS_NODISCARD cs_status csi_backward_pool(cs_tape *tape, csi_record *record);
CS_NODISCARD cs_status csi_backward_im2col(cs_tape *tape, csi_record *record);
CS_NODISCARD cs_status csi_backward_loss(cs_tape *tape, csi_record *record);

/* Both halves of a mixture of experts (moe_backward.c). */
CS_NODISCARD cs_status csi_backward_moe(cs_tape *tape, csi_record *record);
CS_NODISCARD cs_status csi_backward_moe_weight(cs_tape *tape,
                                               csi_record *record);

/* A zeroed record at the end of the tape. */
CS_NODISCARD cs_status csi_tape_record(cs_tape *tape, csi_record_kind kind,
                                       csi_record **out);
/* Empties the workspace down to the base, moving *data (if any) to it. */
CS_NODISCARD cs_status csi_tape_to_front(cs_tape *tape, void **data,
                                         size_t n_bytes);
#endif
