/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jinja's tokens. Between tags everything is text; what white space around tags
 * goes away follows jinja2 with trim_blocks (the newline behind a block) and
 * lstrip_blocks (blanks before a block that stands first in its line): "-"
 * takes all white space on its side, "+" keeps it.
 */
#include "base/alloc.h"

#include "template_node.h"
#include "template_value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

cs_status csi_lexer_fail(const csi_lexer *lexer, cs_status code,
                         const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return CS_FAIL(code, "%s:%" PRId32 ": %s", lexer->jinja->where,
                   lexer->now.line > 0 ? lexer->now.line : lexer->line, text);
}

static cs_status fail_here(csi_lexer *l, const char *text)
{
    l->now.line = l->line;
    return csi_lexer_fail(l, CS_ERR_FORMAT, "%s", text);
}

static bool is_at(const csi_lexer *l, size_t at, const char *text)
{
    const size_t n = strlen(text);

    return at + n <= l->n_source && memcmp(l->source + at, text, n) == 0;
}

static void move(csi_lexer *l, size_t to)
{
    while (l->at < to) {
        l->line += l->source[l->at++] == '\n';
    }
}

/* Behind the white space at `at`. */
static size_t skip_space(const csi_lexer *l, size_t at)
{
    while (at < l->n_source) {
        const int n = csi_utf8_scan(l->source + at, l->n_source - at);
        int unused = 0;

        if (n < 0 ||
            !csi_jinja_is_space(csi_utf8_get(l->source + at, &unused))) {
            break;
        }
        at += (size_t)n;
    }
    return at;
}

/* End of [begin, end) without the white space at its end. */
static size_t strip_end(const csi_lexer *l, size_t begin, size_t end)
{
    size_t kept = begin;

    for (size_t at = begin; at < end;) {
        const size_t behind = skip_space(l, at);
        int n = 0;

        if (behind >= end) {
            break;
        }
        (void)csi_utf8_get(l->source + behind, &n);
        at = kept = behind + (size_t)n;
    }
    return kept;
}

/* Behind a tag that ends at `at` ("%}" or "#}"; `sign` stands before it). */
static size_t behind_block(const csi_lexer *l, size_t at, char sign)
{
    if (sign == '-') {
        return skip_space(l, at);
    }
    return sign != '+' && at < l->n_source && l->source[at] == '\n' ? at + 1
                                                                    : at;
}

static size_t find_tag(const csi_lexer *l)
{
    for (size_t at = l->at; at + 1 < l->n_source; at++) {
        if (l->source[at] == '{' && strchr("{%#", l->source[at + 1]) != NULL &&
            l->source[at + 1] != '\0') {
            return at;
        }
    }
    return l->n_source;
}

/* End of the text before a tag. */
static size_t text_end(const csi_lexer *l, size_t tag)
{
    const char kind = l->source[tag + 1];
    const char sign = tag + 2 < l->n_source ? l->source[tag + 2] : '\0';
    size_t line = tag;

    if (sign == '-') {
        return strip_end(l, l->at, tag);
    }
    if (sign == '+' || kind == '{') {
        return tag;
    }
    while (line > l->at && l->source[line - 1] != '\n') {
        line--;
    }
    return (line > l->at || l->line_starting) && line < tag &&
                   skip_space(l, line) >= tag
               ? line
               : tag;
}

static cs_status skip_comment(csi_lexer *l, size_t tag)
{
    size_t at = tag + 2;

    while (at < l->n_source && !is_at(l, at, "#}")) {
        at++;
    }
    if (at >= l->n_source) {
        return fail_here(l, "a comment has no end");
    }
    const char sign = at > tag + 2 ? l->source[at - 1] : ' ';
    const size_t behind = behind_block(l, at + 2, sign);

    move(l, behind);
    l->line_starting = l->source[behind - 1] == '\n';
    return CS_OK;
}

/* "{% raw %}" at a tag: where the raw text begins; 0 = it is something else. */
static size_t raw_begin(const csi_lexer *l, size_t tag)
{
    size_t at = tag + 2;

    at += at < l->n_source && (l->source[at] == '-' || l->source[at] == '+');
    at = skip_space(l, at);
    if (!is_at(l, at, "raw")) {
        return 0;
    }
    at = skip_space(l, at + 3);
    if (is_at(l, at, "-%}")) {
        return skip_space(l, at + 3);
    }
    return is_at(l, at, "%}") ? at + 2 : 0;
}

/* At "{% endraw %}": behind it; 0 = it is something else. */
static size_t raw_end(const csi_lexer *l, size_t tag)
{
    size_t at = tag + 2;

    at += at < l->n_source && (l->source[at] == '-' || l->source[at] == '+');
    at = skip_space(l, at);
    if (!is_at(l, at, "endraw")) {
        return 0;
    }
    at = skip_space(l, at + 6);
    if (is_at(l, at, "-%}") || is_at(l, at, "+%}")) {
        return behind_block(l, at + 3, l->source[at]);
    }
    return is_at(l, at, "%}") ? behind_block(l, at + 2, ' ') : 0;
}

static void put_text(csi_lexer *l, size_t begin, size_t end)
{
    l->next = (csi_lexeme){.kind = CSI_LEXEME_TEXT,
                           .line = l->line,
                           .text = l->source + begin,
                           .n_text = end - begin};
}

static cs_status read_raw(csi_lexer *l, size_t begin)
{
    move(l, begin);
    l->line_starting = false;
    for (size_t tag = begin; tag < l->n_source; tag++) {
        const size_t behind = is_at(l, tag, "{%") ? raw_end(l, tag) : 0;

        if (behind > 0) {
            put_text(l, begin, text_end(l, tag));
            move(l, behind);
            l->line_starting = l->source[behind - 1] == '\n';
            return CS_OK;
        }
    }
    return fail_here(l, "a raw block has no end");
}

static cs_status read_text(csi_lexer *l, bool *has_token)
{
    const size_t tag = find_tag(l);

    *has_token = true;
    if (l->at == l->n_source) {
        l->next = (csi_lexeme){.kind = CSI_LEXEME_END, .line = l->line};
        return CS_OK;
    }
    const size_t end = tag < l->n_source ? text_end(l, tag) : tag;

    if (end > l->at) {
        put_text(l, l->at, end);
        move(l, tag);
        l->line_starting = false;
        return CS_OK;
    }
    move(l, tag);
    if (l->source[tag + 1] == '#') {
        *has_token = false;
        return skip_comment(l, tag);
    }
    const bool is_print = l->source[tag + 1] == '{';
    const size_t raw = is_print ? 0 : raw_begin(l, tag);
    size_t at = tag + 2;

    if (raw > 0) {
        return read_raw(l, raw);
    }
    at += at < l->n_source && (l->source[at] == '-' || l->source[at] == '+');
    move(l, at);
    l->next =
        (csi_lexeme){.kind = is_print ? CSI_LEXEME_PRINT : CSI_LEXEME_OPEN,
                     .line = l->line};
    l->state = is_print ? CSI_LEX_PRINT : CSI_LEX_BLOCK;
    l->n_open = 0;
    return CS_OK;
}

/* ---- inside of tags ---- */

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static cs_status copy_name(csi_lexer *l, size_t end)
{
    char *const name = csi_arena_alloc(&l->jinja->arena, end - l->at + 1);

    CS_CHECK(name != NULL, CS_ERR_NOMEM, "%s: no memory", l->jinja->where);
    memcpy(name, l->source + l->at, end - l->at);
    name[end - l->at] = '\0';
    l->next.name = name;
    move(l, end);
    return CS_OK;
}

static cs_status read_number(csi_lexer *l)
{
    char digits[64];
    size_t n = 0;
    size_t at = l->at;
    bool is_float = false;

    while (at < l->n_source && n + 1 < sizeof digits) {
        const char c = l->source[at];
        const bool is_point = !is_float && c == '.' && at + 1 < l->n_source &&
                              is_digit(l->source[at + 1]);

        if (!is_digit(c) && c != '_' && !is_point) {
            break;
        }
        is_float = is_float || is_point;
        if (c != '_') {
            digits[n++] = c;
        }
        at++;
    }
    digits[n] = '\0';
    if (at < l->n_source &&
        (is_name_start(l->source[at]) || is_digit(l->source[at]))) {
        return fail_here(l, "unsupported: a number of this form");
    }
    l->next.kind = is_float ? CSI_LEXEME_FLOAT : CSI_LEXEME_INT;
    if (is_float) {
        l->next.number = strtod(digits, NULL);
    } else if (n > 18) {
        return fail_here(l, "an integer has more than 18 digits");
    } else {
        l->next.integer = strtoll(digits, NULL, 10);
    }
    move(l, at);
    return CS_OK;
}

static size_t put_code(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static cs_status put_hex(csi_lexer *l, size_t *at, int n_digits, char *to,
                         size_t *n)
{
    uint32_t code = 0;

    for (int i = 0; i < n_digits; i++, (*at)++) {
        static const char DIGITS[] = "0123456789abcdef";
        const char c = *at < l->n_source ? l->source[*at] : ' ';
        const char *const digit =
            strchr(DIGITS, c >= 'A' && c <= 'F' ? c + 32 : c);

        if (c == '\0' || digit == NULL || code > 0xffffff) {
            return fail_here(l, "a string has a wrong \\x, \\u or \\U");
        }
        code = code << 4 | (uint32_t)(digit - DIGITS);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return fail_here(l, "a string names a character that is none");
    }
    *n += put_code(to + *n, code);
    return CS_OK;
}

/* *at is behind the backslash. Unknown escapes stay as they are. */
static cs_status put_escape(csi_lexer *l, size_t *at, char *to, size_t *n)
{
    static const char FROM[] = "abfnrtv\\'\"";
    static const char TO[] = "\a\b\f\n\r\t\v\\'\"";
    const char c = l->source[(*at)++];
    const char *const simple = c != '\0' ? strchr(FROM, c) : NULL;

    if (simple != NULL) {
        to[(*n)++] = TO[simple - FROM];
    } else if (c == 'x' || c == 'u' || c == 'U') {
        return put_hex(l, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, to, n);
    } else if (c >= '0' && c <= '7') {
        uint32_t code = (uint32_t)(c - '0');

        for (int i = 0; i < 2 && *at < l->n_source && l->source[*at] >= '0' &&
                        l->source[*at] <= '7';
             i++) {
            code = code * 8 + (uint32_t)(l->source[(*at)++] - '0');
        }
        *n += put_code(to + *n, code);
    } else if (c != '\n') {
        to[(*n)++] = '\\';
        to[(*n)++] = c;
    }
    return CS_OK;
}

static cs_status read_string(csi_lexer *l)
{
    const char quote = l->source[l->at];
    size_t end = l->at + 1;
    size_t n = 0;

    while (end < l->n_source && l->source[end] != quote) {
        end += l->source[end] == '\\' ? 2 : 1;
    }
    if (end >= l->n_source) {
        return fail_here(l, "a string has no end");
    }
    char *const text = csi_arena_alloc(&l->jinja->arena, 2 * (end - l->at) + 4);

    CS_CHECK(text != NULL, CS_ERR_NOMEM, "%s: no memory", l->jinja->where);
    for (size_t at = l->at + 1; at < end;) {
        if (l->source[at] == '\\') {
            at++;
            CS_TRY(put_escape(l, &at, text, &n));
        } else {
            text[n++] = l->source[at++];
        }
    }
    l->next.kind = CSI_LEXEME_STRING;
    l->next.text = text;
    l->next.n_text = n;
    move(l, end + 1);
    return CS_OK;
}

static cs_status read_operator(csi_lexer *l)
{
    static const char *const NAMES[] = {"**", "//", "==", "!=", "<=", ">=", "+",
                                        "-",  "*",  "/",  "%",  "~",  "<",  ">",
                                        "=",  ".",  ":",  "|",  ",",  "(",  ")",
                                        "[",  "]",  "{",  "}"};

    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (is_at(l, l->at, NAMES[i])) {
            const char c = NAMES[i][0];

            l->n_open += c == '(' || c == '[' || c == '{';
            l->n_open -= c == ')' || c == ']' || c == '}';
            l->next.kind = CSI_LEXEME_OPERATOR;
            l->next.name = NAMES[i];
            move(l, l->at + strlen(NAMES[i]));
            return CS_OK;
        }
    }
    return fail_here(l, "a character that means nothing in a tag");
}

/* "-%}", "%}", "+%}", "}}", "-}}" at `at`: their length; 0 = none. */
static size_t close_length(const csi_lexer *l)
{
    const bool is_print = l->state == CSI_LEX_PRINT;
    const char *const mark = is_print ? "}}" : "%}";
    const char c = l->source[l->at];

    if (l->n_open > 0) {
        return 0;
    }
    if ((c == '-' || (c == '+' && !is_print)) && is_at(l, l->at + 1, mark)) {
        return 3;
    }
    return is_at(l, l->at, mark) ? 2 : 0;
}

static cs_status read_tag(csi_lexer *l)
{
    move(l, skip_space(l, l->at));
    l->next = (csi_lexeme){.line = l->line};
    if (l->at >= l->n_source) {
        return fail_here(l, "a tag has no end");
    }
    const char c = l->source[l->at];
    const size_t n_close = close_length(l);

    if (n_close > 0) {
        const bool is_print = l->state == CSI_LEX_PRINT;
        const size_t end = l->at + n_close;

        l->next.kind = is_print ? CSI_LEXEME_PRINT_END : CSI_LEXEME_CLOSE;
        l->state = CSI_LEX_TEXT;
        move(l, is_print ? (c == '-' ? skip_space(l, end) : end)
                         : behind_block(l, end, n_close == 3 ? c : ' '));
        l->line_starting = l->source[l->at - 1] == '\n';
        return CS_OK;
    }
    if (is_name_start(c)) {
        size_t end = l->at;

        while (end < l->n_source &&
               (is_name_start(l->source[end]) || is_digit(l->source[end]))) {
            end++;
        }
        l->next.kind = CSI_LEXEME_NAME;
        return copy_name(l, end);
    }
    if (is_digit(c)) {
        return read_number(l);
    }
    return c == '"' || c == '\'' ? read_string(l) : read_operator(l);
}

cs_status csi_lexer_advance(csi_lexer *lexer)
{
    bool has_token = false;

    lexer->now = lexer->next;
    while (!has_token) {
        if (lexer->state == CSI_LEX_TEXT) {
            CS_TRY(read_text(lexer, &has_token));
        } else {
            CS_TRY(read_tag(lexer));
            has_token = true;
        }
    }
    return CS_OK;
}

cs_status csi_lexer_init(csi_lexer *lexer, csi_jinja *jinja, const char *text,
                         size_t n_bytes)
{
    char *const source = csi_arena_alloc(&jinja->arena, n_bytes + 1);
    size_t n = 0;

    CS_CHECK(source != NULL, CS_ERR_NOMEM, "%s: no memory", jinja->where);
    CS_CHECK(csi_utf8_valid(text, n_bytes), CS_ERR_FORMAT,
             "%s: the template is not valid UTF-8", jinja->where);
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == '\r') { /* \r\n and \r are \n */
            i += i + 1 < n_bytes && text[i + 1] == '\n';
            source[n++] = '\n';
        } else {
            source[n++] = text[i];
        }
    }
    n -= n > 0 && source[n - 1] == '\n'; /* jinja2's keep_trailing_newline */
    *lexer = (csi_lexer){.jinja = jinja,
                         .source = source,
                         .n_source = n,
                         .line = 1,
                         .line_starting = true};
    CS_TRY(csi_lexer_advance(lexer));
    return csi_lexer_advance(lexer);
}

bool csi_lexer_is(const csi_lexer *lexer, csi_lexeme_kind kind,
                  const char *name)
{
    return lexer->now.kind == kind &&
           (name == NULL || strcmp(lexer->now.name, name) == 0);
}

cs_status csi_lexer_take(csi_lexer *lexer, csi_lexeme_kind kind,
                         const char *name, bool *taken)
{
    *taken = csi_lexer_is(lexer, kind, name);
    return *taken ? csi_lexer_advance(lexer) : CS_OK;
}

cs_status csi_lexer_expect(csi_lexer *lexer, csi_lexeme_kind kind,
                           const char *name)
{
    bool taken = false;

    CS_TRY(csi_lexer_take(lexer, kind, name, &taken));
    if (!taken) {
        return csi_lexer_fail(lexer, CS_ERR_FORMAT, "wanted %s%s%s%s",
                              name != NULL ? "'" : "",
                              name != NULL                   ? name
                              : kind == CSI_LEXEME_CLOSE     ? "%}"
                              : kind == CSI_LEXEME_NAME      ? "a name"
                              : kind == CSI_LEXEME_PRINT_END ? "}}"
                                                             : "something else",
                              name != NULL ? "'" : "",
                              lexer->now.kind == CSI_LEXEME_END
                                  ? ", got the end of the template"
                                  : "");
    }
    return CS_OK;
}
