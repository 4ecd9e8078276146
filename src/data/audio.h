/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_AUDIO_H
#define CS_DATA_AUDIO_H
/*
 * Recordings of hostile origin to mono samples at one rate. The number of
 * samples follows from the header alone, so that an index needs no decoding:
 * what decodes a little shorter or longer is padded or cut to it. Stateless:
 * any thread.
 */
#include "cornstarch/status.h"

#include <stddef.h>

enum {
    CSI_AUDIO_MAX_SECONDS = 3600,
    CSI_AUDIO_MAX_CHANNELS = 64,
    CSI_AUDIO_MIN_RATE = 1000,
    CSI_AUDIO_MAX_RATE = 768000
};

typedef struct csi_audio_source {
    const uint8_t *bytes; /* borrowed */
    size_t n_bytes;
    const char *where;     /* borrowed: what errors call it */
    int32_t sampling_rate; /* wanted */
    double max_seconds;
} csi_audio_source;

/* An opened recording. Not thread-safe: one thread at a time. */
typedef struct csi_audio csi_audio;

/* Reads the header; `source` and its bytes must outlive the recording. */
CS_NODISCARD cs_status csi_audio_open(const csi_audio_source *source,
                                      csi_audio **out);
void csi_audio_close(csi_audio **audio);
/* How many samples there will be: ceil(frames * wanted / rate). */
int64_t csi_audio_count(const csi_audio *audio);
/* Writes exactly the first `count` of them; once. */
CS_NODISCARD cs_status csi_audio_read(csi_audio *audio, float *samples,
                                      int64_t count);
#endif
