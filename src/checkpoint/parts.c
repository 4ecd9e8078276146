/* SPDX-License-Identifier: Apache-2.0 */
/* Which parameter lies in which Hugging Face folder. */
#include "parts.h"

#include "base/alloc.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

csi_part csi_part_at(const cs_graph *graph, int32_t index)
{
    const cs_module *m = &graph->modules[index / 2];
    const bool is_projector = index % 2 == 1;

    return (csi_part){
        .module = index / 2,
        .is_projector = is_projector,
        .source = is_projector ? m->projector_source : m->source,
        .config = is_projector ? m->projector_config : m->hf_config,
    };
}

bool csi_part_has(const cs_graph *graph, const csi_part *part, int32_t i)
{
    const cs_param *p = &graph->params[i];

    return p->module == part->module && p->in_projector == part->is_projector;
}

int32_t csi_part_of(const cs_graph *graph, int32_t i)
{
    const cs_param *p = &graph->params[i];

    return 2 * p->module + (p->in_projector ? 1 : 0);
}

/* The name with another of the module's beginnings. */
static const cs_safetensor *find_prefixed(const cs_safetensors *source,
                                          const char *const *prefixes,
                                          const char *name)
{
    const cs_safetensor *found = NULL;
    char other[CSI_TENSOR_NAME_BYTES];

    for (int k = 1; found == NULL && prefixes[k] != NULL; k++) {
        const int n = snprintf(other, sizeof other, "%s%s", prefixes[k],
                               name + strlen(prefixes[0]));
        if (n > 0 && (size_t)n < sizeof other) {
            found = cs_safetensors_find(source, other);
        }
    }
    return found;
}

cs_status csi_part_find(const cs_graph *graph, const csi_part *part,
                        const cs_safetensors *source, int32_t i, int32_t k,
                        csi_file_tensor *out)
{
    const cs_module *m = &graph->modules[part->module];
    const char *const *prefixes =
        part->is_projector ? m->projector_prefixes : m->name_prefixes;

    CS_TRY(cs_param_file_tensor(&graph->params[i], k, out->name,
                                sizeof out->name, &out->shape));
    out->found = source != NULL ? cs_safetensors_find(source, out->name) : NULL;
    if (source != NULL && out->found == NULL && prefixes != NULL &&
        strncmp(out->name, prefixes[0], strlen(prefixes[0])) == 0) {
        out->found = find_prefixed(source, prefixes, out->name);
    }
    return CS_OK;
}

bool csi_part_is_empty(const cs_graph *graph, const csi_part *part)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        if (csi_part_has(graph, part, i)) {
            return false;
        }
    }
    return true;
}

cs_status csi_part_folder(const cs_graph *graph, const csi_part *part,
                          char **out)
{
    csi_str text = {0};
    cs_status st = CS_OK;

    csi_str_addf(&text, "%s%s", graph->modules[part->module].name,
                 part->is_projector ? "/projector" : "");
    CS_TRY_GOTO(undo, csi_str_check(&text));
    *out = text.data;
    return CS_OK;
undo:
    csi_str_fini(&text);
    return st;
}

cs_status csi_initial_values(const cs_graph *graph, int32_t param,
                             uint64_t seed, float **out)
{
    cs_status st = CS_OK;
    cs_param_set *set = NULL;
    float *values = NULL;
    bool *held = csi_calloc((size_t)graph->n_params, sizeof *held);

    CS_CHECK(held != NULL, CS_ERR_NOMEM, "initial values of %s",
             graph->params[param].global_name);
    held[param] = true;
    CS_TRY_GOTO(done, cs_param_set_create(graph, held, CS_F32, false, &set));
    const size_t n_bytes = cs_tensor_bytes(&set->items[0].working);

    values = csi_aligned(n_bytes);
    CS_CHECK_GOTO(done, values != NULL, CS_ERR_NOMEM, "initial values of %s",
                  graph->params[param].global_name);
    cs_param_init(set, 0, seed);
    memcpy(values, set->items[0].working.data, n_bytes);
    *out = values;
done:
    cs_param_set_destroy(&set);
    csi_free(held);
    return st;
}
