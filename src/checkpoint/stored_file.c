/* SPDX-License-Identifier: Apache-2.0 */
/* What a file must look like: size and XXH3-128. A file's name comes from
 * another file, so it is believed only when it is a plain name. */
#include "cornstarch/tensor.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include "manifest.h"

#include <inttypes.h>
#include <string.h>

static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL &&
           strlen(name) < CSI_FILE_NAME_BYTES;
}

static bool is_hash(const char *text)
{
    return strlen(text) == CSI_HASH_TEXT_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == CSI_HASH_TEXT_BYTES - 1;
}

cs_status csi_stored_file_parse(const void *json, const char *where,
                                csi_stored_file *out)
{
    const char *name = NULL;
    const char *hash = NULL;
    csi_stored_file file;

    CS_TRY(csi_json_string(json, "name", where, &name));
    CS_CHECK(is_plain_name(name), CS_ERR_FORMAT,
             "%s: '%.100s' is not the plain name of a file", where, name);
    CS_TRY(csi_json_i64(json, "bytes", where, 0, INT64_MAX, &file.n_bytes));
    CS_TRY(csi_json_string(json, "xxh3_128", where, &hash));
    CS_CHECK(is_hash(hash), CS_ERR_FORMAT,
             "%s: file '%s': '%.64s' is not 32 hex digits", where, name, hash);
    memcpy(file.name, name, strlen(name) + 1);
    memcpy(file.xxh3_128, hash, sizeof file.xxh3_128);
    *out = file;
    return CS_OK;
}

void csi_stored_file_print(const csi_stored_file *file, csi_str *text)
{
    csi_str_add(text, "{\"name\": \"");
    csi_str_add_json(text, file->name);
    csi_str_addf(text, "\", \"bytes\": %" PRId64 ", \"xxh3_128\": \"%s\"}",
                 file->n_bytes, file->xxh3_128);
}

cs_status csi_stored_file_measure(const char *folder, const char *name,
                                  csi_stored_file *out)
{
    char *path = NULL;
    csi_file_map map;
    csi_stored_file file;
    cs_status st = CS_OK;

    CS_TRY(csi_format(file.name, sizeof file.name, "%s", name));
    CS_TRY(csi_path_join(folder, name, &path));
    CS_TRY_GOTO(done, csi_file_map_open(path, &map));
    file.n_bytes = (int64_t)map.n_bytes;
    const cs_tensor bytes =
        cs_tensor_1d((void *)(uintptr_t)map.data, CS_U8, file.n_bytes);

    cs_tensor_checksum(&bytes, file.xxh3_128);
    csi_file_map_close(&map);
    *out = file;
done:
    csi_free(path);
    return st;
}

cs_status csi_stored_file_verify(const char *folder,
                                 const csi_stored_file *file)
{
    csi_stored_file got;

    CS_TRY(csi_stored_file_measure(folder, file->name, &got));
    CS_CHECK(got.n_bytes == file->n_bytes, CS_ERR_FORMAT,
             "%s/%s: wanted %" PRId64 " bytes, got %" PRId64, folder,
             file->name, file->n_bytes, got.n_bytes);
    CS_CHECK(strcmp(got.xxh3_128, file->xxh3_128) == 0, CS_ERR_FORMAT,
             "%s/%s: wanted checksum %s, got %s", folder, file->name,
             file->xxh3_128, got.xxh3_128);
    return CS_OK;
}
