/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds what a pre-tokenizer cuts text at: a literal text or a pattern run by
 * PCRE2 (UTF, Unicode properties). Patterns come from a file, so matching is
 * limited: one that explodes is an error sentence, not a hang.
 */
#include "base/alloc.h"

#include "tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum {
    MATCH_LIMIT = 5000000,
    HEAP_LIMIT_KIB = 64 * 1024,
    REASON_BYTES = 128
};

struct csi_pattern {
    char *literal; /* owned; NULL = a regular expression */
    size_t n_literal;
    pcre2_general_context *general; /* owned: our heap */
    pcre2_match_context *match;     /* owned: the limits */
    pcre2_code *code;               /* owned */
};

struct csi_matcher {
    pcre2_match_data *found; /* owned; NULL for a literal */
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

static cs_status create_contexts(csi_pattern *p)
{
    p->general = pcre2_general_context_create(take_memory, give_memory, NULL);
    if (p->general != NULL) {
        p->match = pcre2_match_context_create(p->general);
    }
    CS_CHECK(p->match != NULL, CS_ERR_NOMEM, "tokenizer: pattern contexts");
    (void)pcre2_set_match_limit(p->match, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(p->match, HEAP_LIMIT_KIB);
    return CS_OK;
}

static void describe(int code, char reason[REASON_BYTES])
{
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, REASON_BYTES) <
        0) {
        reason[0] = '\0';
    }
}

static cs_status compile(csi_pattern *p, const char *text, const char *where)
{
    cs_status st = CS_OK;
    char reason[REASON_BYTES];
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *const context =
        pcre2_compile_context_create(p->general);

    CS_CHECK(context != NULL, CS_ERR_NOMEM, "%s: pattern context", where);
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                            &code, &at, context);
    if (p->code == NULL) {
        describe(code, reason);
        CS_CHECK_GOTO(done, code != PCRE2_ERROR_HEAP_FAILED, CS_ERR_NOMEM,
                      "%s: no memory for a split pattern", where);
        st = CS_FAIL(CS_ERR_FORMAT, "%s: split pattern '%.80s' is wrong: %s",
                     where, text, reason);
        goto done;
    }
    /* Only faster: where the machine has no JIT, patterns are interpreted. */
    CS_CHECK_GOTO(done,
                  pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) !=
                      PCRE2_ERROR_NOMEMORY,
                  CS_ERR_NOMEM, "%s: no memory for a split pattern", where);
done:
    pcre2_compile_context_free(context);
    return st;
}

cs_status csi_pattern_create(const char *regex, const char *where,
                             csi_pattern **out)
{
    cs_status st = CS_OK;
    csi_str text = {0};
    csi_pattern *p = csi_calloc(1, sizeof *p);

    CS_CHECK(p != NULL, CS_ERR_NOMEM, "tokenizer: pattern object");
    CS_TRY_GOTO(done, create_contexts(p));
    CS_TRY_GOTO(done, csi_pattern_translate(regex, where, &text));
    CS_TRY_GOTO(done, compile(p, csi_str_get(&text), where));
    *out = p;
    p = NULL;
done:
    csi_pattern_destroy(&p);
    csi_str_fini(&text);
    return st;
}

cs_status csi_pattern_create_literal(const char *text, csi_pattern **out)
{
    csi_pattern *p = csi_calloc(1, sizeof *p);

    CS_CHECK(p != NULL, CS_ERR_NOMEM, "tokenizer: pattern object");
    p->n_literal = strlen(text);
    p->literal = csi_strdup(text);
    if (p->literal == NULL) {
        csi_pattern_destroy(&p);
        return CS_FAIL(CS_ERR_NOMEM, "tokenizer: pattern text");
    }
    *out = p;
    return CS_OK;
}

void csi_pattern_destroy(csi_pattern **pattern)
{
    csi_pattern *const p = *pattern;

    if (p == NULL) {
        return;
    }
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->match);
    pcre2_general_context_free(p->general);
    csi_free(p->literal);
    csi_free(p);
    *pattern = NULL;
}

cs_status csi_matcher_create(const csi_pattern *pattern, csi_matcher **out)
{
    csi_matcher *const m = csi_calloc(1, sizeof *m);

    CS_CHECK(m != NULL, CS_ERR_NOMEM, "tokenizer: matcher");
    if (pattern->literal == NULL) {
        m->found = pcre2_match_data_create(1, pattern->general);
        if (m->found == NULL) {
            csi_free(m);
            return CS_FAIL(CS_ERR_NOMEM, "tokenizer: match data");
        }
    }
    *out = m;
    return CS_OK;
}

void csi_matcher_destroy(csi_matcher **matcher)
{
    if (*matcher != NULL) {
        pcre2_match_data_free((*matcher)->found);
        csi_free(*matcher);
        *matcher = NULL;
    }
}

static void find_literal(const csi_pattern *p, const char *text, size_t n_bytes,
                         size_t at, size_t *begin, size_t *end)
{
    *end = 0;
    while (p->n_literal > 0 && at + p->n_literal <= n_bytes) {
        const char *const found =
            memchr(text + at, p->literal[0], n_bytes - at - p->n_literal + 1);

        if (found == NULL) {
            return;
        }
        at = (size_t)(found - text);
        if (memcmp(found, p->literal, p->n_literal) == 0) {
            *begin = at;
            *end = at + p->n_literal;
            return;
        }
        at++;
    }
}

cs_status csi_pattern_find(const csi_pattern *pattern, csi_matcher *matcher,
                           const char *text, size_t n_bytes, size_t at,
                           size_t *begin, size_t *end)
{
    char reason[REASON_BYTES];
    const uint32_t flags = PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK;

    if (pattern->literal != NULL) {
        find_literal(pattern, text, n_bytes, at, begin, end);
        return CS_OK;
    }
    int n = pcre2_match(pattern->code, (PCRE2_SPTR)text, n_bytes, at, flags,
                        matcher->found, pattern->match);

    if (n == PCRE2_ERROR_JIT_STACKLIMIT) {
        n = pcre2_match(pattern->code, (PCRE2_SPTR)text, n_bytes, at,
                        flags | PCRE2_NO_JIT, matcher->found, pattern->match);
    }
    *end = 0;
    if (n == PCRE2_ERROR_NOMATCH) {
        return CS_OK;
    }
    if (n < 0) {
        describe(n, reason);
        return CS_FAIL(n == PCRE2_ERROR_NOMEMORY ? CS_ERR_NOMEM : CS_ERR_FORMAT,
                       "tokenizer: split pattern fails: %s", reason);
    }
    const PCRE2_SIZE *const span = pcre2_get_ovector_pointer(matcher->found);

    CS_CHECK(span[0] >= at && span[1] > span[0] && span[1] <= n_bytes,
             CS_ERR_FORMAT, "tokenizer: split pattern matches backwards");
    *begin = span[0];
    *end = span[1];
    return CS_OK;
}
