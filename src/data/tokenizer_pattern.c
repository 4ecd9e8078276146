/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The regular expressions of tokenizer.json are Oniguruma's (Ruby syntax), ours
 * are run by PCRE2. Most of what tokenizers write means the same in both; the
 * rest is rewritten (\s is Unicode White_Space there, \uXXXX) or refused by
 * name, so that a pattern never cuts other pieces than it does there.
 */
#include "tokenizer.h"

#include <string.h>

/* \s of Oniguruma: \p{Z} and the controls among Unicode's White_Space. PCRE2's
 * own \s holds U+180E too. */
static const char SPACES[] = "\\p{Z}\\x{9}-\\x{d}\\x{85}";

typedef struct translation {
    const char *regex, *at;
    const char *where;
    csi_str *out;
    bool in_class;
} translation;

static cs_status refuse(const translation *t, const char *what)
{
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "%s: unsupported: %s at character %zu of the split pattern",
                   t->where, what, (size_t)(t->at - t->regex));
}

static bool is_hex(const char *p, int n)
{
    for (int i = 0; i < n; i++) {
        if (p[i] == '\0' || strchr("0123456789abcdefABCDEF", p[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static bool is_punctuation(char c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') ||
           (c >= '[' && c <= '`') || (c >= '{' && c <= '~') || c == ' ';
}

/* t->at is at the backslash. */
static cs_status put_escape(translation *t)
{
    const char c = t->at[1];
    char name[3] = {'\\', c, '\0'};

    if (c == 's') {
        csi_str_addf(t->out, t->in_class ? "%s" : "[%s]", SPACES);
    } else if (c == 'S' && !t->in_class) {
        csi_str_addf(t->out, "[^%s]", SPACES);
    } else if (c == 'u' && is_hex(t->at + 2, 4)) {
        csi_str_addf(t->out, "\\x{%.4s}", t->at + 2);
        t->at += 4;
    } else if ((c == 'x' && t->at[2] == '{') || is_punctuation(c) ||
               (c != '\0' && strchr("pPrntdD", c) != NULL)) {
        csi_str_add(t->out, name);
    } else {
        return refuse(t, c == '\0' ? "a pattern that ends in \\" : name);
    }
    t->at += 2;
    if (strchr("pPx", c) != NULL && t->at[0] == '{') {
        const size_t n = strcspn(t->at, "}");

        csi_str_add_bytes(t->out, t->at, n);
        t->at += n;
        csi_str_add(t->out, t->at[0] == '}' ? "}" : "");
        t->at += t->at[0] == '}';
    }
    return CS_OK;
}

static cs_status put_class_byte(translation *t)
{
    const char c = t->at[0];

    if (c == '[') {
        return refuse(t, "a class inside of a class");
    }
    if (c == '&' && t->at[1] == '&') {
        return refuse(t, "&&");
    }
    t->in_class = c != ']';
    csi_str_add_bytes(t->out, t->at++, 1);
    return CS_OK;
}

/* t->at is at "(?": what follows must be a group that both know alike. */
static cs_status check_group(const translation *t)
{
    static const char *const KNOWN[] = {"(?:",  "(?=", "(?!",  "(?<=",
                                        "(?<!", "(?>", "(?i:", "(?i)"};

    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        if (strncmp(t->at, KNOWN[i], strlen(KNOWN[i])) == 0) {
            return CS_OK;
        }
    }
    return refuse(t, "a group of this kind");
}

static cs_status put_byte(translation *t)
{
    const char c = t->at[0];

    if (c == '^' || c == '$') {
        return refuse(t, "an anchor");
    }
    if (c == '{' && t->at[1] == ',') {
        return refuse(t, "{,n}");
    }
    if (c == '}' && (t->at[1] == '+' || t->at[1] == '*')) {
        return refuse(t, "a repeated repetition");
    }
    if (c == '(' && t->at[1] == '?') {
        CS_TRY(check_group(t));
    }
    csi_str_add_bytes(t->out, t->at++, 1);
    if (c == '[') {
        t->in_class = true;
        if (t->at[0] == '^') {
            csi_str_add_bytes(t->out, t->at++, 1);
        }
        if (t->at[0] == ']') {
            return refuse(t, "an empty class");
        }
    }
    return CS_OK;
}

cs_status csi_pattern_translate(const char *regex, const char *where,
                                csi_str *out)
{
    translation t = {.regex = regex, .at = regex, .where = where, .out = out};

    while (t.at[0] != '\0') {
        if (t.at[0] == '\\') {
            CS_TRY(put_escape(&t));
        } else if (t.in_class) {
            CS_TRY(put_class_byte(&t));
        } else {
            CS_TRY(put_byte(&t));
        }
    }
    return csi_str_check(out);
}
