/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of a processor: what the model's shape demands, then what the
 * source folder's preprocessor_config.json says, then what the recipe says. A
 * setting that would change the numbers and that is not offered here is
 * refused, so that a pretrained encoder never sees other inputs than it knows.
 */
#include "processor.h"

#include "base/alloc.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

/* Old files of Whisper hold their filters, 128 x 201 numbers as text. */
enum {
    MAX_CONFIG_BYTES = 2 << 20
};

cs_status csi_settings_check_keys(const csi_settings *s,
                                  const char *const *keys)
{
    const char *key = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)(uintptr_t)s->json, key, value)
    {
        bool is_known = json_is_null(value);

        for (size_t i = 0; keys[i] != NULL && !is_known; i++) {
            is_known = strcmp(keys[i], key) == 0;
        }
        CS_CHECK(is_known, CS_ERR_UNSUPPORTED, "unsupported: %s: key '%.60s'",
                 s->where, key);
    }
    return CS_OK;
}

cs_status csi_settings_want_flag(const csi_settings *s, const char *key,
                                 bool wanted)
{
    bool value = wanted;

    CS_TRY(csi_json_opt_bool(s->json, key, s->where, &value));
    CS_CHECK(value == wanted, CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s' is %s, wanted %s", s->where, key,
             value ? "true" : "false", wanted ? "true" : "false");
    return CS_OK;
}

cs_status csi_settings_want_number(const csi_settings *s, const char *key,
                                   double wanted)
{
    double value = wanted;

    CS_TRY(csi_json_opt_f64(s->json, key, s->where, &value));
    CS_CHECK(fabs(value - wanted) <= 1e-9, CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s' is %g, wanted %g", s->where, key, value,
             wanted);
    return CS_OK;
}

/* Since transformers 5 a processor of several parts keeps them as members of
 * one file. */
static const json_t *find_part(const json_t *json, bool is_vision)
{
    const char *const key = is_vision ? "image_processor" : "feature_extractor";
    const json_t *const part = json_object_get(json, key);

    return json_is_object(part) ? part : NULL;
}

static cs_status read_file(const char *path, bool is_nested,
                           const cs_module *module, cs_processor *p)
{
    const bool is_vision = p->modality == CS_MODALITY_VISION;
    json_t *json = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_json_load(path, MAX_CONFIG_BYTES, &json));
    CS_CHECK_GOTO(undo, json_is_object(json), CS_ERR_FORMAT,
                  "%s: wanted an object", path);
    const csi_settings s = {is_nested ? find_part(json, is_vision) : json,
                            path};

    if (s.json != NULL && is_vision) {
        CS_TRY_GOTO(undo, csi_vision_read(&s, module, p));
    } else if (s.json != NULL) {
        CS_TRY_GOTO(undo, csi_sound_read(&s, p));
    }
undo:
    json_decref(json);
    return st;
}

/* A folder without either file is fine: the defaults hold. */
static cs_status read_folder(const char *folder, const cs_module *module,
                             cs_processor *p)
{
    static const char *const FILES[] = {"preprocessor_config.json",
                                        "processor_config.json"};
    bool is_read = false;

    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0] && !is_read; i++) {
        char *path = NULL;
        cs_status st = CS_OK;

        CS_TRY(csi_path_join(folder, FILES[i], &path));
        is_read = csi_file_exists(path);
        if (is_read) {
            st = read_file(path, i == 1, module, p);
        }
        csi_free(path);
        CS_TRY(st);
    }
    return CS_OK;
}

static int32_t at_least_1(int32_t n)
{
    return n > 0 ? n : 1;
}

cs_status cs_processor_init(const cs_module *module,
                            const cs_encoder_config *config, cs_processor *out)
{
    const bool is_vision = module->modality == CS_MODALITY_VISION;
    cs_processor p = {.modality = module->modality,
                      .class_rows = module->class_rows,
                      .feature_skip = module->feature_skip,
                      .pool = at_least_1(module->pool),
                      .stack = at_least_1(module->stack)};

    CS_CHECK(is_vision || module->modality == CS_MODALITY_AUDIO, CS_ERR_ARG,
             "%s: a processor is for pictures or sound", module->name);
    if (is_vision) {
        csi_vision_begin(module, &p);
    } else {
        csi_sound_begin(module, &p);
    }
    if (module->source != NULL) {
        CS_TRY(read_folder(module->source, module, &p));
    }
    if (is_vision) {
        CS_TRY(csi_vision_end(module, &config->processor, &p));
    } else {
        CS_TRY(csi_sound_end(module, &config->processor, &p));
    }
    *out = p;
    return CS_OK;
}

cs_status cs_processor_print(const cs_processor *processor, char **out)
{
    csi_str s = {0};

    if (processor->modality == CS_MODALITY_VISION) {
        csi_vision_print(processor, &s);
    } else {
        csi_sound_print(processor, &s);
    }
    const cs_status st = csi_str_check(&s);
    if (st != CS_OK) {
        csi_str_fini(&s);
        CS_TRY(st);
    }
    *out = s.data;
    return CS_OK;
}
