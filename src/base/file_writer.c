/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that appears whole or not at all.
 *
 *     writing --commit--> committed
 *        |  any failure
 *        v
 *     failed: the temporary file is gone already; commit is refused
 *
 * The temporary file lies in the target's folder, because a rename is atomic
 * only within one file system. Small writes are gathered, large ones pass.
 */
#include "base/file.h"
#include "base/file_error.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 64 * 1024,
    SUFFIX_BYTES = 32
};

struct csi_file_writer {
    char *path;      /* owned */
    char *temporary; /* owned */
    char *buffer;    /* owned */
    size_t n_buffered;
    int fd; /* -1 = no temporary file exists */
};

/* Writes all of it, going on after short writes. False: errno says why. */
static bool write_all(int fd, const void *data, size_t n_bytes)
{
    const char *at = data;

    while (n_bytes > 0) {
        const ssize_t n_written =
            csi_file_fault() ? -1 : write(fd, at, n_bytes);
        if (n_written < 0 && errno == EINTR) {
            continue;
        }
        if (n_written <= 0) {
            errno = n_written == 0 ? ENOSPC : errno;
            return false;
        }
        at += n_written;
        n_bytes -= (size_t)n_written;
    }
    return true;
}

cs_status csi_file_sync_folder_of(const char *path)
{
    char *folder = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_path_dir(path, &folder));
    const int fd = csi_file_fault()
                       ? -1
                       : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        st = CSI_FAIL_FILE(folder, "open");
        goto done;
    }
    /* Some file systems cannot sync a folder and say EINVAL: not a fault. */
    if (csi_file_fault() || (fsync(fd) != 0 && errno != EINVAL)) {
        st = CSI_FAIL_FILE(folder, "flush");
    }
    (void)close(fd);
done:
    csi_free(folder);
    return st;
}

/* Closes and removes the temporary file; keeps errno for the sentence. */
static void drop_temporary(csi_file_writer *writer)
{
    const int error = errno;

    if (writer->fd >= 0) {
        (void)close(writer->fd);
        (void)unlink(writer->temporary);
        writer->fd = -1;
    }
    errno = error;
}

static cs_status fail_writer(csi_file_writer *writer, const char *verb)
{
    drop_temporary(writer);
    return CSI_FAIL_FILE(writer->path, verb);
}

cs_status csi_file_writer_create(const char *path, csi_file_writer **out)
{
    const size_t n_temporary = strlen(path) + SUFFIX_BYTES;
    csi_file_writer *writer = csi_calloc(1, sizeof *writer);
    cs_status st = CS_OK;

    CS_CHECK(writer != NULL, CS_ERR_NOMEM, "%s: out of memory for a writer",
             path);
    writer->fd = -1;
    writer->path = csi_strdup(path);
    writer->temporary = csi_malloc(n_temporary);
    writer->buffer = csi_malloc(BUFFER_BYTES);
    CS_CHECK_GOTO(undo,
                  writer->path != NULL && writer->temporary != NULL &&
                      writer->buffer != NULL,
                  CS_ERR_NOMEM, "%s: out of memory for a writer", path);
    (void)snprintf(writer->temporary, n_temporary, "%s.tmp.%ld", path,
                   (long)getpid());
    writer->fd = csi_file_fault()
                     ? -1
                     : open(writer->temporary,
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        st = CSI_FAIL_FILE(path, "create");
        goto undo;
    }
    *out = writer;
    return CS_OK;
undo:
    csi_file_writer_destroy(&writer);
    return st;
}

void csi_file_writer_destroy(csi_file_writer **writer)
{
    if (*writer != NULL) {
        drop_temporary(*writer);
        csi_free((*writer)->path);
        csi_free((*writer)->temporary);
        csi_free((*writer)->buffer);
        csi_free(*writer);
        *writer = NULL;
    }
}

static cs_status flush(csi_file_writer *writer)
{
    if (!write_all(writer->fd, writer->buffer, writer->n_buffered)) {
        return fail_writer(writer, "write");
    }
    writer->n_buffered = 0;
    return CS_OK;
}

static cs_status check_open(const csi_file_writer *writer)
{
    CS_CHECK(writer->fd >= 0, CS_ERR_INTERNAL,
             "%s: the writer is committed or has failed before", writer->path);
    return CS_OK;
}

cs_status csi_file_writer_write(csi_file_writer *writer, const void *data,
                                size_t n_bytes)
{
    CS_TRY(check_open(writer));
    if (n_bytes > BUFFER_BYTES - writer->n_buffered) {
        CS_TRY(flush(writer));
    }
    if (n_bytes > BUFFER_BYTES) {
        if (!write_all(writer->fd, data, n_bytes)) {
            return fail_writer(writer, "write");
        }
    } else if (n_bytes > 0) {
        memcpy(writer->buffer + writer->n_buffered, data, n_bytes);
        writer->n_buffered += n_bytes;
    }
    return CS_OK;
}

cs_status csi_file_writer_commit(csi_file_writer *writer)
{
    CS_TRY(check_open(writer));
    CS_TRY(flush(writer));
    if (csi_file_fault() || fsync(writer->fd) != 0) {
        return fail_writer(writer, "flush");
    }
    if (csi_file_fault() || rename(writer->temporary, writer->path) != 0) {
        return fail_writer(writer, "put the new content in place");
    }
    const int fd = writer->fd;

    writer->fd = -1; /* from here on there is nothing to remove */
    if (close(fd) != 0) {
        return CSI_FAIL_FILE(writer->path, "close");
    }
    CS_TRY(csi_file_sync_folder_of(writer->path));
    return CS_OK;
}
