/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines. A line that is switched off costs one atomic load: the highest
 * level of any folder is kept beside the table. A line that is written is put
 * together on the stack and handed over with one call.
 */
#include "cornstarch/log.h"

#include "base/thread.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

enum {
    MAX_FOLDERS = 32,
    FOLDER_BYTES = 32,
    LINE_BYTES = 2048
};

typedef struct folder_level {
    char folder[FOLDER_BYTES];
    cs_log_level level;
} folder_level;

typedef struct log_levels {
    folder_level folders[MAX_FOLDERS];
    int32_t n_folders;
    cs_log_level other; /* of folders that are not named */
} log_levels;

static csi_mutex lock = CSI_MUTEX_INIT;
static log_levels levels = {.other = CS_LOG_INFO};
static atomic_int highest_level = CS_LOG_INFO;
static FILE *sink; /* borrowed */
static bool sink_is_set;

static const char *const LEVEL_NAMES[CS_LOG_COUNT] = {"error", "warn", "info",
                                                      "debug", "trace"};

static bool parse_level(const char *text, size_t n_chars, cs_log_level *out)
{
    for (int i = 0; i < (int)CS_LOG_COUNT; i++) {
        if (strlen(LEVEL_NAMES[i]) == n_chars &&
            strncmp(LEVEL_NAMES[i], text, n_chars) == 0) {
            *out = (cs_log_level)i;
            return true;
        }
    }
    return false;
}

/* One word of the list: "info" or "comm=trace". */
static cs_status parse_word(const char *word, size_t n_chars, log_levels *out)
{
    const char *const equals = memchr(word, '=', n_chars);
    const size_t n_name = equals != NULL ? (size_t)(equals - word) : 0;
    const char *const name = equals != NULL ? equals + 1 : word;
    const size_t n_level = n_chars - (size_t)(name - word);
    cs_log_level level;

    CS_CHECK(parse_level(name, n_level, &level), CS_ERR_ARG,
             "log level '%.*s': wanted error, warn, info, debug or trace, "
             "or a list such as info,comm=trace",
             (int)n_chars, word);
    if (equals == NULL) {
        out->other = level;
        return CS_OK;
    }
    CS_CHECK(n_name > 0 && n_name < FOLDER_BYTES &&
                 out->n_folders < MAX_FOLDERS,
             CS_ERR_ARG,
             "log level '%.*s': wanted at most %d folders, each with a name "
             "of 1..%d characters",
             (int)n_chars, word, (int)MAX_FOLDERS, (int)FOLDER_BYTES - 1);
    folder_level *const entry = &out->folders[out->n_folders++];

    memcpy(entry->folder, word, n_name);
    entry->folder[n_name] = '\0';
    entry->level = level;
    return CS_OK;
}

cs_status cs_log_configure(const char *text)
{
    log_levels parsed = {.other = CS_LOG_INFO};
    cs_log_level highest;

    for (const char *at = text; *at != '\0';) {
        const size_t n_chars = strcspn(at, ",");
        CS_TRY(parse_word(at, n_chars, &parsed));
        at += n_chars + (at[n_chars] == ',');
    }
    highest = parsed.other;
    for (int32_t i = 0; i < parsed.n_folders; i++) {
        if (parsed.folders[i].level > highest) {
            highest = parsed.folders[i].level;
        }
    }
    csi_mutex_lock(&lock);
    levels = parsed;
    csi_mutex_unlock(&lock);
    atomic_store(&highest_level, (int)highest);
    return CS_OK;
}

void cs_log_set_sink(FILE *new_sink)
{
    csi_mutex_lock(&lock);
    sink = new_sink;
    sink_is_set = true;
    csi_mutex_unlock(&lock);
}

bool cs_log_enabled(cs_log_level level, const char *folder)
{
    cs_log_level wanted;

    if ((int)level >
        atomic_load_explicit(&highest_level, memory_order_relaxed)) {
        return false;
    }
    csi_mutex_lock(&lock);
    wanted = levels.other;
    for (int32_t i = 0; i < levels.n_folders; i++) {
        if (strcmp(levels.folders[i].folder, folder) == 0) {
            wanted = levels.folders[i].level;
        }
    }
    csi_mutex_unlock(&lock);
    return level <= wanted;
}

/* "12:03:44.118 r03 info  runtime  "; without the rank where there is none. */
static size_t print_head(char line[LINE_BYTES], cs_log_level level,
                         const char *folder)
{
    struct timespec now = {0};
    struct tm local = {0};
    char rank[16] = "";

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)localtime_r(&now.tv_sec, &local);
    if (cs_error_rank() >= 0) {
        (void)snprintf(rank, sizeof rank, "r%02d ", cs_error_rank());
    }
    const int n_chars =
        snprintf(line, LINE_BYTES, "%02d:%02d:%02d.%03d %s%-5s %-8.31s ",
                 local.tm_hour, local.tm_min, local.tm_sec,
                 (int)(now.tv_nsec / 1000000), rank, LEVEL_NAMES[level],
                 folder);

    return n_chars > 0 ? (size_t)n_chars : 0;
}

void cs_log(cs_log_level level, const char *folder, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;

    if (!cs_log_enabled(level, folder)) {
        return;
    }
    size_t length = print_head(line, level, folder);
    const size_t room = sizeof line - length - 1; /* one kept for '\n' */

    va_start(args, format);
    const int n_chars = vsnprintf(line + length, room, format, args);
    va_end(args);
    if (n_chars > 0) {
        length += (size_t)n_chars < room ? (size_t)n_chars : room - 1;
    }
    line[length++] = '\n';
    csi_mutex_lock(&lock);
    FILE *const out = sink_is_set ? sink : stderr;

    if (out != NULL) {
        (void)fwrite(line, 1, length, out);
        (void)fflush(out);
    }
    csi_mutex_unlock(&lock);
}
