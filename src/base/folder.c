/* SPDX-License-Identifier: Apache-2.0 */
/* Folders and the text of paths (declared in file.h). */
#include "base/file.h"
#include "base/file_error.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_NAMES = 16,
    WALK_DESCRIPTORS = 16
};

bool csi_dir_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static cs_status create_one(const char *path)
{
    if (csi_dir_exists(path)) {
        return CS_OK;
    }
    /* Another rank may have made it in between. */
    if (csi_file_fault() || (mkdir(path, 0777) != 0 &&
                             (errno != EEXIST || !csi_dir_exists(path)))) {
        return CSI_FAIL_FILE(path, "create the folder");
    }
    return CS_OK;
}

/* Creates what `path` names up to its first n characters. */
static cs_status create_prefix(char *path, size_t n)
{
    const char kept = path[n];

    path[n] = '\0';
    const cs_status st = create_one(path);

    path[n] = kept;
    CS_TRY(st);
    return CS_OK;
}

cs_status csi_dir_create(const char *path)
{
    const size_t n_chars = strlen(path);
    char *const copy = csi_strdup(path);
    cs_status st = CS_OK;

    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "%s: out of memory for a path", path);
    for (size_t n = 1; n <= n_chars && st == CS_OK; n++) {
        if (n == n_chars || copy[n] == '/') {
            st = create_prefix(copy, n);
        }
    }
    csi_free(copy);
    CS_TRY(st);
    return CS_OK;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static DIR *open_folder(const char *path)
{
    return csi_file_fault() ? NULL : opendir(path);
}

cs_status csi_dir_is_empty(const char *path, bool *empty)
{
    const struct dirent *entry;
    DIR *const folder = open_folder(path);

    if (folder == NULL && errno == ENOENT) {
        *empty = true;
        return CS_OK;
    }
    if (folder == NULL) {
        return CSI_FAIL_FILE(path, "open the folder");
    }
    while ((entry = readdir(folder)) != NULL && is_dots(entry->d_name)) {
    }
    *empty = entry == NULL;
    (void)closedir(folder);
    return CS_OK;
}

static int remove_entry(const char *path, const struct stat *info, int type,
                        struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return csi_file_fault() ? -1 : remove(path);
}

cs_status csi_dir_remove(const char *path)
{
    if (nftw(path, remove_entry, WALK_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0 &&
        errno != ENOENT) {
        return CSI_FAIL_FILE(path, "remove the folder");
    }
    return CS_OK;
}

static cs_status rename_folder(const char *from, const char *to)
{
    if (csi_file_fault() || rename(from, to) != 0) {
        return CSI_FAIL_FILE(from, "rename the folder");
    }
    return CS_OK;
}

/* `old` holds what stood at `to` before, if anything did. */
static cs_status replace_folder(const char *from, const char *to,
                                const char *old)
{
    const bool is_there = csi_dir_exists(to);
    cs_status st = CS_OK;

    CS_TRY(csi_dir_remove(old));
    if (is_there) {
        CS_TRY(rename_folder(to, old));
    }
    CS_TRY_GOTO(undo, rename_folder(from, to));
    CS_TRY(csi_file_sync_folder_of(to));
    CS_TRY(csi_dir_remove(old));
    return CS_OK;
undo:
    if (is_there) {
        (void)rename(old, to);
    }
    return st;
}

cs_status csi_dir_replace(const char *from, const char *to)
{
    const size_t n_old = strlen(to) + sizeof ".old";
    char *const old = csi_malloc(n_old);

    CS_CHECK(old != NULL, CS_ERR_NOMEM, "%s: out of memory for a path", to);
    (void)snprintf(old, n_old, "%s.old", to);
    const cs_status st = replace_folder(from, to, old);

    csi_free(old);
    CS_TRY(st);
    return CS_OK;
}

typedef struct name_list {
    char **names; /* owned, each owned */
    int64_t count;
    int64_t capacity;
} name_list;

static cs_status push_name(name_list *list, const char *path, const char *name)
{
    if (list->count == list->capacity) {
        const int64_t capacity =
            list->capacity != 0 ? list->capacity * 2 : FIRST_NAMES;
        char **const names =
            csi_realloc(list->names, (size_t)capacity * sizeof *names);
        CS_CHECK(names != NULL, CS_ERR_NOMEM, "%s: out of memory for names",
                 path);
        list->names = names;
        list->capacity = capacity;
    }
    char *const copy = csi_strdup(name);

    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "%s: out of memory for names", path);
    list->names[list->count++] = copy;
    return CS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static cs_status read_names(DIR *folder, const char *path, name_list *list)
{
    const struct dirent *entry;

    for (errno = 0; (entry = readdir(folder)) != NULL; errno = 0) {
        const cs_status st = is_dots(entry->d_name)
                                 ? CS_OK
                                 : push_name(list, path, entry->d_name);
        CS_TRY(st);
    }
    if (csi_file_fault() || errno != 0) {
        return CSI_FAIL_FILE(path, "list the folder");
    }
    return CS_OK;
}

cs_status csi_dir_list(const char *path, char ***names, int64_t *count)
{
    name_list list = {0};
    cs_status st = CS_OK;
    DIR *const folder = open_folder(path);

    if (folder == NULL) {
        return CSI_FAIL_FILE(path, "open the folder");
    }
    CS_TRY_GOTO(undo, read_names(folder, path, &list));
    (void)closedir(folder);
    if (list.count > 0) {
        qsort(list.names, (size_t)list.count, sizeof *list.names,
              compare_names);
    }
    *names = list.names;
    *count = list.count;
    return CS_OK;
undo:
    (void)closedir(folder);
    for (int64_t i = 0; i < list.count; i++) {
        csi_free(list.names[i]);
    }
    csi_free(list.names);
    return st;
}

cs_status csi_path_join(const char *folder, const char *name, char **out)
{
    const bool is_alone = name[0] == '/' || folder[0] == '\0';
    const size_t n_folder = is_alone ? 0 : strlen(folder);
    const bool needs_slash = n_folder > 0 && folder[n_folder - 1] != '/';
    const size_t n_chars = n_folder + needs_slash + strlen(name);
    char *const path = csi_malloc(n_chars + 1);

    CS_CHECK(path != NULL, CS_ERR_NOMEM, "%s: out of memory for a path", name);
    (void)snprintf(path, n_chars + 1, "%.*s%s%s", (int)n_folder, folder,
                   needs_slash ? "/" : "", name);
    *out = path;
    return CS_OK;
}

cs_status csi_path_dir(const char *path, char **out)
{
    const char *const slash = strrchr(path, '/');
    const char *from = path;
    size_t n_chars = slash != NULL ? (size_t)(slash - path) : 1;

    if (slash == NULL) {
        from = ".";
    } else if (n_chars == 0) {
        n_chars = 1; /* "/x" lies in "/" */
    }
    char *const folder = csi_malloc(n_chars + 1);

    CS_CHECK(folder != NULL, CS_ERR_NOMEM, "%s: out of memory for a path",
             path);
    memcpy(folder, from, n_chars);
    folder[n_chars] = '\0';
    *out = folder;
    return CS_OK;
}
