/* SPDX-License-Identifier: Apache-2.0 */
/* The results of a forward pass as one file of f32 tensors: gradients in the
 * layout in which their parameters are stored. */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"
#include "base/str.h"

#include "forward.h"

#include <string.h>

enum {
    NAME_BYTES = 768
};

/* The gradient of graph parameter i, from the first set that has it; NULL =
 * it has none (frozen), or is another's (tied). */
static const cs_param_state *find_gradient(const csi_forward_result *r,
                                           const cs_graph *graph, int32_t i)
{
    for (int32_t k = 0; k < r->n_sets && graph->params[i].tied_to < 0; k++) {
        const cs_param_state *item = cs_param_find(r->sets[k], i);
        if (item != NULL && item->grad != NULL) {
            return item;
        }
    }
    return NULL;
}

/* "grad.vision.projector.linear_1.weight", or "grad.model.norm.weight". */
static cs_status name_gradient(const csi_forward_result *r, const cs_param *p,
                               int32_t piece, char name[NAME_BYTES],
                               cs_shape *shape)
{
    const size_t n_module = strlen(p->global_name) - strlen(p->name);
    char own[NAME_BYTES / 2];

    CS_TRY(cs_param_file_tensor(p, piece, own, sizeof own, shape));
    return csi_format(name, NAME_BYTES, "grad.%.*s%s",
                      r->names_modules ? (int)n_module : 0, p->global_name,
                      own);
}

static cs_status declare(const csi_forward_result *r, const cs_graph *graph,
                         cs_safetensors_writer *file, int64_t *n_tensors)
{
    const cs_shape scalar = {0};
    int64_t n = 1;

    CS_TRY(cs_safetensors_writer_add(file, r->states_name, CS_F32,
                                     &r->states_shape));
    if (r->has_loss) {
        CS_TRY(cs_safetensors_writer_add(file, "loss", CS_F32, &scalar));
        n++;
    }
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        const int32_t n_pieces =
            find_gradient(r, graph, i) != NULL ? cs_param_file_count(p) : 0;
        for (int32_t k = 0; k < n_pieces; k++, n++) {
            char name[NAME_BYTES];
            cs_shape shape;
            CS_TRY(name_gradient(r, p, k, name, &shape));
            CS_TRY(cs_safetensors_writer_add(file, name, CS_F32, &shape));
        }
    }
    *n_tensors = n;
    return CS_OK;
}

static cs_status write_gradient(const csi_forward_result *r,
                                const cs_graph *graph,
                                const cs_param_state *item, void *piece,
                                cs_safetensors_writer *file)
{
    const cs_param *p = item->spec;

    for (int32_t k = 0; k < cs_param_file_count(p); k++) {
        char name[NAME_BYTES];
        cs_shape shape;
        CS_TRY(name_gradient(r, p, k, name, &shape));
        cs_param_to_file(graph, p, k, sizeof(float), item->grad, piece);
        CS_TRY(cs_safetensors_writer_write(file, name, piece,
                                           cs_shape_count(&shape) *
                                               (int64_t)sizeof(float)));
    }
    return CS_OK;
}

static cs_status write_data(const csi_forward_result *r, const cs_graph *graph,
                            cs_safetensors_writer *file)
{
    const float loss = (float)r->loss;
    int64_t largest = 1;
    float *piece = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_write(file, r->states_name, r->states,
                                       cs_shape_count(&r->states_shape) *
                                           (int64_t)sizeof(float)));
    if (r->has_loss) {
        CS_TRY(cs_safetensors_writer_write(file, "loss", &loss, sizeof loss));
    }
    for (int32_t i = 0; i < graph->n_params && r->n_sets > 0; i++) {
        const int64_t count = cs_shape_count(&graph->params[i].shape);
        largest = count > largest ? count : largest;
    }
    piece = csi_aligned((size_t)largest * sizeof *piece);
    CS_CHECK(piece != NULL, CS_ERR_NOMEM, "%lld values of a gradient",
             (long long)largest);
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param_state *item = find_gradient(r, graph, i);
        if (item != NULL) {
            CS_TRY_GOTO(done, write_gradient(r, graph, item, piece, file));
        }
    }
done:
    csi_free(piece);
    return st;
}

cs_status csi_forward_write(const csi_forward_result *r, const cs_graph *graph,
                            const char *path, int64_t *n_tensors)
{
    const cs_safetensors_pair metadata = {"format", "pt"};
    cs_safetensors_writer *file = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_safetensors_writer_create(path, &metadata, 1, &file));
    CS_TRY_GOTO(done, declare(r, graph, file, n_tensors));
    CS_TRY_GOTO(done, write_data(r, graph, file));
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(file));
done:
    cs_safetensors_writer_destroy(&file);
    return st;
}
