/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in chat templates as one table, and the walk over a conversation.
 * A row's strings are ours, so the special tokens in them are found by text
 * and written by id; what a user wrote never becomes one. Text of a template
 * and of a turn that meet are tokenised together, as Hugging Face does with
 * the rendered string; what is learned starts a new piece, because that is
 * where the prompt ends when the model is asked.
 */
#include "template.h"

#include "base/alloc.h"
#include "base/file.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

enum {
    MAX_SPECIALS = 4,
    MAX_JINJA_BYTES = 1 << 20
};

struct csi_template {
    const char *name;
    const char *specials[MAX_SPECIALS]; /* needed in the tokenizer */
    bool has_bos, has_eos;              /* tokens named by the tokenizer */
    bool trims;                         /* blanks around a turn's text */
    const char *begin;
    const char *default_system;
    const char *before[CSI_ROLE_COUNT], *after[CSI_ROLE_COUNT];
    const char *answer_glue; /* between opening and answer, learned */
    const char *answer_end;  /* special token; NULL = eos */
};

enum {
    PLAIN,
    VICUNA,
    CHATML,
    LLAMA3,
    N_TEMPLATES
};

static const csi_template TEMPLATES[N_TEMPLATES] = {
    [PLAIN] = {.name = "plain",
               .has_bos = true,
               .has_eos = true,
               .begin = "",
               .before = {"", "", ""},
               .after = {"\n", "\n", ""},
               .answer_glue = ""},
    [VICUNA] = {.name = "vicuna",
                .has_bos = true,
                .has_eos = true,
                .begin = "",
                .default_system =
                    "A chat between a curious user and an artificial "
                    "intelligence assistant. The assistant gives helpful, "
                    "detailed, and polite answers to the user's questions.",
                .before = {"", "USER: ", "ASSISTANT:"},
                .after = {" ", " ", ""},
                .answer_glue = " "},
    [CHATML] = {.name = "chatml",
                .specials = {"<|im_start|>", "<|im_end|>"},
                .begin = "",
                .before = {"<|im_start|>system\n", "<|im_start|>user\n",
                           "<|im_start|>assistant\n"},
                .after = {"<|im_end|>\n", "<|im_end|>\n", "\n"},
                .answer_glue = "",
                .answer_end = "<|im_end|>"},
    [LLAMA3] = {.name = "llama3",
                .specials = {"<|begin_of_text|>", "<|start_header_id|>",
                             "<|end_header_id|>", "<|eot_id|>"},
                .trims = true,
                .begin = "<|begin_of_text|>",
                .before = {"<|start_header_id|>system<|end_header_id|>\n\n",
                           "<|start_header_id|>user<|end_header_id|>\n\n",
                           "<|start_header_id|>assistant<|end_header_id|>\n\n"},
                .after = {"<|eot_id|>", "<|eot_id|>", ""},
                .answer_glue = "",
                .answer_end = "<|eot_id|>"},
};

static const csi_template JINJA = {.name = "jinja"};

const char *csi_template_name(const csi_template *chat)
{
    return chat->name;
}

static cs_status check_tokens(const csi_template *chat,
                              const cs_tokenizer *tokenizer)
{
    for (int i = 0; i < MAX_SPECIALS && chat->specials[i] != NULL; i++) {
        CS_CHECK(cs_tokenizer_special(tokenizer, chat->specials[i]) >= 0,
                 CS_ERR_ARG,
                 "data.template: %s needs the token '%s', the tokenizer has "
                 "none",
                 chat->name, chat->specials[i]);
    }
    CS_CHECK(!chat->has_eos || cs_tokenizer_eos(tokenizer) >= 0, CS_ERR_ARG,
             "data.template: %s needs an eos_token in tokenizer_config.json",
             chat->name);
    return CS_OK;
}

cs_status csi_template_find(const char *name, const cs_tokenizer *tokenizer,
                            const csi_template **out)
{
    const char *names[N_TEMPLATES + 1] = {"auto"};
    const char *wanted = name;

    for (int i = 0; i < N_TEMPLATES; i++) {
        names[i + 1] = TEMPLATES[i].name;
    }
    if (name == NULL || strcmp(name, "auto") == 0) {
        wanted = "plain";
    }
    for (int i = 0; i < N_TEMPLATES; i++) {
        if (strcmp(wanted, TEMPLATES[i].name) == 0) {
            CS_TRY(check_tokens(&TEMPLATES[i], tokenizer));
            *out = &TEMPLATES[i];
            return CS_OK;
        }
    }
    const char *const near = csi_str_nearest(wanted, names, N_TEMPLATES + 1);

    return CS_FAIL(CS_ERR_ARG,
                   "data.template: unknown '%s'%s%s%s; wanted auto, plain, "
                   "vicuna, chatml, llama3 or a .jinja file",
                   wanted, near != NULL ? ", did you mean '" : "",
                   near != NULL ? near : "", near != NULL ? "'?" : "");
}

static bool is_file(const char *name)
{
    const size_t n = strlen(name);

    return n > 6 && strcmp(name + n - 6, ".jinja") == 0;
}

/* What tokenizer_config.json calls bos_token and the like, by name. */
static cs_status read_specials(const cs_tokenizer *tokenizer, json_t **out)
{
    static const char *const NAMES[] = {"bos_token", "eos_token", "unk_token",
                                        "pad_token", "sep_token", "cls_token",
                                        "mask_token"};
    json_t *config = NULL;
    json_t *const specials = json_object();
    bool is_made = specials != NULL;

    if (tokenizer->config_json != NULL && is_made) {
        const cs_status st =
            csi_json_parse(tokenizer->config_json, tokenizer->config_bytes,
                           "tokenizer_config.json", &config);

        if (st != CS_OK) {
            json_decref(specials);
            return st;
        }
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && is_made; i++) {
        const json_t *value = json_object_get(config, NAMES[i]);

        value =
            json_is_object(value) ? json_object_get(value, "content") : value;
        if (json_is_string(value)) {
            is_made =
                json_object_set_new(specials, NAMES[i],
                                    json_string(json_string_value(value))) == 0;
        }
    }
    json_decref(config);
    if (!is_made) {
        json_decref(specials);
        return CS_FAIL(CS_ERR_NOMEM, "no memory for a chat template");
    }
    *out = specials;
    return CS_OK;
}

cs_status csi_template_load(const char *name, const cs_tokenizer *tokenizer,
                            csi_chat_format *format)
{
    const bool is_auto = name == NULL || strcmp(name, "auto") == 0;
    cs_status st = CS_OK;
    char *text = NULL;
    size_t n_bytes = 0;

    if (is_auto ? tokenizer->chat_template == NULL : !is_file(name)) {
        return csi_template_find(name, tokenizer, &format->chat);
    }
    if (is_auto) {
        n_bytes = strlen(tokenizer->chat_template);
    } else {
        CS_TRY(csi_file_read(name, MAX_JINJA_BYTES, &text, &n_bytes));
    }
    const char *const source = is_auto ? tokenizer->chat_template : text;

    CS_TRY_GOTO(done, csi_jinja_compile(source, n_bytes,
                                        is_auto ? "chat_template" : name,
                                        &format->jinja));
    CS_TRY_GOTO(done, read_specials(tokenizer, &format->specials));
    format->chat = &JINJA;
    format->jinja_hash = XXH3_64bits(source, n_bytes);
done:
    csi_free(text);
    return st;
}

/* A template's own text: its special tokens by id, the rest as text. */
static cs_status put_frame(const csi_chat_format *f, csi_draft *d,
                           const char *text)
{
    const csi_template *const chat = f->chat;

    while (*text != '\0') {
        size_t n_bytes = 1;
        int32_t id = -1;

        for (int i = 0; i < MAX_SPECIALS && chat->specials[i] != NULL; i++) {
            const size_t n_special = strlen(chat->specials[i]);

            if (strncmp(text, chat->specials[i], n_special) == 0) {
                id = cs_tokenizer_special(f->tokenizer, chat->specials[i]);
                n_bytes = n_special;
            }
        }
        if (id >= 0) {
            CS_TRY(csi_draft_token(f, d, id, f->train_on_prompt));
        } else {
            CS_TRY(csi_draft_text(f, d, text, 1, f->train_on_prompt));
        }
        text += n_bytes;
    }
    return CS_OK;
}

int32_t csi_chat_match(const csi_chat_format *f, const char *text,
                       size_t n_bytes)
{
    for (int32_t m = 0; m < f->n_modalities; m++) {
        const size_t n = strlen(f->modality[m].placeholder);

        if (n <= n_bytes && memcmp(text, f->modality[m].placeholder, n) == 0) {
            return m;
        }
    }
    return -1;
}

int32_t csi_chat_count(const csi_chat_format *format, int32_t modality,
                       const char *text, size_t n_bytes)
{
    int32_t count = 0;

    for (size_t at = 0; at < n_bytes;) {
        const int32_t m = csi_chat_match(format, text + at, n_bytes - at);

        count += m == modality;
        at += m < 0 ? 1 : strlen(format->modality[m].placeholder);
    }
    return count;
}

static cs_status put_text(const csi_chat_format *f, csi_draft *d,
                          const char *text, size_t n_bytes,
                          const csi_media_list *media, bool is_label)
{
    size_t begin = 0;
    size_t at = 0;

    while (at < n_bytes) {
        const int32_t m = csi_chat_match(f, text + at, n_bytes - at);

        if (m < 0) {
            at++;
            continue;
        }
        CS_TRY(csi_draft_text(f, d, text + begin, at - begin, is_label));
        CS_TRY(csi_draft_media(f, d, m, media[m].paths[d->n_items[m]]));
        at += strlen(f->modality[m].placeholder);
        begin = at;
    }
    return csi_draft_text(f, d, text + begin, n_bytes - begin, is_label);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static csi_turn trim(csi_turn turn)
{
    while (turn.n_bytes > 0 && is_blank(turn.text[0])) {
        turn.text++;
        turn.n_bytes--;
    }
    while (turn.n_bytes > 0 && is_blank(turn.text[turn.n_bytes - 1])) {
        turn.n_bytes--;
    }
    return turn;
}

/* What is learned: the answer and the token that ends it. */
static cs_status put_answer(const csi_chat_format *f, csi_draft *d,
                            const csi_turn *turn, const csi_media_list *media)
{
    const csi_template *const chat = f->chat;
    const int32_t end =
        chat->answer_end != NULL
            ? cs_tokenizer_special(f->tokenizer, chat->answer_end)
            : cs_tokenizer_eos(f->tokenizer);

    CS_TRY(csi_draft_flush(f, d));
    d->is_prompt = false;
    CS_TRY(csi_draft_text(f, d, chat->answer_glue, strlen(chat->answer_glue),
                          true));
    CS_TRY(put_text(f, d, turn->text, turn->n_bytes, media, true));
    return csi_draft_token(f, d, end, true);
}

static cs_status put_turn(const csi_chat_format *f, csi_draft *d,
                          const csi_turn *given, const csi_media_list *media)
{
    const csi_template *const chat = f->chat;
    const csi_turn turn = chat->trims ? trim(*given) : *given;

    if (turn.role == CSI_ROLE_USER && f->attention == CS_MASK_BRANCHES) {
        CS_TRY(csi_draft_flush(f, d));
        d->branch++;
    }
    CS_TRY(put_frame(f, d, chat->before[turn.role]));
    if (turn.role == CSI_ROLE_ASSISTANT) {
        CS_TRY(put_answer(f, d, &turn, media));
    } else {
        CS_TRY(put_text(f, d, turn.text, turn.n_bytes, media,
                        f->train_on_prompt));
    }
    return put_frame(f, d, chat->after[turn.role]);
}

static cs_status check_media(const csi_chat_format *f, const csi_turn *turns,
                             int32_t n_turns, const csi_media_list *media,
                             const char *where)
{
    for (int32_t m = 0; m < f->n_modalities; m++) {
        const csi_chat_modality *const modality = &f->modality[m];
        int32_t n = 0;

        for (int32_t i = 0; i < n_turns; i++) {
            n += csi_chat_count(f, m, turns[i].text, turns[i].n_bytes);
        }
        CS_CHECK(n == media[m].n_paths, CS_ERR_FORMAT,
                 "%s: %" PRId32 " %s placeholder%s, %" PRId32 " %s%s", where, n,
                 modality->placeholder, n == 1 ? "" : "s", media[m].n_paths,
                 modality->processor.modality == CS_MODALITY_VISION
                     ? "image"
                     : "recording",
                 media[m].n_paths == 1 ? "" : "s");
    }
    return CS_OK;
}

static cs_status put_begin(const csi_chat_format *f, csi_draft *d,
                           bool has_system)
{
    const csi_template *const chat = f->chat;

    if (chat->has_bos && cs_tokenizer_bos(f->tokenizer) >= 0) {
        CS_TRY(csi_draft_token(f, d, cs_tokenizer_bos(f->tokenizer), false));
    }
    CS_TRY(put_frame(f, d, chat->begin));
    if (chat->default_system != NULL && !has_system) {
        CS_TRY(put_frame(f, d, chat->before[CSI_ROLE_SYSTEM]));
        CS_TRY(put_frame(f, d, chat->default_system));
        CS_TRY(put_frame(f, d, chat->after[CSI_ROLE_SYSTEM]));
    }
    return CS_OK;
}

cs_status csi_template_render(const csi_chat_format *format,
                              const csi_turn *turns, int32_t n_turns,
                              const csi_media_list *media, bool for_answer,
                              const char *where, csi_draft *draft)
{
    csi_draft_clear(draft);
    CS_TRY(check_media(format, turns, n_turns, media, where));
    if (format->jinja != NULL) {
        return csi_chat_render(format, turns, n_turns, media, for_answer, where,
                               draft);
    }
    CS_TRY(put_begin(format, draft,
                     n_turns > 0 && turns[0].role == CSI_ROLE_SYSTEM));
    for (int32_t i = 0; i < n_turns; i++) {
        CS_TRY(put_turn(format, draft, &turns[i], media));
    }
    if (for_answer) {
        CS_TRY(put_frame(format, draft,
                         format->chat->before[CSI_ROLE_ASSISTANT]));
    }
    return csi_draft_flush(format, draft);
}
