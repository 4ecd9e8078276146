/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs consecutive layers of a module and decides, from the graph alone, what
 * each result must outlive: the tape of a stage without anything trainable at
 * or before a layer keeps nothing of it.
 */
#include "cornstarch/log.h"

#include "layer.h"

static const csi_layer_fn LAYERS[CS_LAYER_KIND_COUNT] = {
    [CS_LAYER_PATCH_STEM] = csi_patch_stem,
    [CS_LAYER_CONV_STEM] = csi_conv_stem,
    [CS_LAYER_BLOCK] = csi_block,
    [CS_LAYER_NORM] = csi_encoder_norm,
    [CS_LAYER_PROJECTOR] = csi_projector,
    [CS_LAYER_EMBED] = csi_embed,
    [CS_LAYER_HEAD] = csi_head,
};

bool csi_layer_weight(const csi_layer_run *run, cs_slot slot, cs_weight *out)
{
    const int32_t index = slot < CS_SLOT_COUNT ? run->layer->param[slot] : -1;
    const cs_param_state *item = cs_param_find(run->nn->params, index);

    if (item == NULL) {
        return false;
    }
    *out = (cs_weight){.w = item->working, .grad = item->grad};
    return true;
}

cs_keep csi_layer_feeds(const csi_layer_run *run, cs_slot slot,
                        cs_keep otherwise)
{
    cs_weight w;

    if (!csi_layer_weight(run, slot, &w) || w.grad == NULL) {
        return otherwise;
    }
    return CS_KEEP_PRODUCT;
}

/* Rows of a weight or bias and of its gradient. */
static cs_weight rows_of(const cs_weight *w, const csi_product *product)
{
    cs_weight part = *w;

    if (product->rows == 0) {
        return part;
    }
    part.w = cs_tensor_row_view(&w->w, product->first,
                                product->first + product->rows);
    if (w->grad != NULL) {
        part.grad = (char *)w->grad +
                    (size_t)(product->first * cs_tensor_columns(&w->w)) *
                        cs_dtype_bytes(cs_real_dtype(w->w.dtype));
    }
    return part;
}

cs_status csi_layer_product(const csi_layer_run *run, cs_value *x,
                            const csi_product *product,
                            cs_activation activation, cs_keep keep,
                            cs_value **y)
{
    cs_weight weight;
    cs_weight bias;
    const bool has_bias = csi_layer_weight(run, product->b, &bias);

    CS_CHECK(csi_layer_weight(run, product->w, &weight), CS_ERR_INTERNAL,
             "a weight of this layer is not held here");
    weight = rows_of(&weight, product);
    if (has_bias) {
        bias = rows_of(&bias, product);
    }
    CS_TRY(cs_tape_linear(run->nn->tape, x, &weight, has_bias ? &bias : NULL,
                          activation, keep, y));
    return CS_OK;
}

cs_status csi_layer_linear(const csi_layer_run *run, cs_value *x, cs_slot w,
                           cs_slot b, cs_activation activation, cs_keep keep,
                           cs_value **y)
{
    return csi_layer_product(run, x, &(csi_product){.w = w, .b = b}, activation,
                             keep, y);
}

_Static_assert(CS_SLOT_NORM1_B == CS_SLOT_NORM1_W + 1 &&
                   CS_SLOT_NORM2_B == CS_SLOT_NORM2_W + 1 &&
                   CS_SLOT_NORM3_B == CS_SLOT_NORM3_W + 1 &&
                   CS_SLOT_NORM4_B == CS_SLOT_NORM4_W + 1,
               "a norm's bias follows its weight");

cs_status csi_layer_norm(const csi_layer_run *run, cs_value *x, cs_value *r,
                         cs_slot w, cs_keep keep_s, cs_keep keep_y,
                         csi_normed *out)
{
    cs_weight weight;
    cs_weight bias;
    const bool has_bias = csi_layer_weight(run, (cs_slot)(w + 1), &bias);

    CS_CHECK(csi_layer_weight(run, w, &weight), CS_ERR_INTERNAL,
             "a norm of this layer is not held here");
    const cs_tape_norm_args args = {
        .kind = run->layer->norm,
        .eps = run->layer->norm_eps,
        .weight_offset = run->layer->norm_offset,
        .x = x,
        .r = r,
        .w = &weight,
        .b = has_bias ? &bias : NULL,
        .keep_s = keep_s,
        .keep_y = keep_y,
    };
    CS_TRY(cs_tape_norm(run->nn->tape, &args, &out->s, &out->y));
    return CS_OK;
}

bool cs_nn_is_trainable(const cs_graph *graph, int32_t module, int32_t first,
                        int32_t last)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const cs_param *p = &graph->params[i];
        if (p->module == module && p->layer >= first && p->layer < last &&
            p->is_trainable) {
            return true;
        }
    }
    return false;
}

/* Whether a layer begins with a product: a projector, a block without a norm
 * before its attention. */
static bool begins_with_product(const cs_layer *l)
{
    return l->kind == CS_LAYER_PROJECTOR ||
           (l->kind == CS_LAYER_BLOCK && l->param[CS_SLOT_NORM1_W] < 0);
}

/* A layer's result is read again in backward if a gradient flows through it
 * or the next layer trains on it. A product that comes first wants its input
 * until the weight half. */
static cs_keep result_keep(const cs_nn *nn, int32_t index, int32_t last,
                           bool upstream_trains)
{
    const cs_module *m = &nn->graph->modules[nn->module];
    const bool next_trains =
        index + 1 < last &&
        cs_nn_is_trainable(nn->graph, nn->module, index + 1, index + 2);

    if (!cs_tape_is_training(nn->tape)) {
        return CS_KEEP_TEMP;
    }
    if (next_trains && begins_with_product(&m->layers[index + 1])) {
        return CS_KEEP_PRODUCT;
    }
    return upstream_trains || next_trains ? CS_KEEP_SAVED : CS_KEEP_TEMP;
}

/* Puts "module layer n: " in front of the sentence of a failed layer. */
static cs_status name_layer(cs_status st, const char *module, int32_t layer)
{
    cs_error error;
    char sentence[CS_ERROR_MESSAGE_BYTES];

    if (st == CS_OK) {
        return CS_OK;
    }
    cs_error_get(&error);
    memcpy(sentence, error.message, sizeof sentence);
    (void)snprintf(error.message, sizeof error.message, "%s layer %d: %.900s",
                   module, layer, sentence);
    cs_error_set(&error);
    return st;
}

cs_status cs_nn_forward(const cs_nn *nn, int32_t first, int32_t last,
                        cs_value *x, cs_value **out)
{
    const cs_module *m = &nn->graph->modules[nn->module];
    bool trains = x != NULL && x->needs_grad;

    for (int32_t f = 0; f < nn->batch->n_features && first == 0; f++) {
        trains = trains || (nn->batch->features[f] != NULL &&
                            nn->batch->features[f]->needs_grad);
    }
    for (int32_t i = first; i < last; i++) {
        trains = trains || cs_nn_is_trainable(nn->graph, nn->module, i, i + 1);
        const csi_layer_run run = {
            .nn = nn,
            .layer = &m->layers[i],
            .index = i,
            .keep_out = result_keep(nn, i, last, trains),
        };
        CS_TRY(cs_tape_layer_begin(nn->tape, x));
        const cs_status st = LAYERS[m->layers[i].kind](&run, x, &x);
        CS_TRY(name_layer(st, m->name, i));
        if (x != NULL) {
            CS_TRY(cs_tape_layer_end(nn->tape, x));
        }
    }
    *out = x;
    return CS_OK;
}
