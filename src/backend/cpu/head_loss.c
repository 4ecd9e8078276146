/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Head and cross-entropy without the logits: blocks of ROWS x ENTRIES are
 * multiplied, folded into a running softmax per row, and forgotten; backward
 * makes them again. Rows without a label are left out before anything is
 * multiplied: in captioned data they are most rows.
 */
#include "base/checked.h"

#include "cpu.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 512,    /* of a block of logits */
    ENTRIES = 512, /* of the vocabulary */
    ALIGN = 64
};

/* A call under way; the pointers lie in the backend's scratch. */
typedef struct loss {
    const cs_head_loss_args *a;
    const cs_head_loss_backward_args *back;
    const csi_cpu_kernels *kernels;
    bool is_bf16;
    bool round_slopes;   /* dlogits as bf16: where bf16 products are faster */
    int64_t n;           /* rows with a label */
    int32_t *row;        /* [n] their index */
    const void *x_NI;    /* their activations */
    csi_loss_row *state; /* [n] */
    float *picked;       /* [n] the label's logit */
    float *logits;       /* [ROWS][ENTRIES] */
    uint16_t *slopes;    /* [ROWS][ENTRIES], round_slopes only */
    float *dx_NI;        /* [n][in] */
    void *work;
    int64_t r0, v0, rows, entries; /* the block */
} loss;

static void *carve(char *base, size_t *used, size_t n_bytes)
{
    void *at = base != NULL ? base + *used : NULL;

    *used += (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static csi_product logits_of(const loss *l)
{
    const int64_t in = l->a->in;
    const size_t size = csi_cpu_dtype_bytes(l->is_bf16);

    return (csi_product){
        .m = l->rows,
        .n = l->entries,
        .k = in,
        .a = {(const char *)l->x_NI + (size_t)(l->r0 * in) * size, in,
              l->is_bf16, true},
        .b = {(const char *)l->a->w_VI + (size_t)(l->v0 * in) * size, in,
              l->is_bf16, true},
        .end = {.c = l->logits, .ldc = ENTRIES},
    };
}

static const void *slopes_of(const loss *l)
{
    return l->round_slopes ? (const void *)l->slopes : (const void *)l->logits;
}

/* dx += dlogits W */
static csi_product input_of(const loss *l)
{
    const int64_t in = l->a->in;
    const size_t size = csi_cpu_dtype_bytes(l->is_bf16);

    return (csi_product){
        .m = l->rows,
        .n = in,
        .k = l->entries,
        .a = {slopes_of(l), ENTRIES, l->round_slopes, true},
        .b = {(const char *)l->a->w_VI + (size_t)(l->v0 * in) * size, in,
              l->is_bf16, false},
        .end = {.c = l->dx_NI + l->r0 * in, .ldc = in, .accumulate = true},
    };
}

/* dw += dlogits^T x */
static csi_product weight_of(const loss *l)
{
    const int64_t in = l->a->in;
    const size_t size = csi_cpu_dtype_bytes(l->is_bf16);

    return (csi_product){
        .m = l->entries,
        .n = in,
        .k = l->rows,
        .a = {slopes_of(l), ENTRIES, l->round_slopes, false},
        .b = {(const char *)l->x_NI + (size_t)(l->r0 * in) * size, in,
              l->is_bf16, false},
        .end = {.c = (float *)l->back->dw_VI + l->v0 * in,
                .ldc = in,
                .accumulate = true},
    };
}

/* Lays the call out at `base`, or only measures it when base is NULL. */
static size_t lay_out(cs_backend *backend, loss *l, char *base)
{
    const int64_t in = l->a->in;
    const size_t n = (size_t)l->n;
    const size_t size = csi_cpu_dtype_bytes(l->is_bf16);
    size_t used = 0;
    size_t work = 0;

    l->rows = csi_min_i64(ROWS, l->n);
    l->entries = csi_min_i64(ENTRIES, l->a->vocab);
    l->row = carve(base, &used, (n + 1) * sizeof *l->row);
    l->x_NI = carve(base, &used, n * (size_t)in * size);
    l->state = carve(base, &used, n * sizeof *l->state);
    l->picked = carve(base, &used, n * sizeof *l->picked);
    l->logits =
        carve(base, &used, (size_t)l->rows * ENTRIES * sizeof *l->logits);
    const csi_product logits = logits_of(l);
    work = csi_cpu_product_bytes(backend, &logits);
    if (l->back != NULL) {
        const csi_product input = input_of(l);
        const csi_product weight = weight_of(l);
        const size_t sizes[] = {csi_cpu_product_bytes(backend, &input),
                                csi_cpu_product_bytes(backend, &weight)};

        work = sizes[0] > work ? sizes[0] : work;
        work = sizes[1] > work ? sizes[1] : work;
        l->dx_NI = carve(base, &used, n * (size_t)in * sizeof *l->dx_NI);
        l->slopes =
            carve(base, &used, (size_t)l->rows * ENTRIES * sizeof *l->slopes);
    }
    l->work = carve(base, &used, work);
    return used;
}

/* Lists and collects the rows that have a label. */
static cs_status start(cs_backend *backend, loss *l)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const cs_head_loss_args *a = l->a;
    const size_t row_bytes =
        (size_t)a->in * csi_cpu_dtype_bytes(a->dtype == CS_BF16);
    int64_t n = 0;

    l->kernels = state->kernels;
    l->is_bf16 = a->dtype == CS_BF16;
    l->round_slopes =
        l->is_bf16 && (state->bf16_gemm != NULL || state->dnnl != NULL);
    for (int64_t t = 0; t < a->rows; t++) {
        l->n += a->label_T[t] >= 0 ? 1 : 0;
    }
    if (l->n == 0) {
        return CS_OK;
    }
    void *base = csi_backend_scratch(backend, lay_out(backend, l, NULL));
    CS_CHECK(base != NULL, CS_ERR_NOMEM, "cpu head_loss: scratch");
    (void)lay_out(backend, l, base);
    for (int64_t t = 0; t < a->rows; t++) {
        if (a->label_T[t] >= 0) {
            l->row[n++] = (int32_t)t;
        }
    }
    if (n == a->rows) {
        l->x_NI = a->x_TI;
        return CS_OK;
    }
    char *x_NI = (char *)base + ((const char *)l->x_NI - (char *)base);
    for (int64_t i = 0; i < n; i++) {
        memcpy(x_NI + (size_t)i * row_bytes,
               (const char *)a->x_TI + (size_t)l->row[i] * row_bytes,
               row_bytes);
    }
    return CS_OK;
}

/* The label of row i of the block, counted from the block's first entry. */
static int64_t label_of(const loss *l, int64_t i)
{
    return l->a->label_T[l->row[l->r0 + i]] - l->v0;
}

static void fold_rows(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const loss *l = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *logit = l->logits + i * ENTRIES;
        const int64_t label = label_of(l, i);

        if (l->a->softcap > 0.0) {
            l->kernels->cap_row(logit, l->entries, (float)l->a->softcap);
        }
        l->kernels->loss_row(&l->state[l->r0 + i], logit, l->entries, l->v0);
        if (label >= 0 && label < l->entries) {
            l->picked[l->r0 + i] = logit[label];
        }
    }
}

static void slope_rows(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const loss *l = arg;
    const float *lse_T = l->a->lse_T;
    const float scale = (float)l->back->scale;
    const float softcap = (float)l->a->softcap;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *logit = l->logits + i * ENTRIES;
        const int64_t label = label_of(l, i);
        const bool has_label = label >= 0 && label < l->entries;
        float picked = scale; /* what the label's slope is less */

        if (softcap > 0.0F) {
            l->kernels->cap_row(logit, l->entries, softcap);
            const float ratio = has_label ? logit[label] / softcap : 0.0F;
            picked = scale * (1.0F - ratio * ratio);
        }
        l->kernels->loss_row_backward(logit, l->entries,
                                      lse_T[l->row[l->r0 + i]], scale, softcap);
        if (has_label) {
            logit[label] -= picked;
        }
        if (l->round_slopes) {
            l->kernels->cast(false, logit, true, l->slopes + i * ENTRIES, 0,
                             l->entries);
        }
    }
}

static cs_status run_block(cs_backend *backend, loss *l)
{
    const csi_product logits = logits_of(l);

    CS_TRY(csi_cpu_product(backend, &logits, l->work));
    if (l->back == NULL) {
        csi_cpu_parallel(backend, l->rows, logits.n, fold_rows, l);
        return CS_OK;
    }
    csi_cpu_parallel(backend, l->rows, logits.n, slope_rows, l);
    if (l->back->dx_TI != NULL) {
        const csi_product input = input_of(l);
        CS_TRY(csi_cpu_product(backend, &input, l->work));
    }
    if (l->back->dw_VI != NULL) {
        const csi_product weight = weight_of(l);
        CS_TRY(csi_cpu_product(backend, &weight, l->work));
    }
    return CS_OK;
}

static cs_status run_blocks(cs_backend *backend, loss *l)
{
    for (l->v0 = 0; l->v0 < l->a->vocab; l->v0 += ENTRIES) {
        l->entries = csi_min_i64(ENTRIES, l->a->vocab - l->v0);
        for (l->r0 = 0; l->r0 < l->n; l->r0 += ROWS) {
            l->rows = csi_min_i64(ROWS, l->n - l->r0);
            CS_TRY(run_block(backend, l));
        }
    }
    return CS_OK;
}

static cs_status head_loss(cs_backend *backend, const cs_head_loss_args *a)
{
    loss l = {.a = a};
    float *nll_T = a->nll_T;
    float *lse_T = a->lse_T;

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.head_loss(backend, a);
    }
    CS_TRY(start(backend, &l));
    memset(nll_T, 0, (size_t)a->rows * sizeof *nll_T);
    memset(lse_T, 0, (size_t)a->rows * sizeof *lse_T);
    for (int64_t i = 0; i < l.n; i++) {
        l.state[i] = (csi_loss_row){.largest = -INFINITY};
    }
    CS_TRY(run_blocks(backend, &l));
    for (int64_t i = 0; i < l.n; i++) {
        const csi_loss_row *row = &l.state[i];
        const int32_t t = l.row[i];

        lse_T[t] = row->largest + logf(row->total);
        nll_T[t] = lse_T[t] - l.picked[i];
        *a->loss_sum += (double)nll_T[t];
        if (a->n_correct != NULL && row->best == a->label_T[t]) {
            *a->n_correct += 1;
        }
    }
    return CS_OK;
}

/* Rows without a label get zeros. */
static void store_dx(const loss *l)
{
    const cs_head_loss_args *a = l->a;
    const int64_t in = a->in;
    const size_t row_bytes = (size_t)in * csi_cpu_dtype_bytes(l->is_bf16);
    int64_t i = 0;

    for (int64_t t = 0; t < a->rows; t++) {
        void *dx = (char *)l->back->dx_TI + (size_t)t * row_bytes;

        if (a->label_T[t] < 0) {
            memset(dx, 0, row_bytes);
            continue;
        }
        l->kernels->cast(false, l->dx_NI + i * in, l->is_bf16, dx, 0, in);
        i++;
    }
}

static cs_status head_loss_backward(cs_backend *backend,
                                    const cs_head_loss_backward_args *args)
{
    const cs_head_loss_args *a = &args->forward;
    loss l = {.a = a, .back = args};

    if (!csi_cpu_is_ours(a->dtype)) {
        return csi_cpu_state_of(backend)->ref.head_loss_backward(backend, args);
    }
    CS_TRY(start(backend, &l));
    if (l.n > 0) {
        memset(l.dx_NI, 0, (size_t)(l.n * a->in) * sizeof *l.dx_NI);
    }
    CS_TRY(run_blocks(backend, &l));
    if (args->dx_TI != NULL) {
        store_dx(&l);
    }
    return CS_OK;
}

void csi_cpu_fill_loss(cs_op_table *ops)
{
    ops->head_loss = head_loss;
    ops->head_loss_backward = head_loss_backward;
}
