/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STAMPS_H
#define STAMPS_H
/* The installed stamps as a list, each recording decoded once to know that it
 * is good. Everything is read where the package put it. */
#include "cornstarch/status.h"

#include <stddef.h>

enum {
    STAMPS_MAX_SECONDS = 20,
    STAMPS_LANGUAGES = 6
};

/* Of the spoken descriptions, in the order of stamp.heard. */
extern const char *const STAMPS_LANGUAGE[STAMPS_LANGUAGES];

typedef enum recording {
    MISSING,
    GOOD,
    BROKEN,
    TOO_LONG
} recording;

typedef struct stamp {
    char *stem;     /* owned: path below the folder, without .png */
    char *base;     /* owned: the stem without _mirror or _flip */
    char *caption;  /* owned: the first line of its description, English */
    char *text;     /* owned: the whole description */
    uint64_t group; /* equal for the same words */
    recording heard[STAMPS_LANGUAGES];
    double seconds; /* of the good ones */
} stamp;

typedef struct stamp_list {
    const char *folder; /* borrowed */
    stamp *stamps;      /* owned */
    int64_t n_stamps, capacity;
    int64_t n_no_caption; /* pictures that were left out */
} stamp_list;

/* All pictures with an English description below `folder`, by name. */
CS_NODISCARD cs_status stamps_read(const char *folder, stamp_list *out);
/* Decodes every recording, on all cores. */
CS_NODISCARD cs_status stamps_listen(stamp_list *list);
void stamps_fini(stamp_list *list);
/* Words in another language, up to the line's end, or NULL. */
const char *stamps_translation(const stamp *s, const char *language);
/* [out,own] csi_free: the line that starts here, without blanks around it;
 * NULL when memory is out. */
char *stamps_copy_line(const char *line);
#endif
