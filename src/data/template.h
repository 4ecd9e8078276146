/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_DATA_TEMPLATE_H
#define CS_DATA_TEMPLATE_H
/*
 * From the turns of a conversation to tokens. A format is all that decides the
 * tokens of a text: tokenizer, chat template, placeholders, what is trained
 * on. A draft is one sample in the making: its tokens (those to be learned are
 * flagged), and its runs with the media file of each.
 *
 * Built-in templates, {x} = a turn's text, ^x^ = what is learned:
 *
 *     plain   [bos] {system}\n {user}\n ^{assistant}[eos]^
 *     vicuna  [bos] {system or the usual sentence} USER: {user} ASSISTANT:
 *             ^ {assistant}[eos]^
 *     chatml  <|im_start|>role\n{text}<|im_end|>\n, of an answer
 *             ^{text}<|im_end|>^
 *     llama3  <|begin_of_text|>, then <|start_header_id|>role<|end_header_id|>
 *             \n\n{trimmed text}<|eot_id|>, of an answer ^{text}<|eot_id|>^
 *
 * Any other template is Jinja (template_chat.c): the tokenizer's own or a file.
 *
 * A draft is not thread-safe; a format is immutable after init.
 */
#include "template_jinja.h"

enum {
    CSI_MAX_MODALITIES = CS_MASK_MAX_KINDS - 1,
    CSI_TOKEN_IS_LABEL = 1 << 30 /* flag on an id */
};

typedef struct csi_template csi_template; /* a row of the built-in table */

typedef struct csi_chat_modality {
    const char *name;        /* borrowed from the config */
    const char *placeholder; /* borrowed from the config */
    bool is_first_of_kind;   /* reads "image" / "audio" beside its name */
    int64_t max_positions;   /* encoder rows of one item; 0 = any */
    cs_processor processor;
} csi_chat_modality;

typedef struct csi_chat_format {
    const cs_tokenizer *tokenizer; /* borrowed */
    const csi_template *chat;      /* static; its name when it is Jinja */
    csi_jinja *jinja;              /* owned; NULL = built in */
    json_t *specials;              /* owned: what Jinja knows beside turns */
    uint64_t jinja_hash;           /* of the template's text */
    bool train_on_prompt;
    cs_mask_policy attention;
    int64_t vocab;         /* rows of the embedding */
    int64_t max_positions; /* tokens of one document; 0 = any */
    int32_t n_modalities;
    csi_chat_modality modality[CSI_MAX_MODALITIES];
} csi_chat_format;

typedef enum csi_role {
    CSI_ROLE_SYSTEM,
    CSI_ROLE_USER,
    CSI_ROLE_ASSISTANT,
    CSI_ROLE_COUNT
} csi_role;

typedef struct csi_turn {
    csi_role role;
    const char *text; /* borrowed */
    size_t n_bytes;
} csi_turn;

/* Media files of one modality, in the order of placeholders. */
typedef struct csi_media_list {
    const char *const *paths; /* borrowed */
    int32_t n_paths;
} csi_media_list;

typedef struct csi_draft {
    int32_t *ids; /* owned: text tokens, CSI_TOKEN_IS_LABEL where learned */
    int64_t n_ids, ids_capacity;
    cs_index_run *runs;    /* owned */
    const char **run_path; /* owned array of borrowed strings; NULL = text */
    int32_t n_runs, runs_capacity;
    /* while rendering */
    csi_str pending; /* text that is not tokenised yet */
    csi_place place; /* of what comes next */
    bool pending_is_label;
    bool is_prompt;
    int32_t branch;
    int32_t n_items[CSI_MAX_MODALITIES];
} csi_draft;

/* A built-in template; "auto" = plain. */
CS_NODISCARD cs_status csi_template_find(const char *name,
                                         const cs_tokenizer *tokenizer,
                                         const csi_template **out);
const char *csi_template_name(const csi_template *chat);
/* Sets format->chat, or compiles a template in Jinja: auto takes the
 * tokenizer's own, a name ending in .jinja is a file. */
CS_NODISCARD cs_status csi_template_load(const char *name,
                                         const cs_tokenizer *tokenizer,
                                         csi_chat_format *format);

CS_NODISCARD cs_status csi_chat_format_init(const cs_config *config,
                                            const cs_graph *graph,
                                            const cs_tokenizer *tokenizer,
                                            csi_chat_format *out);
void csi_chat_format_fini(csi_chat_format *format);

/* The modality whose placeholder starts at text; -1 = none. */
int32_t csi_chat_match(const csi_chat_format *format, const char *text,
                       size_t n_bytes);
/* Placeholders of one modality in a text. */
int32_t csi_chat_count(const csi_chat_format *format, int32_t modality,
                       const char *text, size_t n_bytes);

void csi_draft_fini(csi_draft *draft);
/* Empty, memory kept. */
void csi_draft_clear(csi_draft *draft);
/* Renders all turns. media[n_modalities] must fit the placeholders; errors
 * begin with `where`. Media runs have no rows yet. for_answer: the last turn
 * is followed by the opening of an answer. */
CS_NODISCARD cs_status csi_template_render(const csi_chat_format *format,
                                           const csi_turn *turns,
                                           int32_t n_turns,
                                           const csi_media_list *media,
                                           bool for_answer, const char *where,
                                           csi_draft *draft);

/* The same for a format in Jinja (template_chat.c). An answer is learned from
 * where the opening of an answer ends to where the next turn begins, which is
 * found by rendering the turns before it; {% generation %} says it directly. */
CS_NODISCARD cs_status csi_chat_render(const csi_chat_format *format,
                                       const csi_turn *turns, int32_t n_turns,
                                       const csi_media_list *media,
                                       bool for_answer, const char *where,
                                       csi_draft *draft);

/* The steps of a template, from template_render.c. */
/* One token that is not looked up, in the run at hand. */
CS_NODISCARD cs_status csi_draft_id(const csi_chat_format *format,
                                    csi_draft *draft, int32_t id,
                                    bool is_label);
CS_NODISCARD cs_status csi_draft_text(const csi_chat_format *format,
                                      csi_draft *draft, const char *text,
                                      size_t n_bytes, bool is_label);
CS_NODISCARD cs_status csi_draft_token(const csi_chat_format *format,
                                       csi_draft *draft, int32_t id,
                                       bool is_label);
CS_NODISCARD cs_status csi_draft_media(const csi_chat_format *format,
                                       csi_draft *draft, int32_t modality,
                                       const char *path);
CS_NODISCARD cs_status csi_draft_flush(const csi_chat_format *format,
                                       csi_draft *draft);
#endif
