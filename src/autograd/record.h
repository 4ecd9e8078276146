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
    CSI_RECORD_EMBED, /* also the in-place form: y = x */
    CSI_RECORD_MERGE,
    CSI_RECORD_POOL,
    CSI_RECORD_IM2COL,
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
            cs_value *s;
            void *mean;
            void *rstd;
        } norm;
        cs_rope_args rope;
        cs_attention_args attention;
        cs_activation activation;
        const int32_t *index;
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

/* A zeroed record at the end of the tape. */
CS_NODISCARD cs_status csi_tape_record(cs_tape *tape, csi_record_kind kind,
                                       csi_record **out);
/* Empties the workspace down to the base, moving *data (if any) to it. */
CS_NODISCARD cs_status csi_tape_to_front(cs_tape *tape, void **data,
                                         size_t n_bytes);
#endif
