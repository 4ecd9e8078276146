/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_OP_CASE_H
#define CST_OP_CASE_H
/*
 * One table of cases (op, sizes, variant) that every mode runs:
 *
 *   gradient_test   ref backward against central differences in f64
 *   parity_test     the fast backend against ref, in f32 and bf16
 *   bf16_test       ref in bf16 against ref in f32 on the same rounded inputs
 *
 * An op of the table lays out its arrays (`layout`) and runs forward and
 * backward on them (`run`); the modes fill, run and compare without knowing
 * the op. To add a case: one line in op_cases.c. To add an op: a layout and a
 * run in one of op_{dense,rows,mix,attention,update}.c and a line in op_kinds.
 */
#include "cornstarch/backend.h"

#include "base/arena.h"

#include <stdbool.h>

typedef enum op_id {
    OP_LINEAR,
    OP_ACTIVATION,
    OP_GATED,
    OP_NORM,
    OP_AXPBY,
    OP_HEAD_LOSS,
    OP_ROPE,
    OP_ATTENTION,
    OP_GATHER,
    OP_POOL,
    OP_IM2COL,
    OP_MIX,
    OP_SCALE,
    OP_ROUTE,
    OP_ADAMW,
    OP_SUM_SQUARES,
    OP_CAST,
    OP_COUNT
} op_id;

/* Sizes and variants; each op reads what it needs, and op_case_name() shows
 * what is not zero. */
typedef struct op_case {
    op_id op;
    int64_t rows; /* T; items or groups for pooling and convolution */
    int64_t in;   /* I, D, columns, channels, head_dim */
    int64_t out;  /* O, V, rows of the table, kernel */
    int32_t heads, kv_heads;
    int32_t stride, pad;
    int64_t window;
    double softcap, scale;
    cs_activation activation;
    cs_norm_kind norm;
    cs_mask_policy policy;
    bool accumulate; /* gradients (or y) add to what is there */
    bool option;     /* the op's other variant: bias, residual, ... */
} op_case;

typedef enum op_role {
    ROLE_NONE,
    ROLE_IN,        /* differentiated when a gradient names it */
    ROLE_OUT,       /* of forward */
    ROLE_COTANGENT, /* d loss / d `of` */
    ROLE_GRADIENT   /* d loss / d `of`, written by backward */
} op_role;

enum {
    OP_MAX_ARRAYS = 20
};

typedef struct op_array {
    op_role role;
    int32_t of; /* the array that a cotangent or gradient belongs to */
    cs_dtype dtype;
    int64_t n;
    bool adds;       /* gradient is added to its first content */
    bool is_uniform; /* every element is `fill`, else standard normal */
    double fill;
    double *value; /* what was put in, as numbers */
    void *data;    /* what the kernel sees */
} op_array;

typedef struct op_run {
    const op_case *c;
    uint64_t seed; /* from the case's name: its sizes and variants */
    cs_backend *backend;
    cs_dtype dtype, real;
    bool with_backward;
    bool round_inputs; /* to bf16, also when dtype is wider */
    csi_arena arena;
    op_array array[OP_MAX_ARRAYS];
    /* Integers that an op may need; made by its layout. */
    int32_t *index, *position;
    uint8_t *axis, *is_long;
    int64_t *begin, *out_begin;
    double *frequency, *long_frequency;
    cs_mask q_mask, k_mask;
} op_run;

typedef struct op_kind {
    const char *name;
    void (*layout)(op_run *r);
    cs_status (*run)(op_run *r);
    bool has_backward;
} op_kind;

typedef struct op_tolerance {
    double parity_f32, parity_bf16, bf16_f32;
    const char *reason;
} op_tolerance;

extern const op_case op_cases[];
extern const int64_t n_op_cases;
extern const op_kind op_kinds[OP_COUNT];
extern const op_tolerance op_tolerances[OP_COUNT];

const char *op_case_name(const op_case *c, char text[160]);

/* Lays out and fills; begin never fails but by assertion. */
void op_run_begin(op_run *r, const op_case *c, cs_backend *backend,
                  cs_dtype dtype, bool round_inputs);
void op_run_end(op_run *r);
/* Puts every array's value into data (inputs, cotangents, first content of
 * gradients and outputs), then runs the op. */
void op_run_go(op_run *r);
/* Largest |a - b| over the array, relative to the largest |b|; equal
 * infinities are equal, NaN is infinitely wrong. */
double op_array_error(const op_array *a, const op_array *b);
double op_array_get(const op_array *a, int64_t i);

/* For layouts: memory of the run and draws that depend on the case only. */
void *op_alloc(op_run *r, size_t n_bytes);
int64_t op_draw(const op_run *r, int64_t stream, int64_t i, int64_t below);
void op_in(op_run *r, int id, cs_dtype dtype, int64_t n);
void op_out(op_run *r, int id, cs_dtype dtype, int64_t n);
void op_cotangent(op_run *r, int id, int of);
void op_gradient(op_run *r, int id, int of, cs_dtype dtype, bool adds);
/* Document-like boundaries: n + 1 offsets from 0, sizes 0..largest. */
int64_t *op_boundaries(op_run *r, int64_t n, int64_t largest);
/* Copies the data of one array to another of the same dtype. */
void op_copy(op_run *r, int to, int from);

/* Layouts and runs. */
#define OP_DECLARE(name)                \
    void op_##name##_layout(op_run *r); \
    cs_status op_##name##_run(op_run *r)
OP_DECLARE(linear);
OP_DECLARE(activation);
OP_DECLARE(gated);
OP_DECLARE(norm);
OP_DECLARE(axpby);
OP_DECLARE(head_loss);
OP_DECLARE(rope);
OP_DECLARE(attention);
OP_DECLARE(gather);
OP_DECLARE(pool);
OP_DECLARE(im2col);
OP_DECLARE(mix);
OP_DECLARE(scale);
OP_DECLARE(route);
OP_DECLARE(adamw);
OP_DECLARE(sum_squares);
OP_DECLARE(cast);
#undef OP_DECLARE

#endif
