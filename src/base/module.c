/* SPDX-License-Identifier: Apache-2.0 */
/* Where our shared objects are looked for, and why one does not open. */
#include "base/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    REASON_BYTES = 512
};

typedef struct search {
    const char *name;
    int flags;
    void *handle;
    char reason[REASON_BYTES]; /* of the first file that does not load */
} search;

static void open_path(search *s, const char *path)
{
    s->handle = dlopen(path, s->flags);
    if (s->handle == NULL && s->reason[0] == '\0') {
        (void)snprintf(s->reason, REASON_BYTES, "%s", dlerror());
    }
}

/* folder/relative/name, if there is such a file and none is open yet. */
static void open_in(search *s, const char *folder, const char *relative)
{
    char path[PATH_MAX + 64];
    const int length =
        snprintf(path, sizeof path, "%s/%s%s", folder, relative, s->name);

    if (s->handle == NULL && length >= 0 && (size_t)length < sizeof path &&
        access(path, R_OK) == 0) {
        open_path(s, path);
    }
}

cs_status csi_module_open(const char *name, bool is_global, void **handle)
{
    search s = {
        .name = name,
        .flags =
            RTLD_NOW | RTLD_NODELETE | (is_global ? RTLD_GLOBAL : RTLD_LOCAL),
    };
    const char *const folder = getenv("CORNSTARCH_MODULES");
    char self[PATH_MAX] = "";

    if (folder != NULL && folder[0] != '\0') {
        open_in(&s, folder, "");
    }
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = '\0';
        char *const slash = strrchr(self, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        open_in(&s, self, "");
        open_in(&s, self, "../lib/cornstarch/");
    }
    if (s.handle == NULL) {
        open_path(&s, name);
    }
    CS_CHECK(s.handle != NULL, CS_ERR_DEVICE, "%s does not open: %s", name,
             s.reason);
    *handle = s.handle;
    return CS_OK;
}

cs_status csi_module_find(void *handle, const char *name, const char *symbol,
                          void *function, size_t n_bytes)
{
    void *const found = dlsym(handle, symbol);

    CS_CHECK(found != NULL && n_bytes == sizeof found, CS_ERR_DEVICE,
             "%s has no symbol %s", name, symbol);
    memcpy(function, &found, sizeof found);
    return CS_OK;
}
