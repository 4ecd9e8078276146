/* SPDX-License-Identifier: Apache-2.0 */
/* One sample made by hand: a user's words and files, through the same template
 * as the training data, up to where the answer begins. */
#include "base/alloc.h"

#include "index.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_MEDIA = 1024
};

/* Input and working memory of one prompt. */
typedef struct maker {
    csi_chat_format format;
    csi_str text;       /* the user's words with all placeholders */
    const char **paths; /* owned array: by modality */
    csi_media_list media[CSI_MAX_MODALITIES];
    csi_draft draft;
} maker;

static cs_status sort_media(const cs_prompt_input *input, maker *m)
{
    int32_t n = 0;

    CS_CHECK(input->n_media >= 0 && input->n_media <= MAX_MEDIA, CS_ERR_ARG,
             "prompt: %" PRId32 " files, wanted 0 to %d", input->n_media,
             MAX_MEDIA);
    m->paths = csi_calloc((size_t)input->n_media + 1, sizeof *m->paths);
    CS_CHECK(m->paths != NULL, CS_ERR_NOMEM, "prompt: no memory for files");
    for (int32_t modality = 0; modality < m->format.n_modalities; modality++) {
        m->media[modality].paths = m->paths + n;
        for (int32_t i = 0; i < input->n_media; i++) {
            if (input->media_modality[i] == modality) {
                m->paths[n++] = input->media_path[i];
                m->media[modality].n_paths++;
            }
        }
    }
    CS_CHECK(n == input->n_media, CS_ERR_ARG,
             "prompt: a file of a modality that the model has no encoder for");
    return CS_OK;
}

/* "<image><audio>\nWhat is it?": what the words do not place comes first. */
static cs_status write_text(const cs_prompt_input *input, maker *m)
{
    const char *const words = input->text != NULL ? input->text : "";
    const size_t n_words = strlen(words);

    for (int32_t i = 0; i < m->format.n_modalities; i++) {
        const int32_t n = csi_chat_count(&m->format, i, words, n_words);

        for (int32_t k = n; k < m->media[i].n_paths; k++) {
            csi_str_add(&m->text, m->format.modality[i].placeholder);
        }
    }
    csi_str_add(&m->text, m->text.length > 0 && n_words > 0 ? "\n" : "");
    csi_str_add(&m->text, words);
    return csi_str_check(&m->text);
}

static cs_status copy_ids(const csi_draft *d, int64_t total, cs_prompt *out)
{
    const int32_t *from = d->ids;
    int64_t at = 0;

    out->ids = csi_malloc((size_t)total * sizeof *out->ids);
    CS_CHECK(out->ids != NULL, CS_ERR_NOMEM,
             "prompt: no memory for %" PRId64 " tokens", total);
    for (int32_t r = 0; r < d->n_runs; r++) {
        for (int32_t i = 0; i < d->runs[r].llm_rows; i++) {
            out->ids[at++] =
                d->runs[r].modality < 0 ? *from++ & ~CSI_TOKEN_IS_LABEL : -1;
        }
    }
    out->n_tokens = total;
    return CS_OK;
}

static cs_status copy_runs(const csi_draft *d, cs_prompt *out)
{
    const size_t n = (size_t)d->n_runs;

    out->runs = csi_malloc(n * sizeof *out->runs);
    out->run_path = csi_calloc(n, sizeof *out->run_path);
    CS_CHECK(out->runs != NULL && out->run_path != NULL, CS_ERR_NOMEM,
             "prompt: no memory for %zu runs", n);
    memcpy(out->runs, d->runs, n * sizeof *out->runs);
    out->n_runs = d->n_runs;
    for (size_t r = 0; r < n; r++) {
        if (d->run_path[r] != NULL) {
            out->run_path[r] = csi_strdup(d->run_path[r]);
            CS_CHECK(out->run_path[r] != NULL, CS_ERR_NOMEM,
                     "prompt: no memory for a path");
        }
    }
    return CS_OK;
}

static cs_status make(const cs_prompt_input *input, maker *m, cs_prompt *out)
{
    int64_t total = 0;

    CS_TRY(sort_media(input, m));
    CS_TRY(write_text(input, m));
    const csi_turn turn = {.role = CSI_ROLE_USER,
                           .text = csi_str_get(&m->text),
                           .n_bytes = m->text.length};

    CS_TRY(csi_template_render(&m->format, &turn, 1, m->media, true, "prompt",
                               &m->draft));
    CS_TRY(csi_draft_probe(&m->format, NULL, &m->draft, &total));
    CS_CHECK(m->format.max_positions == 0 || total <= m->format.max_positions,
             CS_ERR_ARG,
             "prompt: %" PRId64 " tokens, the language model holds %" PRId64,
             total, m->format.max_positions);
    CS_TRY(copy_ids(&m->draft, total, out));
    return copy_runs(&m->draft, out);
}

cs_status cs_prompt_create(const cs_config *config, const cs_graph *graph,
                           const cs_tokenizer *tokenizer,
                           const cs_prompt_input *input, cs_prompt *out)
{
    cs_prompt prompt = {.n_tokens = 0};
    maker m = {.paths = NULL};
    cs_status st = CS_OK;

    CS_TRY(csi_chat_format_init(config, graph, tokenizer, &m.format));
    CS_TRY_GOTO(done, make(input, &m, &prompt));
    *out = prompt;
done:
    if (st != CS_OK) {
        cs_prompt_fini(&prompt);
    }
    csi_chat_format_fini(&m.format);
    csi_draft_fini(&m.draft);
    csi_str_fini(&m.text);
    csi_free(m.paths);
    return st;
}

void cs_prompt_fini(cs_prompt *prompt)
{
    for (int64_t r = 0; prompt->run_path != NULL && r < prompt->n_runs; r++) {
        csi_free(prompt->run_path[r]);
    }
    csi_free(prompt->run_path);
    csi_free(prompt->runs);
    csi_free(prompt->ids);
    *prompt = (cs_prompt){.n_tokens = 0};
}
