/* SPDX-License-Identifier: Apache-2.0 */
/* The graph as an indented tree, for `cornstarch inspect graph`. */
#include "cornstarch/graph.h"

#include "base/str.h"

static const char *layer_name(cs_layer_kind kind)
{
    static const char *const NAMES[CS_LAYER_KIND_COUNT] = {
        [CS_LAYER_PATCH_STEM] = "patch_stem",
        [CS_LAYER_CONV_STEM] = "conv_stem",
        [CS_LAYER_BLOCK] = "block",
        [CS_LAYER_NORM] = "norm",
        [CS_LAYER_PROJECTOR] = "projector",
        [CS_LAYER_EMBED] = "embed",
        [CS_LAYER_HEAD] = "head",
    };
    return NAMES[kind];
}

static void print_params(const cs_graph *graph, int32_t module, int32_t layer,
                         csi_str *text)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        char shape[CS_SHAPE_TEXT_BYTES];
        if (p->module == module && p->layer == layer) {
            csi_str_addf(text, "      %-58s %-18s %s\n", p->name,
                         cs_shape_print(&p->shape, shape),
                         p->slot == CS_SLOT_COUNT ? "not used"
                         : p->tied_to >= 0        ? "tied"
                         : p->is_trainable        ? "trainable"
                                                  : "frozen");
        }
    }
}

/* What not every block has. */
static void print_block(const cs_layer *l, csi_str *text)
{
    if (l->n_experts > 0) {
        csi_str_addf(text, " experts %d of %d", l->top_k, l->n_experts);
    }
    if (l->window > 0) {
        csi_str_addf(text, " window %lld", (long long)l->window);
    }
    if (l->rotary_dim > 0 && l->rotary_dim < l->head_dim) {
        csi_str_addf(text, " rotary %d", l->rotary_dim);
    }
    if (l->rope_long != NULL) {
        csi_str_addf(text, " long after %lld", (long long)l->rope_long_after);
    }
    if (l->attention_softcap > 0.0) {
        csi_str_addf(text, " cap %g", l->attention_softcap);
    }
}

static void print_layer(const cs_layer *l, int32_t index, csi_str *text)
{
    csi_str_addf(text, "    %2d %-10s", index, layer_name(l->kind));
    if (l->kind == CS_LAYER_BLOCK) {
        csi_str_addf(text, " width %lld mlp %lld heads %d:%d head_dim %d",
                     (long long)l->in_dim, (long long)l->mlp_dim, l->heads,
                     l->kv_heads, l->head_dim);
        print_block(l, text);
    } else {
        csi_str_addf(text, " %lld -> %lld", (long long)l->in_dim,
                     (long long)(l->vocab > 0 && l->out_dim == 0 ? l->vocab
                                                                 : l->out_dim));
    }
    if (l->grid_side > 0) {
        csi_str_addf(text, " positions of %d x %d for %d x %d",
                     l->position_side, l->position_side, l->grid_side,
                     l->grid_side);
    }
    if (l->pool > 1) {
        csi_str_addf(text, " pool %d", l->pool);
    }
    if (l->stack > 1) {
        csi_str_addf(text, " stack %d", l->stack);
    }
    csi_str_add(text, "\n");
}

cs_status cs_graph_print(const cs_graph *graph, bool with_params, char **out)
{
    csi_str text = {0};
    char all[32];
    char trainable[32];

    csi_str_addf(&text, "model  %s parameters, %s trainable, attention %s\n",
                 csi_human_count(all, (double)cs_graph_param_count(graph, -1,
                                                                   false)),
                 csi_human_count(trainable,
                                 (double)cs_graph_param_count(graph, -1, true)),
                 cs_mask_policy_name(graph->attention));
    for (int32_t m = 0; m < graph->n_modules; m++) {
        const cs_module *module = &graph->modules[m];
        csi_str_addf(&text, "  %s  %s, %s parameters, %s trainable, from %s\n",
                     module->name, module->family,
                     csi_human_count(all, (double)cs_graph_param_count(graph, m,
                                                                       false)),
                     csi_human_count(trainable,
                                     (double)cs_graph_param_count(graph, m,
                                                                  true)),
                     module->source != NULL ? module->source : "scratch");
        if (module->class_rows > 0) {
            csi_str_addf(&text, "    class token %s\n",
                         module->feature_skip > 0 ? "dropped" : "kept");
        }
        for (int32_t i = 0; i < module->n_layers; i++) {
            print_layer(&module->layers[i], i, &text);
            if (with_params) {
                print_params(graph, m, i, &text);
            }
        }
    }
    const cs_status st = csi_str_check(&text);

    if (st != CS_OK) {
        csi_str_fini(&text);
        return st;
    }
    *out = text.data;
    return CS_OK;
}
