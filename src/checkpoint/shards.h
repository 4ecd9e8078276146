/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_SHARDS_H
#define CS_CHECKPOINT_SHARDS_H
/* A list of tensors as model.safetensors, or as shards with their index where
 * they are larger than one file shall be. */
#include "cornstarch/safetensors.h"

/* "model.safetensors" */
extern const char csi_weights_file[];

typedef struct csi_shard_tensor {
    const char *name; /* borrowed */
    cs_dtype dtype;
    cs_shape shape;
    int64_t n_bytes;
    int32_t shard; /* set by csi_shards_write */
} csi_shard_tensor;

/* Gives all data of tensor i to the file, in one or several pieces. */
typedef cs_status (*csi_shard_write_fn)(void *context, int64_t i,
                                        cs_safetensors_writer *file);

/* Writes the list in its order (wider types first) below `folder`. max_bytes:
 * of one file's tensors; 0 = 5 GB. */
CS_NODISCARD cs_status csi_shards_write(csi_shard_tensor *tensors, int64_t n,
                                        int64_t max_bytes, const char *folder,
                                        csi_shard_write_fn write,
                                        void *context);
#endif
