/* SPDX-License-Identifier: Apache-2.0 */
/* Streams samples out of a mapped file, and reads one sample's JSON. Errors
 * name file, line and sample: data files are written by scripts, and whoever
 * wrote the script needs to find the place. */
#include "llava.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Moves to `to`, counting lines. */
static void advance(csi_llava_reader *r, size_t to)
{
    while (r->at < to) {
        const char *const end = memchr(r->data + r->at, '\n', to - r->at);

        if (end == NULL) {
            r->at = to;
            return;
        }
        r->at = (size_t)(end - r->data) + 1;
        r->line++;
    }
}

static void skip_blanks(csi_llava_reader *r)
{
    size_t at = r->at;

    while (at < r->n_bytes && (r->data[at] == ' ' || r->data[at] == '\t' ||
                               r->data[at] == '\r' || r->data[at] == '\n')) {
        at++;
    }
    advance(r, at);
}

static char peek(const csi_llava_reader *r)
{
    return r->at < r->n_bytes ? r->data[r->at] : '\0';
}

static cs_status fail_at(const csi_llava_reader *r, const char *wanted)
{
    if (r->at >= r->n_bytes) {
        return CS_FAIL(CS_ERR_FORMAT,
                       "%s:%" PRId64 ": the file ends after %" PRId64
                       " samples: wanted %s",
                       r->path, r->line, r->n_read, wanted);
    }
    const unsigned char c = (unsigned char)r->data[r->at];

    if (c > ' ' && c < 0x7f) {
        return CS_FAIL(CS_ERR_FORMAT,
                       "%s:%" PRId64 ": after %" PRId64
                       " samples: wanted %s, got '%c'",
                       r->path, r->line, r->n_read, wanted, c);
    }
    return CS_FAIL(CS_ERR_FORMAT,
                   "%s:%" PRId64 ": after %" PRId64
                   " samples: wanted %s, got byte 0x%02x",
                   r->path, r->line, r->n_read, wanted, c);
}

/* The parser counts lines from the sample's start, people from the file's. */
static cs_status shift_line(const csi_llava_reader *r, cs_status st)
{
    char *end = NULL;
    cs_error error;

    cs_error_get(&error);
    if (st != CS_ERR_FORMAT ||
        strncmp(error.message, r->path, strlen(r->path)) != 0) {
        return st;
    }
    const char *const after = error.message + strlen(r->path);
    const long long line = after[0] == ':' ? strtoll(after + 1, &end, 10) : 0;

    if (line < 1) {
        return st;
    }
    return CS_FAIL(CS_ERR_FORMAT, "%s:%" PRId64 "%s (sample %" PRId64 ")",
                   r->path, r->line + (int64_t)line - 1, end, r->n_read);
}

static cs_status begin(csi_llava_reader *r)
{
    r->has_begun = true;
    skip_blanks(r);
    if (peek(r) == '[') {
        r->is_array = true;
        advance(r, r->at + 1);
    } else if (peek(r) != '{') {
        return fail_at(r, "'[' or '{'");
    }
    return CS_OK;
}

/* Between samples; *is_end where the list is over. */
static cs_status step_over(csi_llava_reader *r, bool *is_end)
{
    skip_blanks(r);
    if (!r->is_array || r->is_over) {
        *is_end = r->is_over || r->at == r->n_bytes;
        return CS_OK;
    }
    *is_end = false;
    if (peek(r) == ']') {
        advance(r, r->at + 1);
        skip_blanks(r);
        *is_end = r->is_over = true;
        return r->at == r->n_bytes ? CS_OK : fail_at(r, "the end of the file");
    }
    if (r->n_read > 0) {
        if (peek(r) != ',') {
            return fail_at(r, "',' or ']'");
        }
        advance(r, r->at + 1);
        skip_blanks(r);
    }
    return CS_OK;
}

cs_status csi_llava_next(csi_llava_reader *r, csi_llava_element *out)
{
    bool is_end = false;
    size_t consumed = 0;
    json_t *json = NULL;

    *out = (csi_llava_element){.json = NULL};
    if (!r->has_begun) {
        r->line = 1;
        CS_TRY(begin(r));
    }
    CS_TRY(step_over(r, &is_end));
    if (is_end) {
        return CS_OK;
    }
    if (peek(r) != '{') {
        return fail_at(r, "a sample ('{')");
    }
    const cs_status st =
        csi_json_parse_prefix(r->data + r->at, r->n_bytes - r->at, r->path,
                              &json, &consumed);

    CS_TRY(st == CS_OK ? CS_OK : shift_line(r, st));
    *out = (csi_llava_element){.json = json,
                               .offset = (int64_t)r->at,
                               .n_bytes = (int64_t)consumed,
                               .line = r->line,
                               .number = r->n_read};
    advance(r, r->at + consumed);
    r->n_read++;
    return CS_OK;
}

void csi_llava_sample_fini(csi_llava_sample *sample)
{
    csi_free(sample->turns);
    csi_free(sample->paths);
    *sample = (csi_llava_sample){.n_turns = 0};
}

static void write_where(const char *path, const csi_llava_element *element,
                        char where[CSI_WHERE_BYTES])
{
    const json_t *const id = json_object_get(element->json, "id");
    char number[32] = "";
    char name[80] = "";

    if (element->number >= 0) {
        (void)snprintf(number, sizeof number, " %" PRId64, element->number);
    }
    if (json_is_string(id)) {
        (void)snprintf(name, sizeof name, " (id \"%.60s\")",
                       json_string_value(id));
    } else if (json_is_integer(id)) {
        (void)snprintf(name, sizeof name, " (id %" JSON_INTEGER_FORMAT ")",
                       json_integer_value(id));
    }
    (void)snprintf(where, CSI_WHERE_BYTES, "%.300s:%" PRId64 ": sample%s%s",
                   path, element->line, number, name);
}

cs_status csi_llava_id(const csi_llava_element *element, char **out)
{
    const json_t *const id = json_object_get(element->json, "id");
    csi_str text = {0};

    if (json_is_string(id)) {
        csi_str_add(&text, json_string_value(id));
    } else if (json_is_integer(id)) {
        csi_str_addf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
    } else {
        csi_str_addf(&text, "#%" PRId64, element->number);
    }
    const cs_status st = csi_str_check(&text);
    char *const copy = st == CS_OK ? csi_strdup(csi_str_get(&text)) : NULL;

    csi_str_fini(&text);
    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "no memory for a sample's id");
    *out = copy;
    return CS_OK;
}

static cs_status read_role(const char *from, const char *where, csi_role *out)
{
    static const struct {
        const char *name;
        csi_role role;
    } ROLES[] = {{"human", CSI_ROLE_USER},
                 {"user", CSI_ROLE_USER},
                 {"gpt", CSI_ROLE_ASSISTANT},
                 {"assistant", CSI_ROLE_ASSISTANT},
                 {"system", CSI_ROLE_SYSTEM}};

    for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
        if (strcmp(from, ROLES[i].name) == 0) {
            *out = ROLES[i].role;
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_FORMAT,
                   "%s: key 'from': wanted human, gpt, system, user or "
                   "assistant, got '%.40s'",
                   where, from);
}

static bool is_empty(const csi_turn *turn)
{
    for (size_t i = 0; i < turn->n_bytes; i++) {
        if ((unsigned char)turn->text[i] > ' ') {
            return false;
        }
    }
    return true;
}

static cs_status read_turn(const json_t *json, const char *where,
                           csi_turn *turn)
{
    const char *from = NULL;

    CS_TRY(csi_json_string(json, "from", where, &from));
    CS_TRY(csi_json_string(json, "value", where, &turn->text));
    turn->n_bytes = strlen(turn->text);
    CS_TRY(read_role(from, where, &turn->role));
    CS_CHECK(turn->role != CSI_ROLE_ASSISTANT || !is_empty(turn), CS_ERR_FORMAT,
             "%s: an answer is empty", where);
    return CS_OK;
}

static cs_status read_turns(const json_t *json, csi_llava_sample *sample)
{
    json_t *list = NULL;

    CS_TRY(csi_json_array(json, "conversations", sample->where, &list));
    const size_t n = json_array_size(list);

    CS_CHECK(n > 0 && n <= INT32_MAX, CS_ERR_FORMAT,
             "%s: 'conversations' is empty", sample->where);
    if ((size_t)sample->turns_capacity < n) {
        csi_turn *const grown =
            csi_realloc(sample->turns, n * sizeof *sample->turns);

        CS_CHECK(grown != NULL, CS_ERR_NOMEM, "%s: no memory for %zu turns",
                 sample->where, n);
        sample->turns = grown;
        sample->turns_capacity = (int32_t)n;
    }
    for (size_t i = 0; i < n; i++) {
        CS_TRY(read_turn(json_array_get(list, i), sample->where,
                         &sample->turns[i]));
    }
    sample->n_turns = (int32_t)n;
    return CS_OK;
}

static cs_status add_path(csi_llava_sample *sample, const char *key,
                          const json_t *value)
{
    const char *const path = json_string_value(value);

    CS_CHECK(path != NULL && path[0] != '\0', CS_ERR_FORMAT,
             "%s: key '%s': wanted a path or a list of paths", sample->where,
             key);
    if (sample->n_paths == sample->paths_capacity) {
        const int32_t capacity = 2 * sample->n_paths + 4;
        const char **const grown =
            csi_realloc(sample->paths, (size_t)capacity * sizeof *grown);

        CS_CHECK(grown != NULL, CS_ERR_NOMEM, "%s: no memory for paths",
                 sample->where);
        sample->paths = grown;
        sample->paths_capacity = capacity;
    }
    sample->paths[sample->n_paths++] = path;
    return CS_OK;
}

static cs_status add_key(csi_llava_sample *sample, const json_t *json,
                         const char *key)
{
    const json_t *const value = json_object_get(json, key);

    if (value == NULL || json_is_null(value)) {
        return CS_OK;
    }
    if (!json_is_array(value)) {
        return add_path(sample, key, value);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        CS_TRY(add_path(sample, key, json_array_get(value, i)));
    }
    return CS_OK;
}

static const char *const KEYS[][2] = {
    [CS_MODALITY_TEXT] = {NULL, NULL},
    [CS_MODALITY_VISION] = {"image", "images"},
    [CS_MODALITY_AUDIO] = {"audio", "audios"},
};

static bool holds_nothing(const json_t *value)
{
    return value == NULL || json_is_null(value) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static cs_status check_video(const csi_chat_format *format, const json_t *json,
                             const char *where)
{
    bool is_read = false;

    for (int32_t m = 0; m < format->n_modalities; m++) {
        is_read |= strcmp(format->modality[m].name, "video") == 0;
    }
    CS_CHECK(is_read || holds_nothing(json_object_get(json, "video")),
             CS_ERR_FORMAT,
             "%s: key 'video': the model has no encoder of that "
             "name",
             where);
    return CS_OK;
}

/* Media that no encoder of the model reads are a mistake in the recipe. */
static cs_status check_keys(const csi_chat_format *format, const json_t *json,
                            const char *where)
{
    CS_TRY(check_video(format, json, where));
    for (int kind = CS_MODALITY_VISION; kind <= CS_MODALITY_AUDIO; kind++) {
        bool is_read = false;

        for (int32_t m = 0; m < format->n_modalities; m++) {
            is_read |= (int)format->modality[m].processor.modality == kind;
        }
        for (int k = 0; k < 2 && !is_read; k++) {
            const json_t *const value = json_object_get(json, KEYS[kind][k]);

            CS_CHECK(holds_nothing(value), CS_ERR_FORMAT,
                     "%s: key '%s': the model has no %s encoder", where,
                     KEYS[kind][k],
                     kind == CS_MODALITY_VISION ? "vision" : "audio");
        }
    }
    return CS_OK;
}

static cs_status read_media(const csi_chat_format *format, const json_t *json,
                            csi_llava_sample *sample)
{
    int32_t first[CSI_MAX_MODALITIES + 1] = {0};

    CS_TRY(check_keys(format, json, sample->where));
    sample->n_paths = 0;
    for (int32_t m = 0; m < format->n_modalities; m++) {
        const csi_chat_modality *const modality = &format->modality[m];
        const char *const *const keys = KEYS[modality->processor.modality];
        const bool has_keys = modality->is_first_of_kind;

        for (int k = 0; k < 2 && has_keys; k++) {
            CS_TRY(add_key(sample, json, keys[k]));
        }
        if (!has_keys || (strcmp(modality->name, keys[0]) != 0 &&
                          strcmp(modality->name, keys[1]) != 0)) {
            CS_TRY(add_key(sample, json, modality->name));
        }
        first[m + 1] = sample->n_paths;
    }
    for (int32_t m = 0; m < format->n_modalities; m++) {
        const int32_t n = first[m + 1] - first[m];

        sample->media[m] = (csi_media_list){
            .paths = n > 0 ? sample->paths + first[m] : NULL,
            .n_paths = n,
        };
    }
    return CS_OK;
}

cs_status csi_llava_read(const csi_chat_format *format, const char *path,
                         const csi_llava_element *element,
                         csi_llava_sample *sample)
{
    write_where(path, element, sample->where);
    CS_TRY(read_turns(element->json, sample));
    if (format != NULL) {
        CS_TRY(read_media(format, element->json, sample));
    }
    return CS_OK;
}
