/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CPU_FEATURES_H
#define CS_CPU_FEATURES_H
/* What this CPU can do and the user allows. */
#include "cornstarch/status.h"

typedef enum csi_cpu_level {
    CSI_CPU_PLAIN,  /* products by oneDNN, the rest by ref */
    CSI_CPU_AVX2,   /* with FMA */
    CSI_CPU_AVX512, /* F BW DQ VL */
    CSI_CPU_AMX     /* AVX-512, and bf16 products by oneDNN on AMX */
} csi_cpu_level;

typedef struct csi_cpu_features {
    csi_cpu_level level;
    bool bf16_dot;    /* VDPBF16PS is there and faster than f32 */
    bool onednn_bf16; /* bf16 products by oneDNN: AMX, or asked for */
} csi_cpu_features;

/* CORNSTARCH_CPU = plain | avx2 | avx512 | amx is the most that is used;
 * "onednn" is amx with oneDNN's bf16 products on a CPU without AMX too (to
 * test and to compare). Errors: ARG for another word. */
CS_NODISCARD cs_status csi_cpu_detect(csi_cpu_features *out);
#endif
