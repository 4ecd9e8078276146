/* SPDX-License-Identifier: Apache-2.0 */
/* config.json -> one encoder: its table with switches thrown, its sizes. */
#include "encoder.h"

#include "base/alloc.h"

#include <string.h>

static void remove_slots(csi_family *f, uint64_t slots)
{
    for (int s = 0; s < CS_SLOT_COUNT; s++) {
        if ((slots >> s & 1) != 0) {
            f->block[s] = NULL;
        }
    }
}

static cs_status throw_switches(const json_t *config, const char *where,
                                csi_family *f)
{
    for (int i = 0; i < CSI_ENCODER_SWITCHES; i++) {
        const csi_switch *s = &f->encoder->switches[i];
        bool is_on = s->fallback;
        if (s->key != NULL) {
            CS_TRY(csi_json_opt_bool(config, s->key, where, &is_on));
            remove_slots(f, is_on ? 0 : s->slots);
        }
    }
    return CS_OK;
}

static cs_status choose_norm(const json_t *config, const char *where,
                             csi_family *f)
{
    const struct csi_encoder_traits *t = f->encoder;
    bool is_rms = t->rms_fallback;

    if (t->rms_key == NULL) {
        return CS_OK;
    }
    const json_t *value = json_object_get(config, t->rms_key);
    if (value != NULL && !json_is_null(value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        CS_CHECK(text != NULL, CS_ERR_NOMEM, "%s: key '%s'", where, t->rms_key);
        is_rms = strcmp(text, t->rms_value) == 0;
        const bool is_known = is_rms || json_is_boolean(value) ||
                              strcmp(text, "\"layer_norm\"") == 0;
        csi_free(text);
        CS_CHECK(is_known, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: key '%s': only %s and layer norms are "
                 "offered",
                 where, t->rms_key, t->rms_value);
    }
    f->norm = is_rms ? CS_NORM_RMS : CS_NORM_LAYER;
    if (is_rms) {
        remove_slots(f, CSI_SLOT(NORM1_B) | CSI_SLOT(NORM2_B));
        f->outer[CS_SLOT_NORM1_B] = NULL;
    }
    return CS_OK;
}

static void move_name(csi_family *f, cs_slot from, cs_slot to)
{
    f->block[to] = f->block[from];
    f->block[from] = NULL;
}

static cs_status place_norms(const json_t *config, const char *where,
                             csi_family *f)
{
    const char *const key = f->encoder->post_norm_key;
    bool is_behind = false;

    if (key != NULL && !json_is_null(json_object_get(config, key))) {
        CS_TRY(csi_json_opt_bool(config, key, where, &is_behind));
    }
    if (is_behind) {
        move_name(f, CS_SLOT_NORM1_W, CS_SLOT_NORM3_W);
        move_name(f, CS_SLOT_NORM1_B, CS_SLOT_NORM3_B);
        move_name(f, CS_SLOT_NORM2_W, CS_SLOT_NORM4_W);
        move_name(f, CS_SLOT_NORM2_B, CS_SLOT_NORM4_B);
    }
    return CS_OK;
}

/* Width of the MLP from the ratio; the gated one has its own names. */
static cs_status choose_mlp(const json_t *config, const char *where,
                            csi_encoder *e)
{
    csi_family *f = &e->family;
    const struct csi_encoder_traits *t = f->encoder;
    double ratio = 4.0;
    bool is_gated = false;

    if (t->mlp_ratio_key == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_json_opt_f64(config, t->mlp_ratio_key, where, &ratio));
    CS_CHECK(ratio > 0.0 && ratio <= 64.0 &&
                 ratio * (double)e->sizes.width >= 1.0,
             CS_ERR_FORMAT, "%s: key '%s': wanted above 0 to 64, got %g", where,
             t->mlp_ratio_key, ratio);
    e->sizes.mlp_dim = (int64_t)(ratio * (double)e->sizes.width);
    if (t->gated_key != NULL) {
        CS_TRY(csi_json_opt_bool(config, t->gated_key, where, &is_gated));
    }
    if (is_gated) {
        e->sizes.mlp_dim = (e->sizes.mlp_dim * 2 / 3 + 7) / 8 * 8;
        e->sizes.activation = CS_ACT_SILU;
        f->has_mlp_gate = true;
        f->block[CS_SLOT_UP_W] = NULL;
        f->block[CS_SLOT_UP_B] = NULL;
        f->block[CS_SLOT_GATE_UP_W] = t->gate_up_w;
        f->block[CS_SLOT_GATE_UP_B] = t->gate_up_b;
        f->block[CS_SLOT_DOWN_W] = t->gated_down_w;
        f->block[CS_SLOT_DOWN_B] = t->gated_down_b;
    }
    return CS_OK;
}

/* The base of an axial embedding: a key of its own, or in rope_parameters. */
static cs_status read_theta(const json_t *config, const char *where,
                            double *theta)
{
    const json_t *parameters = json_object_get(config, "rope_parameters");
    const char *type = "axial";

    *theta = 10000.0;
    CS_TRY(csi_json_opt_f64(config, "rope_theta", where, theta));
    if (parameters != NULL && !json_is_null(parameters)) {
        CS_CHECK(json_is_object(parameters), CS_ERR_FORMAT,
                 "%s: key 'rope_parameters': wanted an object", where);
        CS_TRY(csi_json_opt_string(parameters, "rope_type", where, &type));
        CS_CHECK(strcmp(type, "axial") == 0 || strcmp(type, "default") == 0,
                 CS_ERR_UNSUPPORTED,
                 "unsupported: %s: rope_type '%.40s' (offered: axial)", where,
                 type);
        CS_TRY(csi_json_opt_f64(parameters, "rope_theta", where, theta));
    }
    CS_CHECK(*theta > 0.0, CS_ERR_FORMAT,
             "%s: key 'rope_theta': wanted a number above 0, got %g", where,
             *theta);
    return CS_OK;
}

static cs_status read_square(const json_t *config, const char *key,
                             const char *where, int64_t most, int32_t *out)
{
    int64_t value = 2;

    if (key != NULL) {
        CS_TRY(csi_json_opt_i64(config, key, where, 1, most, &value));
        *out = (int32_t)value;
    }
    return CS_OK;
}

static cs_status read_more(const json_t *config, const char *where,
                           csi_encoder *e)
{
    const struct csi_encoder_traits *t = e->family.encoder;
    bool has_mask_token = t->mask_token != NULL;

    e->layer_scale = t->layer_scale;
    if (t->layer_scale_key != NULL) {
        CS_TRY(csi_json_opt_f64(config, t->layer_scale_key, where,
                                &e->layer_scale));
    }
    if (t->mask_token_key != NULL) {
        CS_TRY(csi_json_opt_bool(config, t->mask_token_key, where,
                                 &has_mask_token));
    }
    e->mask_token = has_mask_token ? t->mask_token : NULL;
    e->merge = 1;
    e->temporal_patch = 1;
    CS_TRY(read_square(config, t->merge_key, where, 16, &e->merge));
    CS_TRY(read_square(config, t->temporal_key, where, 16, &e->temporal_patch));
    if (t->axial != CSI_AXIAL_NONE) {
        CS_TRY(read_theta(config, where, &e->rope_theta));
        CS_CHECK(e->sizes.head_dim % 4 == 0, CS_ERR_FORMAT,
                 "%s: head_dim wanted a multiple of 4 (two axes), got %lld",
                 where, (long long)e->sizes.head_dim);
    }
    return CS_OK;
}

/* Positions are stored for image_size; another size has them resampled. */
static cs_status choose_picture(const char *where, int64_t picture,
                                csi_encoder *e)
{
    const struct csi_encoder_traits *t = e->family.encoder;

    e->picture = e->sizes.image_size;
    if (e->family.modality != CS_MODALITY_VISION || t->is_any_size) {
        return CS_OK;
    }
    if (picture > 0 && picture != e->picture) {
        CS_CHECK(t->resamples, CS_ERR_UNSUPPORTED,
                 "unsupported: %s: pictures of %lld pixels a side; %s takes "
                 "its image_size, %lld",
                 where, (long long)picture, e->family.id,
                 (long long)e->picture);
        CS_CHECK(picture >= e->sizes.patch_size && picture <= 1 << 15,
                 CS_ERR_ARG,
                 "%s: pictures of %lld pixels a side, wanted patch_size %lld "
                 "to %d",
                 where, (long long)picture, (long long)e->sizes.patch_size,
                 1 << 15);
        e->picture = picture;
    }
    return CS_OK;
}

cs_status csi_encoder_read(const csi_family *family, const json_t *config,
                           const char *where, int64_t picture, csi_encoder *out)
{
    csi_encoder e = {.family = *family};

    CS_CHECK(family->encoder != NULL, CS_ERR_INTERNAL, "%s: not an encoder",
             family->id);
    CS_TRY(csi_sizes_read(family, config, where, &e.sizes));
    CS_TRY(throw_switches(config, where, &e.family));
    CS_TRY(choose_norm(config, where, &e.family));
    CS_TRY(place_norms(config, where, &e.family));
    CS_TRY(choose_mlp(config, where, &e));
    CS_TRY(read_more(config, where, &e));
    CS_TRY(choose_picture(where, picture, &e));
    e.class_rows = family->outer[CS_SLOT_CLASS] != NULL ? 1 : 0;
    if (family->encoder->is_any_size) {
        e.sizes.max_positions = 0;
    } else {
        e.sizes.max_positions += e.class_rows;
    }
    *out = e;
    return CS_OK;
}
