/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error trail of a thread: one sentence and the frames it came through.
 * It is a plain value in thread-local memory, so that reporting an error can
 * itself never fail, not even when memory is out.
 */
#include "cornstarch/status.h"

#include <stdarg.h>
#include <string.h>

static _Thread_local cs_error trail = {.rank = -1};
static _Thread_local int32_t current_rank = -1;

static void add_frame(const char *file, int line, const char *function)
{
    if (trail.n_frames < CS_ERROR_MAX_FRAMES) {
        trail.frames[trail.n_frames++] =
            (cs_error_frame){.file = file, .function = function, .line = line};
    }
}

cs_status cs_fail_at(const char *file, int line, const char *function,
                     cs_status code, const char *format, ...)
{
    /* The arguments may point into the sentence that is being replaced. */
    char sentence[CS_ERROR_MESSAGE_BYTES];
    va_list args;

    va_start(args, format);
    const int n_chars = vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (n_chars < 0) {
        sentence[0] = '\0';
    }
    trail.status = code;
    trail.rank = current_rank;
    trail.n_frames = 0;
    memcpy(trail.message, sentence, sizeof sentence);
    add_frame(file, line, function);
    return code;
}

cs_status cs_pass_at(const char *file, int line, const char *function,
                     cs_status status)
{
    add_frame(file, line, function);
    return status;
}

const char *cs_error_message(void)
{
    return trail.message;
}

void cs_error_clear(void)
{
    trail.status = CS_OK;
    trail.rank = current_rank;
    trail.n_frames = 0;
    trail.message[0] = '\0';
}

void cs_error_get(cs_error *out)
{
    *out = trail;
}

void cs_error_set(const cs_error *error)
{
    trail = *error;
}

void cs_error_set_rank(int32_t rank)
{
    current_rank = rank;
}

int32_t cs_error_rank(void)
{
    return current_rank;
}

void cs_error_print(FILE *out, bool with_frames)
{
    if (trail.status == CS_OK) {
        return;
    }
    (void)fprintf(out, "cornstarch: ");
    if (trail.rank >= 0) {
        (void)fprintf(out, "r%02d ", trail.rank);
    }
    (void)fprintf(out, "error %s: %s\n", cs_status_name(trail.status),
                  trail.message);
    for (int32_t i = 0; with_frames && i < trail.n_frames; i++) {
        const cs_error_frame *f = &trail.frames[i];
        (void)fprintf(out, "  %-32s %s:%d\n", f->function, f->file, f->line);
    }
}

const char *cs_status_name(cs_status status)
{
    static const char *const NAMES[CS_STATUS_COUNT] = {
        [CS_OK] = "OK",
        [CS_ERR_ARG] = "ARG",
        [CS_ERR_SHAPE] = "SHAPE",
        [CS_ERR_DTYPE] = "DTYPE",
        [CS_ERR_NOMEM] = "NOMEM",
        [CS_ERR_IO] = "IO",
        [CS_ERR_FORMAT] = "FORMAT",
        [CS_ERR_UNSUPPORTED] = "UNSUPPORTED",
        [CS_ERR_COMM] = "COMM",
        [CS_ERR_DEVICE] = "DEVICE",
        [CS_ERR_NUMERIC] = "NUMERIC",
        [CS_ERR_PEER] = "PEER",
        [CS_ERR_INTERNAL] = "INTERNAL",
    };
    const int at = (int)status;

    return at >= 0 && at < (int)CS_STATUS_COUNT ? NAMES[at] : "?";
}

int cs_status_exit_code(cs_status status)
{
    switch (status) {
    case CS_OK:
        return 0;
    case CS_ERR_ARG:
        return 2;
    case CS_ERR_NUMERIC:
        return 3;
    case CS_ERR_PEER:
        return 4;
    default:
        return 1;
    }
}
