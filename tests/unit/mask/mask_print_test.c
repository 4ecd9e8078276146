/* SPDX-License-Identifier: Apache-2.0 */
/* The picture is part of what `inspect mask` shows: exact text. */
#include "cornstarch/mask.h"

#include "base/alloc.h"

#include "test.h"

enum {
    N = 6
};

static void make(uint64_t word[N], int32_t position[N])
{
    const cs_mask_run runs[] = {
        {.n_tokens = 2, .modality = 0},
        {.n_tokens = 2, .modality = -1},
    };

    assert_ok(cs_mask_build(CS_MASK_ISLANDS, 1, 1, runs, 2, word));
    word[4] = cs_mask_word(2, 0, 1, 1);
    word[5] = 0;
    for (int32_t t = 0; t < N; t++) {
        position[t] = t;
    }
}

static void small_masks_are_drawn_token_by_token(void **state)
{
    uint64_t word[N];
    int32_t position[N];
    char *text = NULL;

    (void)state;
    make(word, position);
    const cs_mask mask = {N, word, position};
    assert_ok(cs_mask_print(&mask, 0, 10, &text));
    assert_string_equal(text,
                        "##....\n"
                        "##....\n"
                        "###...\n"
                        "####..\n"
                        "....#.\n"
                        "......\n"
                        "6 tokens, 2 documents, 1 of no document; 12 of 36 "
                        "pairs visible (33.3 %)\n");
    csi_free(text);
}

static void large_masks_are_drawn_in_blocks(void **state)
{
    uint64_t word[N];
    int32_t position[N];
    char *text = NULL;

    (void)state;
    make(word, position);
    const cs_mask mask = {N, word, position};
    assert_ok(cs_mask_print(&mask, 0, 3, &text));
    assert_string_equal(text,
                        "#..\n"
                        "#+.\n"
                        "..+\n"
                        "one character is 2 tokens; tiles: 2 full, 2 partial, "
                        "5 empty\n"
                        "6 tokens, 2 documents, 1 of no document; 12 of 36 "
                        "pairs visible (33.3 %)\n");
    csi_free(text);
    assert_fails(cs_mask_print(&mask, 0, 0, &text), CS_ERR_ARG, "got 0");
}

static void a_mask_without_tokens_is_drawn(void **state)
{
    const cs_mask none = {0};
    char *text = NULL;

    (void)state;
    assert_ok(cs_mask_print(&none, 0, 3, &text));
    assert_contains(text, "0 tokens");
    csi_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(small_masks_are_drawn_token_by_token),
        CST_TEST(large_masks_are_drawn_in_blocks),
        CST_TEST(a_mask_without_tokens_is_drawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
