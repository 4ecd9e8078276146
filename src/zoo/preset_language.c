/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Language models. Sources are repositories of the Hugging Face hub: their
 * config.json and the parameters that the hub counts in their safetensors.
 * Numbers are in the order that the macros name.
 */
#include "preset.h"

#define DECODER(type, width, mlp, layers, heads, kv_heads, vocab, positions, \
                more)                                                        \
    "{\"model_type\": \"" type "\", \"hidden_size\": " #width                \
    ", \"intermediate_size\": " #mlp ", \"num_hidden_layers\": " #layers     \
    ", \"num_attention_heads\": " #heads                                     \
    ", \"num_key_value_heads\": " #kv_heads ", \"vocab_size\": " #vocab      \
    ", \"max_position_embeddings\": " #positions more "}"
#define TIED        ", \"tie_word_embeddings\": true"
#define UNTIED      ", \"tie_word_embeddings\": false"
#define HEAD_DIM(n) ", \"head_dim\": " #n
#define THETA(x)    ", \"rope_theta\": " #x
#define EPS(x)      ", \"rms_norm_eps\": " #x
#define WINDOW(n)   ", \"sliding_window\": " #n
#define SCALAR(x)   ", \"query_pre_attn_scalar\": " #x
#define EXPERTS(n, of) \
    ", \"num_experts_per_tok\": " #n ", \"num_local_experts\": " #of
#define QWEN_EXPERTS(n, of, dim)                               \
    ", \"num_experts_per_tok\": " #n ", \"num_experts\": " #of \
    ", \"moe_intermediate_size\": " #dim ", \"norm_topk_prob\": true"
/* Llama 3.1 and 3.2 stretch the positions of Llama 3. */
#define LLAMA3(factor)                                                       \
    ", \"rms_norm_eps\": 1e-5, \"rope_theta\": 500000.0, \"rope_scaling\": " \
    "{\"rope_type\": \"llama3\", \"factor\": " #factor                       \
    ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "                \
    "\"original_max_position_embeddings\": 8192}"
#define GEMMA3_LONG                                  \
    ", \"sliding_window\": 1024, \"rope_scaling\": " \
    "{\"rope_type\": \"linear\", \"factor\": 8.0}"

#define LLAMA2(width, mlp, layers, heads, kv_heads)                    \
    DECODER("llama", width, mlp, layers, heads, kv_heads, 32000, 4096, \
            EPS(1e-5))
#define QWEN2(width, mlp, layers, heads, kv_heads, vocab, positions, more)  \
    DECODER("qwen2", width, mlp, layers, heads, kv_heads, vocab, positions, \
            more THETA(1000000.0))
#define QWEN3(type, width, mlp, layers, heads, kv_heads, more)        \
    DECODER(type, width, mlp, layers, heads, kv_heads, 151936, 40960, \
            more EPS(1e-6) THETA(1000000.0) HEAD_DIM(128))
#define GEMMA2(width, mlp, layers, heads, kv_heads, more) \
    DECODER("gemma2", width, mlp, layers, heads, kv_heads, 256000, 8192, more)
#define GEMMA3(width, mlp, layers, heads, kv_heads, vocab, positions, more) \
    DECODER("gemma3_text", width, mlp, layers, heads, kv_heads, vocab,      \
            positions, more)
#define INTERNLM2(width, mlp, layers, heads, kv_heads)                      \
    DECODER("internlm2", width, mlp, layers, heads, kv_heads, 92544, 32768, \
            EPS(1e-5) THETA(1000000.0) ", \"bias\": false")
#define GPT2(width, layers, heads)                                             \
    "{\"model_type\": \"gpt2\", \"n_embd\": " #width ", \"n_layer\": " #layers \
    ", \"n_head\": " #heads ", \"vocab_size\": 50257, \"n_positions\": 1024}"

/* Gemma 3 above 1B is published with SigLIP (416866032) and a projector of
 * 1152 x width + 1152; Qwen 3 below 4B stores its tied head a second time. */
static const cs_zoo_preset ROWS[] = {
    {"llama-2-7b", LLAMA2(4096, 11008, 32, 32, 32), 6738415616, 0,
     "meta-llama/Llama-2-7b-hf"},
    {"llama-2-13b", LLAMA2(5120, 13824, 40, 40, 40), 13015864320, 0,
     "meta-llama/Llama-2-13b-hf"},
    {"llama-2-70b", LLAMA2(8192, 28672, 80, 64, 8), 68976648192, 0,
     "meta-llama/Llama-2-70b-hf"},
    {"vicuna-7b-v1.5", LLAMA2(4096, 11008, 32, 32, 32), 6738415616, 0,
     "lmsys/vicuna-7b-v1.5"},
    {"vicuna-13b-v1.5", LLAMA2(5120, 13824, 40, 40, 40), 13015864320, 0,
     "lmsys/vicuna-13b-v1.5"},
    {"llama-3-8b",
     DECODER("llama", 4096, 14336, 32, 32, 8, 128256, 8192,
             EPS(1e-5) THETA(500000.0)),
     8030261248, 0, "meta-llama/Meta-Llama-3-8B"},
    {"llama-3-70b",
     DECODER("llama", 8192, 28672, 80, 64, 8, 128256, 8192,
             EPS(1e-5) THETA(500000.0)),
     70553706496, 0, "meta-llama/Meta-Llama-3-70B"},
    {"llama-3.1-8b",
     DECODER("llama", 4096, 14336, 32, 32, 8, 128256, 131072, LLAMA3(8.0)),
     8030261248, 0, "meta-llama/Llama-3.1-8B"},
    {"llama-3.1-70b",
     DECODER("llama", 8192, 28672, 80, 64, 8, 128256, 131072, LLAMA3(8.0)),
     70553706496, 0, "meta-llama/Llama-3.1-70B"},
    {"llama-3.1-405b",
     DECODER("llama", 16384, 53248, 126, 128, 8, 128256, 131072, LLAMA3(8.0)),
     405853388800, 0, "meta-llama/Llama-3.1-405B"},
    {"llama-3.2-1b",
     DECODER("llama", 2048, 8192, 16, 32, 8, 128256, 131072,
             LLAMA3(32.0) HEAD_DIM(64) TIED),
     1235814400, 0, "meta-llama/Llama-3.2-1B"},
    {"llama-3.2-3b",
     DECODER("llama", 3072, 8192, 28, 24, 8, 128256, 131072,
             LLAMA3(32.0) HEAD_DIM(128) TIED),
     3212749824, 0, "meta-llama/Llama-3.2-3B"},
    {"tinyllama-1.1b",
     DECODER("llama", 2048, 5632, 22, 32, 4, 32000, 2048, EPS(1e-5)),
     1100048384, 0, "TinyLlama/TinyLlama-1.1B-Chat-v1.0"},
    {"smollm2-135m",
     DECODER("llama", 576, 1536, 30, 9, 3, 49152, 8192,
             EPS(1e-5) THETA(100000.0) TIED),
     134515008, 0, "HuggingFaceTB/SmolLM2-135M"},
    {"smollm2-360m",
     DECODER("llama", 960, 2560, 32, 15, 5, 49152, 8192,
             EPS(1e-5) THETA(100000.0) TIED),
     361821120, 0, "HuggingFaceTB/SmolLM2-360M"},
    {"smollm2-1.7b",
     DECODER("llama", 2048, 8192, 24, 32, 32, 49152, 8192,
             EPS(1e-5) THETA(130000.0) TIED),
     1711376384, 0, "HuggingFaceTB/SmolLM2-1.7B"},
    {"mistral-7b-v0.1",
     DECODER("mistral", 4096, 14336, 32, 32, 8, 32000, 32768,
             EPS(1e-5) WINDOW(4096)),
     7241732096, 0, "mistralai/Mistral-7B-v0.1"},
    {"mistral-7b-v0.3",
     DECODER("mistral", 4096, 14336, 32, 32, 8, 32768, 32768,
             EPS(1e-5) THETA(1000000.0) WINDOW(null)),
     7248023552, 0, "mistralai/Mistral-7B-v0.3"},
    {"mistral-nemo-12b",
     DECODER("mistral", 5120, 14336, 40, 32, 8, 131072, 131072,
             EPS(1e-5) THETA(1000000.0) HEAD_DIM(128) WINDOW(null)),
     12247782400, 0, "mistralai/Mistral-Nemo-Base-2407"},
    {"mistral-small-24b",
     DECODER("mistral", 5120, 32768, 40, 32, 8, 131072, 32768,
             EPS(1e-5) THETA(100000000.0) HEAD_DIM(128) WINDOW(null)),
     23572403200, 0, "mistralai/Mistral-Small-24B-Base-2501"},
    {"mixtral-8x7b",
     DECODER("mixtral", 4096, 14336, 32, 32, 8, 32000, 32768,
             EPS(1e-5) THETA(1000000.0) WINDOW(null) EXPERTS(2, 8)),
     46702792704, 0, "mistralai/Mixtral-8x7B-v0.1"},
    {"mixtral-8x22b",
     DECODER("mixtral", 6144, 16384, 56, 48, 8, 32000, 65536,
             EPS(1e-5) THETA(1000000.0) WINDOW(null) EXPERTS(2, 8)),
     140620634112, 0, "mistralai/Mixtral-8x22B-v0.1"},
    {"qwen2-0.5b", QWEN2(896, 4864, 24, 14, 2, 151936, 131072, TIED), 494032768,
     0, "Qwen/Qwen2-0.5B"},
    {"qwen2-1.5b", QWEN2(1536, 8960, 28, 12, 2, 151936, 131072, TIED),
     1543714304, 0, "Qwen/Qwen2-1.5B"},
    {"qwen2-7b", QWEN2(3584, 18944, 28, 28, 4, 152064, 131072, ""), 7615616512,
     0, "Qwen/Qwen2-7B"},
    {"qwen2-72b", QWEN2(8192, 29568, 80, 64, 8, 152064, 131072, EPS(1e-5)),
     72706203648, 0, "Qwen/Qwen2-72B"},
    {"qwen2.5-0.5b", QWEN2(896, 4864, 24, 14, 2, 151936, 32768, TIED),
     494032768, 0, "Qwen/Qwen2.5-0.5B"},
    {"qwen2.5-1.5b", QWEN2(1536, 8960, 28, 12, 2, 151936, 131072, TIED),
     1543714304, 0, "Qwen/Qwen2.5-1.5B"},
    {"qwen2.5-3b", QWEN2(2048, 11008, 36, 16, 2, 151936, 32768, TIED),
     3085938688, 0, "Qwen/Qwen2.5-3B"},
    {"qwen2.5-7b", QWEN2(3584, 18944, 28, 28, 4, 152064, 131072, ""),
     7615616512, 0, "Qwen/Qwen2.5-7B"},
    {"qwen2.5-14b", QWEN2(5120, 13824, 48, 40, 8, 152064, 131072, EPS(1e-5)),
     14770033664, 0, "Qwen/Qwen2.5-14B"},
    {"qwen2.5-32b", QWEN2(5120, 27648, 64, 40, 8, 152064, 131072, EPS(1e-5)),
     32763876352, 0, "Qwen/Qwen2.5-32B"},
    {"qwen2.5-72b", QWEN2(8192, 29568, 80, 64, 8, 152064, 131072, EPS(1e-5)),
     72706203648, 0, "Qwen/Qwen2.5-72B"},
    {"qwen3-0.6b", QWEN3("qwen3", 1024, 3072, 28, 16, 8, TIED), 751632384,
     155582464, "Qwen/Qwen3-0.6B"},
    {"qwen3-1.7b", QWEN3("qwen3", 2048, 6144, 28, 16, 8, TIED), 2031739904,
     311164928, "Qwen/Qwen3-1.7B"},
    {"qwen3-4b", QWEN3("qwen3", 2560, 9728, 36, 32, 8, TIED), 4022468096, 0,
     "Qwen/Qwen3-4B"},
    {"qwen3-8b", QWEN3("qwen3", 4096, 12288, 36, 32, 8, UNTIED), 8190735360, 0,
     "Qwen/Qwen3-8B"},
    {"qwen3-14b", QWEN3("qwen3", 5120, 17408, 40, 40, 8, UNTIED), 14768307200,
     0, "Qwen/Qwen3-14B"},
    {"qwen3-32b", QWEN3("qwen3", 5120, 25600, 64, 64, 8, UNTIED), 32762123264,
     0, "Qwen/Qwen3-32B"},
    {"qwen3-30b-a3b",
     QWEN3("qwen3_moe", 2048, 6144, 48, 32, 4,
           QWEN_EXPERTS(8, 128, 768) UNTIED),
     30532122624, 0, "Qwen/Qwen3-30B-A3B"},
    {"qwen3-235b-a22b",
     QWEN3("qwen3_moe", 4096, 12288, 94, 64, 4,
           QWEN_EXPERTS(8, 128, 1536) UNTIED),
     235093634560, 0, "Qwen/Qwen3-235B-A22B"},
    {"gemma-2b",
     DECODER("gemma", 2048, 16384, 18, 8, 1, 256000, 8192, HEAD_DIM(256)),
     2506172416, 0, "google/gemma-2b"},
    {"gemma-7b",
     DECODER("gemma", 3072, 24576, 28, 16, 16, 256000, 8192, HEAD_DIM(256)),
     8537680896, 0, "google/gemma-7b"},
    {"gemma-2-2b", GEMMA2(2304, 9216, 26, 8, 4, HEAD_DIM(256) SCALAR(256)),
     2614341888, 0, "google/gemma-2-2b"},
    {"gemma-2-9b", GEMMA2(3584, 14336, 42, 16, 8, HEAD_DIM(256) SCALAR(256)),
     9241705984, 0, "google/gemma-2-9b"},
    {"gemma-2-27b", GEMMA2(4608, 36864, 46, 32, 16, HEAD_DIM(128) SCALAR(144)),
     27227128320, 0, "google/gemma-2-27b"},
    {"gemma-3-270m",
     GEMMA3(640, 2048, 18, 4, 1, 262144, 32768, HEAD_DIM(256) WINDOW(512)),
     268098176, 0, "google/gemma-3-270m"},
    {"gemma-3-1b",
     GEMMA3(1152, 6912, 26, 4, 1, 262144, 32768, HEAD_DIM(256) WINDOW(512)),
     999885952, 0, "google/gemma-3-1b-pt"},
    {"gemma-3-4b",
     GEMMA3(2560, 10240, 34, 8, 4, 262208, 131072, HEAD_DIM(256) GEMMA3_LONG),
     4300079472, 416866032 + 1152 * 2561, "google/gemma-3-4b-pt"},
    {"gemma-3-12b",
     GEMMA3(3840, 15360, 48, 16, 8, 262208, 131072, HEAD_DIM(256) GEMMA3_LONG),
     12187325040, 416866032 + 1152 * 3841, "google/gemma-3-12b-pt"},
    {"gemma-3-27b",
     GEMMA3(5376, 21504, 62, 32, 16, 262208, 131072,
            HEAD_DIM(128) SCALAR(168) GEMMA3_LONG),
     27432406640, 416866032 + 1152 * 5377, "google/gemma-3-27b-pt"},
    {"phi-3-mini-4k",
     DECODER("phi3", 3072, 8192, 32, 32, 32, 32064, 4096, WINDOW(2047)),
     3821079552, 0, "microsoft/Phi-3-mini-4k-instruct"},
    {"phi-3-medium-4k",
     DECODER("phi3", 5120, 17920, 40, 40, 10, 32064, 4096, WINDOW(2047)),
     13960238080, 0, "microsoft/Phi-3-medium-4k-instruct"},
    {"phi-4",
     DECODER("phi3", 5120, 17920, 40, 40, 10, 100352, 16384,
             THETA(250000.0) WINDOW(null)),
     14659507200, 0, "microsoft/phi-4"},
    {"internlm2-1.8b", INTERNLM2(2048, 8192, 24, 16, 8), 1889110016, 0,
     "internlm/internlm2-1_8b"},
    {"internlm2-7b", INTERNLM2(4096, 14336, 32, 32, 8), 7737708544, 0,
     "internlm/internlm2-7b"},
    {"internlm2-20b", INTERNLM2(6144, 16384, 48, 48, 8), 19861149696, 0,
     "internlm/internlm2-20b"},
    {"distilgpt2", GPT2(768, 6, 12), 81912576, 0, "distilbert/distilgpt2"},
    {"gpt2", GPT2(768, 12, 12), 124439808, 0, "openai-community/gpt2"},
    {"gpt2-medium", GPT2(1024, 24, 16), 354823168, 0,
     "openai-community/gpt2-medium"},
    {"gpt2-large", GPT2(1280, 36, 20), 774030080, 0,
     "openai-community/gpt2-large"},
    {"gpt2-xl", GPT2(1600, 48, 25), 1557611200, 0, "openai-community/gpt2-xl"},
};

const csi_preset_table csi_language_presets = {ROWS,
                                               sizeof ROWS / sizeof ROWS[0]};
