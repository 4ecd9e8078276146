/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary frequencies: of pair i of dim columns, theta^(-2 i / dim) (Su et al.
 * 2021, eq. 15), stretched for contexts longer than that of pretraining:
 *
 *     linear    all by `factor` (Chen et al. 2023)
 *     llama3    long waves by `factor`, short ones not, a ramp between
 *     yarn      by NTK parts: pairs that turn often are kept, those that turn
 *               seldom are stretched, a ramp between (Peng et al. 2023, 3.2)
 *     longrope  pair by pair by measured factors, one list for documents within
 *               the context of pretraining, one for longer ones (Ding et al.
 *               2024)
 *
 * The spelling is that of transformers 4 (rope_theta and rope_scaling) or of
 * 5 (all in rope_parameters, one object per kind of layer for Gemma 3).
 */
#include "decoder.h"

#include <math.h>
#include <string.h>

enum {
    MAX_ROPE_KEYS = 10
};

#define PI 3.14159265358979323846

/* What the numbers of a type are called; any other key is refused. */
typedef struct rope_kind {
    const char *name;
    csi_rope_type type;
    const char *keys[MAX_ROPE_KEYS];
} rope_kind;

static const rope_kind KINDS[] = {
    {"default", CSI_ROPE_DEFAULT, {NULL}},
    {"dynamic", CSI_ROPE_DEFAULT, {"factor"}},
    {"linear", CSI_ROPE_LINEAR, {"factor"}},
    {"llama3",
     CSI_ROPE_LLAMA3,
     {"factor", "low_freq_factor", "high_freq_factor"}},
    {"yarn",
     CSI_ROPE_YARN,
     {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale",
      "mscale_all_dim", "truncate"}},
    {"longrope",
     CSI_ROPE_LONG,
     {"factor", "attention_factor", "short_factor", "long_factor"}},
};
enum {
    N_KINDS = sizeof KINDS / sizeof KINDS[0]
};

/* Keys of every type. */
static const char *const COMMON_KEYS[] = {"rope_type",
                                          "type",
                                          "rope_theta",
                                          "partial_rotary_factor",
                                          "original_max_position_embeddings",
                                          "finetuned"};

static bool is_known_key(const rope_kind *kind, const char *key)
{
    for (size_t i = 0; i < sizeof COMMON_KEYS / sizeof COMMON_KEYS[0]; i++) {
        if (strcmp(key, COMMON_KEYS[i]) == 0) {
            return true;
        }
    }
    for (int i = 0; i < MAX_ROPE_KEYS && kind->keys[i] != NULL; i++) {
        if (strcmp(key, kind->keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

static cs_status find_kind(const csi_family *family, const json_t *parameters,
                           const char *where, const rope_kind **out)
{
    const char *name = "default";
    const char *key = NULL;
    const json_t *value = NULL;

    CS_TRY(csi_json_opt_string(parameters, "type", where, &name));
    CS_TRY(csi_json_opt_string(parameters, "rope_type", where, &name));
    if (family->decoder->yarn_is_long &&
        (strcmp(name, "su") == 0 || strcmp(name, "yarn") == 0)) {
        name = "longrope";
    }
    *out = NULL;
    for (int i = 0; i < N_KINDS; i++) {
        *out = strcmp(name, KINDS[i].name) == 0 ? &KINDS[i] : *out;
    }
    CS_CHECK(*out != NULL, CS_ERR_UNSUPPORTED,
             "unsupported: %s: rope_type '%.40s' (offered: default, linear, "
             "dynamic, llama3, yarn, longrope)",
             where, name);
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value)
    {
        CS_CHECK(json_is_null(value) || is_known_key(*out, key),
                 CS_ERR_UNSUPPORTED,
                 "unsupported: %s: rope_type '%s': key '%.40s'", where,
                 (*out)->name, key);
    }
    return CS_OK;
}

static cs_status read_positive(const json_t *object, const char *key,
                               const char *where, double *value)
{
    CS_TRY(csi_json_opt_f64(object, key, where, value));
    CS_CHECK(*value > 0.0 && *value <= 1e12, CS_ERR_FORMAT,
             "%s: key '%s': wanted a number above 0, got %g", where, key,
             *value);
    return CS_OK;
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static cs_status read_yarn(const json_t *p, const char *where, csi_rope *r)
{
    double mscale = 0.0;
    double all_dim = 0.0;

    r->low = 1.0;
    r->high = 32.0;
    r->truncates = true;
    CS_TRY(csi_json_opt_f64(p, "mscale", where, &mscale));
    CS_TRY(csi_json_opt_f64(p, "mscale_all_dim", where, &all_dim));
    r->scale =
        mscale != 0.0 && all_dim != 0.0
            ? yarn_mscale(r->factor, mscale) / yarn_mscale(r->factor, all_dim)
            : yarn_mscale(r->factor, 1.0);
    CS_TRY(read_positive(p, "attention_factor", where, &r->scale));
    CS_TRY(read_positive(p, "beta_slow", where, &r->low));
    CS_TRY(read_positive(p, "beta_fast", where, &r->high));
    CS_TRY(csi_json_opt_bool(p, "truncate", where, &r->truncates));
    CS_CHECK(r->theta > 1.0, CS_ERR_FORMAT,
             "%s: rope_theta: wanted above 1 with yarn, got %g", where,
             r->theta);
    return CS_OK;
}

static cs_status read_factors(const json_t *p, const char *key,
                              const char *where, int32_t dim,
                              const json_t **out)
{
    json_t *list = NULL;

    CS_TRY(csi_json_array(p, key, where, &list));
    CS_CHECK(json_array_size(list) == (size_t)dim / 2, CS_ERR_FORMAT,
             "%s: key '%s': wanted %d numbers, got %zu", where, key, dim / 2,
             json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const double x = json_number_value(json_array_get(list, i));
        CS_CHECK(x > 0.0 && x <= 1e12, CS_ERR_FORMAT,
                 "%s: key '%s': element %zu: wanted a number above 0", where,
                 key, i);
    }
    *out = list;
    return CS_OK;
}

static cs_status read_long(const json_t *p, const char *where, csi_rope *r)
{
    CS_CHECK(r->original > 1.0, CS_ERR_FORMAT,
             "%s: original_max_position_embeddings: wanted above 1 with "
             "longrope, got %g",
             where, r->original);
    CS_TRY(read_factors(p, "short_factor", where, r->dim, &r->short_factor));
    CS_TRY(read_factors(p, "long_factor", where, r->dim, &r->long_factor));
    r->scale =
        r->factor <= 1.0 ? 1.0 : sqrt(1.0 + log(r->factor) / log(r->original));
    CS_TRY(read_positive(p, "attention_factor", where, &r->scale));
    return CS_OK;
}

static cs_status read_llama3(const json_t *p, const char *where, csi_rope *r)
{
    CS_TRY(csi_json_f64(p, "low_freq_factor", where, &r->low));
    CS_TRY(csi_json_f64(p, "high_freq_factor", where, &r->high));
    CS_CHECK(r->low > 0.0 && r->high > r->low, CS_ERR_FORMAT,
             "%s: rope: wanted 0 < low_freq_factor < high_freq_factor, got %g "
             "and %g",
             where, r->low, r->high);
    return CS_OK;
}

static cs_status read_dim(const json_t *config, const json_t *p,
                          const char *where, int64_t head_dim, int32_t *out)
{
    double part = 1.0;

    CS_TRY(csi_json_opt_f64(config, "partial_rotary_factor", where, &part));
    CS_TRY(csi_json_opt_f64(p, "partial_rotary_factor", where, &part));
    CS_CHECK(part > 0.0 && part <= 1.0, CS_ERR_FORMAT,
             "%s: key 'partial_rotary_factor': wanted above 0 up to 1, got %g",
             where, part);
    *out = (int32_t)((double)head_dim * part);
    CS_CHECK(*out >= 2 && *out % 2 == 0, CS_ERR_UNSUPPORTED,
             "unsupported: %s: %d rotary columns of a head of %lld (an even "
             "number is offered)",
             where, *out, (long long)head_dim);
    return CS_OK;
}

/* r->theta is that of an absent key. */
static cs_status read_one(const csi_family *family, const json_t *config,
                          const json_t *p, const char *where,
                          const csi_sizes *sizes, csi_rope *r)
{
    const rope_kind *kind = NULL;
    const double most = (double)sizes->max_positions;

    CS_TRY(find_kind(family, p, where, &kind));
    r->type = kind->type;
    r->scale = 1.0;
    CS_TRY(read_positive(p, "rope_theta", where, &r->theta));
    CS_TRY(read_dim(config, p, where, sizes->head_dim, &r->dim));
    r->original = family->decoder->rope_original > 0
                      ? (double)family->decoder->rope_original
                      : most;
    CS_TRY(read_positive(p, "original_max_position_embeddings", where,
                         &r->original));
    CS_TRY(read_positive(config, "original_max_position_embeddings", where,
                         &r->original));
    r->factor = most / r->original;
    if (kind->type == CSI_ROPE_LINEAR || kind->type == CSI_ROPE_LLAMA3) {
        CS_TRY(csi_json_f64(p, "factor", where, &r->factor));
    }
    CS_TRY(read_positive(p, "factor", where, &r->factor));
    switch (kind->type) {
    case CSI_ROPE_LLAMA3:
        return read_llama3(p, where, r);
    case CSI_ROPE_YARN:
        return read_yarn(p, where, r);
    case CSI_ROPE_LONG:
        return read_long(p, where, r);
    default:
        return CS_OK;
    }
}

/* The object with rotary parameters, an empty one where there is none. */
static cs_status find_parameters(const json_t *config, const char *where,
                                 const json_t *empty, const json_t **out)
{
    static const char *const KEYS[] = {"rope_scaling", "rope_parameters"};

    *out = empty;
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(config, KEYS[i]);
        if (*out != empty || value == NULL || json_is_null(value)) {
            continue;
        }
        CS_CHECK(json_is_object(value), CS_ERR_FORMAT,
                 "%s: key '%s': wanted an object", where, KEYS[i]);
        *out = value;
    }
    return CS_OK;
}

/* Member `key` of nested parameters; null and nothing are an empty object. */
static cs_status find_nested(const json_t *p, const char *key,
                             const char *where, const json_t *empty,
                             const json_t **out)
{
    const json_t *value = json_object_get(p, key);

    *out = value == NULL || json_is_null(value) ? empty : value;
    CS_CHECK(json_is_object(*out), CS_ERR_FORMAT,
             "%s: rope_parameters: key '%s': wanted an object", where, key);
    return CS_OK;
}

static cs_status read_both(const csi_family *family, const json_t *config,
                           const char *where, const csi_sizes *sizes,
                           const json_t *empty, csi_rope out[2])
{
    const struct csi_decoder_traits *t = family->decoder;
    const json_t *global = NULL;
    const json_t *local = empty;
    csi_rope r[2] = {{.theta = t->rope_theta}, {.theta = t->local_rope_theta}};

    CS_TRY(read_positive(config, "rope_theta", where, &r[0].theta));
    CS_TRY(find_parameters(config, where, empty, &global));
    if (t->local_rope_theta > 0.0) {
        const json_t *all = global;
        CS_TRY(read_positive(config, t->local_rope_key, where, &r[1].theta));
        if (json_object_get(all, "full_attention") != NULL ||
            json_object_get(all, "sliding_attention") != NULL) {
            CS_TRY(find_nested(all, "full_attention", where, empty, &global));
            CS_TRY(find_nested(all, "sliding_attention", where, empty, &local));
        }
        CS_TRY(read_one(family, config, local, where, sizes, &r[1]));
    }
    CS_TRY(read_one(family, config, global, where, sizes, &r[0]));
    memcpy(out, r, sizeof r);
    return CS_OK;
}

cs_status csi_rope_read(const csi_family *family, const json_t *config,
                        const char *where, const csi_sizes *sizes,
                        csi_rope out[2])
{
    json_t *empty = NULL;

    memset(out, 0, 2 * sizeof *out);
    if (family->decoder->rope_theta <= 0.0) {
        return CS_OK;
    }
    empty = json_object();
    CS_CHECK(empty != NULL, CS_ERR_NOMEM, "%s: rope", where);
    const cs_status st = read_both(family, config, where, sizes, empty, out);
    json_decref(empty);
    return st;
}

/* Pair whose wave turns `turns` times within the context of pretraining. */
static double pair_of_turns(const csi_rope *r, double turns)
{
    return r->dim * log(r->original / (turns * 2.0 * PI)) /
           (2.0 * log(r->theta));
}

/* Share of stretching of pair i. */
static double yarn_ramp(const csi_rope *r, int32_t i)
{
    double low = pair_of_turns(r, r->high);
    double high = pair_of_turns(r, r->low);

    low = fmax(r->truncates ? floor(low) : low, 0.0);
    high = fmin(r->truncates ? ceil(high) : high, r->dim - 1.0);
    high += low == high ? 0.001 : 0.0;
    return fmin(fmax((i - low) / (high - low), 0.0), 1.0);
}

static double llama3_frequency(const csi_rope *r, double frequency)
{
    const double turns = r->original * frequency / (2.0 * PI);
    const double smooth = (turns - r->low) / (r->high - r->low);

    if (turns > r->high) {
        return frequency;
    }
    if (turns < r->low) {
        return frequency / r->factor;
    }
    return (1.0 - smooth) * frequency / r->factor + smooth * frequency;
}

void csi_rope_fill(const csi_rope *r, bool is_long, double *table)
{
    const json_t *factors = is_long ? r->long_factor : r->short_factor;

    for (int32_t i = 0; i < r->dim / 2; i++) {
        const double f = pow(r->theta, -2.0 * i / r->dim);
        double share = 0.0;
        table[i] = f;
        switch (r->type) {
        case CSI_ROPE_DEFAULT:
            break;
        case CSI_ROPE_LINEAR:
            table[i] = f / r->factor;
            break;
        case CSI_ROPE_LLAMA3:
            table[i] = llama3_frequency(r, f);
            break;
        case CSI_ROPE_YARN:
            share = yarn_ramp(r, i);
            table[i] = f * (1.0 - share) + f / r->factor * share;
            break;
        case CSI_ROPE_LONG:
            table[i] =
                f / json_number_value(json_array_get(factors, (size_t)i));
            break;
        }
    }
}
