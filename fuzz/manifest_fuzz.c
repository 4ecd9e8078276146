/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and states from anybody: parsing never crashes, and what was
 * accepted prints as something that is accepted again and prints the same.
 * A text that begins with 's' goes to the state parser, others to the
 * manifest parser; the first byte is not part of the document.
 */
#include "base/alloc.h"

#include "checkpoint/manifest.h"
#include "checkpoint/state.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void expect(bool is_true)
{
    if (!is_true) {
        abort();
    }
}

static void fuzz_manifest(const char *text, size_t n_bytes)
{
    csi_manifest first;
    csi_manifest second;
    csi_str once = {0};
    csi_str twice = {0};

    csi_manifest_init(&first);
    csi_manifest_init(&second);
    if (csi_manifest_parse(text, n_bytes, "fuzz", &first) == CS_OK) {
        csi_manifest_print(&first, &once);
        expect(csi_manifest_parse(once.data, once.length, "again", &second) ==
               CS_OK);
        csi_manifest_print(&second, &twice);
        expect(strcmp(once.data, twice.data) == 0);
    }
    csi_str_fini(&once);
    csi_str_fini(&twice);
    csi_manifest_fini(&first);
    csi_manifest_fini(&second);
}

static void fuzz_state(const char *text, size_t n_bytes)
{
    cs_train_state first = {0};
    cs_train_state second = {0};
    csi_str once = {0};
    csi_str twice = {0};

    if (csi_state_parse(text, n_bytes, "fuzz", &first) == CS_OK) {
        csi_state_print(&first, &once);
        expect(csi_state_parse(once.data, once.length, "again", &second) ==
               CS_OK);
        csi_state_print(&second, &twice);
        expect(strcmp(once.data, twice.data) == 0);
    }
    csi_free(first.dropped);
    csi_free(second.dropped);
    csi_str_fini(&once);
    csi_str_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes > 0 && data[0] == 's') {
        fuzz_state((const char *)data + 1, n_bytes - 1);
    } else if (n_bytes > 0) {
        fuzz_manifest((const char *)data + 1, n_bytes - 1);
    }
    return 0;
}
