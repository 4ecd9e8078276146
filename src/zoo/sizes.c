/* SPDX-License-Identifier: Apache-2.0 */
/* config.json -> sizes, by the keys of a family. A key that would change the
 * numbers and is not offered is refused by name; keys that change nothing
 * (torch_dtype, use_cache, ...) pass. */
#include "sizes.h"

#include "cornstarch/log.h"

#include "base/alloc.h"

#include <string.h>

cs_status csi_size_read(const json_t *config, const char *where,
                        csi_size_key key, int64_t *out)
{
    if (key.name == NULL) {
        *out = 0;
        return CS_OK;
    }
    const json_t *value = json_object_get(config, key.name);
    if (value == NULL && key.other_name != NULL &&
        json_object_get(config, key.other_name) != NULL) {
        key.name = key.other_name;
        value = json_object_get(config, key.name);
    }
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
        {"gelu_fast", CS_ACT_GELU_TANH},
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
    if (s->mlp_dim == -2) {
        s->mlp_dim = 4 * s->width;
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
        /* what is left of a picture beside whole patches is not seen */
        CS_CHECK(s->image_size == 0 || s->image_size >= s->patch_size,
                 CS_ERR_FORMAT,
                 "%s: image_size %lld is less than patch_size %lld", where,
                 (long long)s->image_size, (long long)s->patch_size);
        const int64_t side = s->image_size / s->patch_size;
        s->max_positions = side * side;
    }
    return CS_OK;
}

/* Dropout changes training only; a published configuration must load. */
static cs_status warn_of_dropout(const csi_family *family, const json_t *config,
                                 const char *where)
{
    for (int i = 0; i < CSI_FAMILY_DROPOUTS; i++) {
        const char *const key = family->dropout[i];
        double p = 0.0;
        if (key == NULL) {
            continue;
        }
        CS_TRY(csi_json_opt_f64(config, key, where, &p));
        if (p > 0.0) {
            cs_log(CS_LOG_WARN, "zoo",
                   "%s: key '%s' is %g: dropout is not offered, training runs "
                   "without it",
                   where, key, p);
        }
    }
    return CS_OK;
}

static cs_status read_activation(const csi_family *family, const json_t *config,
                                 const char *where, cs_activation *out)
{
    const char *activation = family->activation_default;

    CS_TRY(csi_json_opt_string(config, family->activation_key, where,
                               &activation));
    if (family->gelu_is_tanh && strcmp(activation, "gelu") == 0) {
        activation = "gelu_pytorch_tanh";
    }
    return csi_activation_parse(activation, where, out);
}

static cs_status read_switch(const json_t *config, const char *key,
                             const char *where, bool fallback, bool *out)
{
    *out = key == NULL || fallback;
    if (key != NULL) {
        CS_TRY(csi_json_opt_bool(config, key, where, out));
    }
    return CS_OK;
}

cs_status csi_sizes_read(const csi_family *family, const json_t *config,
                         const char *where, csi_sizes *out)
{
    csi_sizes s = {.norm_eps = family->norm_eps_default};
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

    const json_t *quantized = json_object_get(config, "quantization_config");
    CS_CHECK(quantized == NULL || json_is_null(quantized), CS_ERR_UNSUPPORTED,
             "unsupported: %s: key 'quantization_config': only weights in "
             "f32, f16 and bf16 are offered",
             where);
    CS_TRY(check_fixed(family, config, where));
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        CS_TRY(csi_size_read(config, where, SIZES[i].key, SIZES[i].value));
    }
    CS_TRY(derive_sizes(family, where, &s));
    CS_TRY(read_activation(family, config, where, &s.activation));
    if (family->norm_eps_key != NULL) {
        CS_TRY(csi_json_opt_f64(config, family->norm_eps_key, where,
                                &s.norm_eps));
    }
    CS_TRY(csi_json_opt_f64(config, "initializer_range", where, &s.init_std));
    CS_CHECK(s.norm_eps > 0.0 && s.init_std >= 0.0, CS_ERR_FORMAT,
             "%s: norm eps and initializer_range must not be negative", where);
    CS_TRY(read_switch(config, family->attention_bias_key, where,
                       family->bias_default, &s.has_attention_bias));
    CS_TRY(read_switch(config, family->mlp_bias_key, where,
                       family->bias_default, &s.has_mlp_bias));
    CS_TRY(warn_of_dropout(family, config, where));
    *out = s;
    return CS_OK;
}
