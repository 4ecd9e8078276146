/* SPDX-License-Identifier: Apache-2.0 */
/* Spectrograms with filters that keep only their non-zero bins have the bits
 * of those with whole rows, which this file computes the plain way. */
#include "mel.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if CS_HAVE_KISSFFT

#    include <kiss_fftr.h>

enum {
    RATE = 16000,
    N_FFT = 400,
    N_BINS = N_FFT / 2 + 1,
    HOP = 160,
    N_FRAMES = 20,
    N_SAMPLES = N_FRAMES * HOP,
    MAX_MELS = 300 /* some filters lie between two bins: they are empty */
};

static double to_hz(double mel)
{
    return mel < 15.0 ? 200.0 * mel / 3.0
                      : 1000.0 * exp(log(6.4) / 27.0 * (mel - 15.0));
}

/* [n_mels][N_BINS], zeros and all. */
static void fill_dense(int32_t n_mels, double *filters)
{
    const double top = 15.0 + log(8000.0 / 1000.0) * 27.0 / log(6.4);
    const double step = top / (n_mels + 1);

    for (int32_t m = 0; m < n_mels; m++) {
        const double low = to_hz((double)m * step);
        const double mid = to_hz((double)(m + 1) * step);
        const double high = to_hz((double)(m + 2) * step);
        const double area = 2.0 / (high - low);

        for (int32_t b = 0; b < N_BINS; b++) {
            const double hz = (double)b * (0.5 * RATE / (N_BINS - 1));
            const double rise = (hz - low) / (mid - low);
            const double fall = (high - hz) / (high - mid);

            filters[m * N_BINS + b] = fmax(0.0, fmin(rise, fall)) * area;
        }
    }
}

static float mirrored(const float *sound, int64_t i)
{
    const int64_t from_left = i < 0 ? -i : i;

    return sound[from_left < N_SAMPLES ? from_left
                                       : 2 * (N_SAMPLES - 1) - from_left];
}

static void fill_power(kiss_fftr_cfg config, const float *sound, int64_t first,
                       double *power)
{
    float frame[N_FFT];
    kiss_fft_cpx bins[N_BINS];

    for (int32_t i = 0; i < N_FFT; i++) {
        const double window = 0.5 - 0.5 * cos(2.0 * M_PI * i / N_FFT);

        frame[i] = (float)(mirrored(sound, first + i) * window);
    }
    kiss_fftr(config, frame, bins);
    for (int32_t b = 0; b < N_BINS; b++) {
        power[b] =
            (double)bins[b].r * bins[b].r + (double)bins[b].i * bins[b].i;
    }
}

static void dense_spectrogram(int32_t n_mels, const float *sound, float *rows)
{
    static double filters[MAX_MELS * N_BINS];
    kiss_fftr_cfg config = kiss_fftr_alloc(N_FFT, 0, NULL, NULL);
    float most = -100.0F;

    assert_non_null(config);
    fill_dense(n_mels, filters);
    for (int64_t t = 0; t < N_FRAMES; t++) {
        double power[N_BINS];

        fill_power(config, sound, t * HOP - N_FFT / 2, power);
        for (int32_t m = 0; m < n_mels; m++) {
            double sum = 0.0;

            for (int32_t b = 0; b < N_BINS; b++) {
                sum += filters[m * N_BINS + b] * power[b];
            }
            rows[t * n_mels + m] = (float)log10(fmax(sum, 1e-10));
            most = fmaxf(most, rows[t * n_mels + m]);
        }
    }
    for (int64_t i = 0; i < (int64_t)N_FRAMES * n_mels; i++) {
        rows[i] = (fmaxf(rows[i], most - 8.0F) + 4.0F) / 4.0F;
    }
    kiss_fftr_free(config);
}

#endif

static void bins_left_out_change_no_bit(void **state)
{
    (void)state;
#if CS_HAVE_KISSFFT
    static const int32_t N_MELS[] = {4, 80, 128, MAX_MELS};
    static float wanted[N_FRAMES * MAX_MELS];
    static float got[N_FRAMES * MAX_MELS];
    float sound[N_SAMPLES];
    uint32_t noise = 1;

    for (int32_t i = 0; i < N_SAMPLES; i++) {
        noise = noise * 1664525U + 1013904223U;
        sound[i] = 0.3F * sinf(0.002F * (float)i * (float)i / HOP) +
                   1e-3F * ((float)(noise >> 16) / 32768.0F - 1.0F);
    }
    for (size_t k = 0; k < sizeof N_MELS / sizeof N_MELS[0]; k++) {
        const csi_mel_options options = {RATE, N_MELS[k], N_FFT, HOP};

        dense_spectrogram(N_MELS[k], sound, wanted);
        assert_ok(csi_mel_spectrogram(&options, sound, N_SAMPLES, got));
        assert_memory_equal(got, wanted,
                            (size_t)(N_FRAMES * N_MELS[k]) * sizeof *got);
    }
#else
    cst_skip("built without kissfft");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {CST_TEST(bins_left_out_change_no_bit)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
