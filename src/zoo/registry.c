/* SPDX-License-Identifier: Apache-2.0 */
/* The only list of families. */
#include "cornstarch/zoo.h"

#include "decoder.h"
#include "encoder.h"

#include <string.h>

static const csi_family *const FAMILIES[] = {
    &csi_family_llama,       &csi_family_mistral,    &csi_family_mixtral,
    &csi_family_qwen2,       &csi_family_qwen3,      &csi_family_qwen3_moe,
    &csi_family_gemma,       &csi_family_gemma2,     &csi_family_gemma3,
    &csi_family_phi3,        &csi_family_internlm2,  &csi_family_gpt2,
    &csi_family_vit,         &csi_family_clip,       &csi_family_siglip,
    &csi_family_dinov2,      &csi_family_intern_vit, &csi_family_evaclip,
    &csi_family_pixtral,     &csi_family_qwen2_vl,   &csi_family_whisper,
    &csi_family_qwen2_audio,
};

enum {
    N_FAMILIES = sizeof FAMILIES / sizeof FAMILIES[0]
};

const csi_family *csi_family_find(const char *model_type)
{
    for (int i = 0; i < N_FAMILIES; i++) {
        for (int k = 0; k < 3 && FAMILIES[i]->model_type[k] != NULL; k++) {
            if (strcmp(FAMILIES[i]->model_type[k], model_type) == 0) {
                return FAMILIES[i];
            }
        }
    }
    return NULL;
}

bool cs_zoo_get(int32_t index, cs_zoo_family *out)
{
    if (index < 0 || index >= N_FAMILIES) {
        return false;
    }
    *out = (cs_zoo_family){
        .id = FAMILIES[index]->id,
        .model_type = FAMILIES[index]->model_type[0],
        .modality = FAMILIES[index]->modality,
        .architecture = FAMILIES[index]->architecture,
    };
    return true;
}
