/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts text into the pieces within which bytes may merge, with the patterns of
 * tokenizer.json run by PCRE2 (UTF, Unicode properties). The patterns come
 * from a file, so matching is limited: a pattern that explodes is an error
 * sentence, not a hang.
 */
#include "base/alloc.h"

#include "tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum {
    MAX_PATTERNS = 8,
    MATCH_LIMIT = 5000000,
    HEAP_LIMIT_KIB = 64 * 1024,
    REASON_BYTES = 128
};

struct csi_split {
    pcre2_general_context *general;     /* owned: our heap */
    pcre2_match_context *match;         /* owned: the limits */
    pcre2_code *patterns[MAX_PATTERNS]; /* owned */
    int32_t n_patterns;
};

static void *take_memory(size_t n_bytes, void *unused)
{
    (void)unused;
    return csi_malloc(n_bytes);
}

static void give_memory(void *p, void *unused)
{
    (void)unused;
    csi_free(p);
}

cs_status csi_split_create(csi_split **out)
{
    csi_split *split = csi_calloc(1, sizeof *split);

    CS_CHECK(split != NULL, CS_ERR_NOMEM, "tokenizer: split object");
    split->general =
        pcre2_general_context_create(take_memory, give_memory, NULL);
    if (split->general != NULL) {
        split->match = pcre2_match_context_create(split->general);
    }
    if (split->match == NULL) {
        csi_split_destroy(&split);
        return CS_FAIL(CS_ERR_NOMEM, "tokenizer: pattern contexts");
    }
    (void)pcre2_set_match_limit(split->match, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(split->match, HEAP_LIMIT_KIB);
    *out = split;
    return CS_OK;
}

void csi_split_destroy(csi_split **split)
{
    csi_split *const s = *split;

    if (s == NULL) {
        return;
    }
    for (int32_t i = 0; i < s->n_patterns; i++) {
        pcre2_code_free(s->patterns[i]);
    }
    pcre2_match_context_free(s->match);
    pcre2_general_context_free(s->general);
    csi_free(s);
    *split = NULL;
}

static void describe(int code, char reason[REASON_BYTES])
{
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, REASON_BYTES) <
        0) {
        reason[0] = '\0';
    }
}

cs_status csi_split_add(csi_split *split, const char *pattern,
                        const char *where)
{
    cs_status st = CS_OK;
    char reason[REASON_BYTES];
    int code = 0;
    PCRE2_SIZE at = 0;

    CS_CHECK(split->n_patterns < MAX_PATTERNS, CS_ERR_UNSUPPORTED,
             "%s: unsupported: more than %d split patterns", where,
             MAX_PATTERNS);
    pcre2_compile_context *const context =
        pcre2_compile_context_create(split->general);

    CS_CHECK(context != NULL, CS_ERR_NOMEM, "%s: pattern context", where);
    pcre2_code *const compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP, &code, &at, context);

    if (compiled == NULL) {
        describe(code, reason);
        CS_CHECK_GOTO(done, code != PCRE2_ERROR_HEAP_FAILED, CS_ERR_NOMEM,
                      "%s: no memory for a split pattern", where);
        st = CS_FAIL(CS_ERR_FORMAT,
                     "%s: split pattern is wrong at character %zu: %s", where,
                     at, reason);
        goto done;
    }
    split->patterns[split->n_patterns++] = compiled;
    /* Only faster: where the machine has no JIT, patterns are interpreted. */
    CS_CHECK_GOTO(done,
                  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) !=
                      PCRE2_ERROR_NOMEMORY,
                  CS_ERR_NOMEM, "%s: no memory for a split pattern", where);
done:
    pcre2_compile_context_free(context);
    return st;
}

typedef struct run {
    const csi_split *split;
    pcre2_match_data *found[MAX_PATTERNS];
    csi_piece_fn fn;
    void *context;
} run;

static cs_status run_level(const run *r, int32_t level, const char *text,
                           size_t n_bytes)
{
    if (n_bytes == 0) {
        return CS_OK;
    }
    if (level == r->split->n_patterns) {
        return r->fn(r->context, text, n_bytes);
    }
    char reason[REASON_BYTES];
    size_t at = 0;

    while (at < n_bytes) {
        const int n =
            pcre2_match(r->split->patterns[level], (PCRE2_SPTR)text, n_bytes,
                        at, PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK,
                        r->found[level], r->split->match);

        if (n == PCRE2_ERROR_NOMATCH) {
            break;
        }
        if (n < 0) {
            describe(n, reason);
            return CS_FAIL(n == PCRE2_ERROR_NOMEMORY ? CS_ERR_NOMEM
                                                     : CS_ERR_FORMAT,
                           "tokenizer: split pattern fails: %s", reason);
        }
        const PCRE2_SIZE *const span =
            pcre2_get_ovector_pointer(r->found[level]);
        const size_t begin = span[0];
        const size_t end = span[1];

        /* \K can put the beginning behind the end. */
        CS_CHECK(begin >= at && end > begin && end <= n_bytes, CS_ERR_FORMAT,
                 "tokenizer: split pattern matches backwards");
        CS_TRY(run_level(r, level + 1, text + at, begin - at));
        CS_TRY(run_level(r, level + 1, text + begin, end - begin));
        at = end;
    }
    CS_TRY(run_level(r, level + 1, text + at, n_bytes - at));
    return CS_OK;
}

cs_status csi_split_run(const csi_split *split, const char *text,
                        size_t n_bytes, csi_piece_fn fn, void *context)
{
    cs_status st = CS_OK;
    run r = {.split = split, .fn = fn, .context = context};

    if (split == NULL) {
        return n_bytes == 0 ? CS_OK : fn(context, text, n_bytes);
    }
    for (int32_t i = 0; i < split->n_patterns; i++) {
        r.found[i] = pcre2_match_data_create(1, split->general);
        CS_CHECK_GOTO(done, r.found[i] != NULL, CS_ERR_NOMEM,
                      "tokenizer: match data");
    }
    CS_TRY_GOTO(done, run_level(&r, 0, text, n_bytes));
done:
    for (int32_t i = 0; i < split->n_patterns; i++) {
        pcre2_match_data_free(r.found[i]);
    }
    return st;
}
