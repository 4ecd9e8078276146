/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoders. What is published is mostly a whole model; n_left_out are its
 * parameters outside the encoder (text tower, decoder, language model, pooling
 * head, classifier), counted on transformers' classes of those parts. Sources
 * as in preset_language.c, or the paper or model card that rounds.
 */
#include "preset.h"

#define VISION(type, width, mlp, layers, heads, picture, patch, more)    \
    "{\"model_type\": \"" type "\", \"hidden_size\": " #width            \
    ", \"intermediate_size\": " #mlp ", \"num_hidden_layers\": " #layers \
    ", \"num_attention_heads\": " #heads ", \"image_size\": " #picture   \
    ", \"patch_size\": " #patch more "}"
#define GELU   ", \"hidden_act\": \"gelu\""
#define EPS(x) ", \"layer_norm_eps\": " #x
#define CLIP(width, mlp, layers, heads, picture, patch, more) \
    VISION("clip_vision_model", width, mlp, layers, heads, picture, patch, more)
#define SIGLIP(width, mlp, layers, heads, picture, patch) \
    VISION("siglip_vision_model", width, mlp, layers, heads, picture, patch, "")
#define DINOV2(width, layers, heads, more)                                   \
    "{\"model_type\": \"dinov2\", \"hidden_size\": " #width                  \
    ", \"num_hidden_layers\": " #layers ", \"num_attention_heads\": " #heads \
    ", \"image_size\": 518, \"patch_size\": 14" more "}"
#define INTERN_6B(layers, picture)                                \
    VISION("intern_vit_6b", 3200, 12800, layers, 25, picture, 14, \
           ", \"qkv_bias\": false, \"qk_normalization\": true, "  \
           "\"norm_type\": \"rms_norm\"")
#define AUDIO(type, width, layers, heads, mlp, mels)                          \
    "{\"model_type\": \"" type "\", \"d_model\": " #width                     \
    ", \"encoder_layers\": " #layers ", \"encoder_attention_heads\": " #heads \
    ", \"encoder_ffn_dim\": " #mlp ", \"num_mel_bins\": " #mels               \
    ", \"max_source_positions\": 1500}"
#define WHISPER(width, layers, heads, mlp, mels) \
    AUDIO("whisper", width, layers, heads, mlp, mels)

enum {
    CLIP_B_TEXT = 63821313,
    CLIP_L_TEXT = 124436737,
    CLIP_H_TEXT = 355343361,
    CLIP_G_TEXT = 355474433,
    CLIP_BIGG_TEXT = 696789761,
    SIGLIP_B_TEXT = 117358850, /* with the pooling head, as below */
    SIGLIP_L_TEXT = 348789762,
    SIGLIP_SO_TEXT = 464973250,
    SIGLIP2_B_TEXT = 289390850,
    SIGLIP2_SO_TEXT = 723021250,
    SIGLIP2_G_TEXT = 736555634,
    PIXTRAL_REST = 31467520 /* the projector of Pixtral 12B */
};

#define NEMO INT64_C(12247782400)

static const cs_zoo_preset VISION_ROWS[] = {
    {"clip-vit-base-patch32", CLIP(768, 3072, 12, 12, 224, 32, ""), 151277313,
     CLIP_B_TEXT, "openai/clip-vit-base-patch32"},
    {"clip-vit-base-patch16", CLIP(768, 3072, 12, 12, 224, 16, ""), 149620737,
     CLIP_B_TEXT, "openai/clip-vit-base-patch16"},
    {"clip-vit-large-patch14", CLIP(1024, 4096, 24, 16, 224, 14, ""), 427616513,
     CLIP_L_TEXT, "openai/clip-vit-large-patch14"},
    {"clip-vit-large-patch14-336", CLIP(1024, 4096, 24, 16, 336, 14, ""),
     427944193, CLIP_L_TEXT, "openai/clip-vit-large-patch14-336"},
    {"clip-vit-huge-patch14", CLIP(1280, 5120, 32, 16, 224, 14, GELU),
     986109441, CLIP_H_TEXT, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"},
    {"clip-vit-giant-patch14", CLIP(1408, 6144, 40, 16, 224, 14, GELU),
     1366678273, CLIP_G_TEXT, "laion/CLIP-ViT-g-14-laion2B-s12B-b42K"},
    {"clip-vit-bigg-patch14", CLIP(1664, 8192, 48, 16, 224, 14, GELU),
     2540000000, CLIP_BIGG_TEXT, "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"},
    {"siglip-base-patch16-224", SIGLIP(768, 3072, 12, 12, 224, 16), 203155970,
     SIGLIP_B_TEXT, "google/siglip-base-patch16-224"},
    {"siglip-base-patch16-256", SIGLIP(768, 3072, 12, 12, 256, 16), 203202050,
     SIGLIP_B_TEXT, "google/siglip-base-patch16-256"},
    {"siglip-base-patch16-384", SIGLIP(768, 3072, 12, 12, 384, 16), 203447810,
     SIGLIP_B_TEXT, "google/siglip-base-patch16-384"},
    {"siglip-base-patch16-512", SIGLIP(768, 3072, 12, 12, 512, 16), 203791874,
     SIGLIP_B_TEXT, "google/siglip-base-patch16-512"},
    {"siglip-large-patch16-256", SIGLIP(1024, 4096, 24, 16, 256, 16), 652150786,
     SIGLIP_L_TEXT, "google/siglip-large-patch16-256"},
    {"siglip-large-patch16-384", SIGLIP(1024, 4096, 24, 16, 384, 16), 652478466,
     SIGLIP_L_TEXT, "google/siglip-large-patch16-384"},
    {"siglip-so400m-patch14-224", SIGLIP(1152, 4304, 27, 16, 224, 14),
     877415602, SIGLIP_SO_TEXT, "google/siglip-so400m-patch14-224"},
    {"siglip-so400m-patch14-384", SIGLIP(1152, 4304, 27, 16, 384, 14),
     877960498, SIGLIP_SO_TEXT, "google/siglip-so400m-patch14-384"},
    {"siglip2-base-patch16-224", SIGLIP(768, 3072, 12, 12, 224, 16), 375187970,
     SIGLIP2_B_TEXT, "google/siglip2-base-patch16-224"},
    {"siglip2-so400m-patch14-384", SIGLIP(1152, 4304, 27, 16, 384, 14),
     1136008498, SIGLIP2_SO_TEXT, "google/siglip2-so400m-patch14-384"},
    {"siglip2-so400m-patch16-256", SIGLIP(1152, 4304, 27, 16, 256, 16),
     1136000000, SIGLIP2_SO_TEXT, "google/siglip2-so400m-patch16-256"},
    {"siglip2-so400m-patch16-512", SIGLIP(1152, 4304, 27, 16, 512, 16),
     1136000000, SIGLIP2_SO_TEXT, "google/siglip2-so400m-patch16-512"},
    {"siglip2-giant-opt-patch16-256", SIGLIP(1536, 6144, 40, 16, 256, 16),
     1871000000, SIGLIP2_G_TEXT, "google/siglip2-giant-opt-patch16-256"},
    {"vit-base-patch16-224", VISION("vit", 768, 3072, 12, 12, 224, 16, ""),
     86567656, 769000, "google/vit-base-patch16-224"},
    {"vit-base-patch32-384", VISION("vit", 768, 3072, 12, 12, 384, 32, ""),
     88297192, 769000, "google/vit-base-patch32-384"},
    {"vit-large-patch16-224", VISION("vit", 1024, 4096, 24, 16, 224, 16, ""),
     304326632, 1025000, "google/vit-large-patch16-224"},
    {"vit-huge-patch14-224", VISION("vit", 1280, 5120, 32, 16, 224, 14, ""),
     632000000, 0, "Dosovitskiy et al. 2021, table 1"},
    {"dinov2-small", DINOV2(384, 12, 6, ""), 22056576, 0,
     "facebook/dinov2-small"},
    {"dinov2-base", DINOV2(768, 12, 12, ""), 86580480, 0,
     "facebook/dinov2-base"},
    {"dinov2-large", DINOV2(1024, 24, 16, ""), 304368640, 0,
     "facebook/dinov2-large"},
    {"dinov2-giant", DINOV2(1536, 40, 24, ", \"use_swiglu_ffn\": true"),
     1136480768, 0, "facebook/dinov2-giant"},
    {"intern-vit-300m-448px",
     VISION("intern_vit_6b", 1024, 4096, 24, 16, 448, 14,
            ", \"qkv_bias\": true, \"qk_normalization\": false, "
            "\"norm_type\": \"layer_norm\""),
     304000000, 0, "OpenGVLab/InternViT-300M-448px, model card"},
    {"intern-vit-6b-224px", INTERN_6B(48, 224), 5903000000, 0,
     "OpenGVLab/InternViT-6B-224px, model card"},
    {"intern-vit-6b-448px-v1.5", INTERN_6B(45, 448), 5540000000, 0,
     "OpenGVLab/InternViT-6B-448px-V1-5, model card"},
    {"eva-clip-8b", VISION("evaclip", 4096, 20480, 32, 32, 224, 14, EPS(1e-6)),
     7500000000, 0, "Sun et al. 2024 (EVA-CLIP-18B), table 1"},
    {"eva-clip-18b",
     VISION("evaclip", 5120, 25600, 48, 40, 224, 14,
            EPS(1e-6) ", \"use_rms_norm\": true"),
     17500000000, 0, "Sun et al. 2024 (EVA-CLIP-18B), table 1"},
    {"pixtral-vit-400m",
     VISION("pixtral", 1024, 4096, 24, 16, 1024, 16, ", \"head_dim\": 64"),
     12682739712, NEMO + PIXTRAL_REST, "mistral-community/pixtral-12b"},
    {"qwen2-vl-vit-675m",
     "{\"model_type\": \"qwen2_vl_vision\", \"embed_dim\": 1280, "
     "\"depth\": 32, \"num_heads\": 16, \"mlp_ratio\": 4, "
     "\"patch_size\": 14, \"spatial_merge_size\": 2, "
     "\"temporal_patch_size\": 2}",
     2208985600, INT64_C(1543714304) + 34087936, "Qwen/Qwen2-VL-2B-Instruct"},
};

static const cs_zoo_preset AUDIO_ROWS[] = {
    {"whisper-tiny", WHISPER(384, 4, 6, 1536, 80), 37760640, 29552256,
     "openai/whisper-tiny"},
    {"whisper-base", WHISPER(512, 6, 8, 2048, 80), 72593920, 52003328,
     "openai/whisper-base"},
    {"whisper-small", WHISPER(768, 12, 12, 3072, 80), 241734912, 153580800,
     "openai/whisper-small"},
    {"whisper-medium", WHISPER(1024, 24, 16, 4096, 80), 763857920, 456641536,
     "openai/whisper-medium"},
    {"whisper-large-v2", WHISPER(1280, 32, 20, 5120, 80), 1543304960, 906520320,
     "openai/whisper-large-v2"},
    {"whisper-large-v3", WHISPER(1280, 32, 20, 5120, 128), 1543490560,
     906521600, "openai/whisper-large-v3"},
    {"whisper-large-v3-turbo", WHISPER(1280, 32, 20, 5120, 128), 808878080,
     171909120, "openai/whisper-large-v3-turbo"},
    {"qwen2-audio", AUDIO("qwen2_audio_encoder", 1280, 32, 20, 5120, 128),
     8397094912, 7760125952, "Qwen/Qwen2-Audio-7B"},
};

const csi_preset_table csi_vision_presets = {VISION_ROWS,
                                             sizeof VISION_ROWS /
                                                 sizeof VISION_ROWS[0]};
const csi_preset_table csi_audio_presets = {AUDIO_ROWS,
                                            sizeof AUDIO_ROWS /
                                                sizeof AUDIO_ROWS[0]};
