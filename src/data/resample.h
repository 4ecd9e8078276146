/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_RESAMPLE_H
#define CS_DATA_RESAMPLE_H
/*
 * Mono sound from one rate to another by soxr, which is opened at need: it
 * brings OpenMP with it, and that reads its environment when it is loaded,
 * before a program could say how its threads are to wait. One thread at a
 * time per resampler.
 */
#include "cornstarch/status.h"

#include <stddef.h>

typedef struct csi_resampler csi_resampler;

/* `where` (borrowed) is what errors call the recording. UNSUPPORTED: soxr is
 * not on this machine. */
CS_NODISCARD cs_status csi_resampler_create(const char *where, int32_t from_hz,
                                            int32_t to_hz, csi_resampler **out);
void csi_resampler_destroy(csi_resampler **resampler);
/* Takes up to *n_in samples (in NULL = no more will come) and writes up to
 * *n_out; both become what was taken and written. */
CS_NODISCARD cs_status csi_resampler_push(csi_resampler *resampler,
                                          const float *in, size_t *n_in,
                                          float *out, size_t *n_out);
#endif
