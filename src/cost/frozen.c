/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frozen-awareness in seconds. A layer's backward exists only where a needed
 * gradient asks for it, so the same layer costs four different things:
 *
 *     upstream   here        forward  input half           weight half
 *     frozen     frozen      yes      -                    -
 *     frozen     trainable   yes      all but its input's  trained products
 *     trainable  frozen      yes      yes                  -
 *     trainable  trainable   yes      yes                  trained products
 *
 * Tables hold full halves; what is missing of them is taken off by the layer's
 * share of multiply-adds, which is exact for a table made from them and close
 * for a measured one.
 */
#include "internal.h"

cs_frozen_rule cs_frozen_rule_of(bool trainable_upstream, bool trainable_here,
                                 bool trainable_product_here)
{
    return (cs_frozen_rule){
        .runs_backward_input = trainable_upstream || trainable_here,
        .gives_input_gradient = trainable_upstream,
        .runs_backward_weight = trainable_product_here,
    };
}

double csi_layer_rows(const cs_layer *layer, cs_work work)
{
    return layer->kind == CS_LAYER_PROJECTOR ? work.feature_rows : work.rows;
}

/* What is trainable in one layer. */
typedef struct layer_state {
    bool is_trainable, has_product;
    double product_share; /* trainable elements of its products, 0..1 */
} layer_state;

/* Of a weight's elements, those that a row meets: its chosen experts. */
static double used_share(const cs_layer *l, int slot)
{
    const bool is_expert = slot == CS_SLOT_EXPERT_GATE_W ||
                           slot == CS_SLOT_EXPERT_UP_W ||
                           slot == CS_SLOT_EXPERT_DOWN_W;

    return is_expert ? (double)l->top_k / l->n_experts : 1.0;
}

static layer_state inspect_layer(const cs_graph *graph, const cs_layer *layer)
{
    layer_state state = {0};
    double all = 0.0;
    double trainable = 0.0;

    for (int slot = 0; slot < CS_SLOT_COUNT; slot++) {
        if (layer->param[slot] < 0) {
            continue;
        }
        const cs_param *const p = &graph->params[layer->param[slot]];
        const double count =
            (double)cs_shape_count(&p->shape) * used_share(layer, slot);

        state.is_trainable |= p->is_trainable;
        all += p->is_product ? count : 0.0;
        if (p->is_product && p->is_trainable) {
            state.has_product = true;
            trainable += count;
        }
    }
    state.product_share = all > 0.0 ? trainable / all : 0.0;
    return state;
}

/* The part of the full input half that a layer runs whose own input needs no
 * gradient: everything after its first products. */
static double inner_share(const cs_layer *l)
{
    const double in = (double)l->in_dim;
    const double hidden = (double)l->mlp_dim;

    if (l->kind == CS_LAYER_PROJECTOR) {
        const double first = in * hidden;
        const double second = hidden * (double)l->out_dim;

        return hidden > 0.0 ? second / (first + second) : 0.0;
    }
    if (l->kind == CS_LAYER_BLOCK) {
        const double q = (double)l->heads * l->head_dim;
        const double kv = (double)l->kv_heads * l->head_dim;

        return 1.0 -
               2.0 * in * (q + 2.0 * kv) / cs_layer_forward_flops(l, 1.0, 0.0);
    }
    return 1.0;
}

static double input_half_share(const cs_layer *l, cs_frozen_rule rule,
                               layer_state state)
{
    if (!rule.runs_backward_input) {
        return 0.0;
    }
    if (l->kind == CS_LAYER_HEAD) { /* logits again, dx, dw */
        return rule.gives_input_gradient && state.is_trainable ? 1.0
                                                               : 2.0 / 3.0;
    }
    return rule.gives_input_gradient ? 1.0 : inner_share(l);
}

static double line_at(const cs_cost_line *line, double rows, double pairs)
{
    return line->base_s + line->row_s * rows + line->pair_s * pairs;
}

cs_range_cost cs_cost_range(const cs_cost_table *table, const cs_graph *graph,
                            int32_t module, int32_t first, int32_t last,
                            bool trainable_upstream, cs_work work)
{
    cs_range_cost sum = {0};

    for (int32_t i = first; i < last; i++) {
        const cs_layer *const l = &graph->modules[module].layers[i];
        const cs_layer_cost *const cost = &table->layer[module][i];
        const layer_state state = inspect_layer(graph, l);
        const cs_frozen_rule rule =
            cs_frozen_rule_of(trainable_upstream, state.is_trainable,
                              state.has_product);
        const double rows = csi_layer_rows(l, work);
        const double pairs = cs_layer_pairs(l, rows, work.pairs);

        trainable_upstream |= state.is_trainable;
        if (rows <= 0.0) {
            continue;
        }
        sum.forward_s += line_at(&cost->forward, rows, pairs);
        sum.backward_input_s += input_half_share(l, rule, state) *
                                line_at(&cost->backward_input, rows, pairs);
        sum.backward_weight_s +=
            state.product_share * line_at(&cost->backward_weight, rows, pairs);
    }
    return sum;
}
