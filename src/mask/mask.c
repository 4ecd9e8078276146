/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mask words of one sample under each policy. A policy is three answers per
 * run of tokens (span, sees, kind); everything else follows from the rule in
 * the header. With S = all shared kinds (text and modalities):
 *
 *                          media run                text run
 *   causal                 span 0, sees S           span 0, sees S
 *   islands                span item, sees none     span 0, sees S
 *   islands_per_modality   span 1 + m, sees none    span 0, sees S
 *   image_sees_prompt      span item, sees S        span 0, sees S
 *   prefix_lm              prompt: span 1, sees S; else span 0, sees S
 *   branches               as islands; in branch b the kind is b's own bit,
 *                          and text sees S and that bit
 *   bidirectional          span 1, sees none        span 1, sees none
 */
#include "cornstarch/mask.h"

#include "base/str.h"

#include <inttypes.h>
#include <string.h>

static const char *const policy_names[CS_MASK_POLICY_COUNT] = {
    [CS_MASK_CAUSAL] = "causal",
    [CS_MASK_ISLANDS] = "islands",
    [CS_MASK_ISLANDS_PER_MODALITY] = "islands_per_modality",
    [CS_MASK_IMAGE_SEES_PROMPT] = "image_sees_prompt",
    [CS_MASK_PREFIX_LM] = "prefix_lm",
    [CS_MASK_BRANCHES] = "branches",
    [CS_MASK_BIDIRECTIONAL] = "bidirectional",
};

/* Numbers items in order of appearance, from 1, over all modalities. Runs of
 * one item that are interrupted by text share its number. */
typedef struct item_counter {
    uint32_t n_items;
    int32_t last_item[CS_MASK_MAX_KINDS];
    uint32_t last_span[CS_MASK_MAX_KINDS]; /* 0 = no item yet */
} item_counter;

const char *cs_mask_policy_name(cs_mask_policy policy)
{
    if (policy < 0 || policy >= CS_MASK_POLICY_COUNT) {
        return "?";
    }
    return policy_names[policy];
}

cs_status cs_mask_policy_parse(const char *name, cs_mask_policy *out)
{
    for (int i = 0; i < CS_MASK_POLICY_COUNT; i++) {
        if (strcmp(name, policy_names[i]) == 0) {
            *out = (cs_mask_policy)i;
            return CS_OK;
        }
    }
    const char *near =
        csi_str_nearest(name, policy_names, CS_MASK_POLICY_COUNT);
    if (near != NULL) {
        return CS_FAIL(CS_ERR_ARG,
                       "unknown attention policy '%s', did you mean '%s'?",
                       name, near);
    }
    return CS_FAIL(CS_ERR_ARG,
                   "unknown attention policy '%s', wanted causal, islands, "
                   "islands_per_modality, image_sees_prompt, prefix_lm, "
                   "branches or bidirectional",
                   name);
}

static cs_status check_run(const cs_mask_run *run, int64_t index,
                           cs_mask_policy policy, int32_t n_modalities)
{
    CS_CHECK(run->n_tokens >= 0, CS_ERR_ARG,
             "mask run %" PRId64 ": wanted at least 0 tokens, got %" PRId64,
             index, run->n_tokens);
    CS_CHECK(run->modality >= -1 && run->modality < n_modalities, CS_ERR_ARG,
             "mask run %" PRId64 ": wanted modality -1 to %" PRId32
             ", got %" PRId32,
             index, n_modalities - 1, run->modality);
    CS_CHECK(run->item >= 0 || run->modality < 0, CS_ERR_ARG,
             "mask run %" PRId64 ": wanted item 0 or more, got %" PRId32, index,
             run->item);
    CS_CHECK(run->branch >= 0, CS_ERR_ARG,
             "mask run %" PRId64 ": wanted branch 0 or more, got %" PRId32,
             index, run->branch);
    CS_CHECK(policy != CS_MASK_BRANCHES ||
                 run->branch < CS_MASK_MAX_KINDS - n_modalities,
             CS_ERR_ARG,
             "mask run %" PRId64 ": branch %" PRId32 " with %" PRId32
             " modalities needs more than the %d kinds",
             index, run->branch, n_modalities, CS_MASK_MAX_KINDS);
    return CS_OK;
}

static cs_status number_item(item_counter *counter, const cs_mask_run *run,
                             uint32_t *span)
{
    const int32_t m = run->modality;

    if (counter->last_span[m] == 0 || counter->last_item[m] != run->item) {
        CS_CHECK(counter->n_items < CS_MASK_MAX_SPAN, CS_ERR_ARG,
                 "mask: more than %d items in one document", CS_MASK_MAX_SPAN);
        counter->n_items++;
        counter->last_item[m] = run->item;
        counter->last_span[m] = counter->n_items;
    }
    *span = counter->last_span[m];
    return CS_OK;
}

static bool uses_items(cs_mask_policy policy)
{
    return policy == CS_MASK_ISLANDS || policy == CS_MASK_IMAGE_SEES_PROMPT ||
           policy == CS_MASK_BRANCHES;
}

/* The word of each token of `run`. */
static cs_status run_word(cs_mask_policy policy, int32_t n_modalities,
                          uint32_t document, const cs_mask_run *run,
                          item_counter *counter, uint64_t *word)
{
    const bool is_media = run->modality >= 0;
    const uint32_t shared = (1U << (n_modalities + 1)) - 1;
    uint32_t kind = 1U << (run->modality + 1);
    uint32_t span = 0;
    uint32_t sees = shared;
    uint32_t item = 0;

    if (is_media && uses_items(policy)) {
        CS_TRY(number_item(counter, run, &item));
    }
    switch (policy) {
    case CS_MASK_CAUSAL:
        break;
    case CS_MASK_ISLANDS:
        span = item;
        sees = is_media ? 0 : shared;
        break;
    case CS_MASK_ISLANDS_PER_MODALITY:
        span = is_media ? 1U + (uint32_t)run->modality : 0;
        sees = is_media ? 0 : shared;
        break;
    case CS_MASK_IMAGE_SEES_PROMPT:
        span = item;
        break;
    case CS_MASK_PREFIX_LM:
        span = run->is_prompt ? 1 : 0;
        break;
    case CS_MASK_BRANCHES:
        if (run->branch > 0) {
            kind = 1U << (n_modalities + run->branch);
        }
        span = item;
        sees = is_media ? 0 : shared | kind;
        break;
    case CS_MASK_BIDIRECTIONAL:
        span = 1;
        sees = 0;
        break;
    case CS_MASK_POLICY_COUNT:
        return CS_FAIL(CS_ERR_ARG, "mask: no policy has number %d",
                       (int)policy);
    }
    *word = cs_mask_word(document, span, sees, kind);
    return CS_OK;
}

cs_status cs_mask_build(cs_mask_policy policy, int32_t n_modalities,
                        uint32_t document, const cs_mask_run *runs,
                        int64_t n_runs, uint64_t *word)
{
    item_counter counter = {0};
    int64_t at = 0;

    CS_CHECK(policy >= 0 && policy < CS_MASK_POLICY_COUNT, CS_ERR_ARG,
             "mask: no policy has number %d", (int)policy);
    CS_CHECK(document >= 1 && document <= CS_MASK_MAX_DOCUMENT, CS_ERR_ARG,
             "mask: wanted document 1 to %d, got %" PRIu32,
             CS_MASK_MAX_DOCUMENT, document);
    CS_CHECK(n_modalities >= 0 && n_modalities < CS_MASK_MAX_KINDS, CS_ERR_ARG,
             "mask: wanted 0 to %d modalities, got %" PRId32,
             CS_MASK_MAX_KINDS - 1, n_modalities);
    for (int64_t run = 0; run < n_runs; run++) {
        uint64_t value = 0;

        CS_TRY(check_run(&runs[run], run, policy, n_modalities));
        CS_TRY(run_word(policy, n_modalities, document, &runs[run], &counter,
                        &value));
        for (int64_t i = 0; i < runs[run].n_tokens; i++) {
            word[at++] = value;
        }
    }
    return CS_OK;
}
