/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a picture: decoded or refused, and sizes that agree. */
#include "cornstarch/data.h"

#include "base/alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t *rgb = NULL;
    int32_t width = 0, height = 0;

    if (cs_image_decode(data, n_bytes, "fuzz", &rgb, &width, &height) ==
        CS_OK) {
        if (width <= 0 || height <= 0 || rgb == NULL) {
            __builtin_trap();
        }
        csi_free(rgb);
    }
    return 0;
}
