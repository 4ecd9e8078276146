/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_STATUS_H
#define CORNSTARCH_STATUS_H
/*
 * Errors are values with a trail. The first place that knows what is wrong
 * writes one sentence (wanted and got); every caller adds a frame. Nothing
 * here prints or exits: the command line does, through cs_error_print().
 * The trail is thread-local.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
#    define CS_BEGIN_DECLS extern "C" {
#    define CS_END_DECLS   }
#else
#    define CS_BEGIN_DECLS
#    define CS_END_DECLS
#endif

#define CS_API
#define CS_NODISCARD    __attribute__((warn_unused_result))
#define CS_PRINTF(f, a) __attribute__((format(printf, f, a)))

CS_BEGIN_DECLS

typedef enum cs_status {
    CS_OK = 0,
    CS_ERR_ARG,         /* the caller or the user asked for nonsense */
    CS_ERR_SHAPE,       /* sizes do not fit together */
    CS_ERR_DTYPE,       /* element types do not fit together */
    CS_ERR_NOMEM,       /* an allocation failed */
    CS_ERR_IO,          /* the operating system refused a file operation */
    CS_ERR_FORMAT,      /* a file's content is not what its format says */
    CS_ERR_UNSUPPORTED, /* understood, but not offered */
    CS_ERR_COMM,        /* a collective or a message failed */
    CS_ERR_DEVICE,      /* a device failed */
    CS_ERR_NUMERIC,     /* a loss or gradient is not finite */
    CS_ERR_PEER,        /* another rank failed or vanished */
    CS_ERR_INTERNAL,    /* we are wrong */
    CS_STATUS_COUNT
} cs_status;

enum {
    CS_ERROR_MESSAGE_BYTES = 1024,
    CS_ERROR_MAX_FRAMES = 12
};

typedef struct cs_error_frame {
    const char *file;     /* borrowed: a string literal */
    const char *function; /* borrowed: a string literal */
    int line;
} cs_error_frame;

/* One error with its trail, as a value: ranks pass it between threads. */
typedef struct cs_error {
    cs_status status;
    int32_t rank; /* -1 = outside any rank */
    int32_t n_frames;
    char message[CS_ERROR_MESSAGE_BYTES];
    cs_error_frame frames[CS_ERROR_MAX_FRAMES];
} cs_error;

/* Starts a new trail in this thread and returns `code`. */
CS_API cs_status cs_fail_at(const char *file, int line, const char *function,
                            cs_status code, const char *format, ...)
    CS_PRINTF(5, 6);
/* Adds a frame and returns `status`. */
CS_API cs_status cs_pass_at(const char *file, int line, const char *function,
                            cs_status status);

/* The sentence of this thread's last error; "" when there is none. */
CS_API const char *cs_error_message(void);
CS_API void cs_error_clear(void);
CS_API void cs_error_get(cs_error *out);
CS_API void cs_error_set(const cs_error *error);
/* The rank that this thread runs, shown in errors and logs; -1 = none. */
CS_API void cs_error_set_rank(int32_t rank);
CS_API int32_t cs_error_rank(void);

/* "cornstarch: error SHAPE: sentence", and below it the frames if asked. */
CS_API void cs_error_print(FILE *out, bool with_frames);
CS_API const char *cs_status_name(cs_status status); /* "SHAPE" */
/* 0 ok, 1 run-time error, 2 usage (ARG), 3 numeric failure, 4 lost peer. */
CS_API int cs_status_exit_code(cs_status status);

CS_END_DECLS

/* The code is named again so that compilers and analyzers, which do not see
 * into cs_fail_at(), know that this is not CS_OK. */
#define CS_FAIL(code, ...)                                                \
    ((void)cs_fail_at(__FILE__, __LINE__, __func__, (code), __VA_ARGS__), \
     (code))

#define CS_CHECK(cond, code, ...)                \
    do {                                         \
        if (!(cond)) {                           \
            return CS_FAIL((code), __VA_ARGS__); \
        }                                        \
    } while (0)

#define CS_TRY(expr)                                                       \
    do {                                                                   \
        cs_status cs_try_status = (expr);                                  \
        if (cs_try_status != CS_OK) {                                      \
            (void)cs_pass_at(__FILE__, __LINE__, __func__, cs_try_status); \
            return cs_try_status;                                          \
        }                                                                  \
    } while (0)

/* Needs a local `cs_status st`; used where something must be undone. */
#define CS_TRY_GOTO(label, expr)                                \
    do {                                                        \
        st = (expr);                                            \
        if (st != CS_OK) {                                      \
            (void)cs_pass_at(__FILE__, __LINE__, __func__, st); \
            goto label;                                         \
        }                                                       \
    } while (0)

/* Like CS_CHECK, but jumps to `label`; needs a local `cs_status st`. */
#define CS_CHECK_GOTO(label, cond, code, ...)  \
    do {                                       \
        if (!(cond)) {                         \
            st = CS_FAIL((code), __VA_ARGS__); \
            goto label;                        \
        }                                      \
    } while (0)

#endif
