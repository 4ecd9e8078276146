/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of weights -> one folder, every tensor under its part's prefix, byte
 * for byte. Maps are read once; nothing is held in memory. */
#include "cornstarch/checkpoint.h"
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/str.h"

#include "shards.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    ZERO_BYTES = 1 << 16
};

/* A tensor of a part, with the bytes of rows that are put behind it. */
typedef struct merged {
    const cs_safetensor *tensor;
    const char *name;
    cs_shape shape;
    int64_t n_bytes;
} merged;

typedef struct merger {
    const cs_merge_options *o;
    csi_arena arena; /* names */
    cs_safetensors **files;
    merged *list;
    int64_t n;
    uint8_t *zeros; /* [ZERO_BYTES] */
} merger;

/* Wider types first, as the file wants it; else by name. */
static int compare_merged(const void *a, const void *b)
{
    const merged *x = a;
    const merged *y = b;
    const size_t x_bytes = cs_dtype_bytes(x->tensor->dtype);
    const size_t y_bytes = cs_dtype_bytes(y->tensor->dtype);

    if (x_bytes != y_bytes) {
        return x_bytes > y_bytes ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static cs_status open_files(merger *m)
{
    int64_t n = 0;

    m->files = csi_calloc((size_t)m->o->n_parts, sizeof(cs_safetensors *));
    CS_CHECK(m->files != NULL, CS_ERR_NOMEM, "merge");
    for (int32_t k = 0; k < m->o->n_parts; k++) {
        CS_TRY(cs_safetensors_open_folder(m->o->parts[k].folder, &m->files[k]));
        n += cs_safetensors_count(m->files[k]);
    }
    m->list = csi_calloc((size_t)n + 1, sizeof *m->list);
    m->zeros = csi_calloc(ZERO_BYTES, 1);
    CS_CHECK(m->list != NULL && m->zeros != NULL, CS_ERR_NOMEM,
             "merge of %" PRId64 " tensors", n);
    return CS_OK;
}

static bool is_padded(const cs_merge_options *o, const char *name)
{
    for (int32_t i = 0; i < o->n_padded; i++) {
        if (strcmp(o->padded[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static cs_status add_tensor(merger *m, const char *prefix,
                            const cs_safetensor *tensor)
{
    merged *e = &m->list[m->n++];
    csi_str name = {0};

    CS_CHECK(tensor->dtype != CS_DTYPE_COUNT, CS_ERR_UNSUPPORTED,
             "unsupported: %s: tensor '%s' has dtype '%s'", tensor->path,
             tensor->name, tensor->dtype_name);
    csi_str_addf(&name, "%s%s", prefix, tensor->name);
    e->name = csi_arena_strdup(&m->arena, csi_str_get(&name));
    const bool failed = name.failed || e->name == NULL;

    csi_str_fini(&name);
    CS_CHECK(!failed, CS_ERR_NOMEM, "merge of %s", tensor->name);
    e->tensor = tensor;
    e->shape = tensor->shape;
    if (is_padded(m->o, e->name)) {
        CS_CHECK(e->shape.n_dims > 0 && e->shape.dim[0] <= m->o->padded_rows,
                 CS_ERR_SHAPE, "%s: tensor '%s' has more than %" PRId64 " rows",
                 tensor->path, tensor->name, m->o->padded_rows);
        e->shape.dim[0] = m->o->padded_rows;
    }
    return cs_shape_bytes(&e->shape, tensor->dtype, &e->n_bytes);
}

static cs_status list_tensors(merger *m)
{
    for (int32_t k = 0; k < m->o->n_parts; k++) {
        for (int64_t i = 0; i < cs_safetensors_count(m->files[k]); i++) {
            CS_TRY(add_tensor(m, m->o->parts[k].prefix,
                              cs_safetensors_at(m->files[k], i)));
        }
    }
    qsort(m->list, (size_t)m->n, sizeof *m->list, compare_merged);
    return CS_OK;
}

static cs_status write_tensor(void *context, int64_t i,
                              cs_safetensors_writer *file)
{
    const merger *m = context;
    const merged *e = &m->list[i];

    CS_TRY(cs_safetensors_writer_write(file, e->name, e->tensor->data,
                                       e->tensor->n_bytes));
    for (int64_t left = e->n_bytes - e->tensor->n_bytes; left > 0;) {
        const int64_t n = left < ZERO_BYTES ? left : ZERO_BYTES;
        CS_TRY(cs_safetensors_writer_write(file, e->name, m->zeros, n));
        left -= n;
    }
    return CS_OK;
}

static cs_status write_all(merger *m, const char *folder)
{
    csi_shard_tensor *tensors = csi_calloc((size_t)m->n + 1, sizeof *tensors);

    CS_CHECK(tensors != NULL, CS_ERR_NOMEM, "%s: out of memory", folder);
    for (int64_t i = 0; i < m->n; i++) {
        tensors[i] = (csi_shard_tensor){
            .name = m->list[i].name,
            .dtype = m->list[i].tensor->dtype,
            .shape = m->list[i].shape,
            .n_bytes = m->list[i].n_bytes,
        };
    }
    const cs_status st = csi_shards_write(tensors, m->n, m->o->max_shard_bytes,
                                          folder, write_tensor, m);

    csi_free(tensors);
    CS_TRY(st);
    return CS_OK;
}

cs_status cs_weights_merge(const cs_merge_options *options, const char *folder)
{
    merger m = {.o = options};
    cs_status st = CS_OK;

    csi_arena_init(&m.arena, 0);
    CS_TRY_GOTO(done, open_files(&m));
    CS_TRY_GOTO(done, list_tensors(&m));
    CS_TRY_GOTO(done, write_all(&m, folder));
done:
    for (int32_t k = 0; m.files != NULL && k < options->n_parts; k++) {
        cs_safetensors_close(&m.files[k]);
    }
    csi_free(m.files);
    csi_free(m.list);
    csi_free(m.zeros);
    csi_arena_fini(&m.arena);
    return st;
}
