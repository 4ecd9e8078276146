/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_STR_H
#define CS_BASE_STR_H
/* A growing string. A failed append is remembered: check once, at the end. */
#include "cornstarch/status.h"

#include <stdarg.h>
#include <stddef.h>

typedef struct csi_str {
    char *data; /* owned; NUL-terminated; NULL while empty */
    size_t length;
    size_t capacity;
    bool failed; /* an append ran out of memory */
} csi_str;

void csi_str_fini(csi_str *s);
void csi_str_clear(csi_str *s);
void csi_str_add(csi_str *s, const char *text);
void csi_str_add_bytes(csi_str *s, const void *bytes, size_t n_bytes);
void csi_str_addf(csi_str *s, const char *format, ...) CS_PRINTF(2, 3);
/* Text inside a JSON string / HTML text (quotes not included). */
void csi_str_add_json(csi_str *s, const char *text);
void csi_str_add_html(csi_str *s, const char *text);
CS_NODISCARD cs_status csi_str_check(const csi_str *s); /* NOMEM if failed */
const char *csi_str_get(const csi_str *s);              /* never NULL */

/* Edit distance for "did you mean"; both at most 63 bytes are looked at. */
int csi_str_distance(const char *a, const char *b);
/* Nearest of `names` (n of them, by pointer) within distance 3, or NULL. */
const char *csi_str_nearest(const char *word, const char *const *names, int n);
/* snprintf into a caller's buffer; ARG error when it does not fit. */
CS_NODISCARD cs_status csi_format(char *out, size_t capacity,
                                  const char *format, ...) CS_PRINTF(3, 4);
/* Validates UTF-8 (no surrogates, no overlong forms). */
bool csi_utf8_valid(const char *text, size_t n_bytes);
/* "1.5 GiB", "12.3 ms", "3 min 05 s" into buf; returns buf. */
const char *csi_human_bytes(char buf[32], double n_bytes);
const char *csi_human_seconds(char buf[32], double seconds);
const char *csi_human_count(char buf[32], double count); /* "5.3 M" */
#endif
