/* SPDX-License-Identifier: Apache-2.0 */
/* config.json -> sizes, by the keys of a family. A key that would change the
 * numbers and is not offered is refused by name; keys that change nothing
 * (torch_dtype, use_cache, ...) pass. */
#include "sizes.h"

#include "base/alloc.h"

#include <string.h>

static cs_status read_size(const json_t *config, const char *where,
                           csi_size_key key, int64_t *out)
{
    if (key.name == NULL) {
        *out = 0;
        return CS_OK;
    }
    const json_t *value = json_object_get(config, key.name);
    if (key.fallback != -1 && (value == NULL || json_is_null(value))) {
        *out = key.fallback;
        return CS_OK;
    }
    return csi_json_i64(config, key.name, where, 1, CSI_MAX_SIZE, out);
}

static cs_status check_fixed(const csi_family *family, const json_t *config,
                             const char *where)
{
    for (int i = 0; i < CSI_FAMILY_FIXED_KEYS; i++) {
        const csi_fixed_key *fixed = &family->fixed[i];
        const json_t *value =
            fixed->name != NULL ? json_object_get(config, fixed->name) : NULL;
        if (value == NULL) {
            continue;
        }
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        CS_CHECK(text != NULL, CS_ERR_NOMEM, "%s: key '%s'", where,
                 fixed->name);
        const bool ok =
            strcmp(text, fixed->value) == 0 ||
            (fixed->value2 != NULL && strcmp(text, fixed->value2) == 0);
        cs_status st = CS_OK;
        if (!ok) {
            st = CS_FAIL(CS_ERR_UNSUPPORTED,
                         "unsupported: %s: key '%s': only %s is offered, "
                         "got %.60s",
                         where, fixed->name, fixed->value, text);
        }
        csi_free(text);
        CS_TRY(st);
    }
    return CS_OK;
}

cs_status csi_activation_parse(const char *name, const char *where,
                               cs_activation *out)
{
    static const struct {
        const char *name;
        cs_activation activation;
    } NAMES[] = {
        {"gelu", CS_ACT_GELU},
        {"gelu_pytorch_tanh", CS_ACT_GELU_TANH},
        {"gelu_new", CS_ACT_GELU_TANH},
        {"silu", CS_ACT_SILU},
        {"swish", CS_ACT_SILU},
        {"relu", CS_ACT_RELU},
        {"quick_gelu", CS_ACT_QUICK_GELU},
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(name, NAMES[i].name) == 0) {
            *out = NAMES[i].activation;
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: %s: activation '%s' (offered: gelu, "
                   "gelu_pytorch_tanh, silu, relu, quick_gelu)",
                   where, name);
}

static cs_status derive_sizes(const csi_family *family, const char *where,
                              csi_sizes *s)
{
    if (family->kv_heads.name == NULL || s->kv_heads == -2) {
        s->kv_heads = s->heads;
    }
    if (family->head_dim.name == NULL || s->head_dim == -2) {
        CS_CHECK(s->width % s->heads == 0, CS_ERR_FORMAT,
                 "%s: width %lld is not a multiple of %lld heads", where,
                 (long long)s->width, (long long)s->heads);
        s->head_dim = s->width / s->heads;
    }
    CS_CHECK(s->layers <= CSI_MAX_LAYERS, CS_ERR_FORMAT,
             "%s: key '%s': wanted at most %d, got %lld", where,
             family->layers.name, CSI_MAX_LAYERS, (long long)s->layers);
    CS_CHECK(s->heads % s->kv_heads == 0, CS_ERR_FORMAT,
             "%s: %lld heads are not a multiple of %lld key/value heads", where,
             (long long)s->heads, (long long)s->kv_heads);
    CS_CHECK(s->head_dim % 2 == 0 && s->head_dim <= 512, CS_ERR_FORMAT,
             "%s: head_dim wanted an even number up to 512, got %lld", where,
             (long long)s->head_dim);
    if (family->stem == CS_LAYER_PATCH_STEM) {
        CS_CHECK(s->image_size % s->patch_size == 0, CS_ERR_FORMAT,
                 "%s: image_size %lld is not a multiple of patch_size %lld",
                 where, (long long)s->image_size, (long long)s->patch_size);
        const int64_t side = s->image_size / s->patch_size;
        s->max_positions = side * side;
    }
    return CS_OK;
}

/* transformers 4 has the base as a key of its own, 5 in rope_parameters. */
static cs_status read_rope(const csi_family *family, const json_t *config,
                           const char *where, csi_sizes *s)
{
    const json_t *parameters = json_object_get(config, "rope_parameters");
    const char *type = "default";
    const char *key = NULL;
    const json_t *value = NULL;

    s->rope_theta = family->rope_default;
    CS_TRY(csi_json_opt_f64(config, family->rope_key, where, &s->rope_theta));
    if (parameters != NULL && !json_is_null(parameters)) {
        CS_CHECK(json_is_object(parameters), CS_ERR_FORMAT,
                 "%s: key 'rope_parameters': wanted an object", where);
        CS_TRY(csi_json_opt_string(parameters, "rope_type", where, &type));
        CS_CHECK(strcmp(type, "default") == 0, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: rope_type '%.40s' (offered: default)", where,
                 type);
        json_object_foreach((json_t *)(uintptr_t)parameters, key, value)
        {
            CS_CHECK(strcmp(key, "rope_type") == 0 ||
                         strcmp(key, family->rope_key) == 0,
                     CS_ERR_UNSUPPORTED,
                     "unsupported: %s: rope_parameters: key '%.40s'", where,
                     key);
        }
        CS_TRY(csi_json_opt_f64(parameters, family->rope_key, where,
                                &s->rope_theta));
    }
    CS_CHECK(s->rope_theta > 0.0, CS_ERR_FORMAT,
             "%s: key '%s': wanted a number above 0, got %g", where,
             family->rope_key, s->rope_theta);
    return CS_OK;
}

cs_status csi_sizes_read(const csi_family *family, const json_t *config,
                         const char *where, csi_sizes *out)
{
    csi_sizes s = {.norm_eps = family->norm_eps_default};
    const char *activation = family->activation_default;
    const struct {
        csi_size_key key;
        int64_t *value;
    } SIZES[] = {
        {family->width, &s.width},
        {family->layers, &s.layers},
        {family->heads, &s.heads},
        {family->kv_heads, &s.kv_heads},
        {family->head_dim, &s.head_dim},
        {family->mlp_dim, &s.mlp_dim},
        {family->vocab, &s.vocab},
        {family->max_positions, &s.max_positions},
        {family->image_size, &s.image_size},
        {family->patch_size, &s.patch_size},
        {family->channels, &s.channels},
    };

    CS_TRY(check_fixed(family, config, where));
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        CS_TRY(read_size(config, where, SIZES[i].key, SIZES[i].value));
    }
    CS_TRY(derive_sizes(family, where, &s));
    CS_TRY(csi_json_opt_string(config, family->activation_key, where,
                               &activation));
    CS_TRY(csi_activation_parse(activation, where, &s.activation));
    if (family->norm_eps_key != NULL) {
        CS_TRY(csi_json_opt_f64(config, family->norm_eps_key, where,
                                &s.norm_eps));
    }
    if (family->rope_key != NULL) {
        CS_TRY(read_rope(family, config, where, &s));
    }
    CS_TRY(csi_json_opt_f64(config, "initializer_range", where, &s.init_std));
    CS_CHECK(s.norm_eps > 0.0 && s.init_std >= 0.0, CS_ERR_FORMAT,
             "%s: norm eps and initializer_range must not be negative", where);
    if (family->attention_bias_key != NULL) {
        CS_TRY(csi_json_opt_bool(config, family->attention_bias_key, where,
                                 &s.has_attention_bias));
        CS_TRY(csi_json_opt_bool(config, family->mlp_bias_key, where,
                                 &s.has_mlp_bias));
    } else {
        s.has_attention_bias = true;
        s.has_mlp_bias = true;
    }
    *out = s;
    return CS_OK;
}
