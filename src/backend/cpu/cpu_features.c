/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the instruction sets. The compiler's check looks at what the system
 * saves on a context switch, except for AMX, whose tiles must also be asked
 * for: once per process, before they are used.
 */
#include "cpu_features.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LEAF_FEATURES = 7,
    AMX_BF16_BIT = 22,
    AMX_TILE_BIT = 24,
    REQUEST_PERMISSION = 0x1023, /* ARCH_REQ_XCOMP_PERM */
    TILE_DATA = 18               /* XFEATURE_XTILEDATA */
};

static bool has_amx(void)
{
    unsigned int eax = 0;
    unsigned int ebx = 0;
    unsigned int ecx = 0;
    unsigned int edx = 0;
    const unsigned int wanted = (1U << AMX_BF16_BIT) | (1U << AMX_TILE_BIT);

    if (__get_cpuid_count(LEAF_FEATURES, 0, &eax, &ebx, &ecx, &edx) == 0 ||
        (edx & wanted) != wanted) {
        return false;
    }
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0 &&
           __builtin_cpu_supports("avx512bw") != 0 &&
           __builtin_cpu_supports("avx512dq") != 0 &&
           __builtin_cpu_supports("avx512vl") != 0;
}

static csi_cpu_level best_level(void)
{
    if (__builtin_cpu_supports("avx2") == 0 ||
        __builtin_cpu_supports("fma") == 0) {
        return CSI_CPU_PLAIN;
    }
    if (!has_avx512()) {
        return CSI_CPU_AVX2;
    }
    return has_amx() ? CSI_CPU_AMX : CSI_CPU_AVX512;
}

cs_status csi_cpu_detect(csi_cpu_features *out)
{
    static const struct {
        const char *word;
        csi_cpu_level most;
    } words[] = {
        {"plain", CSI_CPU_PLAIN},   {"avx2", CSI_CPU_AVX2},
        {"avx512", CSI_CPU_AVX512}, {"amx", CSI_CPU_AMX},
        {"onednn", CSI_CPU_AMX},
    };
    const char *asked = getenv("CORNSTARCH_CPU");
    csi_cpu_features found = {0};
    csi_cpu_level most = CSI_CPU_AMX;
    bool force_onednn = false;

    __builtin_cpu_init();
    if (asked != NULL && asked[0] != '\0') {
        const size_t n_words = sizeof words / sizeof words[0];
        size_t i = 0;

        while (i < n_words && strcmp(words[i].word, asked) != 0) {
            i++;
        }
        CS_CHECK(i < n_words, CS_ERR_ARG,
                 "CORNSTARCH_CPU: wanted ref, plain, avx2, avx512, amx or "
                 "onednn, got '%s'",
                 asked);
        most = words[i].most;
        force_onednn = strcmp(asked, "onednn") == 0;
    }
    const csi_cpu_level best = best_level();

    found.level = best < most ? best : most;
    found.onednn_bf16 = found.level == CSI_CPU_AMX ||
                        (force_onednn && found.level == CSI_CPU_AVX512);
    /* Intel's cores run it at half the rate of two f32 FMA units. */
    found.bf16_dot = found.level >= CSI_CPU_AVX512 &&
                     __builtin_cpu_supports("avx512bf16") != 0 &&
                     __builtin_cpu_is("amd") != 0;
    *out = found;
    return CS_OK;
}
