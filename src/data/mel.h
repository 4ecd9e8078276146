/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_MEL_H
#define CS_DATA_MEL_H
/*
 * Log-mel spectrograms with the numbers of Whisper's feature extractor:
 * reflected edges, periodic Hann window, power spectrum, Slaney mel filters,
 * log10 limited to 8 below the largest, (x + 4) / 4. Stateless.
 */
#include "cornstarch/status.h"

typedef struct csi_mel_options {
    int32_t sampling_rate, n_mels, n_fft, hop;
} csi_mel_options;

/* n_samples must be a multiple of hop and larger than n_fft / 2. Writes
 * rows [n_samples / hop][n_mels]. */
CS_NODISCARD cs_status csi_mel_spectrogram(const csi_mel_options *options,
                                           const float *samples,
                                           int64_t n_samples, float *rows);
#endif
