/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_EXPORT_H
#define CS_CHECKPOINT_EXPORT_H
#include "cornstarch/checkpoint.h"

#include "parts.h"

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
