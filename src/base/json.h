/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_JSON_H
#define CS_BASE_JSON_H
/*
 * JSON through jansson (strict: duplicate keys, bad UTF-8 are errors), with
 * sentences that name file, line and key. All JSON parsing goes through here.
 * jansson allocates through alloc.h. `where` is what errors call the document
 * (normally its path). The typed getters return FORMAT errors
 * "<where>: key 'hidden_size': wanted integer, got string".
 */
#include "cornstarch/status.h"

#include <jansson.h>
#include <stddef.h>

/* [out,own]: json_decref. Files above max_bytes are refused unread. */
CS_NODISCARD cs_status csi_json_load(const char *path, int64_t max_bytes,
                                     json_t **out);
CS_NODISCARD cs_status csi_json_parse(const char *text, size_t n_bytes,
                                      const char *where, json_t **out);
/* Parses ONE value at the start of text; *consumed = bytes it took. For
 * streaming over arrays of objects. */
CS_NODISCARD cs_status csi_json_parse_prefix(const char *text, size_t n_bytes,
                                             const char *where, json_t **out,
                                             size_t *consumed);
/* Indented by 2, keys in insertion order, newline. [out,own] csi_free. */
CS_NODISCARD cs_status csi_json_print(const json_t *json, const char *where,
                                      char **out);
/* What print gives, written atomically. */
CS_NODISCARD cs_status csi_json_save(const char *path, const json_t *json);

/* Required members. */
CS_NODISCARD cs_status csi_json_i64(const json_t *object, const char *key,
                                    const char *where, int64_t min, int64_t max,
                                    int64_t *out);
CS_NODISCARD cs_status csi_json_f64(const json_t *object, const char *key,
                                    const char *where, double *out);
CS_NODISCARD cs_status csi_json_bool(const json_t *object, const char *key,
                                     const char *where, bool *out);
CS_NODISCARD cs_status csi_json_string(const json_t *object, const char *key,
                                       const char *where, const char **out);
CS_NODISCARD cs_status csi_json_object(const json_t *object, const char *key,
                                       const char *where, json_t **out);
CS_NODISCARD cs_status csi_json_array(const json_t *object, const char *key,
                                      const char *where, json_t **out);
/* Optional members: missing or null leaves *out as it is (the default). */
CS_NODISCARD cs_status csi_json_opt_i64(const json_t *object, const char *key,
                                        const char *where, int64_t min,
                                        int64_t max, int64_t *out);
CS_NODISCARD cs_status csi_json_opt_f64(const json_t *object, const char *key,
                                        const char *where, double *out);
CS_NODISCARD cs_status csi_json_opt_bool(const json_t *object, const char *key,
                                         const char *where, bool *out);
CS_NODISCARD cs_status csi_json_opt_string(const json_t *object,
                                           const char *key, const char *where,
                                           const char **out);
/* Checks {"format": format, "version": 1} of our own files. */
CS_NODISCARD cs_status csi_json_check_format(const json_t *object,
                                             const char *format,
                                             const char *where);
/* New object with format and version set; NOMEM otherwise. */
CS_NODISCARD cs_status csi_json_new(const char *format, json_t **out);
#endif
