/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_LOG_H
#define CORNSTARCH_LOG_H
/*
 * Log lines for people, on one sink (standard error unless set). Metrics are
 * JSON lines in files, never log lines. Thread-safe: one line is one write.
 *
 *     12:03:44.118 r03 info  runtime  step 120 loss 2.3171 tokens 65536
 */
#include "cornstarch/status.h"

CS_BEGIN_DECLS

typedef enum cs_log_level {
    CS_LOG_ERROR,
    CS_LOG_WARN,
    CS_LOG_INFO,
    CS_LOG_DEBUG,
    CS_LOG_TRACE,
    CS_LOG_COUNT
} cs_log_level;

/* "info" or "info,comm=trace": a default and levels per folder. */
CS_API CS_NODISCARD cs_status cs_log_configure(const char *text);
CS_API void cs_log_set_sink(FILE *sink); /* borrowed; NULL = silent */
CS_API bool cs_log_enabled(cs_log_level level, const char *folder);
CS_API void cs_log(cs_log_level level, const char *folder, const char *format,
                   ...) CS_PRINTF(3, 4);

CS_END_DECLS
#endif
