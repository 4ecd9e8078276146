/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of the optimizer, the norm of gradients and casts. */
#include "op_case.h"
#include "test.h"

/* --- adamw: two parameters; a working copy where the dtype is bf16 ------- */

enum {
    ADAMW_MASTER,
    ADAMW_M,
    ADAMW_V,
    ADAMW_GRAD,
    ADAMW_MASTER_OUT,
    ADAMW_M_OUT,
    ADAMW_V_OUT,
    ADAMW_WORKING
};

void op_adamw_layout(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;

    op_in(r, ADAMW_MASTER, r->real, n);
    op_in(r, ADAMW_M, r->real, n);
    op_in(r, ADAMW_V, r->real, n);
    r->array[ADAMW_V].is_uniform = true; /* a mean of squares: positive */
    r->array[ADAMW_V].fill = 0.5;
    op_in(r, ADAMW_GRAD, r->real, n);
    op_out(r, ADAMW_MASTER_OUT, r->real, n);
    op_out(r, ADAMW_M_OUT, r->real, n);
    op_out(r, ADAMW_V_OUT, r->real, n);
    if (r->dtype == CS_BF16) {
        op_out(r, ADAMW_WORKING, CS_BF16, n);
    }
}

static void *element(const op_run *r, int id, int64_t i)
{
    return (char *)r->array[id].data +
           (size_t)i * cs_dtype_bytes(r->array[id].dtype);
}

static cs_adamw_item item(const op_run *r, int64_t begin, int64_t end)
{
    return (cs_adamw_item){
        .count = end - begin,
        .master = element(r, ADAMW_MASTER_OUT, begin),
        .m = element(r, ADAMW_M_OUT, begin),
        .v = element(r, ADAMW_V_OUT, begin),
        .grad = element(r, ADAMW_GRAD, begin),
        .working =
            r->dtype == CS_BF16 ? element(r, ADAMW_WORKING, begin) : NULL,
        .learning_rate = begin == 0 ? 1e-2 : 3e-3,
        .weight_decay = begin == 0 ? 0.1 : 0.0,
    };
}

cs_status op_adamw_run(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;
    const cs_adamw_item items[] = {item(r, 0, n / 3), item(r, n / 3, n)};
    const cs_adamw_args args = {
        .dtype = r->real,
        .n_items = 2,
        .items = items,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .eps = 1e-8,
        .grad_scale = 0.5,
        .step = 3,
    };

    op_copy(r, ADAMW_MASTER_OUT, ADAMW_MASTER);
    op_copy(r, ADAMW_M_OUT, ADAMW_M);
    op_copy(r, ADAMW_V_OUT, ADAMW_V);
    CS_TRY(r->backend->ops.adamw(r->backend, &args));
    return CS_OK;
}

/* --- sum of squares ------------------------------------------------------- */

enum {
    SQUARES_X,
    SQUARES_SUM
};

void op_sum_squares_layout(op_run *r)
{
    op_in(r, SQUARES_X, r->real, r->c->rows * r->c->in);
    op_out(r, SQUARES_SUM, CS_F64, 1);
}

cs_status op_sum_squares_run(op_run *r)
{
    CS_TRY(r->backend->ops.sum_squares(r->backend, r->real,
                                       r->array[SQUARES_X].data,
                                       r->array[SQUARES_X].n,
                                       r->array[SQUARES_SUM].data));
    return CS_OK;
}

/* --- cast: from the dtype to each float type and back --------------------- */

enum {
    CAST_X,
    CAST_F32,
    CAST_F64,
    CAST_BF16,
    CAST_F16,
    CAST_BACK
};

void op_cast_layout(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;

    op_in(r, CAST_X, r->dtype, n);
    op_out(r, CAST_F32, CS_F32, n);
    op_out(r, CAST_F64, CS_F64, n);
    op_out(r, CAST_BF16, CS_BF16, n);
    op_out(r, CAST_F16, CS_F16, n);
    op_out(r, CAST_BACK, r->dtype, n);
}

cs_status op_cast_run(op_run *r)
{
    const int64_t n = r->c->rows * r->c->in;

    for (int to = CAST_F32; to <= CAST_F16; to++) {
        CS_TRY(r->backend->ops.cast(r->backend, r->dtype, r->array[CAST_X].data,
                                    r->array[to].dtype, r->array[to].data, n));
    }
    CS_TRY(r->backend->ops.cast(r->backend, CS_F16, r->array[CAST_F16].data,
                                r->dtype, r->array[CAST_BACK].data, n));
    return CS_OK;
}
