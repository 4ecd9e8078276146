/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a recording: finite samples of a bounded count, or refused.
 * What libsndfile's decoders themselves forget on broken files is theirs.
 */
#include "cornstarch/data.h"

#include "base/alloc.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libsndfile\nleak:libvorbis\nleak:libogg\nleak:libopus\n"
           "leak:libFLAC\nleak:libmpg123\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    float *samples = NULL;
    int64_t count = 0;

    if (cs_audio_decode(data, n_bytes, "fuzz", 16000, 2.0, &samples, &count) ==
        CS_OK) {
        if (count <= 0 || count > 32000) {
            __builtin_trap();
        }
        for (int64_t i = 0; i < count; i++) {
            if (!isfinite(samples[i])) {
                __builtin_trap();
            }
        }
        csi_free(samples);
    }
    return 0;
}
