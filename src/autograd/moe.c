/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forward of a mixture of experts: route, sort the choices by expert, run each
 * expert over its rows, add up by the router's weights. What is kept follows
 * from whose gradients are needed; the rows of x by slot are never kept, the
 * weight half gathers them again.
 */
#include "moe.h"

#include <inttypes.h>

static cs_status check_documents(const cs_tape_moe_args *a, int64_t rows)
{
    CS_CHECK(a->n_documents == 0 ||
                 (a->document_begin != NULL && a->document_labels != NULL),
             CS_ERR_ARG, "moe: a balance loss needs documents and labels");
    for (int32_t d = 0; d < a->n_documents; d++) {
        CS_CHECK(a->document_begin[d] >= 0 &&
                     a->document_begin[d] <= a->document_begin[d + 1] &&
                     a->document_begin[d + 1] <= rows,
                 CS_ERR_SHAPE,
                 "moe: document %" PRId32 " of rows %" PRId64 "..%" PRId64
                 " does not fit %" PRId64 " rows",
                 d, a->document_begin[d], a->document_begin[d + 1], rows);
    }
    return CS_OK;
}

static cs_status check_weight(const cs_weight *w, int64_t experts,
                              int64_t columns, const char *name)
{
    CS_CHECK(cs_tensor_rows(&w->w) == experts &&
                 cs_tensor_columns(&w->w) == columns,
             CS_ERR_SHAPE,
             "moe: %s wanted [%" PRId64 ", %" PRId64 "], got [%" PRId64
             ", %" PRId64 "]",
             name, experts, columns, cs_tensor_rows(&w->w),
             cs_tensor_columns(&w->w));
    return CS_OK;
}

static cs_status check(const cs_tape_moe_args *a, const cs_value *x)
{
    const int64_t rows = cs_tensor_rows(&x->t);
    const int64_t columns = cs_tensor_columns(&x->t);
    const int64_t experts = a->experts;
    const int64_t inner = cs_tensor_columns(&a->gate_w->w);

    CS_CHECK(experts >= 1 && a->top_k >= 1 && a->top_k <= experts, CS_ERR_SHAPE,
             "moe: top_k wanted 1..%" PRId64 ", got %" PRId32, experts,
             a->top_k);
    CS_CHECK(rows <= INT32_MAX / a->top_k, CS_ERR_SHAPE,
             "moe: %" PRId64 " rows of %" PRId32 " choices are too many", rows,
             a->top_k);
    CS_TRY(check_weight(a->router_w, experts, columns, "the router"));
    CS_CHECK(inner > 0 && inner % columns == 0, CS_ERR_SHAPE,
             "moe: a gate of %" PRId64 " elements takes no %" PRId64 " columns",
             inner, columns);
    CS_TRY(check_weight(a->gate_w, experts, inner, "the gates"));
    CS_TRY(check_weight(a->up_w, experts, inner, "the ups"));
    CS_TRY(check_weight(a->down_w, experts, inner, "the downs"));
    if (a->coefficient > 0.0) {
        CS_TRY(check_documents(a, rows));
    }
    return CS_OK;
}

static csi_moe_product product(const cs_weight *w, int64_t in, int64_t out)
{
    return (csi_moe_product){.w = *w, .in = in, .out = out};
}

static cs_status create(cs_tape *tape, const cs_tape_moe_args *a,
                        const cs_value *x, csi_moe **out)
{
    csi_moe *m = csi_arena_calloc(&tape->book, sizeof *m);

    CS_CHECK(m != NULL, CS_ERR_NOMEM, "tape record");
    m->args = *a;
    m->rows = cs_tensor_rows(&x->t);
    m->slots = m->rows * a->top_k;
    m->columns = cs_tensor_columns(&x->t);
    m->hidden = cs_tensor_columns(&a->gate_w->w) / m->columns;
    m->router = *a->router_w;
    m->gate = product(a->gate_w, m->columns, m->hidden);
    m->up = product(a->up_w, m->columns, m->hidden);
    m->down = product(a->down_w, m->hidden, m->columns);
    m->needs_choice = x->needs_grad || csi_tape_trains(tape, &m->router);
    m->needs_hidden = x->needs_grad || csi_tape_trains(tape, &m->gate.w) ||
                      csi_tape_trains(tape, &m->up.w);
    m->needs_out = m->needs_hidden || csi_tape_trains(tape, &m->down.w);
    *out = m;
    return CS_OK;
}

static cs_status alloc_real(cs_tape *tape, cs_keep keep, int64_t count,
                            void **out)
{
    return cs_tape_alloc(tape, keep, (size_t)count * cs_dtype_bytes(tape->real),
                         out);
}

static cs_status alloc_rows(cs_tape *tape, cs_keep keep, int64_t rows,
                            int64_t columns, void **out)
{
    return cs_tape_alloc(tape, keep,
                         (size_t)rows * (size_t)columns *
                             cs_dtype_bytes(tape->dtype),
                         out);
}

static cs_status alloc_choices(cs_tape *tape, csi_moe *m)
{
    const cs_keep choice = m->needs_choice ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    const bool trains_in =
        csi_tape_trains(tape, &m->gate.w) || csi_tape_trains(tape, &m->up.w);
    const bool trains = trains_in || csi_tape_trains(tape, &m->down.w);
    const cs_keep needed =
        m->needs_choice || m->needs_out ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    const size_t index_bytes = (size_t)m->slots * sizeof(int32_t);
    const size_t begin_bytes = ((size_t)m->args.experts + 1) * sizeof(int64_t);
    void *p = NULL;

    CS_TRY(alloc_real(tape, choice, m->rows * m->args.experts, &m->p_TE));
    CS_TRY(alloc_real(tape, needed, m->slots, &m->weight_TK));
    CS_TRY(cs_tape_alloc(tape, choice, index_bytes, &p));
    m->expert_TK = p;
    CS_TRY(cs_tape_alloc(tape, needed, index_bytes, &p));
    m->slot_TK = p;
    CS_TRY(cs_tape_alloc(tape, trains_in ? CS_KEEP_PRODUCT : CS_KEEP_TEMP,
                         index_bytes, &p));
    m->row_S = p;
    CS_TRY(cs_tape_alloc(tape, trains ? CS_KEEP_PRODUCT : needed, begin_bytes,
                         &p));
    m->begin_E = p;
    return CS_OK;
}

static cs_status alloc_experts(cs_tape *tape, csi_moe *m)
{
    const cs_keep inside = m->needs_hidden ? CS_KEEP_SAVED : CS_KEEP_TEMP;
    const cs_keep h =
        csi_tape_trains(tape, &m->down.w) ? CS_KEEP_PRODUCT : CS_KEEP_TEMP;
    const cs_keep out = m->needs_choice ? CS_KEEP_SAVED : CS_KEEP_TEMP;

    CS_TRY(alloc_rows(tape, inside, m->slots, m->hidden, &m->gate_S));
    CS_TRY(alloc_rows(tape, inside, m->slots, m->hidden, &m->up_S));
    CS_TRY(alloc_rows(tape, h, m->slots, m->hidden, &m->h_S));
    CS_TRY(alloc_rows(tape, out, m->slots, m->columns, &m->out_S));
    return CS_OK;
}

static cs_status route(cs_tape *tape, csi_moe *m, const cs_value *x)
{
    void *logits = NULL;

    CS_TRY(alloc_rows(tape, CS_KEEP_TEMP, m->rows, m->args.experts, &logits));
    const cs_linear_args linear = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .in = m->columns,
        .out = m->args.experts,
        .x_TI = x->t.data,
        .w_OI = m->router.w.data,
        .y_TO = logits,
    };
    const cs_route_args args = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .experts = m->args.experts,
        .top_k = m->args.top_k,
        .normalises = m->args.normalises,
        .logits_TE = logits,
        .p_TE = m->p_TE,
        .expert_TK = m->expert_TK,
        .weight_TK = m->weight_TK,
    };

    CS_TRY(cs_op_linear(tape->backend, &linear));
    CS_TRY(cs_op_route(tape->backend, &args));
    return CS_OK;
}

/* Slots by expert, then by row: a counting sort. begin_E[e + 1] counts, then
 * runs from the first to the last slot of e. */
static void sort_choices(csi_moe *m)
{
    const int32_t experts = m->args.experts;
    int64_t total = 0;

    for (int32_t e = 0; e <= experts; e++) {
        m->begin_E[e] = 0;
    }
    for (int64_t i = 0; i < m->slots; i++) {
        m->begin_E[m->expert_TK[i] + 1]++;
    }
    for (int32_t e = 1; e <= experts; e++) {
        const int64_t n = m->begin_E[e];

        m->begin_E[e] = total;
        total += n;
    }
    for (int64_t i = 0; i < m->slots; i++) {
        const int64_t slot = m->begin_E[m->expert_TK[i] + 1]++;

        m->slot_TK[i] = (int32_t)slot;
        m->row_S[slot] = (int32_t)(i / m->args.top_k);
    }
}

cs_status csi_moe_gather(cs_tape *tape, const csi_moe *m, const cs_value *x,
                         void **x_S)
{
    CS_TRY(alloc_rows(tape, CS_KEEP_TEMP, m->slots, m->columns, x_S));
    const cs_gather_args args = {
        .dtype = tape->dtype,
        .rows = m->slots,
        .columns = m->columns,
        .x_rows = m->rows,
        .index_T = m->row_S,
        .x = x->t.data,
        .y_TD = *x_S,
    };
    return cs_op_gather(tape->backend, &args);
}

/* y = x W^T, each expert on its own rows. */
static cs_status run_product(cs_tape *tape, const csi_moe *m,
                             const csi_moe_product *p, const void *x, void *y)
{
    const size_t size = cs_dtype_bytes(tape->dtype);

    for (int32_t e = 0; e < m->args.experts; e++) {
        const int64_t begin = m->begin_E[e];
        const cs_linear_args args = {
            .dtype = tape->dtype,
            .rows = m->begin_E[e + 1] - begin,
            .in = p->in,
            .out = p->out,
            .x_TI = (const char *)x + (size_t)(begin * p->in) * size,
            .w_OI = cs_tensor_row_view(&p->w.w, e, e + 1).data,
            .y_TO = (char *)y + (size_t)(begin * p->out) * size,
        };
        CS_TRY(cs_op_linear(tape->backend, &args));
    }
    return CS_OK;
}

static cs_status run_experts(cs_tape *tape, const csi_moe *m, const cs_value *x)
{
    const cs_gated_args gated = {
        .dtype = tape->dtype,
        .count = m->slots * m->hidden,
        .activation = m->args.activation,
        .gate = m->gate_S,
        .up = m->up_S,
        .y = m->h_S,
    };
    void *x_S = NULL;

    CS_TRY(csi_moe_gather(tape, m, x, &x_S));
    CS_TRY(run_product(tape, m, &m->gate, x_S, m->gate_S));
    CS_TRY(run_product(tape, m, &m->up, x_S, m->up_S));
    CS_TRY(cs_op_gated(tape->backend, &gated));
    CS_TRY(run_product(tape, m, &m->down, m->h_S, m->out_S));
    return CS_OK;
}

static cs_status combine(cs_tape *tape, const csi_moe *m, void *y)
{
    const cs_mix_args args = {
        .dtype = tape->dtype,
        .rows = m->rows,
        .columns = m->columns,
        .x_rows = m->slots,
        .k = m->args.top_k,
        .index_TK = m->slot_TK,
        .weight_TK = m->weight_TK,
        .x = m->out_S,
        .y_TD = y,
    };
    return cs_op_mix(tape->backend, &args);
}

static cs_status record_moe(cs_tape *tape, csi_moe *m, cs_value *x, cs_value *y)
{
    csi_record *record = NULL;

    if (csi_tape_trains(tape, &m->router) ||
        csi_tape_trains(tape, &m->gate.w) || csi_tape_trains(tape, &m->up.w)) {
        CS_TRY(csi_tape_require_kept(x, CS_KEEP_PRODUCT,
                                     "the input of trainable experts"));
    }
    CS_TRY(csi_tape_record(tape, CSI_RECORD_MOE, &record));
    record->x = x;
    record->y = y;
    record->u.moe = m;
    y->needs_grad = true;
    return CS_OK;
}

cs_status cs_tape_moe(cs_tape *tape, const cs_tape_moe_args *args, cs_value *x,
                      cs_keep keep, cs_value **y)
{
    csi_moe *m = NULL;
    cs_value *value = NULL;

    CS_TRY(check(args, x));
    CS_TRY(create(tape, args, x, &m));
    CS_TRY(cs_tape_value(tape, m->rows, m->columns, keep, &value));
    const csi_arena_mark mark = csi_arena_save(tape->workspace);
    CS_TRY(alloc_choices(tape, m));
    CS_TRY(alloc_experts(tape, m));
    CS_TRY(route(tape, m, x));
    sort_choices(m);
    CS_TRY(run_experts(tape, m, x));
    CS_TRY(combine(tape, m, value->t.data));
    if (args->coefficient > 0.0 && args->balance_sum != NULL) {
        CS_TRY(csi_moe_add_balance(tape, m, args->balance_sum));
    }
    csi_arena_rewind(tape->workspace, mark);
    if (m->needs_choice || m->needs_out) {
        CS_TRY(record_moe(tape, m, x, value));
    }
    *y = value;
    return CS_OK;
}
