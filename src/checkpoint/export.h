/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_EXPORT_H
#define CS_CHECKPOINT_EXPORT_H
#include "cornstarch/checkpoint.h"

#include "parts.h"

/* One export, on one rank. */
typedef struct csi_exporter {
    const cs_param_set *set;
    uint64_t seed;
    cs_comm *replica;
    const cs_export_extras *extras;
    char *temporary;  /* owned; FOLDER.tmp */
    int32_t *owner;   /* owned */
    void *buffer;     /* owned; largest trainable one, in the real type */
    float *converted; /* owned; the same as f32, where real is not f32 */
    int32_t next;     /* trainable parameters before it have been received */
} csi_exporter;

/* Whether graph parameter i is in the part's files; whether it is trained, so
 * that its values travel. One that is tied to another is neither. */
bool csi_export_writes(const cs_graph *graph, const csi_part *part, int32_t i);
bool csi_export_sends(const cs_graph *graph, int32_t i);
/* Values of a trainable parameter as f32, from here or from its owner; valid
 * until the next call. On rank 0, in graph order. */
CS_NODISCARD cs_status csi_export_take(csi_exporter *x, int32_t param,
                                       const void **out);
/* model.safetensors of a part, or its shards with their index. */
CS_NODISCARD cs_status csi_export_weights(csi_exporter *x, const csi_part *part,
                                          const char *folder);

/* FOLDER/name with this text; nothing when it is NULL. */
CS_NODISCARD cs_status csi_write_text(const char *folder, const char *name,
                                      const char *text);
/* Copies a file from folder to folder; nothing when there is none. */
CS_NODISCARD cs_status csi_copy_into(const char *from_folder,
                                     const char *to_folder, const char *name);
/* All files of a part but its weights. */
CS_NODISCARD cs_status csi_export_write_extras(const cs_graph *graph,
                                               const csi_part *part,
                                               const cs_export_extras *extras,
                                               const char *folder);
#endif
