/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings that grow, and small helpers for words. An append that runs out of
 * memory drops its text and leaves the string as it was, so that code which
 * builds a long text needs one check at its end.
 */
#include "base/str.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_CAPACITY = 64,
    MAX_WORD = 63,
    MAX_DISTANCE = 3
};

void csi_str_fini(csi_str *s)
{
    csi_free(s->data);
    *s = (csi_str){0};
}

void csi_str_clear(csi_str *s)
{
    s->length = 0;
    s->failed = false;
    if (s->data != NULL) {
        s->data[0] = '\0';
    }
}

/* Makes room for n_more bytes and the final NUL. */
static bool reserve(csi_str *s, size_t n_more)
{
    if (n_more >= SIZE_MAX / 4 - s->length) {
        s->failed = true;
        return false;
    }
    const size_t needed = s->length + n_more + 1;

    if (needed <= s->capacity) {
        return true;
    }
    size_t capacity = s->capacity != 0 ? s->capacity : FIRST_CAPACITY;

    while (capacity < needed) {
        capacity *= 2;
    }
    char *const data = csi_realloc(s->data, capacity);

    if (data == NULL) {
        s->failed = true;
        return false;
    }
    s->data = data;
    s->capacity = capacity;
    return true;
}

void csi_str_add_bytes(csi_str *s, const void *bytes, size_t n_bytes)
{
    if (n_bytes == 0 || s->failed || !reserve(s, n_bytes)) {
        return;
    }
    memcpy(s->data + s->length, bytes, n_bytes);
    s->length += n_bytes;
    s->data[s->length] = '\0';
}

void csi_str_add(csi_str *s, const char *text)
{
    csi_str_add_bytes(s, text, strlen(text));
}

void csi_str_addf(csi_str *s, const char *format, ...)
{
    va_list args;
    va_list again;

    va_start(args, format);
    va_copy(again, args);
    const int n_chars = vsnprintf(NULL, 0, format, args);

    va_end(args);
    if (n_chars > 0 && !s->failed && reserve(s, (size_t)n_chars)) {
        (void)vsnprintf(s->data + s->length, (size_t)n_chars + 1, format,
                        again);
        s->length += (size_t)n_chars;
    }
    va_end(again);
}

void csi_str_add_json(csi_str *s, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        const unsigned char c = (unsigned char)*at;

        if (c == '"' || c == '\\') {
            csi_str_addf(s, "\\%c", c);
        } else if (c == '\n') {
            csi_str_add(s, "\\n");
        } else if (c == '\t') {
            csi_str_add(s, "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            csi_str_addf(s, "\\u%04x", c);
        } else {
            csi_str_add_bytes(s, at, 1);
        }
    }
}

void csi_str_add_html(csi_str *s, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        switch (*at) {
        case '&':
            csi_str_add(s, "&amp;");
            break;
        case '<':
            csi_str_add(s, "&lt;");
            break;
        case '>':
            csi_str_add(s, "&gt;");
            break;
        case '"':
            csi_str_add(s, "&quot;");
            break;
        case '\'':
            csi_str_add(s, "&#39;");
            break;
        default:
            csi_str_add_bytes(s, at, 1);
        }
    }
}

cs_status csi_str_check(const csi_str *s)
{
    CS_CHECK(!s->failed, CS_ERR_NOMEM,
             "out of memory while building a text of more than %zu bytes",
             s->length);
    return CS_OK;
}

const char *csi_str_get(const csi_str *s)
{
    return s->data != NULL ? s->data : "";
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

int csi_str_distance(const char *a, const char *b)
{
    int row[MAX_WORD + 1];
    const int n_a = (int)strnlen(a, MAX_WORD);
    const int n_b = (int)strnlen(b, MAX_WORD);

    for (int j = 0; j <= n_b; j++) {
        row[j] = j;
    }
    for (int i = 1; i <= n_a; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n_b; j++) {
            const int above = row[j];
            const int changed = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = min_int(changed, 1 + min_int(above, row[j - 1]));
            diagonal = above;
        }
    }
    return row[n_b];
}

const char *csi_str_nearest(const char *word, const char *const *names, int n)
{
    const char *nearest = NULL;
    int best = MAX_DISTANCE + 1;

    for (int i = 0; i < n; i++) {
        const int distance = csi_str_distance(word, names[i]);
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

cs_status csi_format(char *out, size_t capacity, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int n_chars = vsnprintf(out, capacity, format, args);
    va_end(args);
    CS_CHECK(n_chars >= 0 && (size_t)n_chars < capacity, CS_ERR_ARG,
             "text of %d bytes is longer than the limit of %zu: '%s'", n_chars,
             capacity - 1, out);
    return CS_OK;
}

/* Bytes of the valid sequence at p, of which n are left; 0 = invalid. */
static size_t sequence_bytes(const unsigned char *p, size_t n)
{
    size_t n_more;
    uint32_t code;
    uint32_t smallest;

    if (p[0] < 0x80) {
        return 1;
    }
    if ((p[0] & 0xe0) == 0xc0) {
        n_more = 1;
        code = p[0] & 0x1fu;
        smallest = 0x80;
    } else if ((p[0] & 0xf0) == 0xe0) {
        n_more = 2;
        code = p[0] & 0x0fu;
        smallest = 0x800;
    } else if ((p[0] & 0xf8) == 0xf0) {
        n_more = 3;
        code = p[0] & 0x07u;
        smallest = 0x10000;
    } else {
        return 0;
    }
    if (n <= n_more) {
        return 0;
    }
    for (size_t i = 1; i <= n_more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (p[i] & 0x3fu);
    }
    if (code < smallest || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff)) {
        return 0;
    }
    return n_more + 1;
}

bool csi_utf8_valid(const char *text, size_t n_bytes)
{
    const unsigned char *const p = (const unsigned char *)text;

    for (size_t at = 0; at < n_bytes;) {
        const size_t step = sequence_bytes(p + at, n_bytes - at);
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}

/* Prints with three digits and the largest unit that leaves at least 1. */
static const char *print_scaled(char buf[32], double value, double base,
                                const char *const *units, int n_units)
{
    int unit = 0;
    double magnitude = value < 0 ? -value : value;

    while (unit + 1 < n_units && magnitude >= base) {
        magnitude /= base;
        value /= base;
        unit++;
    }
    const int digits = unit == 0 || magnitude >= 100 ? 0 : 1;

    (void)snprintf(buf, 32, "%.*f%s", digits, value, units[unit]);
    return buf;
}

const char *csi_human_bytes(char buf[32], double n_bytes)
{
    static const char *const UNITS[] = {" B",   " KiB", " MiB",
                                        " GiB", " TiB", " PiB"};

    return print_scaled(buf, n_bytes, 1024, UNITS, 6);
}

const char *csi_human_count(char buf[32], double count)
{
    static const char *const UNITS[] = {"", " k", " M", " G", " T", " P"};

    return print_scaled(buf, count, 1000, UNITS, 6);
}

const char *csi_human_seconds(char buf[32], double seconds)
{
    if (seconds >= 3600 && seconds < 1e12) {
        const int64_t minutes = (int64_t)(seconds / 60 + 0.5);
        (void)snprintf(buf, 32, "%lld h %02lld min", (long long)(minutes / 60),
                       (long long)(minutes % 60));
    } else if (seconds >= 59.95 && seconds < 1e12) {
        const int64_t whole = (int64_t)(seconds + 0.5);
        (void)snprintf(buf, 32, "%lld min %02lld s", (long long)(whole / 60),
                       (long long)(whole % 60));
    } else if (seconds >= 1 || seconds <= 0) {
        (void)snprintf(buf, 32, "%.1f s", seconds);
    } else if (seconds >= 1e-3) {
        (void)snprintf(buf, 32, "%.1f ms", seconds * 1e3);
    } else {
        (void)snprintf(buf, 32, "%.1f us", seconds * 1e6);
    }
    return buf;
}
