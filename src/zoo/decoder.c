/* SPDX-License-Identifier: Apache-2.0 */
/* config.json -> one language model: sizes, rotary positions, windows, caps,
 * scales, and what each block is. */
#include "decoder.h"

#include <math.h>
#include <string.h>

/* --- blocks with a window ------------------------------------------------- */

static cs_status read_layer_types(const json_t *list, const char *where,
                                  csi_decoder *d)
{
    CS_CHECK(json_is_array(list) &&
                 json_array_size(list) == (size_t)d->sizes.layers,
             CS_ERR_FORMAT, "%s: key 'layer_types': wanted a list of %lld",
             where, (long long)d->sizes.layers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *type = json_string_value(json_array_get(list, i));
        const bool is_window =
            type != NULL && strcmp(type, "sliding_attention") == 0;
        CS_CHECK(is_window ||
                     (type != NULL && strcmp(type, "full_attention") == 0),
                 CS_ERR_UNSUPPORTED,
                 "unsupported: %s: key 'layer_types': element %zu: wanted "
                 "full_attention or sliding_attention, got '%.40s'",
                 where, i, type != NULL ? type : "no text");
        d->block[i] |= is_window ? CSI_BLOCK_WINDOW : 0;
    }
    return CS_OK;
}

static bool has_window(const struct csi_decoder_traits *t, int64_t block,
                       int64_t pattern)
{
    switch (t->window_rule) {
    case CSI_WINDOW_ALL:
        return true;
    case CSI_WINDOW_UPPER:
        return block >= pattern;
    case CSI_WINDOW_PATTERN:
        return (block + 1) % pattern != 0;
    default:
        return false;
    }
}

static cs_status read_windows(const json_t *config, const char *where,
                              csi_decoder *d)
{
    const struct csi_decoder_traits *t = d->family->decoder;
    const csi_size_key key = {"sliding_window", t->window, NULL};
    const json_t *value = json_object_get(config, key.name);
    const json_t *types = json_object_get(config, "layer_types");
    bool is_on = t->window_switch == NULL;
    bool is_used = false;
    int64_t pattern = 0;

    if (t->window_rule == CSI_WINDOW_NONE) {
        return CS_OK;
    }
    if (t->window_switch != NULL) {
        CS_TRY(csi_json_opt_bool(config, t->window_switch, where, &is_on));
    }
    if (is_on && !json_is_null(value)) {
        CS_TRY(csi_size_read(config, where, key, &d->window));
    }
    if (t->pattern.name != NULL) {
        pattern = t->pattern.fallback;
        CS_TRY(csi_json_opt_i64(config, t->pattern.name, where, 0, CSI_MAX_SIZE,
                                &pattern));
    }
    CS_CHECK(pattern > 0 || t->window_rule != CSI_WINDOW_PATTERN, CS_ERR_FORMAT,
             "%s: key '%s': wanted a number above 0", where, t->pattern.name);
    if (t->reads_layer_types && types != NULL && !json_is_null(types)) {
        CS_TRY(read_layer_types(types, where, d));
    } else {
        for (int64_t i = 0; i < d->sizes.layers && d->window > 0; i++) {
            d->block[i] |= has_window(t, i, pattern) ? CSI_BLOCK_WINDOW : 0;
        }
    }
    for (int64_t i = 0; i < d->sizes.layers; i++) {
        is_used = is_used || (d->block[i] & CSI_BLOCK_WINDOW) != 0;
    }
    CS_CHECK(!is_used || d->window > 0, CS_ERR_FORMAT,
             "%s: key 'layer_types' has sliding_attention, but there is no "
             "sliding_window",
             where);
    if (d->window >= d->sizes.max_positions) { /* of any document */
        d->window = 0;
    }
    return CS_OK;
}

/* --- experts -------------------------------------------------------------- */

static cs_status read_dense_blocks(const json_t *config, const char *where,
                                   csi_decoder *d)
{
    const json_t *dense = json_object_get(config, "mlp_only_layers");
    int64_t step = 1;

    CS_TRY(csi_json_opt_i64(config, "decoder_sparse_step", where, 1,
                            CSI_MAX_SIZE, &step));
    for (int64_t i = 0; i < d->sizes.layers; i++) {
        d->block[i] |= (i + 1) % step == 0 ? CSI_BLOCK_EXPERTS : 0;
    }
    CS_CHECK(dense == NULL || json_is_null(dense) || json_is_array(dense),
             CS_ERR_FORMAT, "%s: key 'mlp_only_layers': wanted a list", where);
    for (size_t k = 0; k < json_array_size(dense); k++) {
        const json_t *value = json_array_get(dense, k);
        const int64_t i = json_integer_value(value);
        CS_CHECK(json_is_integer(value) && i >= 0 && i < d->sizes.layers,
                 CS_ERR_FORMAT,
                 "%s: key 'mlp_only_layers': element %zu: wanted 0..%lld",
                 where, k, (long long)d->sizes.layers - 1);
        d->block[i] &= (uint8_t)~CSI_BLOCK_EXPERTS;
    }
    return CS_OK;
}

/* The balance loss is part of the loss where the model reports its routers;
 * each block has its share of the mean over blocks. */
static cs_status read_balance(const json_t *config, const char *where,
                              csi_decoder *d)
{
    double coefficient = d->family->decoder->balance;
    bool is_reported = false;
    int64_t n = 0;

    CS_TRY(csi_json_opt_bool(config, "output_router_logits", where,
                             &is_reported));
    CS_TRY(csi_json_opt_f64(config, "router_aux_loss_coef", where,
                            &coefficient));
    CS_CHECK(coefficient >= 0.0 && coefficient <= 1e6, CS_ERR_FORMAT,
             "%s: key 'router_aux_loss_coef': wanted 0 or more, got %g", where,
             coefficient);
    for (int64_t i = 0; i < d->sizes.layers; i++) {
        n += (d->block[i] & CSI_BLOCK_EXPERTS) != 0;
    }
    d->balance = is_reported && n > 0 ? coefficient / (double)n : 0.0;
    return CS_OK;
}

static cs_status read_experts(const json_t *config, const char *where,
                              csi_decoder *d)
{
    const struct csi_decoder_traits *t = d->family->decoder;

    if (t->experts.name == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_size_read(config, where, t->experts, &d->experts));
    CS_TRY(csi_size_read(config, where, t->top_k, &d->top_k));
    CS_TRY(csi_size_read(config, where, t->expert_dim, &d->expert_dim));
    CS_CHECK(d->experts <= 1024 && d->top_k <= d->experts, CS_ERR_FORMAT,
             "%s: wanted %s <= %s <= 1024, got %lld and %lld", where,
             t->top_k.name, t->experts.name, (long long)d->top_k,
             (long long)d->experts);
    if (t->expert_dim.name == NULL) {
        d->expert_dim = d->sizes.mlp_dim;
    }
    d->normalises_top_k = t->normalises_key == NULL;
    if (t->normalises_key != NULL) {
        CS_TRY(csi_json_opt_bool(config, t->normalises_key, where,
                                 &d->normalises_top_k));
    }
    if (t->has_dense_blocks) {
        CS_TRY(read_dense_blocks(config, where, d));
    } else {
        for (int64_t i = 0; i < d->sizes.layers; i++) {
            d->block[i] |= CSI_BLOCK_EXPERTS;
        }
    }
    return read_balance(config, where, d);
}

/* --- caps and scales ------------------------------------------------------ */

/* null is none; an absent key is what *cap holds. */
static cs_status read_cap(const json_t *config, const char *key,
                          const char *where, double *cap)
{
    if (json_is_null(json_object_get(config, key))) {
        *cap = 0.0;
        return CS_OK;
    }
    CS_TRY(csi_json_opt_f64(config, key, where, cap));
    CS_CHECK(*cap >= 0.0, CS_ERR_FORMAT,
             "%s: key '%s': wanted 0 (none) or more, got %g", where, key, *cap);
    return CS_OK;
}

static cs_status read_scales(const json_t *config, const char *where,
                             csi_decoder *d)
{
    const struct csi_decoder_traits *t = d->family->decoder;
    double scalar = t->attention_scalar;

    if (t->attention_scalar_key != NULL) {
        CS_TRY(csi_json_opt_f64(config, t->attention_scalar_key, where,
                                &scalar));
        CS_CHECK(scalar > 0.0, CS_ERR_FORMAT,
                 "%s: key '%s': wanted a number above 0, got %g", where,
                 t->attention_scalar_key, scalar);
        d->attention_scale = 1.0 / sqrt(scalar);
    }
    d->embed_scale = t->scales_embedding ? sqrt((double)d->sizes.width) : 0.0;
    if (t->has_softcaps) {
        d->attention_softcap = t->attention_softcap;
        d->logit_softcap = t->logit_softcap;
        CS_TRY(read_cap(config, "attn_logit_softcapping", where,
                        &d->attention_softcap));
        CS_TRY(read_cap(config, "final_logit_softcapping", where,
                        &d->logit_softcap));
    }
    d->is_tied = t->ties_embedding;
    return csi_json_opt_bool(config, "tie_word_embeddings", where, &d->is_tied);
}

cs_status csi_decoder_read(const csi_family *family, const json_t *config,
                           const char *where, csi_decoder *out)
{
    csi_rope rope[2];

    *out = (csi_decoder){.family = family};
    CS_CHECK(family->decoder != NULL, CS_ERR_INTERNAL,
             "%s: not a language model", family->id);
    CS_TRY(csi_sizes_read(family, config, where, &out->sizes));
    CS_TRY(csi_rope_read(family, config, where, &out->sizes, rope));
    out->rope = rope[0];
    out->local_rope = rope[1];
    CS_TRY(read_windows(config, where, out));
    CS_TRY(read_experts(config, where, out));
    return read_scales(config, where, out);
}
