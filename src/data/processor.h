/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_PROCESSOR_H
#define CS_DATA_PROCESSOR_H
/*
 * What the files of processors share. A processor is made in three steps:
 * defaults (csi_vision_begin), the folder's file (csi_vision_read), the recipe
 * and the checks against the model (csi_vision_end); sound alike.
 */
#include "cornstarch/data.h"

#include "base/json.h"
#include "base/str.h"

/* A file's settings and what errors call it. */
typedef struct csi_settings {
    const json_t *json; /* borrowed: an object */
    const char *where;  /* borrowed */
} csi_settings;

/* Only the given keys may be there (NULL ends the list): a setting that nobody
 * reads would change numbers without a word. Null values are absent. */
CS_NODISCARD cs_status csi_settings_check_keys(const csi_settings *s,
                                               const char *const *keys);
/* `wanted` is what this program does; a file that says otherwise is refused. */
CS_NODISCARD cs_status csi_settings_want_flag(const csi_settings *s,
                                              const char *key, bool wanted);
CS_NODISCARD cs_status csi_settings_want_number(const csi_settings *s,
                                                const char *key, double wanted);

/* Whether pictures keep their shapes. */
static inline bool csi_is_any_size(cs_resize resize)
{
    return resize == CS_RESIZE_LONGEST || resize == CS_RESIZE_AREA;
}

void csi_vision_begin(const cs_module *module, cs_processor *p);
CS_NODISCARD cs_status csi_vision_read(const csi_settings *s,
                                       const cs_module *module,
                                       cs_processor *p);
/* image_grid_pinpoints, where pictures come in tiles; else it is refused. */
CS_NODISCARD cs_status csi_tiles_read(const csi_settings *s, bool is_tiled,
                                      cs_processor *p);
CS_NODISCARD cs_status csi_tiles_check(const cs_module *module,
                                       const cs_processor *p);
void csi_tiles_print(const cs_processor *p, csi_str *s);
CS_NODISCARD cs_status csi_vision_end(const cs_module *module,
                                      const cs_processor_config *recipe,
                                      cs_processor *p);
void csi_vision_print(const cs_processor *p, csi_str *s);

void csi_sound_begin(const cs_module *module, cs_processor *p);
CS_NODISCARD cs_status csi_sound_read(const csi_settings *s, cs_processor *p);
CS_NODISCARD cs_status csi_sound_end(const cs_module *module,
                                     const cs_processor_config *recipe,
                                     cs_processor *p);
void csi_sound_print(const cs_processor *p, csi_str *s);
#endif
