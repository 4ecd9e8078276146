/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_STORED_H
#define CS_CHECKPOINT_STORED_H
/*
 * A checkpoint opened for reading: its manifest, its files once they are
 * wanted, and the older steps that it refers to. What it says has been
 * verified by checksum, so all ranks that open it come to the same verdict.
 */
#include "cornstarch/safetensors.h"

#include "manifest.h"

typedef struct csi_stored {
    char *checkpoints; /* owned */
    char *folder;      /* owned */
    csi_manifest manifest;
    cs_safetensors **files;   /* owned, [manifest.n_files]; NULL = not open */
    struct csi_stored **refs; /* owned, each owned */
    int32_t n_refs;
} csi_stored;

/* Reads the manifest and verifies every file, also those of older steps that
 * tensors of this one are in. */
CS_NODISCARD cs_status csi_stored_open(const char *checkpoints, int64_t step,
                                       csi_stored **out);
void csi_stored_close(csi_stored **stored);
/* Reads the whole tensor as `dtype`, from its slices; `name` is what it is
 * called inside the files. The tensor has slices. */
CS_NODISCARD cs_status csi_stored_read(csi_stored *stored,
                                       const csi_stored_tensor *tensor,
                                       const char *name, cs_dtype dtype,
                                       void *dst);
/* Where the tensor's slices are: the tensor and its checkpoint, or those of
 * the older step that it refers to. The tensor has no source. */
CS_NODISCARD cs_status csi_stored_resolve(csi_stored *stored,
                                          const csi_stored_tensor *tensor,
                                          csi_stored **where,
                                          const csi_stored_tensor **out);
#endif
