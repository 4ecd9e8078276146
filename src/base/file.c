/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading, mapping and small writes. Nothing here trusts a size that it did
 * not see: a file may grow or shrink between two calls.
 */
#include "base/file.h"

#include "base/file_error.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ_STEP_BYTES = 64 * 1024,
    COPY_BYTES = 1024 * 1024
};

static int open_for_reading(const char *path)
{
    return csi_file_fault() ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

static int stat_fd(int fd, struct stat *out)
{
    return csi_file_fault() ? -1 : fstat(fd, out);
}

static int stat_path(const char *path, struct stat *out)
{
    return csi_file_fault() ? -1 : stat(path, out);
}

/* One read(2); repeats when a signal came between. */
static ssize_t read_some(int fd, void *data, size_t n_bytes)
{
    ssize_t n_read;

    if (csi_file_fault()) {
        return -1;
    }
    do {
        n_read = read(fd, data, n_bytes);
    } while (n_read < 0 && errno == EINTR);
    return n_read;
}

/* Opens a file (not a folder) and tells its size. */
static cs_status open_file(const char *path, int *out_fd, int64_t *out_bytes)
{
    struct stat info = {0};
    cs_status st = CS_OK;
    const int fd = open_for_reading(path);

    if (fd < 0) {
        return CSI_FAIL_FILE(path, "open");
    }
    if (stat_fd(fd, &info) != 0) {
        st = CSI_FAIL_FILE(path, "read its size");
        goto undo;
    }
    CS_CHECK_GOTO(undo, !S_ISDIR(info.st_mode), CS_ERR_IO,
                  "%s: wanted a file, got a folder", path);
    *out_fd = fd;
    *out_bytes = (int64_t)info.st_size;
    return CS_OK;
undo:
    (void)close(fd);
    return st;
}

typedef struct buffer {
    char *data; /* owned; NULL before the first step */
    size_t n_bytes;
    size_t capacity; /* before the first step: what to begin with */
} buffer;

/* Room for one more step of reading and the final NUL. */
static cs_status grow(buffer *b, const char *path)
{
    const size_t capacity = b->data != NULL ? b->capacity * 2 : b->capacity;
    char *const data = csi_realloc(b->data, capacity);

    CS_CHECK(data != NULL, CS_ERR_NOMEM, "%s: out of memory for %zu bytes",
             path, capacity);
    b->data = data;
    b->capacity = capacity;
    return CS_OK;
}

/* One step; *at_end when nothing came. */
static cs_status read_step(int fd, const char *path, buffer *b, bool *at_end)
{
    if (b->data == NULL || b->capacity - b->n_bytes < 2) {
        CS_TRY(grow(b, path));
    }
    const ssize_t n_read =
        read_some(fd, b->data + b->n_bytes, b->capacity - b->n_bytes - 1);

    if (n_read < 0) {
        return CSI_FAIL_FILE(path, "read");
    }
    b->n_bytes += (size_t)n_read;
    b->data[b->n_bytes] = '\0';
    *at_end = n_read == 0;
    return CS_OK;
}

static cs_status read_to_end(int fd, const char *path, int64_t max_bytes,
                             buffer *b)
{
    bool at_end = false;

    while (!at_end) {
        CS_TRY(read_step(fd, path, b, &at_end));
        CS_CHECK((int64_t)b->n_bytes <= max_bytes, CS_ERR_FORMAT,
                 "%s: file is longer than the limit of %" PRId64 " bytes", path,
                 max_bytes);
    }
    return CS_OK;
}

cs_status csi_file_read(const char *path, int64_t max_bytes, char **data,
                        size_t *n_bytes)
{
    buffer b = {0};
    int64_t size = 0;
    int fd = -1;
    cs_status st = CS_OK;

    CS_TRY(open_file(path, &fd, &size));
    CS_CHECK_GOTO(undo, size <= max_bytes, CS_ERR_FORMAT,
                  "%s: file has %" PRId64 " bytes, the limit is %" PRId64, path,
                  size, max_bytes);
    /* Pipes and /proc tell no size; a regular file is read in one step. */
    b.capacity = size > 0 ? (size_t)size + 2 : READ_STEP_BYTES;
    CS_TRY_GOTO(undo, read_to_end(fd, path, max_bytes, &b));
    (void)close(fd);
    *data = b.data;
    *n_bytes = b.n_bytes;
    return CS_OK;
undo:
    csi_free(b.data);
    (void)close(fd);
    return st;
}

cs_status csi_file_map_open(const char *path, csi_file_map *out)
{
    int64_t size = 0;
    int fd = -1;
    void *data = NULL;

    CS_TRY(open_file(path, &fd, &size));
    if (size > 0) {
        data = csi_file_fault()
                   ? MAP_FAILED
                   : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    const int error = errno;

    (void)close(fd);
    if (data == MAP_FAILED) {
        errno = error;
        return CSI_FAIL_FILE(path, "map");
    }
    *out = (csi_file_map){.data = data, .n_bytes = (size_t)size};
    return CS_OK;
}

void csi_file_map_close(csi_file_map *map)
{
    if (map->data != NULL) {
        union {
            const uint8_t *in;
            void *out;
        } address = {.in = map->data}; /* munmap takes no const */
        (void)munmap(address.out, map->n_bytes);
    }
    *map = (csi_file_map){0};
}

cs_status csi_file_write(const char *path, const void *data, size_t n_bytes)
{
    csi_file_writer *writer = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_file_writer_create(path, &writer));
    CS_TRY_GOTO(done, csi_file_writer_write(writer, data, n_bytes));
    CS_TRY_GOTO(done, csi_file_writer_commit(writer));
done:
    csi_file_writer_destroy(&writer);
    return st;
}

/* One write(2), so that lines of several processes do not mix. A part of a
 * line is taken back: the file must stay readable when the disk is full. */
static cs_status append_once(int fd, const char *path, const void *data,
                             size_t n_bytes)
{
    struct stat before = {0};

    if (stat_fd(fd, &before) != 0) {
        return CSI_FAIL_FILE(path, "read its size");
    }
    const ssize_t n_written = csi_file_fault() ? -1 : write(fd, data, n_bytes);

    if (n_written < 0) {
        return CSI_FAIL_FILE(path, "append");
    }
    if ((size_t)n_written < n_bytes) {
        const bool is_undone = ftruncate(fd, before.st_size) == 0;
        return CS_FAIL(CS_ERR_IO,
                       "%s: cannot append: wrote %zd of %zu bytes%s, "
                       "the disk may be full",
                       path, n_written, n_bytes,
                       is_undone ? " and took them back" : "");
    }
    return CS_OK;
}

cs_status csi_file_append(const char *path, const void *data, size_t n_bytes)
{
    const int fd =
        csi_file_fault()
            ? -1
            : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

    if (fd < 0) {
        return CSI_FAIL_FILE(path, "open for appending");
    }
    const cs_status st = append_once(fd, path, data, n_bytes);

    if (close(fd) != 0 && st == CS_OK) {
        return CSI_FAIL_FILE(path, "close");
    }
    CS_TRY(st);
    return CS_OK;
}

static cs_status copy_data(int fd, const char *from, csi_file_writer *writer)
{
    char *const data = csi_malloc(COPY_BYTES);
    ssize_t n_read;
    cs_status st = CS_OK;

    CS_CHECK(data != NULL, CS_ERR_NOMEM, "%s: out of memory for a copy", from);
    while ((n_read = read_some(fd, data, COPY_BYTES)) > 0) {
        CS_TRY_GOTO(done, csi_file_writer_write(writer, data, (size_t)n_read));
    }
    if (n_read < 0) {
        st = CSI_FAIL_FILE(from, "read");
    }
done:
    csi_free(data);
    return st;
}

cs_status csi_file_copy(const char *from, const char *to)
{
    csi_file_writer *writer = NULL;
    int64_t size = 0;
    int fd = -1;
    cs_status st = CS_OK;

    CS_TRY(open_file(from, &fd, &size));
    CS_TRY_GOTO(done, csi_file_writer_create(to, &writer));
    CS_TRY_GOTO(done, copy_data(fd, from, writer));
    CS_TRY_GOTO(done, csi_file_writer_commit(writer));
done:
    csi_file_writer_destroy(&writer);
    (void)close(fd);
    return st;
}

cs_status csi_file_truncate(const char *path, int64_t n_bytes)
{
    if (csi_file_fault() || truncate(path, (off_t)n_bytes) != 0) {
        return CSI_FAIL_FILE(path, "truncate");
    }
    return CS_OK;
}

cs_status csi_file_size(const char *path, int64_t *n_bytes)
{
    struct stat info;

    if (stat_path(path, &info) != 0) {
        return CSI_FAIL_FILE(path, "read its size");
    }
    *n_bytes = (int64_t)info.st_size;
    return CS_OK;
}

cs_status csi_file_mtime_ns(const char *path, int64_t *ns)
{
    struct stat info;

    if (stat_path(path, &info) != 0) {
        return CSI_FAIL_FILE(path, "read");
    }
    *ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    return CS_OK;
}

bool csi_file_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}
