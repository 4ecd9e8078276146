/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How files hold parameters. In memory a weight is [out, in] and a fused one
 * has its parts one after the other; some families store the transpose, deal
 * the rows of a fused product out by head, or keep experts apart. Each of these
 * is a permutation of elements, so one walk serves both directions.
 */
#include "cornstarch/param.h"

#include "base/str.h"

#include <string.h>

int32_t cs_param_file_count(const cs_param *param)
{
    return param->layout == CS_LAYOUT_EXPERTS ? (int32_t)param->shape.dim[0]
                                              : 1;
}

cs_status cs_param_file_tensor(const cs_param *param, int32_t index, char *name,
                               size_t name_bytes, cs_shape *shape)
{
    const char *const mark =
        param->layout == CS_LAYOUT_EXPERTS ? strchr(param->name, '*') : NULL;
    cs_shape s = param->shape;

    if (mark != NULL) {
        CS_TRY(csi_format(name, name_bytes, "%.*s%d%s",
                          (int)(mark - param->name), param->name, index,
                          mark + 1));
    } else {
        CS_TRY(csi_format(name, name_bytes, "%s", param->name));
    }
    if (param->layout == CS_LAYOUT_TRANSPOSED) {
        s.dim[0] = param->shape.dim[1];
        s.dim[1] = param->shape.dim[0];
    } else if (param->layout == CS_LAYOUT_EXPERTS) {
        s.n_dims--;
        memmove(s.dim, s.dim + 1, (size_t)s.n_dims * sizeof s.dim[0]);
        s.dim[s.n_dims] = 0;
    }
    *shape = s;
    return CS_OK;
}

/* One way or the other between a file's tensor and its part of the memory. */
typedef struct copy {
    char *memory, *stored;
    size_t element_bytes;
    bool to_file;
} copy;

static void move(const copy *c, int64_t at_memory, int64_t at_stored,
                 int64_t count)
{
    char *memory = c->memory + (size_t)at_memory * c->element_bytes;
    char *stored = c->stored + (size_t)at_stored * c->element_bytes;

    memcpy(c->to_file ? stored : memory, c->to_file ? memory : stored,
           (size_t)count * c->element_bytes);
}

static void move_transposed(const copy *c, const cs_shape *shape)
{
    const int64_t out = shape->dim[0];
    const int64_t in = shape->dim[1];

    for (int64_t o = 0; o < out; o++) {
        for (int64_t i = 0; i < in; i++) {
            move(c, o * in + i, i * out + o, 1);
        }
    }
}

/* Rows of a stored group: the queries of one key/value head, its key, its
 * value. */
static void move_groups(const copy *c, const cs_layer *l, int64_t columns)
{
    const int64_t head = (int64_t)l->head_dim * columns;
    const int64_t queries = l->heads / l->kv_heads;

    for (int64_t g = 0; g < l->kv_heads; g++) {
        const int64_t group = g * (queries + 2) * head;
        move(c, g * queries * head, group, queries * head);
        move(c, (l->heads + g) * head, group + queries * head, head);
        move(c, (l->heads + l->kv_heads + g) * head,
             group + (queries + 1) * head, head);
    }
}

static void move_tensor(const cs_graph *graph, const cs_param *p, int32_t index,
                        copy c)
{
    const int64_t count = cs_shape_count(&p->shape);

    switch (p->layout) {
    case CS_LAYOUT_PLAIN:
        move(&c, 0, 0, count);
        break;
    case CS_LAYOUT_TRANSPOSED:
        move_transposed(&c, &p->shape);
        break;
    case CS_LAYOUT_QKV_GROUPS:
        move_groups(&c, &graph->modules[p->module].layers[p->layer],
                    count / p->shape.dim[0]);
        break;
    case CS_LAYOUT_EXPERTS:
        move(&c, index * (count / p->shape.dim[0]), 0, count / p->shape.dim[0]);
        break;
    }
}

void cs_param_from_file(const cs_graph *graph, const cs_param *param,
                        int32_t index, size_t element_bytes, const void *stored,
                        void *memory)
{
    move_tensor(graph, param, index,
                (copy){.memory = memory,
                       .stored = (char *)(uintptr_t)stored,
                       .element_bytes = element_bytes});
}

void cs_param_to_file(const cs_graph *graph, const cs_param *param,
                      int32_t index, size_t element_bytes, const void *memory,
                      void *stored)
{
    move_tensor(graph, param, index,
                (copy){.memory = (char *)(uintptr_t)memory,
                       .stored = stored,
                       .element_bytes = element_bytes,
                       .to_file = true});
}
