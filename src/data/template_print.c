/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text: Python's str and repr, and json.dumps. */
#include "template_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static cs_status put(csi_eval *e, csi_jinja_text *to, const char *text)
{
    return csi_jinja_write(e, to, csi_jstr_of(text));
}

/* Python's float: the fewest digits that read back as the same number. */
static cs_status put_float(csi_eval *e, csi_jinja_text *to, double number)
{
    char digits[40];
    char text[64];

    if (isnan(number) || isinf(number)) {
        return put(e, to, isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
    }
    for (int precision = 1; precision <= 17; precision++) {
        CS_TRY(csi_format(digits, sizeof digits, "%.*e", precision - 1,
                          number));
        if (strtod(digits, NULL) == number) {
            const char *const exponent = strchr(digits, 'e');
            const long power = strtol(exponent + 1, NULL, 10);
            const int decimals = precision - 1 - (int)power;

            if (power < -4 || power >= 16) {
                CS_TRY(csi_format(text, sizeof text, "%.*se%c%02ld",
                                  (int)(exponent - digits), digits,
                                  power < 0 ? '-' : '+', labs(power)));
            } else {
                CS_TRY(csi_format(text, sizeof text, "%.*f",
                                  decimals > 1 ? decimals : 1, number));
            }
            return put(e, to, text);
        }
    }
    return CS_OK;
}

static cs_status put_int(csi_eval *e, csi_jinja_text *to, int64_t i)
{
    char text[32];

    CS_TRY(csi_format(text, sizeof text, "%" PRId64, i));
    return put(e, to, text);
}

/* Whether Python's repr shows this letter as it is. */
static bool is_printable(uint32_t code)
{
    return code == ' ' ||
           (code >= 0x20 && code != 0x7f && !(code >= 0x80 && code <= 0xa0) &&
            code != 0xad && !csi_is_space(code) &&
            !(code >= 0x200b && code <= 0x200f) &&
            !(code >= 0x202a && code <= 0x202e) &&
            !(code >= 0x2060 && code <= 0x206f) && code != 0xfeff &&
            !(code >= 0xe000 && code <= 0xf8ff) &&
            !(code >= 0xfff0 && code <= 0xfffb) && code < 0xe0000);
}

static cs_status put_repr(csi_eval *e, csi_jinja_text *to, csi_jstr s)
{
    const bool has_single = csi_jstr_find(s, csi_jstr_of("'"), 0) != SIZE_MAX;
    const bool has_double = csi_jstr_find(s, csi_jstr_of("\""), 0) != SIZE_MAX;
    const char quote[2] = {has_single && !has_double ? '"' : '\'', '\0'};
    int n = 0;

    CS_TRY(put(e, to, quote));
    for (size_t at = 0; at < s.n; at += (size_t)n) {
        const uint32_t code = csi_utf8_get(s.bytes + at, &n);
        char text[16];

        if (code == '\n' || code == '\t' || code == '\r') {
            CS_TRY(put(e, to,
                       code == '\n'   ? "\\n"
                       : code == '\t' ? "\\t"
                                      : "\\r"));
            continue;
        }
        if (code == '\\' || code == (uint32_t)quote[0]) {
            CS_TRY(put(e, to, "\\"));
        }
        if (is_printable(code)) {
            CS_TRY(csi_jinja_write(e, to,
                                   csi_jstr_part(s, at, at + (size_t)n)));
            continue;
        }
        CS_TRY(csi_format(text, sizeof text,
                          code < 0x100     ? "\\x%02x"
                          : code < 0x10000 ? "\\u%04x"
                                           : "\\U%08x",
                          code));
        CS_TRY(put(e, to, text));
    }
    return put(e, to, quote);
}

static cs_status put_value(csi_eval *e, csi_jinja_text *to, const csi_value *v,
                           bool is_inside);

static cs_status put_sequence(csi_eval *e, csi_jinja_text *to,
                              const csi_value *v)
{
    const bool is_list = v->kind == CSI_VALUE_LIST;

    CS_TRY(put(e, to, is_list ? "[" : "("));
    for (size_t i = 0; i < v->list->n; i++) {
        CS_TRY(put(e, to, i > 0 ? ", " : ""));
        CS_TRY(put_value(e, to, &v->list->items[i], true));
    }
    CS_TRY(put(e, to, !is_list && v->list->n == 1 ? "," : ""));
    return put(e, to, is_list ? "]" : ")");
}

static cs_status put_dict(csi_eval *e, csi_jinja_text *to, const csi_value *v)
{
    CS_TRY(put(e, to, "{"));
    for (size_t i = 0; i < v->dict->n; i++) {
        CS_TRY(put(e, to, i > 0 ? ", " : ""));
        CS_TRY(put_value(e, to, &v->dict->keys[i], true));
        CS_TRY(put(e, to, ": "));
        CS_TRY(put_value(e, to, &v->dict->values[i], true));
    }
    return put(e, to, "}");
}

static cs_status put_value(csi_eval *e, csi_jinja_text *to, const csi_value *v,
                           bool is_inside)
{
    CS_TRY(csi_jinja_enter(e));
    switch (v->kind) {
    case CSI_VALUE_UNDEFINED:
        CS_TRY(put(e, to, is_inside ? "Undefined" : ""));
        break;
    case CSI_VALUE_NONE:
        CS_TRY(put(e, to, "None"));
        break;
    case CSI_VALUE_BOOL:
        CS_TRY(put(e, to, v->integer != 0 ? "True" : "False"));
        break;
    case CSI_VALUE_INT:
        CS_TRY(put_int(e, to, v->integer));
        break;
    case CSI_VALUE_FLOAT:
        CS_TRY(put_float(e, to, v->number));
        break;
    case CSI_VALUE_STRING:
        CS_TRY(is_inside ? put_repr(e, to, v->string)
                         : csi_jinja_write(e, to, v->string));
        break;
    case CSI_VALUE_LIST:
    case CSI_VALUE_TUPLE:
        CS_TRY(put_sequence(e, to, v));
        break;
    case CSI_VALUE_DICT:
        CS_TRY(put_dict(e, to, v));
        break;
    default:
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                              "unsupported: writing a %s", csi_value_type(v));
    }
    e->depth--;
    return CS_OK;
}

cs_status csi_value_print(csi_eval *e, csi_jinja_text *to, const csi_value *v)
{
    return put_value(e, to, v, false);
}

cs_status csi_value_to_string(csi_eval *e, const csi_value *v, csi_jstr *out)
{
    csi_jinja_text text = {.n_bytes = 0};
    csi_value made;
    cs_status st = CS_OK;

    if (v->kind == CSI_VALUE_STRING) {
        *out = v->string;
        return CS_OK;
    }
    CS_TRY_GOTO(done, csi_value_print(e, &text, v));
    CS_TRY_GOTO(done, csi_jinja_text_string(e, &text, &made));
    *out = made.string;
done:
    csi_jinja_text_fini(&text);
    return st;
}

/* ---- JSON ---- */

static cs_status put_json_letter(csi_eval *e, csi_jinja_text *to, uint32_t code)
{
    static const char FROM[] = "\"\\\n\r\t\f\b";
    static const char TO[] = "\"\\nrtfb";
    char text[16];
    const char *const found =
        code < 128 && code > 0 ? strchr(FROM, (int)code) : NULL;

    if (found != NULL) {
        CS_TRY(csi_format(text, sizeof text, "\\%c", TO[found - FROM]));
    } else if (code < 0x10000) {
        CS_TRY(csi_format(text, sizeof text, "\\u%04x", code));
    } else {
        const uint32_t rest = code - 0x10000;

        CS_TRY(csi_format(text, sizeof text, "\\u%04x\\u%04x",
                          0xd800 | rest >> 10, 0xdc00 | (rest & 0x3ff)));
    }
    return put(e, to, text);
}

static cs_status put_json_string(csi_eval *e, csi_jinja_text *to, csi_jstr s,
                                 bool ascii)
{
    size_t kept = 0; /* bytes before it are written */
    int n = 0;

    CS_TRY(put(e, to, "\""));
    for (size_t at = 0; at < s.n; at += (size_t)n) {
        const uint32_t code = csi_utf8_get(s.bytes + at, &n);

        if (code < 0x20 || code == '"' || code == '\\' ||
            (ascii && code > 0x7f)) {
            CS_TRY(csi_jinja_write(e, to, csi_jstr_part(s, kept, at)));
            CS_TRY(put_json_letter(e, to, code));
            kept = at + (size_t)n;
        }
    }
    CS_TRY(csi_jinja_write(e, to, csi_jstr_part(s, kept, s.n)));
    return put(e, to, "\"");
}

static cs_status put_line(csi_eval *e, csi_jinja_text *to,
                          const csi_json_style *style, int32_t depth)
{
    if (style->indent >= 0) {
        CS_TRY(put(e, to, "\n"));
        for (int64_t i = 0; i < style->indent * depth; i++) {
            CS_TRY(put(e, to, " "));
        }
    }
    return CS_OK;
}

static cs_status put_json_key(csi_eval *e, csi_jinja_text *to,
                              const csi_value *key, const csi_json_style *style)
{
    if (key->kind == CSI_VALUE_STRING) {
        return put_json_string(e, to, key->string, style->ascii);
    }
    CS_TRY(put(e, to, "\""));
    CS_TRY(csi_value_print_json(e, to, key, style, 0));
    return put(e, to, "\"");
}

static cs_status put_json_dict(csi_eval *e, csi_jinja_text *to,
                               const csi_value *v, const csi_json_style *style,
                               int32_t depth)
{
    CS_TRY(put(e, to, "{"));
    for (size_t i = 0; i < v->dict->n; i++) {
        if (i > 0) {
            CS_TRY(csi_jinja_write(e, to, style->item_separator));
        }
        CS_TRY(put_line(e, to, style, depth + 1));
        CS_TRY(put_json_key(e, to, &v->dict->keys[i], style));
        CS_TRY(csi_jinja_write(e, to, style->key_separator));
        CS_TRY(csi_value_print_json(e, to, &v->dict->values[i], style,
                                    depth + 1));
    }
    if (v->dict->n > 0) {
        CS_TRY(put_line(e, to, style, depth));
    }
    return put(e, to, "}");
}

static cs_status put_json_list(csi_eval *e, csi_jinja_text *to,
                               const csi_value *v, const csi_json_style *style,
                               int32_t depth)
{
    CS_TRY(put(e, to, "["));
    for (size_t i = 0; i < v->list->n; i++) {
        if (i > 0) {
            CS_TRY(csi_jinja_write(e, to, style->item_separator));
        }
        CS_TRY(put_line(e, to, style, depth + 1));
        CS_TRY(csi_value_print_json(e, to, &v->list->items[i], style,
                                    depth + 1));
    }
    if (v->list->n > 0) {
        CS_TRY(put_line(e, to, style, depth));
    }
    return put(e, to, "]");
}

cs_status csi_value_print_json(csi_eval *e, csi_jinja_text *to,
                               const csi_value *v, const csi_json_style *style,
                               int32_t depth)
{
    CS_TRY(csi_jinja_enter(e));
    switch (v->kind) {
    case CSI_VALUE_NONE:
        CS_TRY(put(e, to, "null"));
        break;
    case CSI_VALUE_BOOL:
        CS_TRY(put(e, to, v->integer != 0 ? "true" : "false"));
        break;
    case CSI_VALUE_INT:
        CS_TRY(put_int(e, to, v->integer));
        break;
    case CSI_VALUE_FLOAT:
        CS_TRY(isnan(v->number) ? put(e, to, "NaN")
               : isinf(v->number)
                   ? put(e, to, v->number > 0 ? "Infinity" : "-Infinity")
                   : put_float(e, to, v->number));
        break;
    case CSI_VALUE_STRING:
        CS_TRY(put_json_string(e, to, v->string, style->ascii));
        break;
    case CSI_VALUE_LIST:
    case CSI_VALUE_TUPLE:
        CS_TRY(put_json_list(e, to, v, style, depth));
        break;
    case CSI_VALUE_DICT:
        CS_TRY(put_json_dict(e, to, v, style, depth));
        break;
    default:
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "%s%s%s is no JSON",
                              csi_value_type(v), v->name != NULL ? " " : "",
                              v->name != NULL ? v->name : "");
    }
    e->depth--;
    return CS_OK;
}
