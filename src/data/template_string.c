/* SPDX-License-Identifier: Apache-2.0 */
/* Strings of a running template, letter by letter, with their marks. */
#include "template_value.h"

#include <string.h>
#include <utf8proc.h>

bool csi_jinja_is_space(uint32_t code)
{
    return csi_is_space(code) || (code >= 0x1c && code <= 0x1f);
}

size_t csi_jstr_length(csi_jstr s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        n += ((unsigned char)s.bytes[i] & 0xc0U) != 0x80;
    }
    return n;
}

size_t csi_jstr_offset(csi_jstr s, size_t index)
{
    size_t at = 0;
    int n = 0;

    while (at < s.n && index > 0) {
        (void)csi_utf8_get(s.bytes + at, &n);
        at += (size_t)n;
        index--;
    }
    return at;
}

size_t csi_jstr_find(csi_jstr s, csi_jstr part, size_t from)
{
    if (from > s.n || part.n > s.n - from) {
        return SIZE_MAX;
    }
    if (part.n == 0) {
        return from;
    }
    const char *const found =
        memmem(s.bytes + from, s.n - from, part.bytes, part.n);

    return found != NULL ? (size_t)(found - s.bytes) : SIZE_MAX;
}

/* Whether a strip takes this letter: of `letters`, or white space. */
static bool is_stripped(csi_jstr letter, const csi_jstr *letters)
{
    int n = 0;

    return letters != NULL ? csi_jstr_find(*letters, letter, 0) != SIZE_MAX
                           : csi_jinja_is_space(csi_utf8_get(letter.bytes, &n));
}

csi_jstr csi_jstr_strip(csi_jstr s, const csi_jstr *letters, bool left,
                        bool right)
{
    size_t begin = 0;
    size_t end = s.n;
    int n = 0;

    while (left && begin < end) {
        (void)csi_utf8_get(s.bytes + begin, &n);
        if (!is_stripped(csi_jstr_part(s, begin, begin + (size_t)n), letters)) {
            break;
        }
        begin += (size_t)n;
    }
    while (right && end > begin) {
        size_t last = end - 1;

        while (last > begin && ((unsigned char)s.bytes[last] & 0xc0U) == 0x80) {
            last--;
        }
        if (!is_stripped(csi_jstr_part(s, last, end), letters)) {
            break;
        }
        end = last;
    }
    return csi_jstr_part(s, begin, end);
}

int csi_letter_case(uint32_t code, bool upper, char bytes[8])
{
    const utf8proc_int32_t c = (utf8proc_int32_t)code;

    if (upper && code == 0xdf) {
        bytes[0] = bytes[1] = 'S';
        return 2;
    }
    return (int)utf8proc_encode_char(upper ? utf8proc_toupper(c)
                                           : utf8proc_tolower(c),
                                     (utf8proc_uint8_t *)bytes);
}

/* jinja2's title: a word begins behind one of these. */
static bool starts_word(const csi_jstr *s, size_t at)
{
    int n = 0;
    size_t last = at;

    if (at == 0) {
        return true;
    }
    do {
        last--;
    } while (last > 0 && ((unsigned char)s->bytes[last] & 0xc0U) == 0x80);
    return csi_jinja_is_space(csi_utf8_get(s->bytes + last, &n)) ||
           strchr("-({[<", s->bytes[last]) != NULL;
}

cs_status csi_jstr_case(csi_eval *e, csi_jstr s, csi_case to, csi_value *out)
{
    void *memory = NULL;
    void *memory_marks = NULL;
    size_t n_out = 0;
    int n = 0;

    CS_TRY(csi_jinja_alloc(e, 3 * s.n + 8, &memory));
    if (s.marks != NULL) {
        CS_TRY(csi_jinja_alloc(e, (3 * s.n + 8) * sizeof(uint16_t),
                               &memory_marks));
    }
    char *const bytes = memory;
    uint16_t *const marks = memory_marks;

    for (size_t at = 0; at < s.n; at += (size_t)n) {
        const uint32_t code = csi_utf8_get(s.bytes + at, &n);
        const bool upper = to == CSI_CASE_UPPER ||
                           (to == CSI_CASE_CAPITAL && at == 0) ||
                           (to == CSI_CASE_TITLE && starts_word(&s, at));
        const int n_new = csi_letter_case(code, upper, bytes + n_out);

        for (int i = 0; marks != NULL && i < n_new; i++) {
            marks[n_out + (size_t)i] = s.marks[at];
        }
        n_out += (size_t)n_new;
    }
    *out = csi_value_string((csi_jstr){.bytes = bytes,
                                       .marks = marks,
                                       .n = n_out});
    return CS_OK;
}

cs_status csi_jstr_replace(csi_eval *e, csi_jstr s, csi_jstr from, csi_jstr to,
                           int64_t most, csi_value *out)
{
    csi_jinja_text text = {.n_bytes = 0};
    cs_status st = CS_OK;
    size_t at = 0;

    if (from.n == 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                              "unsupported: replace of an empty string");
    }
    while (most != 0) {
        const size_t found = csi_jstr_find(s, from, at);

        if (found == SIZE_MAX) {
            break;
        }
        CS_TRY_GOTO(done, csi_jinja_step(e));
        CS_TRY_GOTO(done,
                    csi_jinja_write(e, &text, csi_jstr_part(s, at, found)));
        CS_TRY_GOTO(done, csi_jinja_write(e, &text, to));
        at = found + from.n;
        most--;
    }
    CS_TRY_GOTO(done, csi_jinja_write(e, &text, csi_jstr_part(s, at, s.n)));
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, out));
done:
    csi_jinja_text_fini(&text);
    return st;
}
