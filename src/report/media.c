/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pictures and sounds inside the page. A file is taken by its first bytes, not
 * by its name, because only these kinds are safe to show and names lie.
 */
#include "base/alloc.h"
#include "base/file.h"

#include "page.h"

#include <string.h>

enum {
    MAX_MEDIA_BYTES = 512 * 1024,
    MAX_PATH_BYTES = 512
};

typedef struct signature {
    csi_media_kind kind;
    const char *mime;
    const char *at_0;
    size_t n_at_0;
    const char *at_8; /* of RIFF files; NULL = anything */
} signature;

static const signature SIGNATURES[] = {
    {CSI_MEDIA_PICTURE, "image/png", "\x89PNG\r\n\x1a\n", 8, NULL},
    {CSI_MEDIA_PICTURE, "image/jpeg", "\xff\xd8\xff", 3, NULL},
    {CSI_MEDIA_PICTURE, "image/webp", "RIFF", 4, "WEBP"},
    {CSI_MEDIA_PICTURE, "image/gif", "GIF87a", 6, NULL},
    {CSI_MEDIA_PICTURE, "image/gif", "GIF89a", 6, NULL},
    {CSI_MEDIA_SOUND, "audio/wav", "RIFF", 4, "WAVE"},
    {CSI_MEDIA_SOUND, "audio/ogg", "OggS", 4, NULL},
    {CSI_MEDIA_SOUND, "audio/flac", "fLaC", 4, NULL},
    {CSI_MEDIA_SOUND, "audio/mpeg", "ID3", 3, NULL},
    {CSI_MEDIA_SOUND, "audio/mpeg", "\xff\xfb", 2, NULL},
};

static const char *find_mime(csi_media_kind kind, const char *data,
                             size_t n_bytes)
{
    for (size_t i = 0; i < sizeof SIGNATURES / sizeof SIGNATURES[0]; i++) {
        const signature *s = &SIGNATURES[i];
        if (s->kind == kind && n_bytes >= 12 &&
            memcmp(data, s->at_0, s->n_at_0) == 0 &&
            (s->at_8 == NULL || memcmp(data + 8, s->at_8, 4) == 0)) {
            return s->mime;
        }
    }
    return NULL;
}

void csi_add_base64(csi_str *text, const void *data, size_t n_bytes)
{
    static const char DIGITS[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = data;

    for (size_t i = 0; i < n_bytes; i += 3) {
        const size_t n = n_bytes - i < 3 ? n_bytes - i : 3;
        const uint32_t word = (uint32_t)at[i] << 16 |
                              (n > 1 ? (uint32_t)at[i + 1] << 8 : 0U) |
                              (n > 2 ? (uint32_t)at[i + 2] : 0U);
        const char four[4] = {
            DIGITS[word >> 18 & 63],
            DIGITS[word >> 12 & 63],
            n > 1 ? DIGITS[word >> 6 & 63] : '=',
            n > 2 ? DIGITS[word & 63] : '=',
        };
        csi_str_add_bytes(text, four, sizeof four);
    }
}

static void add_note(csi_str *html, csi_media_kind kind, const char *path,
                     const char *why)
{
    csi_str_addf(html, "<p class=\"note\">%s not shown: ",
                 kind == CSI_MEDIA_PICTURE ? "Picture" : "Sound");
    csi_page_text(html, path, MAX_PATH_BYTES);
    csi_str_addf(html, " (%s)</p>\n", why);
}

static void add_data(csi_str *html, csi_media_kind kind, const char *mime,
                     const char *data, size_t n_bytes)
{
    const bool is_picture = kind == CSI_MEDIA_PICTURE;

    csi_str_addf(html, "%s src=\"data:%s;base64,",
                 is_picture ? "<img alt=\"the sample's picture\""
                            : "<audio controls",
                 mime);
    csi_add_base64(html, data, n_bytes);
    csi_str_add(html, is_picture ? "\">\n" : "\"></audio>\n");
}

cs_status csi_page_media(csi_str *html, csi_media_kind kind, const char *path,
                         size_t *budget_bytes)
{
    char *data = NULL;
    size_t n_bytes = 0;
    const char *mime = NULL;

    const cs_status st = csi_file_read(path, MAX_MEDIA_BYTES, &data, &n_bytes);
    if (st == CS_ERR_IO || st == CS_ERR_FORMAT) {
        cs_error_clear();
        add_note(html, kind, path,
                 st == CS_ERR_FORMAT ? "larger than 512 KiB"
                                     : "cannot be read");
        return CS_OK;
    }
    CS_TRY(st);
    mime = find_mime(kind, data, n_bytes);
    if (mime == NULL) {
        add_note(html, kind, path, "of no kind that browsers show");
    } else if (n_bytes > *budget_bytes) {
        add_note(html, kind, path, "the report is large enough");
    } else {
        *budget_bytes -= n_bytes;
        add_data(html, kind, mime, data, n_bytes);
    }
    csi_free(data);
    return CS_OK;
}
