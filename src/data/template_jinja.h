/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_TEMPLATE_JINJA_H
#define CS_DATA_TEMPLATE_JINJA_H
/*
 * Jinja as chat templates use it, rendered as transformers does (jinja2 with
 * trim_blocks and lstrip_blocks, its tojson, raise_exception, strftime_now,
 * {% generation %}, {% break %}). What it writes remembers, byte by byte, whose
 * words they are: the template's own, or those of a turn. So a user can write
 * the text of a special token without it becoming one.
 *
 * Not offered (UNSUPPORTED, with file and line): include, import, extends,
 * block, call, filter and with blocks, recursive loops, and what changes lists
 * or dicts (which transformers forbids too). Bounds: 1 MiB of template, nesting
 * of 100, two million steps, 64 MiB of values, 16 MiB of text.
 */
#include "tokenizer.h"

typedef struct csi_jinja csi_jinja; /* immutable: share freely */

/* `where` names the template in errors. */
CS_NODISCARD cs_status csi_jinja_compile(const char *text, size_t n_bytes,
                                         const char *where, csi_jinja **out);
void csi_jinja_destroy(csi_jinja **jinja);

/* What a template wrote. marks[i]: 0 = the template wrote byte i, k + 1 = it is
 * of messages[k]. Spans lie inside of {% generation %} blocks, in order. */
typedef struct csi_jinja_text {
    char *bytes;     /* owned */
    uint16_t *marks; /* owned */
    size_t n_bytes, capacity;
    csi_span *spans; /* owned */
    int32_t n_spans, spans_capacity;
} csi_jinja_text;

void csi_jinja_text_fini(csi_jinja_text *text);
/* context: an object of the variables that the template sees. now_s: the time
 * of strftime_now, seconds since 1970, local time zone. */
CS_NODISCARD cs_status csi_jinja_render(const csi_jinja *jinja,
                                        const json_t *context, int64_t now_s,
                                        csi_jinja_text *out);
/* Whether the template has {% generation %} blocks. */
bool csi_jinja_has_generation(const csi_jinja *jinja);
#endif
