/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transform is kissfft's; the rest is a page of loops. Filters are made
 * anew for each recording: that costs microseconds and keeps this stateless.
 * A filter is zero but for a few neighbouring bins, and only those are kept:
 * the bins left out would add zeros, so every sum has the same bits.
 */
#include "mel.h"

#if CS_HAVE_KISSFFT

#    include "base/alloc.h"

#    include <inttypes.h>
#    include <kiss_fftr.h>
#    include <math.h>
#    include <string.h>

/* Whisper's filters end here whatever the sampling rate. */
static const double MAX_HZ = 8000.0;
static const double MIN_POWER = 1e-10;
static const double DYNAMIC_RANGE = 8.0; /* powers of ten kept */

/* The bins that a triangle covers. */
typedef struct mel_filter {
    int32_t first_bin, n_bins;
    int32_t first_weight; /* in mel_job.weights */
} mel_filter;

typedef struct mel_job {
    csi_mel_options options;
    int32_t n_bins;       /* n_fft / 2 + 1 */
    mel_filter *filters;  /* owned: [n_mels] */
    double *weights;      /* owned: [2 n_bins]: triangles overlap by half, so
                             at most two cover a bin */
    double *window;       /* owned: [n_fft] */
    double *power;        /* owned: [n_bins] */
    float *frame;         /* owned: [n_fft] */
    kiss_fft_cpx *bins;   /* owned: [n_bins] */
    kiss_fftr_cfg config; /* owned: one block of alloc.h */
} mel_job;

/* Slaney's scale: linear below 1 kHz, logarithmic above. */
static double hz_to_mel(double hz)
{
    return hz < 1000.0 ? 3.0 * hz / 200.0
                       : 15.0 + log(hz / 1000.0) * 27.0 / log(6.4);
}

static double mel_to_hz(double mel)
{
    return mel < 15.0 ? 200.0 * mel / 3.0
                      : 1000.0 * exp(log(6.4) / 27.0 * (mel - 15.0));
}

/* Triangles between neighbouring mel points, of equal area. */
static void fill_filters(mel_job *job)
{
    const int32_t n_mels = job->options.n_mels;
    const double step = hz_to_mel(MAX_HZ) / (n_mels + 1);
    const double bin_hz = 0.5 * job->options.sampling_rate / (job->n_bins - 1);
    int32_t n_weights = 0;

    for (int64_t m = 0; m < n_mels; m++) {
        const double low = mel_to_hz((double)m * step);
        const double mid = mel_to_hz((double)(m + 1) * step);
        const double high = mel_to_hz((double)(m + 2) * step);
        const double area = 2.0 / (high - low);
        mel_filter filter = {.first_weight = n_weights};

        for (int32_t b = 0; b < job->n_bins; b++) {
            const double hz = (double)b * bin_hz;
            const double rise = (hz - low) / (mid - low);
            const double fall = (high - hz) / (high - mid);
            const double height = fmin(rise, fall);

            if (height > 0.0) {
                filter.first_bin = filter.n_bins == 0 ? b : filter.first_bin;
                filter.n_bins++;
                job->weights[n_weights++] = height * area;
            }
        }
        job->filters[m] = filter;
    }
}

static void fill_window(mel_job *job)
{
    const int32_t n = job->options.n_fft;

    for (int32_t i = 0; i < n; i++) {
        job->window[i] = 0.5 - 0.5 * cos(2.0 * M_PI * i / n);
    }
}

static void job_fini(mel_job *job)
{
    csi_free(job->filters);
    csi_free(job->weights);
    csi_free(job->window);
    csi_free(job->power);
    csi_free(job->frame);
    csi_free(job->bins);
    csi_free(job->config);
}

static cs_status job_init(mel_job *job, const csi_mel_options *options)
{
    const size_t n_fft = (size_t)options->n_fft;
    const size_t n_bins = n_fft / 2 + 1;
    size_t config_bytes = 0;

    (void)kiss_fftr_alloc(options->n_fft, 0, NULL, &config_bytes);
    *job = (mel_job){.options = *options,
                     .n_bins = (int32_t)n_bins,
                     .filters = csi_calloc((size_t)options->n_mels,
                                           sizeof(mel_filter)),
                     .weights = csi_calloc(2 * n_bins, sizeof(double)),
                     .window = csi_calloc(n_fft, sizeof(double)),
                     .power = csi_calloc(n_bins, sizeof(double)),
                     .frame = csi_calloc(n_fft, sizeof(float)),
                     .bins = csi_calloc(n_bins, sizeof(kiss_fft_cpx)),
                     .config = csi_malloc(config_bytes)};
    if (job->filters == NULL || job->weights == NULL || job->window == NULL ||
        job->power == NULL || job->frame == NULL || job->bins == NULL ||
        job->config == NULL) {
        job_fini(job);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for a mel filter bank");
    }
    (void)kiss_fftr_alloc(options->n_fft, 0, job->config, &config_bytes);
    fill_window(job);
    fill_filters(job);
    return CS_OK;
}

/* Sample `i` of a signal that is mirrored at both ends. */
static float sample_at(const float *samples, int64_t n, int64_t i)
{
    if (i < 0) {
        i = -i;
    } else if (i >= n) {
        i = 2 * (n - 1) - i;
    }
    return samples[i];
}

static void fill_power(mel_job *job, const float *samples, int64_t n_samples,
                       int64_t first)
{
    for (int64_t i = 0; i < job->options.n_fft; i++) {
        job->frame[i] =
            (float)(sample_at(samples, n_samples, first + i) * job->window[i]);
    }
    kiss_fftr(job->config, job->frame, job->bins);
    for (int32_t b = 0; b < job->n_bins; b++) {
        const double re = job->bins[b].r;
        const double im = job->bins[b].i;

        job->power[b] = re * re + im * im;
    }
}

static float log_energy(const mel_job *job, int64_t mel)
{
    const mel_filter *const filter = &job->filters[mel];
    const double *const weight = job->weights + filter->first_weight;
    const double *const power = job->power + filter->first_bin;
    double sum = 0.0;

    for (int32_t b = 0; b < filter->n_bins; b++) {
        sum += weight[b] * power[b];
    }
    return (float)log10(fmax(sum, MIN_POWER));
}

static void limit_range(float *rows, int64_t count)
{
    float most = rows[0];

    for (int64_t i = 1; i < count; i++) {
        most = fmaxf(most, rows[i]);
    }
    const float least = most - (float)DYNAMIC_RANGE;
    for (int64_t i = 0; i < count; i++) {
        rows[i] = (fmaxf(rows[i], least) + 4.0F) / 4.0F;
    }
}

cs_status csi_mel_spectrogram(const csi_mel_options *options,
                              const float *samples, int64_t n_samples,
                              float *rows)
{
    const int64_t half = options->n_fft / 2;
    mel_job job;

    CS_CHECK(n_samples % options->hop == 0 && n_samples > half, CS_ERR_INTERNAL,
             "mel: %" PRId64 " samples, wanted a multiple of %" PRId32
             " above %" PRId64,
             n_samples, options->hop, half);
    CS_TRY(job_init(&job, options));
    const int64_t n_frames = n_samples / options->hop;
    for (int64_t t = 0; t < n_frames; t++) {
        fill_power(&job, samples, n_samples, t * options->hop - half);
        for (int64_t m = 0; m < options->n_mels; m++) {
            rows[t * options->n_mels + m] = log_energy(&job, m);
        }
    }
    limit_range(rows, n_frames * options->n_mels);
    job_fini(&job);
    return CS_OK;
}

#else

cs_status csi_mel_spectrogram(const csi_mel_options *options,
                              const float *samples, int64_t n_samples,
                              float *rows)
{
    (void)options;
    (void)samples;
    (void)n_samples;
    (void)rows;
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: sound, because this program was built "
                   "without kissfft");
}

#endif
