/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a safetensors file: opening answers or refuses, and what was
 * opened can be read to its last byte. The file lies in memory (memfd), so
 * that the fuzzer does not wear out a disk.
 */
#include "cornstarch/safetensors.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void read_all(const cs_safetensors *file)
{
    for (int64_t i = 0; i < cs_safetensors_count(file); i++) {
        const cs_safetensor *tensor = cs_safetensors_at(file, i);
        if (tensor->dtype == CS_DTYPE_COUNT) {
            continue;
        }
        void *copy = csi_malloc((size_t)tensor->n_bytes);
        if (copy == NULL || cs_safetensors_find(file, tensor->name) != tensor ||
            cs_safetensors_read(tensor, NULL, tensor->dtype, copy) != CS_OK ||
            (tensor->n_bytes > 0 &&
             memcmp(copy, tensor->data, (size_t)tensor->n_bytes) != 0)) {
            abort();
        }
        csi_free(copy);
    }
    (void)cs_safetensors_metadata(file, "format");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char path[64];
    cs_safetensors *file = NULL;
    const int fd = memfd_create("safetensors", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, n_bytes) != (ssize_t)n_bytes) {
        abort();
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const int64_t live = csi_alloc_live();
    if (cs_safetensors_open(path, &file) == CS_OK) {
        read_all(file);
        cs_safetensors_close(&file);
    } else if (cs_error_message()[0] == '\0') {
        abort();
    }
    (void)close(fd);
    if (csi_alloc_live() != live) {
        abort();
    }
    return 0;
}
