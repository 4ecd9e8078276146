/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_ZOO_PRESET_H
#define CS_ZOO_PRESET_H
/* The tables of published sizes. */
#include "cornstarch/zoo.h"

typedef struct csi_preset_table {
    const cs_zoo_preset *rows;
    int32_t n;
} csi_preset_table;

extern const csi_preset_table csi_language_presets;
extern const csi_preset_table csi_vision_presets;
extern const csi_preset_table csi_audio_presets;

/* NULL = there is none of that name. */
const cs_zoo_preset *csi_preset_find(const char *name);
#endif
