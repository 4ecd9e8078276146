/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of the input file as arrays; every one of them must mean something
 * to the model. */
#include "base/alloc.h"
#include "base/checked.h"

#include "forward.h"

#include <inttypes.h>
#include <string.h>

cs_status csi_forward_take(csi_arena *arena, int64_t count, size_t size,
                           void *out)
{
    int64_t n_bytes = 0;
    void *block = NULL;

    if (csi_mul_i64(&n_bytes, count + 1, (int64_t)size)) {
        block = csi_arena_calloc(arena, (size_t)n_bytes);
    }
    CS_CHECK(block != NULL, CS_ERR_NOMEM,
             "forward: no memory for %" PRId64 " x %zu bytes", count, size);
    memcpy(out, &block, sizeof block);
    return CS_OK;
}

cs_status csi_forward_floats(const csi_forward_input *input,
                             const cs_safetensor *tensor, int32_t n_dims,
                             float **out)
{
    const int64_t count = cs_shape_count(&tensor->shape);
    float *values = NULL;

    CS_CHECK(tensor->shape.n_dims == n_dims, CS_ERR_SHAPE,
             "%s: tensor '%s': wanted %d dims, got %d", input->path,
             tensor->name, n_dims, tensor->shape.n_dims);
    CS_CHECK(cs_dtype_is_float(tensor->dtype), CS_ERR_DTYPE,
             "%s: tensor '%s': wanted f32, f64, bf16 or f16, got %s",
             input->path, tensor->name, tensor->dtype_name);
    values = csi_aligned((size_t)csi_max_i64(count, 1) * sizeof *values);
    CS_CHECK(values != NULL, CS_ERR_NOMEM, "%s: tensor '%s': out of memory",
             input->path, tensor->name);
    const cs_status st = cs_safetensors_read(tensor, NULL, CS_F32, values);

    if (st != CS_OK) {
        csi_free(values);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    *out = values;
    return CS_OK;
}

cs_status csi_forward_ints(csi_forward_input *input,
                           const cs_safetensor *tensor, int64_t **out)
{
    const int64_t count = cs_shape_count(&tensor->shape);
    int64_t *values = NULL;

    CS_CHECK(tensor->dtype == CS_I64 || tensor->dtype == CS_I32 ||
                 tensor->dtype == CS_U8,
             CS_ERR_DTYPE, "%s: tensor '%s': wanted i64, i32 or u8, got %s",
             input->path, tensor->name, tensor->dtype_name);
    CS_TRY(csi_forward_take(&input->arena, count, sizeof *values, &values));
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *at = (const uint8_t *)tensor->data +
                            (size_t)i * cs_dtype_bytes(tensor->dtype);
        int32_t narrow = 0;
        if (tensor->dtype == CS_I64) {
            memcpy(&values[i], at, sizeof values[i]);
        } else if (tensor->dtype == CS_I32) {
            memcpy(&narrow, at, sizeof narrow);
            values[i] = narrow;
        } else {
            values[i] = *at;
        }
    }
    *out = values;
    return CS_OK;
}

/* One of the language model's tensors, of the shape of input_ids. */
static cs_status read_text(csi_forward_input *in, const cs_shape *shape,
                           const char *name, int64_t **out)
{
    const cs_safetensor *tensor = cs_safetensors_find(in->file, name);

    if (tensor == NULL) {
        return CS_OK;
    }
    if (cs_shape_count(&tensor->shape) == 0 ||
        !cs_shape_equal(&tensor->shape, shape)) {
        char got[CS_SHAPE_TEXT_BYTES];
        char wanted[CS_SHAPE_TEXT_BYTES];
        return CS_FAIL(CS_ERR_SHAPE,
                       "%s: tensor '%s': wanted %s as input_ids, got %s",
                       in->path, name, cs_shape_print(shape, wanted),
                       cs_shape_print(&tensor->shape, got));
    }
    return csi_forward_ints(in, tensor, out);
}

cs_status csi_forward_read_texts(csi_forward_input *in, csi_forward_texts *t)
{
    const cs_safetensor *ids = cs_safetensors_find(in->file, "input_ids");
    char got[CS_SHAPE_TEXT_BYTES];

    CS_CHECK(ids != NULL, CS_ERR_FORMAT, "%s: tensor 'input_ids' is missing",
             in->path);
    CS_CHECK((ids->shape.n_dims == 1 || ids->shape.n_dims == 2) &&
                 cs_shape_count(&ids->shape) > 0 &&
                 cs_shape_count(&ids->shape) <= INT32_MAX,
             CS_ERR_SHAPE,
             "%s: tensor 'input_ids': wanted [T] or [B, T], got %s", in->path,
             cs_shape_print(&ids->shape, got));
    in->is_flat = ids->shape.n_dims == 1;
    in->n_rows = in->is_flat ? 1 : ids->shape.dim[0];
    in->row_tokens = ids->shape.dim[ids->shape.n_dims - 1];
    CS_TRY(read_text(in, &ids->shape, "input_ids", &t->ids));
    CS_TRY(read_text(in, &ids->shape, "labels", &t->labels));
    CS_TRY(read_text(in, &ids->shape, "attention_mask", &t->mask));
    CS_TRY(read_text(in, &ids->shape, "position_ids", &t->position));
    in->has_labels = t->labels != NULL;
    return CS_OK;
}

cs_status csi_forward_check_names(const csi_forward_input *in, bool has_text)
{
    static const char *const TEXT[] = {"input_ids", "labels", "attention_mask",
                                       "position_ids"};
    static const char *const VISION[] = {"pixel_values", "image_sizes",
                                         "image_grid_thw"};
    const int32_t n_encoders = in->graph->n_modules - 1;

    for (int64_t i = 0; i < cs_safetensors_count(in->file); i++) {
        const char *name = cs_safetensors_at(in->file, i)->name;
        bool known = !has_text && strcmp(name, "grad.last_hidden_state") == 0;
        for (size_t k = 0; has_text && k < sizeof TEXT / sizeof TEXT[0]; k++) {
            known = known || strcmp(name, TEXT[k]) == 0;
        }
        for (int32_t e = 0; e < n_encoders; e++) {
            const cs_module *m = &in->graph->modules[e];
            const size_t n = strlen(m->name);
            const bool is_full =
                strncmp(name, m->name, n) == 0 && name[n] == '.';
            const char *tail = is_full ? name + n + 1 : name;
            known = known || (m->modality == CS_MODALITY_AUDIO &&
                              strcmp(tail, "input_features") == 0);
            for (size_t k = 0; k < sizeof VISION / sizeof VISION[0]; k++) {
                known = known || (m->modality == CS_MODALITY_VISION &&
                                  strcmp(tail, VISION[k]) == 0);
            }
        }
        CS_CHECK(known, CS_ERR_ARG,
                 "%s: tensor '%s' means nothing to this model (wanted %s"
                 "<encoder>.pixel_values, image_sizes, image_grid_thw, "
                 "input_features)",
                 in->path, name,
                 has_text ? "input_ids, labels, attention_mask, position_ids, "
                          : "grad.last_hidden_state, ");
    }
    return CS_OK;
}
