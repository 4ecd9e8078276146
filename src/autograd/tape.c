/* SPDX-License-Identifier: Apache-2.0 */
/* The tape object: arenas, values, records, layer borders. */
#include "base/alloc.h"

#include "record.h"

#include <string.h>

cs_status cs_tape_create(cs_backend *backend, struct csi_arena *workspace,
                         cs_dtype dtype, cs_tape **out)
{
    cs_tape *tape = csi_calloc(1, sizeof *tape);

    CS_CHECK(tape != NULL, CS_ERR_NOMEM, "tape");
    tape->backend = backend;
    tape->workspace = workspace;
    tape->dtype = dtype;
    tape->real = cs_real_dtype(dtype);
    tape->is_training = true;
    csi_arena_init(&tape->saved, 0);
    csi_arena_init(&tape->deferred, 0);
    csi_arena_init(&tape->book, 0);
    *out = tape;
    return CS_OK;
}

void cs_tape_destroy(cs_tape **tape)
{
    if (*tape == NULL) {
        return;
    }
    csi_arena_fini(&(*tape)->saved);
    csi_arena_fini(&(*tape)->deferred);
    csi_arena_fini(&(*tape)->book);
    csi_free(*tape);
    *tape = NULL;
}

void cs_tape_reset(cs_tape *tape, bool is_training)
{
    csi_arena_reset(&tape->saved);
    csi_arena_reset(&tape->deferred);
    csi_arena_reset(&tape->book);
    tape->last = NULL;
    tape->n_records = 0;
    tape->is_training = is_training;
}

cs_backend *cs_tape_backend(const cs_tape *tape)
{
    return tape->backend;
}

cs_dtype cs_tape_dtype(const cs_tape *tape)
{
    return tape->dtype;
}

bool cs_tape_is_training(const cs_tape *tape)
{
    return tape->is_training;
}

size_t cs_tape_saved_bytes(const cs_tape *tape)
{
    return tape->saved.live_bytes;
}

size_t cs_tape_deferred_bytes(const cs_tape *tape)
{
    return tape->deferred.live_bytes;
}

int64_t cs_tape_records(const cs_tape *tape)
{
    return tape->n_records;
}

cs_status cs_tape_alloc(cs_tape *tape, cs_keep keep, size_t n_bytes, void **out)
{
    csi_arena *arena = keep == CS_KEEP_TEMP    ? tape->workspace
                       : keep == CS_KEEP_SAVED ? &tape->saved
                                               : &tape->deferred;
    void *p = csi_arena_alloc(arena, n_bytes);

    CS_CHECK(p != NULL, CS_ERR_NOMEM, "%zu bytes of activations", n_bytes);
    *out = p;
    return CS_OK;
}

static cs_status new_value(cs_tape *tape, cs_value **out)
{
    *out = csi_arena_calloc(&tape->book, sizeof **out);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "tape value");
    return CS_OK;
}

cs_status cs_tape_input(cs_tape *tape, cs_tensor t, bool needs_grad,
                        cs_value **out)
{
    CS_CHECK(t.dtype == tape->dtype, CS_ERR_DTYPE,
             "tape input: wanted %s, got %s", cs_dtype_name(tape->dtype),
             cs_dtype_name(t.dtype));
    CS_TRY(new_value(tape, out));
    (*out)->t = t;
    (*out)->where = CS_KEEP_PRODUCT;
    (*out)->needs_grad = needs_grad && tape->is_training;
    (*out)->defers_grad = (*out)->needs_grad;
    return CS_OK;
}

cs_status cs_tape_value(cs_tape *tape, int64_t rows, int64_t columns,
                        cs_keep keep, cs_value **out)
{
    cs_value *value = NULL;
    void *data = NULL;
    const size_t n_bytes =
        (size_t)rows * (size_t)columns * cs_dtype_bytes(tape->dtype);

    keep = tape->is_training ? keep : CS_KEEP_TEMP;
    CS_TRY(new_value(tape, &value));
    CS_TRY(cs_tape_alloc(tape, keep, n_bytes, &data));
    value->t = cs_tensor_2d(data, tape->dtype, rows, columns);
    value->where = keep;
    *out = value;
    return CS_OK;
}

cs_status csi_tape_record(cs_tape *tape, csi_record_kind kind, csi_record **out)
{
    csi_record *record = csi_arena_calloc(&tape->book, sizeof *record);

    CS_CHECK(record != NULL, CS_ERR_NOMEM, "tape record");
    record->kind = kind;
    record->previous = tape->last;
    tape->last = record;
    tape->n_records++;
    *out = record;
    return CS_OK;
}

void cs_tape_begin(cs_tape *tape)
{
    tape->base = csi_arena_save(tape->workspace);
}

cs_status cs_tape_layer_begin(cs_tape *tape, cs_value *x)
{
    csi_record *record = NULL;

    if (x != NULL && x->needs_grad) {
        CS_TRY(csi_tape_record(tape, CSI_RECORD_LAYER, &record));
        record->x = x;
    }
    return CS_OK;
}

cs_status csi_tape_to_front(cs_tape *tape, void **data, size_t n_bytes)
{
    void *front = NULL;

    csi_arena_rewind(tape->workspace, tape->base);
    if (*data != NULL) {
        CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP, n_bytes, &front));
        memmove(front, *data, n_bytes);
        *data = front;
    }
    return CS_OK;
}

cs_status cs_tape_layer_end(cs_tape *tape, cs_value *x)
{
    if (x->where == CS_KEEP_TEMP) {
        CS_TRY(csi_tape_to_front(tape, &x->t.data, cs_tensor_bytes(&x->t)));
    } else {
        csi_arena_rewind(tape->workspace, tape->base);
    }
    return CS_OK;
}

cs_status csi_tape_require_kept(const cs_value *x, cs_keep least,
                                const char *what)
{
    CS_CHECK(x->where >= least, CS_ERR_INTERNAL,
             "%s is needed by backward but was not kept", what);
    return CS_OK;
}

cs_status csi_tape_grad_buffer(cs_tape *tape, cs_value *x, bool *accumulate)
{
    *accumulate = x->grad != NULL;
    if (x->grad == NULL) {
        x->grad_where = x->defers_grad ? CS_KEEP_PRODUCT : CS_KEEP_TEMP;
        CS_TRY(cs_tape_alloc(tape, x->grad_where, cs_tensor_bytes(&x->t),
                             &x->grad));
    }
    return CS_OK;
}

cs_status csi_tape_only_grad_buffer(cs_tape *tape, cs_value *x,
                                    const char *what)
{
    bool accumulate = false;

    CS_CHECK(x->grad == NULL, CS_ERR_INTERNAL,
             "backward: %s may have one reader, it has more", what);
    return csi_tape_grad_buffer(tape, x, &accumulate);
}
