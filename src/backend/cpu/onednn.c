/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oneDNN behind two functions. A primitive costs a hundred microseconds to
 * make and one to find in oneDNN's own cache, so ours are kept per shape in a
 * bounded table; a collision replaces the older one. Scratchpads are ours
 * (user mode): several ranks may run side by side. Results are collected in
 * f32 blocks of rows and ended by our own epilogue, so that every product
 * rounds in one place.
 */
#include "onednn.h"

#include "base/alloc.h"
#include "base/checked.h"

#include <inttypes.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

enum {
    N_ENTRIES = 256,
    BLOCK_FLOATS = 256 * 1024, /* of f32 results between product and epilogue */
    MIN_BLOCK_ROWS = 64,
    N_ARGS = 4
};

/* What a primitive was made for. */
typedef struct shape_key {
    int64_t m, n, k, lda, ldb;
    int64_t a_inner, b_inner;
} shape_key;

typedef struct entry {
    shape_key key;
    dnnl_primitive_t primitive; /* owned; NULL = free */
    dnnl_memory_t a, b, c, pad; /* owned; handles are set at each call */
    size_t pad_bytes;
} entry;

struct csi_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attributes;
    void *pad; /* owned: the largest scratchpad so far */
    size_t pad_bytes;
    entry entries[N_ENTRIES];
};

static cs_status check(dnnl_status_t status, const char *what)
{
    CS_CHECK(status == dnnl_success,
             status == dnnl_out_of_memory ? CS_ERR_NOMEM : CS_ERR_DEVICE,
             "onednn: %s: status %d", what, (int)status);
    return CS_OK;
}

static void clear_entry(entry *e)
{
    dnnl_memory_t memories[N_ARGS] = {e->a, e->b, e->c, e->pad};

    for (size_t i = 0; i < N_ARGS; i++) {
        if (memories[i] != NULL) {
            (void)dnnl_memory_destroy(memories[i]);
        }
    }
    if (e->primitive != NULL) {
        (void)dnnl_primitive_destroy(e->primitive);
    }
    memset(e, 0, sizeof *e);
}

cs_status csi_onednn_create(csi_onednn **out)
{
    cs_status st = CS_OK;
    csi_onednn *o = csi_calloc(1, sizeof *o);

    CS_CHECK(o != NULL, CS_ERR_NOMEM, "onednn");
    CS_TRY_GOTO(undo,
                check(dnnl_engine_create(&o->engine, dnnl_cpu, 0), "engine"));
    CS_TRY_GOTO(undo, check(dnnl_stream_create(&o->stream, o->engine,
                                               dnnl_stream_default_flags),
                            "stream"));
    CS_TRY_GOTO(undo,
                check(dnnl_primitive_attr_create(&o->attributes), "attr"));
    CS_TRY_GOTO(undo, check(dnnl_primitive_attr_set_scratchpad_mode(
                                o->attributes, dnnl_scratchpad_mode_user),
                            "scratchpad mode"));
    *out = o;
    return CS_OK;

undo:
    csi_onednn_destroy(&o);
    return st;
}

void csi_onednn_destroy(csi_onednn **onednn)
{
    csi_onednn *o = *onednn;

    if (o == NULL) {
        return;
    }
    for (size_t i = 0; i < N_ENTRIES; i++) {
        clear_entry(&o->entries[i]);
    }
    if (o->attributes != NULL) {
        (void)dnnl_primitive_attr_destroy(o->attributes);
    }
    if (o->stream != NULL) {
        (void)dnnl_stream_destroy(o->stream);
    }
    if (o->engine != NULL) {
        (void)dnnl_engine_destroy(o->engine);
    }
    csi_free(o->pad);
    csi_free(o);
    *onednn = NULL;
}

void csi_onednn_version(char *text, size_t n_bytes)
{
    const dnnl_version_t *v = dnnl_version();

    (void)snprintf(text, n_bytes, "%d.%d.%d", v->major, v->minor, v->patch);
}

/* ---- primitives ---- */

static cs_status describe(dnnl_memory_desc_t *out, int64_t rows,
                          int64_t columns, int64_t row_step,
                          int64_t column_step, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t steps = {row_step, column_step};

    return check(dnnl_memory_desc_init_by_strides(out, 2, dims, type, steps),
                 "memory descriptor");
}

/* The memory objects around a made primitive. */
static cs_status add_memories(const csi_onednn *o, entry *e,
                              const dnnl_memory_desc_t desc[N_ARGS])
{
    dnnl_memory_t *const memories[N_ARGS] = {&e->a, &e->b, &e->c, &e->pad};

    for (size_t i = 0; i < N_ARGS; i++) {
        CS_TRY(check(dnnl_memory_create(memories[i], &desc[i], o->engine,
                                        DNNL_MEMORY_NONE),
                     "memory"));
    }
    e->pad_bytes = dnnl_memory_desc_get_size(&desc[N_ARGS - 1]);
    return CS_OK;
}

static cs_status make_entry(const csi_onednn *o, const shape_key *key, entry *e)
{
    cs_status st = CS_OK;
    dnnl_memory_desc_t desc[N_ARGS];
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t pd = NULL;
    const int64_t m = key->m;
    const int64_t n = key->n;
    const int64_t k = key->k;

    clear_entry(e);
    CS_TRY(describe(&desc[0], m, k, key->a_inner != 0 ? key->lda : 1,
                    key->a_inner != 0 ? 1 : key->lda, dnnl_bf16));
    CS_TRY(describe(&desc[1], k, n, key->b_inner != 0 ? 1 : key->ldb,
                    key->b_inner != 0 ? key->ldb : 1, dnnl_bf16));
    CS_TRY(describe(&desc[2], m, n, n, 1, dnnl_f32));
    CS_TRY(check(dnnl_matmul_desc_init(&matmul, &desc[0], &desc[1], NULL,
                                       &desc[2]),
                 "matmul descriptor"));
    CS_TRY(check(dnnl_primitive_desc_create(&pd, &matmul, o->attributes,
                                            o->engine, NULL),
                 "matmul for this shape"));
    CS_TRY_GOTO(undo, check(dnnl_primitive_create(&e->primitive, pd),
                            "matmul primitive"));
    desc[N_ARGS - 1] =
        *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    CS_TRY_GOTO(undo, add_memories(o, e, desc));
    e->key = *key;
    (void)dnnl_primitive_desc_destroy(pd);
    return CS_OK;

undo:
    (void)dnnl_primitive_desc_destroy(pd);
    clear_entry(e);
    return st;
}

static entry *place_of(csi_onednn *o, const shape_key *key)
{
    const int64_t parts[] = {key->m,   key->n,       key->k,      key->lda,
                             key->ldb, key->a_inner, key->b_inner};
    uint64_t hash = 1469598103934665603ULL;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        hash = (hash ^ (uint64_t)parts[i]) * 1099511628211ULL;
        hash ^= hash >> 29;
    }
    return &o->entries[hash % N_ENTRIES];
}

static cs_status find_entry(csi_onednn *o, const shape_key *key, entry **out)
{
    entry *e = place_of(o, key);

    if (e->primitive == NULL || memcmp(&e->key, key, sizeof *key) != 0) {
        CS_TRY(make_entry(o, key, e));
    }
    if (e->pad_bytes > o->pad_bytes) {
        csi_free(o->pad);
        o->pad = csi_aligned(e->pad_bytes);
        o->pad_bytes = o->pad != NULL ? e->pad_bytes : 0;
        CS_CHECK(o->pad != NULL, CS_ERR_NOMEM, "onednn scratchpad");
    }
    *out = e;
    return CS_OK;
}

/* oneDNN takes non-const pointers for inputs too. */
static void *unconst(const void *p)
{
    void *q = NULL;
    memcpy(&q, &p, sizeof q);
    return q;
}

static cs_status execute(csi_onednn *o, const entry *e, const void *a,
                         const void *b, float *c)
{
    const dnnl_exec_arg_t args[N_ARGS] = {
        {DNNL_ARG_SRC, e->a},
        {DNNL_ARG_WEIGHTS, e->b},
        {DNNL_ARG_DST, e->c},
        {DNNL_ARG_SCRATCHPAD, e->pad},
    };

    CS_TRY(check(dnnl_memory_set_data_handle(e->a, unconst(a)), "operand a"));
    CS_TRY(check(dnnl_memory_set_data_handle(e->b, unconst(b)), "operand b"));
    CS_TRY(check(dnnl_memory_set_data_handle(e->c, c), "result"));
    CS_TRY(check(dnnl_memory_set_data_handle(e->pad, o->pad), "scratchpad"));
    CS_TRY(check(dnnl_primitive_execute(e->primitive, o->stream, N_ARGS, args),
                 "matmul"));
    CS_TRY(check(dnnl_stream_wait(o->stream), "wait"));
    return CS_OK;
}

/* ---- products ---- */

static int64_t block_rows(const csi_product *p)
{
    const int64_t rows =
        csi_max_i64(BLOCK_FLOATS / p->n / MIN_BLOCK_ROWS, 1) * MIN_BLOCK_ROWS;

    return csi_min_i64(rows, p->m);
}

size_t csi_onednn_bytes(const csi_onednn *onednn, const csi_product *p)
{
    (void)onednn;
    return (size_t)block_rows(p) * (size_t)p->n * sizeof(float);
}

/* Rows of a block that wait for their epilogue. */
typedef struct end_job {
    const csi_cpu_kernels *kernels;
    const csi_product *p;
    const float *sums;
    int64_t first;
} end_job;

static void end_rows(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const end_job *job = arg;
    const int64_t n = job->p->n;

    (void)thread;
    job->kernels->finish(&job->p->end, job->sums + begin * n, n,
                         job->first + begin, 0, end - begin, n);
}

cs_status csi_onednn_product(cs_backend *backend, csi_onednn *onednn,
                             const csi_product *p, void *work)
{
    const int64_t rows = block_rows(p);
    end_job job = {.kernels = csi_cpu_state_of(backend)->kernels,
                   .p = p,
                   .sums = work};

    omp_set_num_threads(backend->n_threads);
    for (int64_t first = 0; first < p->m; first += rows) {
        const shape_key key = {.m = csi_min_i64(rows, p->m - first),
                               .n = p->n,
                               .k = p->k,
                               .lda = p->a.ld,
                               .ldb = p->b.ld,
                               .a_inner = p->a.depth_inner,
                               .b_inner = p->b.depth_inner};
        const int64_t skip = p->a.depth_inner ? first * p->a.ld : first;
        const uint16_t *a = (const uint16_t *)p->a.data + skip;
        entry *e = NULL;

        CS_TRY(find_entry(onednn, &key, &e));
        CS_TRY(execute(onednn, e, a, p->b.data, work));
        job.first = first;
        csi_cpu_parallel(backend, key.m, key.n, end_rows, &job);
    }
    return CS_OK;
}

cs_status csi_onednn_sgemm(cs_backend *backend, const csi_product *p)
{
    const csi_epilogue *end = &p->end;

    omp_set_num_threads(backend->n_threads);
    CS_TRY(check(dnnl_sgemm(p->a.depth_inner ? 'N' : 'T',
                            p->b.depth_inner ? 'T' : 'N', p->m, p->n, p->k,
                            1.0F, p->a.data, p->a.ld, p->b.data, p->b.ld,
                            end->accumulate ? 1.0F : 0.0F, end->c, end->ldc),
                 "sgemm"));
    return CS_OK;
}
