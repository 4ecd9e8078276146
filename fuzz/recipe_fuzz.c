/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a recipe, with what follows a line "#override " as overrides:
 * reading answers or refuses with a sentence and leaves nothing behind; what
 * was read prints as a recipe that reads back as itself.
 */
#include "cornstarch/config.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_OVERRIDES = 4,
    MAX_PRINTED = 1 << 20
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* The printed recipe; NULL when reading refused. */
static char *read_and_print(const char *yaml, size_t n_bytes,
                            const char *const *overrides, int32_t n_overrides,
                            char hash[17])
{
    cs_config *config = NULL;
    char *text = NULL;

    if (cs_config_parse(yaml, n_bytes, "/base", overrides, n_overrides,
                        &config) != CS_OK) {
        if (config != NULL || cs_error_message()[0] == '\0') {
            abort();
        }
        return NULL;
    }
    if (cs_config_print(config, &text) != CS_OK) {
        abort();
    }
    cs_config_hash(config, hash);
    cs_config_destroy(&config);
    return text;
}

static void check(const char *yaml, const char *const *overrides,
                  int32_t n_overrides)
{
    char hash[2][17];
    char *const first =
        read_and_print(yaml, strlen(yaml), overrides, n_overrides, hash[0]);

    /* Escapes can make a big recipe bigger than a recipe may be. */
    if (first != NULL && strlen(first) <= MAX_PRINTED) {
        char *const second =
            read_and_print(first, strlen(first), NULL, 0, hash[1]);

        if (second == NULL || strcmp(first, second) != 0 ||
            strcmp(hash[0], hash[1]) != 0) {
            abort();
        }
        csi_free(second);
    }
    csi_free(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char MARK[] = "\n#override ";
    const int64_t live = csi_alloc_live();
    const char *overrides[MAX_OVERRIDES];
    int32_t n_overrides = 0;
    char hash[17];
    char *const text = csi_malloc(n_bytes + 1);

    if (text == NULL) {
        abort();
    }
    memcpy(text, data, n_bytes);
    text[n_bytes] = '\0';
    csi_free(read_and_print(text, n_bytes, NULL, 0, hash));
    for (char *at = strstr(text, MARK);
         at != NULL && n_overrides < MAX_OVERRIDES; at = strstr(at, MARK)) {
        *at = '\0';
        at += strlen(MARK);
        overrides[n_overrides++] = at;
    }
    check(text, overrides, n_overrides);
    csi_free(text);
    if (csi_alloc_live() != live) {
        abort();
    }
    return 0;
}
