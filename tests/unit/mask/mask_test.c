/* SPDX-License-Identifier: Apache-2.0 */
/* Every policy against a picture drawn by hand: rows are queries. */
#include "cornstarch/mask.h"

#include "base/alloc.h"

#include "test.h"

#include <string.h>

enum {
    MAX_TOKENS = 32
};

#define TEXT(n)                         \
    {                                   \
        .n_tokens = (n), .modality = -1 \
    }
#define PROMPT(n)                                          \
    {                                                      \
        .n_tokens = (n), .modality = -1, .is_prompt = true \
    }
#define ITEM(n, m, i)                                 \
    {                                                 \
        .n_tokens = (n), .modality = (m), .item = (i) \
    }
#define BRANCH(n, b)                                   \
    {                                                  \
        .n_tokens = (n), .modality = -1, .branch = (b) \
    }
#define N_OF(array) ((int64_t)(sizeof(array) / sizeof((array)[0])))

/* Checks the words of `runs` against `picture`, rows joined by '\n'. */
static void check_picture(cs_mask_policy policy, int32_t n_modalities,
                          const cs_mask_run *runs, int64_t n_runs,
                          const char *picture)
{
    uint64_t word[MAX_TOKENS] = {0};
    int32_t position[MAX_TOKENS] = {0};
    char got[MAX_TOKENS * (MAX_TOKENS + 1) + 1] = "";
    char *end = got;
    int64_t n = 0;

    for (int64_t i = 0; i < n_runs; i++) {
        n += runs[i].n_tokens;
    }
    assert_true(n <= MAX_TOKENS);
    assert_ok(cs_mask_build(policy, n_modalities, 7, runs, n_runs, word));
    for (int32_t t = 0; t < n; t++) {
        position[t] = t;
    }
    for (int64_t q = 0; q < n; q++) {
        for (int64_t k = 0; k < n; k++) {
            *end++ =
                cs_mask_visible(word[q], position[q], word[k], position[k], 0)
                    ? '#'
                    : '.';
        }
        *end++ = '\n';
    }
    *end = '\0';
    assert_string_equal(got, picture);
}

static void causal_sees_everything_before(void **state)
{
    const cs_mask_run runs[] = {TEXT(1), ITEM(2, 0, 0), TEXT(1)};

    (void)state;
    check_picture(CS_MASK_CAUSAL, 1, runs, N_OF(runs),
                  "#...\n"
                  "##..\n"
                  "###.\n"
                  "####\n");
}

static void islands_see_only_themselves(void **state)
{
    const cs_mask_run runs[] = {TEXT(1), ITEM(2, 0, 0), ITEM(2, 1, 0),
                                ITEM(1, 0, 1), TEXT(2)};

    (void)state;
    check_picture(CS_MASK_ISLANDS, 2, runs, N_OF(runs),
                  "#.......\n"
                  ".##.....\n"
                  ".##.....\n"
                  "...##...\n"
                  "...##...\n"
                  ".....#..\n"
                  "#######.\n"
                  "########\n");
}

static void an_item_in_two_runs_is_one_island(void **state)
{
    const cs_mask_run runs[] = {ITEM(1, 0, 0), TEXT(1), ITEM(1, 0, 0),
                                ITEM(1, 0, 1)};

    (void)state;
    check_picture(CS_MASK_ISLANDS, 1, runs, N_OF(runs),
                  "#.#.\n"
                  "##..\n"
                  "#.#.\n"
                  "...#\n");
}

static void islands_per_modality_join_items(void **state)
{
    const cs_mask_run runs[] = {ITEM(1, 0, 0), ITEM(1, 1, 0), TEXT(1),
                                ITEM(1, 0, 1), TEXT(1)};

    (void)state;
    check_picture(CS_MASK_ISLANDS_PER_MODALITY, 2, runs, N_OF(runs),
                  "#..#.\n"
                  ".#...\n"
                  "###..\n"
                  "#..#.\n"
                  "#####\n");
}

static void image_sees_prompt_looks_back_too(void **state)
{
    const cs_mask_run runs[] = {TEXT(1), ITEM(2, 0, 0), TEXT(1), ITEM(2, 0, 1)};

    (void)state;
    check_picture(CS_MASK_IMAGE_SEES_PROMPT, 1, runs, N_OF(runs),
                  "#.....\n"
                  "###...\n"
                  "###...\n"
                  "####..\n"
                  "######\n"
                  "######\n");
}

static void prefix_lm_prompt_is_bidirectional(void **state)
{
    const cs_mask_run runs[] = {
        {.n_tokens = 1, .modality = 0, .item = 0, .is_prompt = true},
        PROMPT(2),
        TEXT(2),
    };

    (void)state;
    check_picture(CS_MASK_PREFIX_LM, 1, runs, N_OF(runs),
                  "###..\n"
                  "###..\n"
                  "###..\n"
                  "####.\n"
                  "#####\n");
}

static void branches_do_not_see_each_other(void **state)
{
    const cs_mask_run runs[] = {ITEM(2, 0, 0), TEXT(1), BRANCH(2, 1),
                                BRANCH(2, 2), BRANCH(1, 1)};

    (void)state;
    check_picture(CS_MASK_BRANCHES, 1, runs, N_OF(runs),
                  "##......\n"
                  "##......\n"
                  "###.....\n"
                  "####....\n"
                  "#####...\n"
                  "###..#..\n"
                  "###..##.\n"
                  "#####..#\n");
}

static void bidirectional_sees_the_whole_document(void **state)
{
    const cs_mask_run runs[] = {ITEM(2, 0, 0), ITEM(1, 0, 0)};

    (void)state;
    check_picture(CS_MASK_BIDIRECTIONAL, 1, runs, N_OF(runs),
                  "###\n"
                  "###\n"
                  "###\n");
}

static void documents_do_not_see_each_other(void **state)
{
    const uint64_t a = cs_mask_word(1, 1, 1, 1);
    const uint64_t b = cs_mask_word(2, 1, 1, 1);
    const uint64_t none = cs_mask_word(0, 1, 1, 1);

    (void)state;
    assert_true(cs_mask_visible(a, 1, a, 2, 0));
    assert_false(cs_mask_visible(a, 2, b, 1, 0));
    assert_false(cs_mask_visible(none, 2, none, 1, 0));
}

static void window_narrows_the_causal_clause_only(void **state)
{
    const uint64_t text = cs_mask_word(1, 0, 1, 1);
    const uint64_t island = cs_mask_word(1, 3, 0, 2);

    (void)state;
    assert_true(cs_mask_visible(text, 5, text, 3, 3));
    assert_false(cs_mask_visible(text, 5, text, 2, 3));
    assert_true(cs_mask_visible(island, 5, island, 0, 3));
}

static void fields_that_overflow_are_refused(void **state)
{
    const cs_mask_run text = TEXT(1);
    const cs_mask_run other = ITEM(1, 2, 0);
    const cs_mask_run last_branch = BRANCH(1, 14);
    const cs_mask_run branch = BRANCH(1, 15);
    const cs_mask_run negative = TEXT(-1);
    uint64_t word[1] = {0};

    (void)state;
    assert_fails(cs_mask_build(CS_MASK_CAUSAL, 1, 0, &text, 1, word),
                 CS_ERR_ARG, "document");
    assert_fails(cs_mask_build(CS_MASK_CAUSAL, 1, 65536, &text, 1, word),
                 CS_ERR_ARG, "65536");
    assert_ok(cs_mask_build(CS_MASK_CAUSAL, 15, 65535, &text, 1, word));
    assert_true(word[0] == cs_mask_word(65535, 0, 0xffff, 1));
    assert_fails(cs_mask_build(CS_MASK_CAUSAL, 16, 1, &text, 1, word),
                 CS_ERR_ARG, "modalities");
    assert_fails(cs_mask_build(CS_MASK_CAUSAL, 2, 1, &other, 1, word),
                 CS_ERR_ARG, "modality");
    assert_ok(cs_mask_build(CS_MASK_BRANCHES, 1, 1, &last_branch, 1, word));
    assert_true(word[0] == cs_mask_word(1, 0, 0x8003, 0x8000));
    assert_fails(cs_mask_build(CS_MASK_BRANCHES, 1, 1, &branch, 1, word),
                 CS_ERR_ARG, "kinds");
    assert_fails(cs_mask_build(CS_MASK_CAUSAL, 1, 1, &negative, 1, word),
                 CS_ERR_ARG, "-1");
}

static void too_many_items_are_refused(void **state)
{
    const int64_t n = CS_MASK_MAX_SPAN + 1;
    cs_mask_run *runs = csi_calloc((size_t)n, sizeof *runs);
    uint64_t *word = csi_calloc((size_t)n, sizeof *word);

    (void)state;
    assert_non_null(runs);
    assert_non_null(word);
    for (int64_t i = 0; i < n; i++) {
        runs[i] = (cs_mask_run)ITEM(1, 0, (int32_t)i);
    }
    assert_ok(cs_mask_build(CS_MASK_ISLANDS, 1, 1, runs, n - 1, word));
    assert_true(((word[n - 2] >> 32) & 0xffff) == CS_MASK_MAX_SPAN);
    assert_fails(cs_mask_build(CS_MASK_ISLANDS, 1, 1, runs, n, word),
                 CS_ERR_ARG, "65535 items");
    assert_ok(cs_mask_build(CS_MASK_CAUSAL, 1, 1, runs, n, word));
    csi_free(runs);
    csi_free(word);
}

static void policy_names_are_read_back(void **state)
{
    (void)state;
    for (int i = 0; i < CS_MASK_POLICY_COUNT; i++) {
        cs_mask_policy got = CS_MASK_POLICY_COUNT;

        assert_ok(cs_mask_policy_parse(cs_mask_policy_name((cs_mask_policy)i),
                                       &got));
        assert_int_equal(got, i);
    }
    cs_mask_policy untouched = CS_MASK_BRANCHES;
    assert_fails(cs_mask_policy_parse("iland", &untouched), CS_ERR_ARG,
                 "did you mean 'islands'");
    assert_fails(cs_mask_policy_parse("something else", &untouched), CS_ERR_ARG,
                 "prefix_lm");
    assert_int_equal(untouched, CS_MASK_BRANCHES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(causal_sees_everything_before),
        CST_TEST(islands_see_only_themselves),
        CST_TEST(an_item_in_two_runs_is_one_island),
        CST_TEST(islands_per_modality_join_items),
        CST_TEST(image_sees_prompt_looks_back_too),
        CST_TEST(prefix_lm_prompt_is_bidirectional),
        CST_TEST(branches_do_not_see_each_other),
        CST_TEST(bidirectional_sees_the_whole_document),
        CST_TEST(documents_do_not_see_each_other),
        CST_TEST(window_narrows_the_causal_clause_only),
        CST_TEST(fields_that_overflow_are_refused),
        CST_TEST(too_many_items_are_refused),
        CST_TEST(policy_names_are_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
