/* SPDX-License-Identifier: Apache-2.0 */
/* Unicode NFC, which tokenizers of the Qwen kind ask for: one letter, one
 * spelling. The only place that sees utf8proc. */
#include "base/alloc.h"

#include "tokenizer.h"

#include <utf8proc.h>

cs_status csi_normalize_nfc(const char *text, size_t n_bytes, char **out,
                            size_t *out_bytes)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *const from = (const utf8proc_uint8_t *)text;
    const utf8proc_ssize_t n = (utf8proc_ssize_t)n_bytes;
    const utf8proc_ssize_t n_codes =
        utf8proc_decompose(from, n, NULL, 0, options);

    CS_CHECK(n_codes >= 0, CS_ERR_ARG, "tokenizer: cannot normalise text: %s",
             utf8proc_errmsg(n_codes));
    /* The letters are written back over their codes, and a NUL after them. */
    utf8proc_int32_t *const codes =
        csi_malloc(((size_t)n_codes + 1) * sizeof *codes);

    CS_CHECK(codes != NULL, CS_ERR_NOMEM,
             "tokenizer: no memory for %zu letters", (size_t)n_codes);
    (void)utf8proc_decompose(from, n, codes, n_codes, options);
    const utf8proc_ssize_t n_out = utf8proc_reencode(codes, n_codes, options);

    if (n_out < 0) {
        csi_free(codes);
        return CS_FAIL(CS_ERR_ARG, "tokenizer: cannot normalise text: %s",
                       utf8proc_errmsg(n_out));
    }
    *out = (char *)codes;
    *out_bytes = (size_t)n_out;
    return CS_OK;
}
