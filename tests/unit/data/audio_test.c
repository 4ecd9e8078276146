/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings: lengths known from headers, levels kept, hostile files refused;
 * spectrograms that equal those of Whisper's feature extractor. */
#include "cornstarch/data.h"

#include "base/alloc.h"

#include "audio.h"
#include "mel.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEEDS_SOUND()                                      \
    do {                                                   \
        if (!CS_HAVE_SNDFILE) {                            \
            cst_skip("built without libsndfile and soxr"); \
        }                                                  \
    } while (0)

static char *read_golden(const char *name, size_t *n_bytes)
{
    char path[256];

    (void)snprintf(path, sizeof path, "tests/golden/processor/%s", name);
    return cst_read(cst_source_path(path), n_bytes);
}

/* The sound of tools/golden/processor.py. */
static float *make_sound(int64_t count)
{
    float *samples = malloc((size_t)count * sizeof *samples);
    uint32_t noise = 11;

    assert_non_null(samples);
    for (int64_t n = 0; n < count; n++) {
        const int64_t phase = (n * (200 + n / 16)) % 16000;

        noise = noise * 1664525U + 1013904223U;
        const int64_t wave =
            n >= count * 3 / 4
                ? 0
                : (phase - 8000) * 2 + (int64_t)((noise >> 16) % 64U);
        samples[n] = (float)((double)wave / 32768.0);
    }
    return samples;
}

static void put_u32(uint8_t *p, uint32_t value)
{
    for (int32_t i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

/* A 16-bit WAV file; frames [n][channels]. */
static uint8_t *make_wav(const int16_t *frames, uint32_t n, uint32_t channels,
                         uint32_t rate, size_t *n_bytes)
{
    const uint32_t data_bytes = n * channels * 2;
    uint8_t *wav = calloc(1, 44 + (size_t)data_bytes);

    assert_non_null(wav);
    memcpy(wav, "RIFF....WAVEfmt ", 16);
    put_u32(wav + 4, 36 + data_bytes);
    put_u32(wav + 16, 16);
    put_u32(wav + 20, 1U | channels << 16);
    put_u32(wav + 24, rate);
    put_u32(wav + 28, rate * channels * 2);
    put_u32(wav + 32, (channels * 2) | 16U << 16);
    memcpy(wav + 36, "data", 4);
    put_u32(wav + 40, data_bytes);
    for (size_t i = 0; i < (size_t)n * channels; i++) {
        wav[44 + 2 * i] = (uint8_t)frames[i];
        wav[45 + 2 * i] = (uint8_t)((uint16_t)frames[i] >> 8);
    }
    *n_bytes = 44 + (size_t)data_bytes;
    return wav;
}

static void every_format_gives_the_length_of_its_header(void **state)
{
    static const struct {
        const char *name;
        int64_t count;
    } CASES[] = {{"mono16k.wav", 4000}, {"stereo44k.wav", 800},
                 {"float.wav", 800},    {"mono.flac", 4000},
                 {"stereo.ogg", 2903},  {"mono.opus", 1334},
                 {"mono.mp3", 4000}};

    (void)state;
    NEEDS_SOUND();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t n_bytes = 0;
        char *bytes = read_golden(CASES[i].name, &n_bytes);
        const csi_audio_source source = {(const uint8_t *)bytes, n_bytes,
                                         CASES[i].name, 16000, 30.0};
        float *samples = NULL;
        int64_t count = 0, probed = 0;
        double energy = 0.0;

        csi_audio *opened = NULL;

        assert_ok(csi_audio_open(&source, &opened));
        probed = csi_audio_count(opened);
        csi_audio_close(&opened);
        assert_ok(cs_audio_decode(bytes, n_bytes, CASES[i].name, 16000, 30.0,
                                  &samples, &count));
        assert_int_equal(count, probed);
        if (count != CASES[i].count) {
            fail_msg("%s: %ld samples, wanted %ld", CASES[i].name, (long)count,
                     (long)CASES[i].count);
        }
        for (int64_t n = 0; n < count; n++) {
            energy += (double)samples[n] * (double)samples[n];
        }
        assert_true(energy / (double)count > 0.01);
        csi_free(samples);
        cst_free(bytes);
    }
}

static void sixteen_bit_samples_are_exact(void **state)
{
    static const int16_t FRAMES[] = {0, 16384, -32768, 32767};
    static const float WANTED[] = {0.0F, 0.5F, -1.0F, 32767.0F / 32768.0F};
    size_t n_bytes = 0;
    float *samples = NULL;
    int64_t count = 0;

    (void)state;
    NEEDS_SOUND();
    uint8_t *wav = make_wav(FRAMES, 4, 1, 16000, &n_bytes);
    assert_ok(cs_audio_decode(wav, n_bytes, "x", 16000, 1.0, &samples, &count));
    assert_int_equal(count, 4);
    assert_memory_equal(samples, WANTED, sizeof WANTED);
    csi_free(samples);
    free(wav);
}

static void channels_are_averaged(void **state)
{
    static const int16_t FRAMES[] = {16384, 0, -16384, 8192, 8192, 8192};
    static const float WANTED[] = {0.0F, 0.25F};
    size_t n_bytes = 0;
    float *samples = NULL;
    int64_t count = 0;

    (void)state;
    NEEDS_SOUND();
    uint8_t *wav = make_wav(FRAMES, 2, 3, 16000, &n_bytes);
    assert_ok(cs_audio_decode(wav, n_bytes, "x", 16000, 1.0, &samples, &count));
    assert_int_equal(count, 2);
    assert_near(samples[0], WANTED[0], 1e-7);
    assert_near(samples[1], WANTED[1], 1e-7);
    csi_free(samples);
    free(wav);
}

/* 1 kHz at 44.1 kHz becomes 1 kHz at 16 kHz, in phase and level. */
static void resampling_keeps_a_tone(void **state)
{
    enum {
        N = 44100
    };
    size_t n_bytes = 0;
    float *samples = NULL;
    int64_t count = 0;
    int16_t *frames = malloc(N * sizeof *frames);

    (void)state;
    NEEDS_SOUND();
    assert_non_null(frames);
    for (int32_t i = 0; i < N; i++) {
        frames[i] = (int16_t)lrint(16000.0 * sin(2.0 * M_PI * 1000.0 * i / N));
    }
    uint8_t *wav = make_wav(frames, N, 1, N, &n_bytes);
    assert_ok(cs_audio_decode(wav, n_bytes, "x", 16000, 1.0, &samples, &count));
    assert_int_equal(count, 16000);
    for (int64_t i = 1000; i < 15000; i++) {
        const double wanted =
            16000.0 / 32768.0 * sin(2.0 * M_PI * 1000.0 * (double)i / 16000.0);

        assert_near(samples[i], wanted, 1e-4);
    }
    csi_free(samples);
    free(wav);
    free(frames);
}

static cs_status decode_and_drop(const void *bytes, size_t n_bytes)
{
    float *samples = NULL;
    int64_t count = 0;

    CS_TRY(cs_audio_decode(bytes, n_bytes, "x", 16000, 2.0, &samples, &count));
    csi_free(samples);
    return CS_OK;
}

static void other_files_are_refused(void **state)
{
    (void)state;
    NEEDS_SOUND();
    assert_fails(decode_and_drop("FORM....AIFFCOMM", 16), CS_ERR_FORMAT,
                 "x: wanted a WAV, FLAC, Ogg, Opus or MP3 recording, got 16");
    assert_fails(decode_and_drop(NULL, 0), CS_ERR_FORMAT, "got 0 bytes");
}

static void long_recordings_are_refused_with_their_seconds(void **state)
{
    size_t n_bytes = 0;
    int16_t *frames = calloc(48000, sizeof *frames);

    (void)state;
    NEEDS_SOUND();
    assert_non_null(frames);
    uint8_t *wav = make_wav(frames, 48000, 1, 16000, &n_bytes);
    assert_fails(decode_and_drop(wav, n_bytes), CS_ERR_FORMAT,
                 "x: 3.00 seconds of sound, wanted at most 2 seconds");
    free(wav);
    free(frames);
}

static void empty_recordings_are_refused(void **state)
{
    size_t n_bytes = 0;

    (void)state;
    NEEDS_SOUND();
    uint8_t *wav = make_wav(NULL, 0, 1, 16000, &n_bytes);
    assert_fails(decode_and_drop(wav, n_bytes), CS_ERR_FORMAT,
                 "without samples");
    free(wav);
}

static void samples_that_are_not_finite_are_refused(void **state)
{
    size_t n_bytes = 0;

    (void)state;
    NEEDS_SOUND();
    uint8_t *wav = (uint8_t *)read_golden("float.wav", &n_bytes);
    put_u32(wav + n_bytes - 8, 0x7fc00000U);
    assert_fails(decode_and_drop(wav, n_bytes), CS_ERR_FORMAT, "a sample of");
    put_u32(wav + n_bytes - 8, 0x7f000000U);
    assert_fails(decode_and_drop(wav, n_bytes), CS_ERR_FORMAT, "a sample of");
    cst_free((char *)wav);
}

/* A FLAC header that promises more than the file holds. */
static void truncated_recordings_are_refused(void **state)
{
    size_t n_bytes = 0;

    (void)state;
    NEEDS_SOUND();
    char *flac = read_golden("mono.flac", &n_bytes);
    assert_fails(decode_and_drop(flac, 300), CS_ERR_FORMAT,
                 "truncated recording: the header says 4000 samples, got 0");
    assert_fails(decode_and_drop(flac, 30), CS_ERR_FORMAT, "broken recording");
    cst_free(flac);
}

/* Whatever the cut: a refusal or samples, never a crash. */
static void a_cut_anywhere_is_survived(void **state)
{
    static const struct {
        const char *name;
        size_t step; /* libmpg123 writes a line for every broken file */
    } CASES[] = {{"stereo.ogg", 37},
                 {"mono.opus", 37},
                 {"mono16k.wav", 37},
                 {"mono.mp3", 700}};

    (void)state;
    NEEDS_SOUND();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t n_bytes = 0;
        char *bytes = read_golden(CASES[i].name, &n_bytes);

        for (size_t n = 0; n < n_bytes; n += CASES[i].step) {
            char *cut = malloc(n + 1);

            assert_non_null(cut);
            memcpy(cut, bytes, n);
            const cs_status st = decode_and_drop(cut, n);
            assert_true(st == CS_OK || st == CS_ERR_FORMAT);
            free(cut);
        }
        cst_free(bytes);
    }
}

static void spectrograms_are_those_of_whisper(void **state)
{
    static const struct {
        int32_t n_mels;
        int64_t count;
    } CASES[] = {{80, 12800}, {128, 3200}};

    (void)state;
#if !CS_HAVE_KISSFFT
    cst_skip("built without kissfft");
#endif
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const csi_mel_options options = {16000, CASES[i].n_mels, 400, 160};
        const int64_t n = CASES[i].count / 160 * CASES[i].n_mels;
        char name[64];
        size_t n_bytes = 0;

        (void)snprintf(name, sizeof name, "whisper_%d_%d.f32", CASES[i].n_mels,
                       (int)CASES[i].count);
        char *golden = read_golden(name, &n_bytes);
        float *sound = make_sound(CASES[i].count);
        float *rows = malloc(n_bytes);
        assert_non_null(rows);
        assert_int_equal(n_bytes, (size_t)n * sizeof *rows);
        assert_ok(csi_mel_spectrogram(&options, sound, CASES[i].count, rows));
        for (int64_t k = 0; k < n; k++) {
            float wanted = 0.0F;

            memcpy(&wanted, golden + (size_t)k * sizeof wanted, sizeof wanted);
            assert_near(rows[k], wanted, 2e-5);
        }
        free(rows);
        free(sound);
        cst_free(golden);
    }
}

static void silence_has_a_finite_spectrogram(void **state)
{
    const csi_mel_options options = {16000, 80, 400, 160};
    static const float SILENCE[320];
    float rows[160];

    (void)state;
#if !CS_HAVE_KISSFFT
    cst_skip("built without kissfft");
#endif
    assert_ok(csi_mel_spectrogram(&options, SILENCE, 320, rows));
    for (size_t i = 0; i < 160; i++) {
        assert_near(rows[i], -1.5, 1e-6);
    }
}

static cs_status spectrogram_body(void *arg)
{
    const csi_audio_source *const source = arg;
    const csi_mel_options options = {16000, 80, 400, 160};
    float *samples = NULL;
    float rows[25 * 80];
    int64_t count = 0;

    CS_TRY(cs_audio_decode(source->bytes, source->n_bytes, "x", 16000, 2.0,
                           &samples, &count));
    const cs_status st = csi_mel_spectrogram(&options, samples, count, rows);
    csi_free(samples);
    CS_TRY(st);
    return CS_OK;
}

static void failing_allocations_are_reported_and_leak_nothing(void **state)
{
    size_t n_bytes = 0;

    (void)state;
    NEEDS_SOUND();
    char *wav = read_golden("mono16k.wav", &n_bytes);
    csi_audio_source source = {(const uint8_t *)wav, n_bytes, "x", 16000, 2.0};
    assert_true(cst_torture(spectrogram_body, &source) >= 6);
    cst_free(wav);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_format_gives_the_length_of_its_header),
        CST_TEST(sixteen_bit_samples_are_exact),
        CST_TEST(channels_are_averaged),
        CST_TEST(resampling_keeps_a_tone),
        CST_TEST(other_files_are_refused),
        CST_TEST(long_recordings_are_refused_with_their_seconds),
        CST_TEST(empty_recordings_are_refused),
        CST_TEST(samples_that_are_not_finite_are_refused),
        CST_TEST(truncated_recordings_are_refused),
        CST_TEST(a_cut_anywhere_is_survived),
        CST_TEST(spectrograms_are_those_of_whisper),
        CST_TEST(silence_has_a_finite_spectrogram),
        CST_TEST(failing_allocations_are_reported_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
