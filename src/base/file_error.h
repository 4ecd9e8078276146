/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_FILE_ERROR_H
#define CS_BASE_FILE_ERROR_H
/* What file.c, file_writer.c and folder.c share: system calls that a test can
 * make fail, and the one form of their sentences. */
#include "cornstarch/status.h"

#include "base/alloc.h"

#include <errno.h>
#include <string.h>

enum {
    CSI_EINJECTED = 9999
}; /* an errno that the kernel does not have */

/* Whether this call fails by injection; errno is set as the kernel would. */
static inline bool csi_file_fault(void)
{
    if (csi_fault_point()) {
        errno = CSI_EINJECTED;
        return true;
    }
    return false;
}

static inline const char *csi_file_reason(int error)
{
    const char *const text =
        error == CSI_EINJECTED ? "injected fault" : strerrordesc_np(error);

    return text != NULL ? text : "unknown reason";
}

/* fsync of the folder that holds path, so that a rename in it lasts. */
CS_NODISCARD cs_status csi_file_sync_folder_of(const char *path);

/* "PATH: cannot VERB: REASON" for the current errno. */
#define CSI_FAIL_FILE(path, verb)                           \
    CS_FAIL(CS_ERR_IO, "%s: cannot %s: %s", (path), (verb), \
            csi_file_reason(errno))
#endif
