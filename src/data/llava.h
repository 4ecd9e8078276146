/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_LLAVA_H
#define CS_DATA_LLAVA_H
/*
 * LLaVA's JSON: an array of samples (or one sample after another, as in
 * .jsonl), read one by one, so that a file of any size needs the memory of its
 * largest sample.
 *
 *     {"id": "7", "image": "cat.png",
 *      "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
 *                        {"from": "gpt", "value": "A cat."}]}
 *
 * "image"/"images" (one path or a list) feed the first vision encoder,
 * "audio"/"audios" the first audio encoder; an encoder's own name is a key for
 * it too. Other keys are somebody else's, except "video".
 */
#include "base/json.h"

#include "template.h"

enum {
    CSI_WHERE_BYTES = 512
};

typedef struct csi_llava_reader {
    const char *path; /* borrowed: for errors */
    const char *data; /* borrowed */
    size_t n_bytes;
    size_t at;
    int64_t line;   /* of data[at], from 1 */
    int64_t n_read; /* samples so far */
    bool is_array, has_begun, is_over;
} csi_llava_reader;

/* One sample's JSON and where it lies; number < 0 = not known. */
typedef struct csi_llava_element {
    json_t *json; /* [own]: json_decref; NULL = no sample is left */
    int64_t offset, n_bytes, line, number;
} csi_llava_element;

CS_NODISCARD cs_status csi_llava_next(csi_llava_reader *reader,
                                      csi_llava_element *out);

/* One sample, understood. Strings are borrowed from the JSON. */
typedef struct csi_llava_sample {
    csi_turn *turns; /* owned */
    int32_t n_turns, turns_capacity;
    const char **paths; /* owned array: all modalities, one after another */
    int32_t n_paths, paths_capacity;
    csi_media_list media[CSI_MAX_MODALITIES];
    char where[CSI_WHERE_BYTES]; /* file:line: sample N (id "x") */
} csi_llava_sample;

void csi_llava_sample_fini(csi_llava_sample *sample);
/* Reuses the memory of *sample. format NULL = without media. */
CS_NODISCARD cs_status csi_llava_read(const csi_chat_format *format,
                                      const char *path,
                                      const csi_llava_element *element,
                                      csi_llava_sample *sample);
/* "id" as text (a number is printed), or "#N". [out,own] csi_free. */
CS_NODISCARD cs_status csi_llava_id(const csi_llava_element *element,
                                    char **out);
#endif
