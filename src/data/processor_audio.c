/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors of sound: Whisper's feature extractor, which Qwen2-Audio uses
 * too. Pretrained encoders have only ever seen 30 s, silence included; one
 * that is trained from scratch takes recordings as long as they are, and its
 * file says so ("padding": false, a word of ours that the zoo reads). Whisper
 * attends to the silence, Qwen2-Audio masks it out.
 */
#include "processor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    WHISPER_RATE = 16000,
    MAX_FFT = 1 << 16,
    MAX_CHUNK_SECONDS = 3600,
    CONV_STRIDE = 2 /* frames per row of the encoder */
};

static const double MAX_SECONDS = 30.0;

static const char *const KEYS[] = {
    "feature_size",
    "sampling_rate",
    "hop_length",
    "chunk_length",
    "n_fft",
    "padding_value",
    "padding_side",
    "padding",
    "dither",
    "do_normalize",
    "feature_extractor_type",
    /* follow from the others */
    "n_samples",
    "nb_max_frames",
    "mel_filters",
    /* no numbers */
    "processor_class",
    "return_attention_mask",
    "return_tensors",
    NULL,
};

void csi_sound_begin(const cs_module *module, cs_processor *p)
{
    p->n_mels = module->n_mels;
    p->n_fft = 400;
    p->hop = 160;
    p->sampling_rate = WHISPER_RATE;
    p->pad_frames =
        module->pads_audio ? (int32_t)module->max_positions * CONV_STRIDE : 0;
    p->drops_silence =
        module->pads_audio && strcmp(module->family, "qwen2_audio") == 0;
}

static cs_status want_text(const csi_settings *s, const char *key,
                           const char *wanted)
{
    const char *value = wanted;

    CS_TRY(csi_json_opt_string(s->json, key, s->where, &value));
    CS_CHECK(strcmp(value, wanted) == 0, CS_ERR_UNSUPPORTED,
             "unsupported: %s: key '%s' is '%.60s', wanted '%s'", s->where, key,
             value, wanted);
    return CS_OK;
}

static cs_status read_frames(const csi_settings *s, cs_processor *p)
{
    const char *const where = s->where;
    int64_t n_fft = p->n_fft, hop = p->hop, rate = p->sampling_rate;
    double seconds = MAX_SECONDS;

    CS_TRY(csi_json_opt_i64(s->json, "n_fft", where, 2, MAX_FFT, &n_fft));
    CS_TRY(csi_json_opt_i64(s->json, "hop_length", where, 1, MAX_FFT, &hop));
    CS_TRY(csi_json_opt_i64(s->json, "sampling_rate", where, 1, 1 << 20,
                            &rate));
    CS_TRY(csi_json_opt_f64(s->json, "chunk_length", where, &seconds));
    CS_CHECK(seconds > 0.0 && seconds <= (double)MAX_CHUNK_SECONDS,
             CS_ERR_FORMAT,
             "%s: key 'chunk_length' is %g, wanted above 0 to %d", where,
             seconds, MAX_CHUNK_SECONDS);
    CS_CHECK(n_fft % 2 == 0 && 4 * hop > n_fft, CS_ERR_UNSUPPORTED,
             "unsupported: %s: n_fft %" PRId64 " with hop_length %" PRId64
             ", wanted an even n_fft below four hops",
             where, n_fft, hop);
    const int64_t frames = llround(seconds * (double)rate) / hop;
    CS_CHECK(p->pad_frames == 0 || frames == p->pad_frames, CS_ERR_FORMAT,
             "%s: chunk_length %g makes %" PRId64
             " frames, the model takes %" PRId32,
             where, seconds, frames, p->pad_frames);
    p->n_fft = (int32_t)n_fft;
    p->hop = (int32_t)hop;
    p->sampling_rate = (int32_t)rate;
    return CS_OK;
}

cs_status csi_sound_read(const csi_settings *s, cs_processor *p)
{
    int64_t n_mels = p->n_mels;

    CS_TRY(csi_settings_check_keys(s, KEYS));
    CS_TRY(want_text(s, "feature_extractor_type", "WhisperFeatureExtractor"));
    CS_TRY(want_text(s, "padding_side", "right"));
    CS_TRY(csi_settings_want_flag(s, "padding", p->pad_frames > 0));
    CS_TRY(csi_settings_want_flag(s, "do_normalize", false));
    CS_TRY(csi_settings_want_number(s, "dither", 0.0));
    CS_TRY(csi_settings_want_number(s, "padding_value", 0.0));
    CS_TRY(csi_json_opt_i64(s->json, "feature_size", s->where, 1, 1024,
                            &n_mels));
    CS_CHECK(n_mels == p->n_mels, CS_ERR_FORMAT,
             "%s: feature_size is %" PRId64 ", the model takes %" PRId32
             " mel bands",
             s->where, n_mels, p->n_mels);
    return read_frames(s, p);
}

cs_status csi_sound_end(const cs_module *module,
                        const cs_processor_config *recipe, cs_processor *p)
{
    CS_CHECK(recipe->image_size == 0 && recipe->min_pixels == 0 &&
                 recipe->max_pixels == 0,
             CS_ERR_ARG,
             "model.encoders.%s.processor: image_size, min_pixels and "
             "max_pixels are for pictures, this encoder takes sound",
             module->name);
    if (recipe->sampling_rate != 0) {
        p->sampling_rate = (int32_t)recipe->sampling_rate;
    }
    CS_CHECK(p->sampling_rate == WHISPER_RATE, CS_ERR_UNSUPPORTED,
             "unsupported: model.encoders.%s: sampling_rate %" PRId32
             ", wanted %d",
             module->name, p->sampling_rate, WHISPER_RATE);
    CS_CHECK(p->n_mels >= 1, CS_ERR_SHAPE,
             "model.encoders.%s: %" PRId32 " mel bands, wanted at least 1",
             module->name, p->n_mels);
    const double fits = module->max_positions > 0
                            ? (double)module->max_positions * CONV_STRIDE *
                                  p->hop / p->sampling_rate
                            : INFINITY;
    CS_CHECK(recipe->max_seconds <= fits, CS_ERR_ARG,
             "model.encoders.%s.processor: max_seconds is %g, the model has "
             "positions for %g",
             module->name, recipe->max_seconds, fits);
    /* what is padded is also cut, unless the recipe wants to know */
    p->max_seconds = p->pad_frames > 0 ? INFINITY : fmin(MAX_SECONDS, fits);
    if (recipe->max_seconds > 0.0) {
        p->max_seconds = recipe->max_seconds;
    }
    p->columns = p->n_mels;
    return CS_OK;
}

void csi_sound_print(const cs_processor *p, csi_str *s)
{
    const double seconds =
        p->pad_frames > 0 ? (double)p->pad_frames * p->hop / p->sampling_rate
                          : ceil(p->max_seconds);

    csi_str_addf(s,
                 "{\n  \"feature_extractor_type\": "
                 "\"WhisperFeatureExtractor\",\n"
                 "  \"feature_size\": %" PRId32
                 ",\n  \"sampling_rate\": %" PRId32 ",\n",
                 p->n_mels, p->sampling_rate);
    csi_str_addf(s,
                 "  \"hop_length\": %" PRId32 ",\n  \"n_fft\": %" PRId32
                 ",\n  \"chunk_length\": %.10g,\n",
                 p->hop, p->n_fft, seconds);
    csi_str_addf(s,
                 "  \"padding\": %s,\n  \"padding_side\": \"right\",\n"
                 "  \"padding_value\": 0.0,\n  \"dither\": 0.0,\n"
                 "  \"return_attention_mask\": %s\n}\n",
                 p->pad_frames > 0 ? "true" : "false",
                 p->drops_silence ? "true" : "false");
}
