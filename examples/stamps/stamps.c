/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the folder, reads descriptions, listens to recordings. */
#include "stamps.h"

#include "cornstarch/data.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/thread.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_TEXT_BYTES = 1 << 20,
    MAX_SOUND_BYTES = 16 << 20,
    MAX_DEPTH = 16,
    MAX_THREADS = 16,
    SAMPLING_RATE = 16000
};

const char *const STAMPS_LANGUAGE[STAMPS_LANGUAGES] = {"fr", "ru", "ca",
                                                       "ro", "bg", "es"};

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t n_end = strlen(end);

    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/* [out,own] The first `n` bytes. */
static char *copy_bytes(const char *text, size_t n)
{
    char *copy = csi_malloc(n + 1);

    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

char *stamps_copy_line(const char *line)
{
    size_t n = strcspn(line, "\r\n");

    while (n > 0 && isspace((unsigned char)line[n - 1])) {
        n--;
    }
    while (n > 0 && isspace((unsigned char)line[0])) {
        line++;
        n--;
    }
    return copy_bytes(line, n);
}

const char *stamps_translation(const stamp *s, const char *language)
{
    char key[32];

    (void)snprintf(key, sizeof key, "\n%s.utf8=", language);
    const char *const found = strstr(s->text, key);
    return found == NULL ? NULL : found + strlen(key);
}

/* What groups descriptions: small letters, digits and bytes beyond ASCII. */
static uint64_t hash_words(const char *caption)
{
    char words[512];
    size_t n = 0;

    for (const char *p = caption; *p != '\0' && n + 1 < sizeof words; p++) {
        const unsigned char c = (unsigned char)*p;

        if (c >= 0x80 || isalnum(c)) {
            words[n++] = (char)tolower(c);
        }
    }
    words[n] = '\0';
    return csi_hash64(words);
}

static void stamp_fini(stamp *s)
{
    csi_free(s->stem);
    csi_free(s->base);
    csi_free(s->caption);
    csi_free(s->text);
    *s = (stamp){0};
}

/* Reads "<base>.txt"; a stamp without an English line has no caption. */
static cs_status read_description(const stamp_list *list, stamp *s)
{
    csi_str path = {0};
    size_t n_bytes = 0;
    cs_status st = CS_OK;

    csi_str_addf(&path, "%s/%s.txt", list->folder, s->base);
    CS_TRY_GOTO(undo, csi_str_check(&path));
    if (csi_file_exists(csi_str_get(&path))) {
        CS_TRY_GOTO(undo, csi_file_read(csi_str_get(&path), MAX_TEXT_BYTES,
                                        &s->text, &n_bytes));
        const size_t n_line = strcspn(s->text, "\r\n");
        const char *const tag = strstr(s->text, ".utf8=");
        const bool is_english = tag == NULL || tag > s->text + n_line;

        if (csi_utf8_valid(s->text, n_bytes) && is_english) {
            s->caption = stamps_copy_line(s->text);
            CS_CHECK_GOTO(undo, s->caption != NULL, CS_ERR_NOMEM, "no memory");
        }
    }
undo:
    csi_str_fini(&path);
    return st;
}

static cs_status add_stamp(stamp_list *list, const char *png)
{
    static const char *const VARIANTS[] = {"_mirror", "_flip"};
    const size_t n_stem = strlen(png) - strlen(".png");
    stamp s = {.stem = copy_bytes(png, n_stem),
               .base = copy_bytes(png, n_stem)};
    cs_status st = CS_OK;

    CS_CHECK_GOTO(undo, s.stem != NULL && s.base != NULL, CS_ERR_NOMEM,
                  "no memory");
    for (size_t i = 0; i < 2; i++) {
        if (ends_with(s.base, VARIANTS[i])) {
            s.base[strlen(s.base) - strlen(VARIANTS[i])] = '\0';
        }
    }
    CS_TRY_GOTO(undo, read_description(list, &s));
    if (s.caption == NULL || s.caption[0] == '\0') {
        list->n_no_caption++;
        stamp_fini(&s);
        return CS_OK;
    }
    s.group = hash_words(s.caption);
    if (list->n_stamps == list->capacity) {
        const int64_t capacity = list->capacity == 0 ? 256 : list->capacity * 2;
        stamp *grown =
            csi_realloc(list->stamps, (size_t)capacity * sizeof *list->stamps);

        CS_CHECK_GOTO(undo, grown != NULL, CS_ERR_NOMEM, "no memory");
        list->stamps = grown;
        list->capacity = capacity;
    }
    list->stamps[list->n_stamps++] = s;
    return CS_OK;
undo:
    stamp_fini(&s);
    return st;
}

/* All pictures below `folder` (relative, "" = the top), sorted by name. */
static cs_status walk(stamp_list *list, const char *folder, int32_t depth)
{
    csi_str full = {0};
    csi_str name = {0};
    char **names = NULL;
    int64_t count = 0;
    cs_status st = CS_OK;

    csi_str_addf(&full, "%s/%s", list->folder, folder);
    CS_TRY_GOTO(undo, csi_str_check(&full));
    CS_TRY_GOTO(undo, csi_dir_list(csi_str_get(&full), &names, &count));
    for (int64_t i = 0; i < count; i++) {
        csi_str_clear(&full);
        csi_str_clear(&name);
        csi_str_addf(&name, "%s%s%s", folder, folder[0] == '\0' ? "" : "/",
                     names[i]);
        csi_str_addf(&full, "%s/%s", list->folder, csi_str_get(&name));
        CS_TRY_GOTO(undo, csi_str_check(&name));
        CS_TRY_GOTO(undo, csi_str_check(&full));
        if (depth < MAX_DEPTH && csi_dir_exists(csi_str_get(&full))) {
            CS_TRY_GOTO(undo, walk(list, csi_str_get(&name), depth + 1));
        } else if (ends_with(names[i], ".png")) {
            CS_TRY_GOTO(undo, add_stamp(list, csi_str_get(&name)));
        }
    }
undo:
    for (int64_t i = 0; i < count; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    csi_str_fini(&full);
    csi_str_fini(&name);
    return st;
}

static cs_status decode_recording(const char *path, int64_t *count)
{
    char *bytes = NULL;
    size_t n_bytes = 0;
    float *samples = NULL;

    CS_TRY(csi_file_read(path, MAX_SOUND_BYTES, &bytes, &n_bytes));
    const cs_status st = cs_audio_decode(bytes, n_bytes, path, SAMPLING_RATE,
                                         STAMPS_MAX_SECONDS, &samples, count);
    csi_free(bytes);
    CS_TRY(st);
    csi_free(samples);
    return CS_OK;
}

/* A broken recording is a finding, not a failure. */
static cs_status listen_to(stamp *s, size_t language, const char *path)
{
    int64_t count = 0;

    if (!csi_file_exists(path)) {
        return CS_OK;
    }
    const cs_status st = decode_recording(path, &count);
    if (st == CS_ERR_FORMAT) {
        const bool is_long = strstr(cs_error_message(), "seconds of") != NULL;

        s->heard[language] = is_long ? TOO_LONG : BROKEN;
        cs_error_clear();
        return CS_OK;
    }
    CS_TRY(st);
    s->heard[language] = GOOD;
    s->seconds += (double)count / SAMPLING_RATE;
    return CS_OK;
}

static bool is_variant(const stamp *s)
{
    return strcmp(s->stem, s->base) != 0;
}

typedef struct listener {
    const stamp_list *list; /* borrowed */
    stamp *stamps;          /* borrowed: every n-th is this thread's */
    int64_t first, step;
    csi_thread thread;
} listener;

static cs_status listen_body(void *arg)
{
    const listener *const me = arg;
    csi_str path = {0};
    cs_status st = CS_OK;

    for (int64_t i = me->first; i < me->list->n_stamps; i += me->step) {
        stamp *const s = &me->stamps[i];

        for (size_t l = 0; l < STAMPS_LANGUAGES && !is_variant(s); l++) {
            csi_str_clear(&path);
            csi_str_addf(&path, "%s/%s_desc_%s.ogg", me->list->folder, s->base,
                         STAMPS_LANGUAGE[l]);
            CS_TRY_GOTO(undo, csi_str_check(&path));
            CS_TRY_GOTO(undo, listen_to(s, l, csi_str_get(&path)));
        }
    }
undo:
    csi_str_fini(&path);
    return st;
}

cs_status stamps_listen(stamp_list *list)
{
    const int64_t n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    const int64_t n =
        n_cores < 1 ? 1 : (n_cores > MAX_THREADS ? MAX_THREADS : n_cores);
    listener listeners[MAX_THREADS] = {0};
    cs_status st = CS_OK;

    for (int64_t i = 0; i < n && st == CS_OK; i++) {
        listeners[i].list = list;
        listeners[i].stamps = list->stamps;
        listeners[i].first = i;
        listeners[i].step = n;
        st = csi_thread_start(&listeners[i].thread, listen_body, &listeners[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        const cs_status joined = csi_thread_join(&listeners[i].thread);

        st = st == CS_OK ? joined : st;
    }
    CS_TRY(st);
    return CS_OK;
}

cs_status stamps_read(const char *folder, stamp_list *out)
{
    stamp_list list = {.folder = folder};

    CS_CHECK(csi_dir_exists(folder), CS_ERR_IO,
             "%s: no such folder; 'tools/install-deps data' installs the "
             "stamps",
             folder);
    cs_status st = CS_OK;
    CS_TRY_GOTO(undo, walk(&list, "", 0));
    CS_CHECK_GOTO(undo, list.n_stamps > 0, CS_ERR_FORMAT,
                  "%s: no pictures with descriptions", folder);
    *out = list;
    return CS_OK;
undo:
    stamps_fini(&list);
    return st;
}

void stamps_fini(stamp_list *list)
{
    for (int64_t i = 0; i < list->n_stamps; i++) {
        stamp_fini(&list->stamps[i]);
    }
    csi_free(list->stamps);
    *list = (stamp_list){0};
}
