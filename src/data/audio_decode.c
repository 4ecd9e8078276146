/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libsndfile decodes, soxr resamples, block by block: only the result is held
 * in memory, whatever rate and channel count a file claims. The file is sniffed
 * here first, because libsndfile tries two dozen historic formats that nobody
 * trains on and that only widen what a hostile file can reach.
 */
#include "cornstarch/data.h"

#include "base/alloc.h"

#include "audio.h"

#if CS_HAVE_SNDFILE

#    include "base/checked.h"

#    include "resample.h"

#    include <inttypes.h>
#    include <math.h>
#    include <sndfile.h>
#    include <string.h>

enum {
    BLOCK_FRAMES = 4096
};

/* Above any honest sample; squares and sums of it stay far from infinity. */
static const float MAX_SAMPLE = 1e6F;
/* A recording may decode to this much less than its header says: encoders
 * round to their blocks. */
static const double MISSING_SECONDS = 0.2;

struct csi_audio {
    const csi_audio_source *source;
    sf_count_t position;
    SNDFILE *handle; /* owned */
    SF_INFO info;
    int64_t count; /* samples at the wanted rate */
};

static bool starts_with(const csi_audio_source *s, size_t at, const char *text)
{
    const size_t n = strlen(text);

    return s->n_bytes >= at + n && memcmp(s->bytes + at, text, n) == 0;
}

static bool is_mpeg(const csi_audio_source *s)
{
    return starts_with(s, 0, "ID3") ||
           (s->n_bytes >= 2 && s->bytes[0] == 0xff &&
            (s->bytes[1] & 0xe6) == 0xe2); /* frame sync, layer III */
}

static bool is_known(const csi_audio_source *s)
{
    const bool is_wave =
        (starts_with(s, 0, "RIFF") || starts_with(s, 0, "RIFX") ||
         starts_with(s, 0, "RF64")) &&
        starts_with(s, 8, "WAVE");

    return is_wave || starts_with(s, 0, "fLaC") || starts_with(s, 0, "OggS") ||
           is_mpeg(s);
}

static sf_count_t on_length(void *user)
{
    const csi_audio *const file = user;

    return (sf_count_t)file->source->n_bytes;
}

static sf_count_t on_seek(sf_count_t offset, int whence, void *user)
{
    csi_audio *const file = user;
    const sf_count_t length = on_length(user);
    sf_count_t base = 0;

    if (whence == SEEK_CUR) {
        base = file->position;
    } else if (whence == SEEK_END) {
        base = length;
    }
    if (offset < -base || offset > length - base) {
        return -1;
    }
    file->position = base + offset;
    return file->position;
}

static sf_count_t on_read(void *to, sf_count_t n_bytes, void *user)
{
    csi_audio *const file = user;
    const sf_count_t n = csi_min_i64(n_bytes, on_length(user) - file->position);

    if (n <= 0) {
        return 0;
    }
    memcpy(to, file->source->bytes + file->position, (size_t)n);
    file->position += n;
    return n;
}

static sf_count_t on_tell(void *user)
{
    const csi_audio *const file = user;

    return file->position;
}

static cs_status check_info(const csi_audio_source *s, const SF_INFO *info)
{
    CS_CHECK(info->samplerate >= CSI_AUDIO_MIN_RATE &&
                 info->samplerate <= CSI_AUDIO_MAX_RATE,
             CS_ERR_FORMAT, "%s: %d samples per second, wanted %d to %d",
             s->where, info->samplerate, CSI_AUDIO_MIN_RATE,
             CSI_AUDIO_MAX_RATE);
    CS_CHECK(info->channels >= 1 && info->channels <= CSI_AUDIO_MAX_CHANNELS,
             CS_ERR_FORMAT, "%s: %d channels, wanted 1 to %d", s->where,
             info->channels, CSI_AUDIO_MAX_CHANNELS);
    CS_CHECK(info->frames != SF_COUNT_MAX, CS_ERR_FORMAT,
             "%s: the length cannot be told from the header", s->where);
    CS_CHECK(info->frames > 0, CS_ERR_FORMAT,
             "%s: a recording without samples, wanted at least one", s->where);
    const double seconds = (double)info->frames / info->samplerate;
    const double most = fmin(s->max_seconds, CSI_AUDIO_MAX_SECONDS);
    CS_CHECK(seconds <= most, CS_ERR_FORMAT,
             "%s: %.2f seconds of sound, wanted at most %g seconds", s->where,
             seconds, most);
    return CS_OK;
}

/* libsndfile takes the length of a cut WAV file from what is there, so that
 * nobody would know. Sizes of 0 and -1 are those of streams. */
static cs_status check_wave_size(const csi_audio_source *s)
{
    if (!starts_with(s, 0, "RIFF") || s->n_bytes < 8) {
        return CS_OK;
    }
    const uint64_t wanted = (uint64_t)s->bytes[4] | (uint64_t)s->bytes[5] << 8 |
                            (uint64_t)s->bytes[6] << 16 |
                            (uint64_t)s->bytes[7] << 24;
    const bool is_stream = wanted == 0 || wanted >= 0x7fffff00U;
    CS_CHECK(is_stream || wanted + 8 <= s->n_bytes, CS_ERR_FORMAT,
             "%s: truncated recording: the header says %" PRIu64
             " bytes, got %zu",
             s->where, wanted + 8, s->n_bytes);
    return CS_OK;
}

static cs_status open_file(csi_audio *file, const csi_audio_source *s)
{
    SF_VIRTUAL_IO callbacks = {.get_filelen = on_length,
                               .seek = on_seek,
                               .read = on_read,
                               .tell = on_tell};

    CS_TRY(check_wave_size(s));
    file->source = s;
    file->handle = sf_open_virtual(&callbacks, SFM_READ, &file->info, file);
    CS_CHECK(file->handle != NULL, CS_ERR_FORMAT, "%s: broken recording: %s",
             s->where, sf_strerror(NULL));
    CS_TRY(check_info(s, &file->info));
    const int64_t rate = file->info.samplerate;
    file->count = (file->info.frames * s->sampling_rate + rate - 1) / rate;
    return CS_OK;
}

cs_status csi_audio_open(const csi_audio_source *source, csi_audio **out)
{
    CS_CHECK(is_known(source), CS_ERR_FORMAT,
             "%s: wanted a WAV, FLAC, Ogg, Opus or MP3 recording, got %zu "
             "bytes that start as none of them",
             source->where, source->n_bytes);
    csi_audio *file = csi_calloc(1, sizeof *file);
    CS_CHECK(file != NULL, CS_ERR_NOMEM, "%s: no memory to open sound",
             source->where);
    const cs_status st = open_file(file, source);
    if (st != CS_OK) {
        csi_audio_close(&file);
        CS_TRY(st);
    }
    *out = file;
    return CS_OK;
}

void csi_audio_close(csi_audio **audio)
{
    if (*audio != NULL && (*audio)->handle != NULL) {
        (void)sf_close((*audio)->handle);
    }
    csi_free(*audio);
    *audio = NULL;
}

int64_t csi_audio_count(const csi_audio *audio)
{
    return audio->count;
}

/* Where mono samples go: through the resampler, or straight on. */
typedef struct sample_sink {
    csi_resampler *resampler; /* owned; NULL = the rates are equal */
    float *samples;           /* borrowed: [count] */
    int64_t count, used;
    float *spill; /* borrowed: [BLOCK_FRAMES], for what goes beyond count */
} sample_sink;

/* `mono` NULL = flush. */
static cs_status sink_push(sample_sink *sink, const float *mono, size_t n)
{
    if (sink->resampler == NULL) {
        const int64_t keep = csi_min_i64((int64_t)n, sink->count - sink->used);
        if (keep > 0) {
            memcpy(sink->samples + sink->used, mono,
                   (size_t)keep * sizeof *mono);
            sink->used += keep;
        }
        return CS_OK;
    }
    size_t n_done = 0;
    size_t n_out = 0;
    do {
        const bool is_full = sink->used >= sink->count;
        const size_t room =
            is_full ? (size_t)BLOCK_FRAMES : (size_t)(sink->count - sink->used);
        float *const to = is_full ? sink->spill : sink->samples + sink->used;
        size_t n_taken = n - n_done;

        n_out = room;
        CS_TRY(csi_resampler_push(sink->resampler,
                                  mono == NULL ? NULL : mono + n_done, &n_taken,
                                  to, &n_out));
        n_done += n_taken;
        sink->used += is_full ? 0 : (int64_t)n_out;
    } while (n_done < n || (mono == NULL && n_out > 0));
    return CS_OK;
}

static cs_status mix_to_mono(const float *frames, int64_t n, int32_t channels,
                             float *mono, const char *where)
{
    const float share = 1.0F / (float)channels;

    for (int64_t i = 0; i < n; i++) {
        float sum = 0.0F;

        for (int64_t c = 0; c < channels; c++) {
            sum += frames[i * channels + c];
        }
        mono[i] = sum * share;
        CS_CHECK(fabsf(mono[i]) <= MAX_SAMPLE, CS_ERR_FORMAT,
                 "%s: a sample of %g, wanted finite ones within %g", where,
                 (double)mono[i], (double)MAX_SAMPLE);
    }
    return CS_OK;
}

/* Buffers: frames [BLOCK_FRAMES][channels], then mono [BLOCK_FRAMES]. */
static cs_status pump(csi_audio *file, sample_sink *sink, float *frames)
{
    const int32_t channels = file->info.channels;
    const char *const where = file->source->where;
    float *const mono = frames + (int64_t)BLOCK_FRAMES * channels;
    int64_t left = file->info.frames;

    while (left > 0 && sink->used < sink->count) {
        const sf_count_t n = sf_readf_float(file->handle, frames,
                                            csi_min_i64(left, BLOCK_FRAMES));
        if (n <= 0) {
            break;
        }
        CS_TRY(mix_to_mono(frames, n, channels, mono, where));
        CS_TRY(sink_push(sink, mono, (size_t)n));
        left -= n;
    }
    CS_CHECK(sink->used == sink->count ||
                 (double)left <= MISSING_SECONDS * file->info.samplerate,
             CS_ERR_FORMAT,
             "%s: truncated recording: the header says %" PRId64
             " samples, got %" PRId64,
             where, (int64_t)file->info.frames,
             (int64_t)file->info.frames - left);
    if (sink->resampler != NULL) {
        CS_TRY(sink_push(sink, NULL, 0));
    }
    return CS_OK;
}

static cs_status decode(csi_audio *file, sample_sink *sink)
{
    const csi_audio_source *const s = file->source;
    const size_t n_floats =
        (size_t)BLOCK_FRAMES * ((size_t)file->info.channels + 2);
    float *frames = csi_malloc(n_floats * sizeof *frames);

    CS_CHECK(frames != NULL, CS_ERR_NOMEM, "%s: no memory to decode sound",
             s->where);
    sink->spill = frames + n_floats - BLOCK_FRAMES;
    cs_status st = CS_OK;
    if (file->info.samplerate != s->sampling_rate) {
        CS_TRY_GOTO(undo,
                    csi_resampler_create(s->where, file->info.samplerate,
                                         s->sampling_rate, &sink->resampler));
    }
    CS_TRY_GOTO(undo, pump(file, sink, frames));
    memset(sink->samples + sink->used, 0,
           (size_t)(sink->count - sink->used) * sizeof *sink->samples);
undo:
    csi_resampler_destroy(&sink->resampler);
    csi_free(frames);
    return st;
}

cs_status csi_audio_read(csi_audio *audio, float *samples, int64_t count)
{
    sample_sink sink = {.count = csi_min_i64(count, audio->count)};

    sink.samples = samples;
    CS_TRY(decode(audio, &sink));
    return CS_OK;
}

#else

struct csi_audio {
    int64_t count;
};

cs_status csi_audio_open(const csi_audio_source *source, csi_audio **out)
{
    (void)out;
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: %s is sound, and this program was built "
                   "without libsndfile and soxr",
                   source->where);
}

void csi_audio_close(csi_audio **audio)
{
    *audio = NULL;
}

int64_t csi_audio_count(const csi_audio *audio)
{
    return audio->count;
}

cs_status csi_audio_read(csi_audio *audio, float *samples, int64_t count)
{
    (void)audio;
    (void)samples;
    (void)count;
    return CS_FAIL(CS_ERR_INTERNAL, "sound was never opened");
}

#endif

cs_status cs_audio_decode(const void *bytes, size_t n_bytes, const char *where,
                          int32_t sampling_rate, double max_seconds,
                          float **samples, int64_t *count)
{
    const csi_audio_source source = {bytes, n_bytes, where, sampling_rate,
                                     max_seconds};
    csi_audio *audio = NULL;
    float *buffer = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_audio_open(&source, &audio));
    const int64_t n = csi_audio_count(audio);
    buffer = csi_malloc((size_t)n * sizeof *buffer);
    CS_CHECK_GOTO(undo, buffer != NULL, CS_ERR_NOMEM,
                  "%s: no memory for %zu bytes", where,
                  (size_t)n * sizeof *buffer);
    CS_TRY_GOTO(undo, csi_audio_read(audio, buffer, n));
    csi_audio_close(&audio);
    *samples = buffer;
    *count = n;
    return CS_OK;
undo:
    csi_audio_close(&audio);
    csi_free(buffer);
    return st;
}
