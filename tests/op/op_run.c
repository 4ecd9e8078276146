/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, filling and comparing for the cases of op_case.h. */
#include "base/rng.h"

#include "op_case.h"
#include "test.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *op_case_name(const op_case *c, char text[160])
{
    (void)snprintf(text, 160,
                   "%s %" PRId64 "x%" PRId64 "x%" PRId64 " heads %" PRId32
                   "/%" PRId32 " stride %" PRId32 " pad %" PRId32
                   " window %" PRId64
                   " cap %g scale %g act %d norm %d policy %s%s%s",
                   op_kinds[c->op].name, c->rows, c->in, c->out, c->heads,
                   c->kv_heads, c->stride, c->pad, c->window, c->softcap,
                   c->scale, (int)c->activation, (int)c->norm,
                   cs_mask_policy_name(c->policy),
                   c->accumulate ? " accumulate" : "",
                   c->option ? " option" : "");
    return text;
}

void *op_alloc(op_run *r, size_t n_bytes)
{
    void *p = csi_arena_calloc(&r->arena, n_bytes);

    assert_non_null(p);
    return p;
}

int64_t op_draw(const op_run *r, int64_t stream, int64_t i, int64_t below)
{
    return (int64_t)csi_rng_below(r->seed, (uint64_t)(1000 + stream),
                                  (uint64_t)i, (uint64_t)below);
}

static void add(op_run *r, int id, const op_array *array)
{
    assert_true(id < OP_MAX_ARRAYS && r->array[id].role == ROLE_NONE);
    r->array[id] = *array;
    r->array[id].value = op_alloc(r, (size_t)array->n * sizeof(double));
    r->array[id].data =
        op_alloc(r, (size_t)array->n * cs_dtype_bytes(array->dtype));
}

void op_in(op_run *r, int id, cs_dtype dtype, int64_t n)
{
    add(r, id, &(op_array){.role = ROLE_IN, .dtype = dtype, .n = n});
}

void op_out(op_run *r, int id, cs_dtype dtype, int64_t n)
{
    add(r, id, &(op_array){.role = ROLE_OUT, .dtype = dtype, .n = n});
}

void op_cotangent(op_run *r, int id, int of)
{
    add(r, id,
        &(op_array){.role = ROLE_COTANGENT,
                    .of = of,
                    .dtype = r->array[of].dtype,
                    .n = r->array[of].n});
}

void op_gradient(op_run *r, int id, int of, cs_dtype dtype, bool adds)
{
    add(r, id,
        &(op_array){.role = ROLE_GRADIENT,
                    .of = of,
                    .dtype = dtype,
                    .n = r->array[of].n,
                    .adds = adds});
}

int64_t *op_boundaries(op_run *r, int64_t n, int64_t largest)
{
    int64_t *begin = op_alloc(r, (size_t)(n + 1) * sizeof *begin);

    for (int64_t i = 0; i < n; i++) {
        begin[i + 1] = begin[i] + op_draw(r, 1, i, largest + 1);
    }
    return begin;
}

void op_copy(op_run *r, int to, int from)
{
    const op_array *source = &r->array[from];

    if (source->n > 0) {
        memcpy(r->array[to].data, source->data,
               (size_t)source->n * cs_dtype_bytes(source->dtype));
    }
}

static void fill(op_run *r, int id)
{
    op_array *a = &r->array[id];

    for (int64_t i = 0; i < a->n; i++) {
        double x = a->fill;

        if (!a->is_uniform) {
            x = csi_rng_normal(r->seed, (uint64_t)id, (uint64_t)i);
        }
        if (r->round_inputs) {
            x = (double)csi_bf16_to_f32(csi_f32_to_bf16((float)x));
        }
        a->value[i] = x;
    }
}

void op_run_begin(op_run *r, const op_case *c, cs_backend *backend,
                  cs_dtype dtype, bool round_inputs)
{
    char name[160];

    memset(r, 0, sizeof *r);
    r->c = c;
    r->seed = csi_hash64(op_case_name(c, name));
    r->backend = backend;
    r->dtype = dtype;
    r->real = cs_real_dtype(dtype);
    r->with_backward = op_kinds[c->op].has_backward;
    r->round_inputs = round_inputs;
    csi_arena_init(&r->arena, 0);
    op_kinds[c->op].layout(r);
    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        fill(r, id);
    }
}

void op_run_end(op_run *r)
{
    csi_arena_fini(&r->arena);
}

void op_run_go(op_run *r)
{
    for (int id = 0; id < OP_MAX_ARRAYS; id++) {
        const op_array *a = &r->array[id];

        if (a->role == ROLE_GRADIENT && !r->with_backward) {
            continue;
        }
        for (int64_t i = 0; i < a->n; i++) {
            csi_dtype_set(a->data, a->dtype, i, a->value[i]);
        }
    }
    assert_ok(op_kinds[r->c->op].run(r));
}

double op_array_get(const op_array *a, int64_t i)
{
    return csi_dtype_get(a->data, a->dtype, i);
}

double op_array_error(const op_array *a, const op_array *b)
{
    double largest = 0;
    double error = 0;

    assert_true(a->n == b->n);
    for (int64_t i = 0; i < a->n; i++) {
        const double x = op_array_get(a, i);
        const double y = op_array_get(b, i);

        if (isinf(x) && isinf(y) && (x > 0) == (y > 0)) {
            continue;
        }
        if (!isfinite(x) || !isfinite(y)) {
            return INFINITY;
        }
        error = fmax(error, fabs(x - y));
        largest = fmax(largest, fabs(y));
    }
    return error > 0 && largest > 0 ? error / largest : error;
}
