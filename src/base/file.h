/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_FILE_H
#define CS_BASE_FILE_H
/*
 * Files: read whole, map, write so that a crash leaves the old file or the
 * new one. Every error sentence names the path and the system's reason.
 * Fallible calls pass csi_fault_point() (see alloc.h).
 */
#include "cornstarch/status.h"

#include <stddef.h>

/* Reads at most max_bytes (longer = FORMAT error with both sizes). The data
 * is NUL-terminated beyond n_bytes. [out,own]: csi_free. */
CS_NODISCARD cs_status csi_file_read(const char *path, int64_t max_bytes,
                                     char **data, size_t *n_bytes);

typedef struct csi_file_map {
    const uint8_t *data; /* NULL when the file is empty */
    size_t n_bytes;
} csi_file_map;

CS_NODISCARD cs_status csi_file_map_open(const char *path, csi_file_map *out);
void csi_file_map_close(csi_file_map *map);

/* A writer to PATH.tmp.<pid>; commit = flush, fsync, rename onto PATH, fsync
 * the folder. Destroy without commit removes the temporary file. */
typedef struct csi_file_writer csi_file_writer;
CS_NODISCARD cs_status csi_file_writer_create(const char *path,
                                              csi_file_writer **out);
CS_NODISCARD cs_status csi_file_writer_write(csi_file_writer *writer,
                                             const void *data, size_t n_bytes);
CS_NODISCARD cs_status csi_file_writer_commit(csi_file_writer *writer);
void csi_file_writer_destroy(csi_file_writer **writer);

/* create + write + commit. */
CS_NODISCARD cs_status csi_file_write(const char *path, const void *data,
                                      size_t n_bytes);
/* Appends with one write(2) (metrics.jsonl); creates the file. */
CS_NODISCARD cs_status csi_file_append(const char *path, const void *data,
                                       size_t n_bytes);
CS_NODISCARD cs_status csi_file_copy(const char *from, const char *to);
CS_NODISCARD cs_status csi_file_truncate(const char *path, int64_t n_bytes);
CS_NODISCARD cs_status csi_file_size(const char *path, int64_t *n_bytes);
CS_NODISCARD cs_status csi_file_mtime_ns(const char *path, int64_t *ns);
bool csi_file_exists(const char *path);
bool csi_dir_exists(const char *path);
CS_NODISCARD cs_status csi_dir_create(const char *path); /* with parents */
/* Whether a folder has no entries (or does not exist). */
CS_NODISCARD cs_status csi_dir_is_empty(const char *path, bool *empty);
/* With all that is in it; a folder that does not exist is fine. */
CS_NODISCARD cs_status csi_dir_remove(const char *path);
/* Renames the folder `from` to `to`, lastingly. What stood at `to` is moved
 * to TO.old and removed afterwards; when the rename fails it is moved back. */
CS_NODISCARD cs_status csi_dir_replace(const char *from, const char *to);
/* Sorted names, without . and .. ; [out,own] each and the array: csi_free */
CS_NODISCARD cs_status csi_dir_list(const char *path, char ***names,
                                    int64_t *count);
/* "a/b" from folder and name; absolute names win. [out,own]: csi_free. */
CS_NODISCARD cs_status csi_path_join(const char *folder, const char *name,
                                     char **out);
/* Folder part ("." if none). [out,own]: csi_free. */
CS_NODISCARD cs_status csi_path_dir(const char *path, char **out);
#endif
