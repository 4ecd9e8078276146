/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_MANIFEST_H
#define CS_CHECKPOINT_MANIFEST_H
/*
 * manifest.json: which tensors a checkpoint holds, as boxes of global indices
 * in files, and what the files must look like. A tensor is in one of three
 * places: in slices here, in an older step of the same run (ref_step), or in
 * the folder that the model was made from (source).
 */
#include "cornstarch/shape.h"

#include "base/arena.h"
#include "base/hash_map.h"
#include "base/str.h"

enum {
    CSI_HASH_TEXT_BYTES = 33,
    CSI_FILE_NAME_BYTES = 256
};

#define CSI_MANIFEST_FORMAT "cornstarch.checkpoint"
#define CSI_MANIFEST_FILE   "manifest.json"
#define CSI_STATE_FILE      "state.json"

typedef struct csi_stored_file {
    char name[CSI_FILE_NAME_BYTES]; /* no path */
    int64_t n_bytes;
    char xxh3_128[CSI_HASH_TEXT_BYTES];
} csi_stored_file;

typedef struct csi_stored_slice {
    cs_slice slice;
    int32_t file; /* index */
} csi_stored_slice;

typedef struct csi_stored_tensor {
    const char *name; /* borrowed from the arena, as all below */
    cs_shape shape;
    cs_dtype dtype; /* not said of a tensor with a source */
    int32_t n_slices;
    csi_stored_slice *slices; /* they tile the shape */
    int64_t ref_step;         /* 0 = not there */
    const char *source;       /* NULL = not there */
} csi_stored_tensor;

typedef struct csi_stored_table {
    int64_t n;
    csi_stored_tensor *tensors;
    csi_hash_map *by_name; /* owned */
} csi_stored_table;

typedef struct csi_manifest {
    csi_arena arena; /* everything but the maps */
    int64_t step;
    const char *recipe_hash;
    const char *plan_hash;
    int32_t n_files;
    csi_stored_file *files;
    csi_stored_table tensors;   /* parameters by global name */
    csi_stored_table optimizer; /* the same names: both moments */
} csi_manifest;

/* Zeroed, ready for fini; tables are filled by the parser or the writer. */
void csi_manifest_init(csi_manifest *manifest);
void csi_manifest_fini(csi_manifest *manifest);
/* Everything is checked: names, sizes, that slices tile their tensors. On
 * failure *out is as init left it. */
CS_NODISCARD cs_status csi_manifest_parse(const char *text, size_t n_bytes,
                                          const char *where, csi_manifest *out);
CS_NODISCARD cs_status csi_manifest_read(const char *folder, csi_manifest *out);
void csi_manifest_print(const csi_manifest *manifest, csi_str *text);
/* NULL when there is none of this name. */
const csi_stored_tensor *csi_stored_find(const csi_stored_table *table,
                                         const char *name);
/* Index of a file, -1 when there is none. */
int32_t csi_manifest_find_file(const csi_manifest *manifest, const char *name);
/* Builds by_name; a name used twice is a FORMAT error. */
CS_NODISCARD cs_status csi_stored_index(csi_stored_table *table,
                                        const char *where);

/* Reads {"name", "bytes", "xxh3_128"}; shared with the ranks' records. */
CS_NODISCARD cs_status csi_stored_file_parse(const void *json,
                                             const char *where,
                                             csi_stored_file *out);
void csi_stored_file_print(const csi_stored_file *file, csi_str *text);
/* Size and checksum of a file as it lies on the disk. */
CS_NODISCARD cs_status csi_stored_file_measure(const char *folder,
                                               const char *name,
                                               csi_stored_file *out);
/* FORMAT (or IO) error when the file is not what the entry says. */
CS_NODISCARD cs_status csi_stored_file_verify(const char *folder,
                                              const csi_stored_file *file);
#endif
