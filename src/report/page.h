/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_REPORT_PAGE_H
#define CS_REPORT_PAGE_H
/* The parts of report.html; each adds to one growing page. */
#include "base/str.h"

#include "internal.h"

/* Doctype, style, title. The page forbids itself to fetch or to run
 * anything. */
void csi_page_begin(csi_str *html, const char *title);
void csi_page_end(csi_str *html);
/* Text as people should see it: escaped; bytes that are not UTF-8 and control
 * characters become U+FFFD; cut after max_bytes with a note. NULL = nothing. */
void csi_page_text(csi_str *html, const char *text, size_t max_bytes);

/* The step as rows of boxes, and its table of shares. */
CS_NODISCARD cs_status csi_page_timeline(csi_str *html,
                                         const cs_timeline *timeline);

/* A picture or a sound as data: URI, recognised by its first bytes; a note
 * where it is missing, too large or of no known kind. */
typedef enum csi_media_kind {
    CSI_MEDIA_PICTURE,
    CSI_MEDIA_SOUND
} csi_media_kind;
CS_NODISCARD cs_status csi_page_media(csi_str *html, csi_media_kind kind,
                                      const char *path, size_t *budget_bytes);
/* RFC 4648, with padding. */
void csi_add_base64(csi_str *text, const void *data, size_t n_bytes);
#endif
