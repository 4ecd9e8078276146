/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention on several blocks with full, partial and empty tiles, every width
 * of head, against ref; its memory; and what falls back.
 */
#include "open_cpu.h"

enum {
    TOKENS = 230,
    DOCUMENT = 150
};

typedef struct problem {
    uint64_t word[TOKENS];
    int32_t position[TOKENS];
    cs_mask mask;
    cs_tile_map tiles;
    cs_attention_backward_args args;
    int64_t n_q, n_k;
} problem;

/* A document that fills whole tiles, one that does not, unused rows. */
static void fill_words(problem *p, cs_mask_policy policy)
{
    const int64_t lengths[] = {DOCUMENT, TOKENS - DOCUMENT - 5};
    int64_t at = 0;

    memset(p->word, 0, sizeof p->word);
    for (uint32_t i = 0; i < 2; i++) {
        const cs_mask_run runs[] = {
            {.n_tokens = 5, .modality = -1, .is_prompt = true},
            {.n_tokens = 40, .modality = 0, .is_prompt = true},
            {.n_tokens = lengths[i] - 45, .modality = -1},
        };

        assert_ok(cs_mask_build(policy, 1, i + 1, runs, 3, p->word + at));
        at += lengths[i];
    }
    for (; at < TOKENS; at++) { /* no token, whatever the other bits say */
        p->word[at] = cs_mask_word(0, 7, CS_MASK_TEXT, CS_MASK_TEXT);
    }
    for (int32_t t = 0; t < TOKENS; t++) {
        p->position[t] = t;
    }
    p->mask = (cs_mask){TOKENS, p->word, p->position};
}

static problem *make_problem(cs_dtype dtype, cs_mask_policy policy,
                             int32_t heads, int32_t kv_heads, int32_t head_dim)
{
    problem *p = csi_calloc(1, sizeof *p);
    const int64_t n_q = (int64_t)TOKENS * heads * head_dim;
    const int64_t n_k = (int64_t)TOKENS * kv_heads * head_dim;

    assert_non_null(p);
    fill_words(p, policy);
    p->n_q = n_q;
    p->n_k = n_k;
    p->args = (cs_attention_backward_args){
        .forward = {.dtype = dtype,
                    .q_rows = TOKENS,
                    .k_rows = TOKENS,
                    .heads = heads,
                    .kv_heads = kv_heads,
                    .head_dim = head_dim,
                    .scale = 2.0 / sqrt((double)head_dim),
                    .q_mask = p->mask,
                    .k_mask = p->mask,
                    .tiles = &p->tiles,
                    .q_THK = make_values(dtype, n_q, 1),
                    .k_TGK = make_values(dtype, n_k, 2),
                    .v_TGK = make_values(dtype, n_k, 3),
                    .o_THK = make_values(dtype, n_q, 4),
                    .lse_HT = make_values(CS_F32, (int64_t)TOKENS * heads, 5)},
        .do_THK = make_values(dtype, n_q, 6),
        .dq_THK = make_values(dtype, n_q, 7),
        .dk_TGK = make_values(dtype, n_k, 8),
        .dv_TGK = make_values(dtype, n_k, 9),
    };
    return p;
}

static void free_problem(problem *p)
{
    const cs_attention_args *f = &p->args.forward;
    const void *const all[] = {f->q_THK,       f->k_TGK,       f->v_TGK,
                               f->o_THK,       f->lse_HT,      p->args.do_THK,
                               p->args.dq_THK, p->args.dk_TGK, p->args.dv_TGK};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        csi_free((void *)(uintptr_t)all[i]);
    }
    cs_tile_map_fini(&p->tiles);
    csi_free(p);
}

static void run_problem(cs_backend *backend, problem *p, int32_t block)
{
    assert_ok(cs_tile_map_build(&p->tiles, &p->mask, &p->mask,
                                p->args.forward.window, block, block));
    assert_ok(backend->ops.attention(backend, &p->args.forward));
    assert_ok(backend->ops.attention_backward(backend, &p->args));
}

static void compare(const problem *a, const problem *b, const char *where)
{
    const cs_attention_args *fa = &a->args.forward;
    const cs_attention_args *fb = &b->args.forward;
    const double errors[] = {
        largest_error(fa->dtype, a->n_q, fa->o_THK, fb->o_THK),
        largest_error(CS_F32, (int64_t)TOKENS * fa->heads, fa->lse_HT,
                      fb->lse_HT),
        largest_error(fa->dtype, a->n_q, a->args.dq_THK, b->args.dq_THK),
        largest_error(fa->dtype, a->n_k, a->args.dk_TGK, b->args.dk_TGK),
        largest_error(fa->dtype, a->n_k, a->args.dv_TGK, b->args.dv_TGK),
    };

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (!(errors[i] <= tolerance_of(fa->dtype))) {
            fail_msg("path '%s', %s, head %d, array %zu: error %g", where,
                     cs_dtype_name(fa->dtype), (int)fa->head_dim, i, errors[i]);
        }
    }
}

static void check(const char *path, cs_dtype dtype, cs_mask_policy policy,
                  int32_t head_dim, int64_t window)
{
    cs_backend *ref = open_ref();
    cs_backend *fast = open_cpu(path, 1);
    problem *a = make_problem(dtype, policy, 4, 2, head_dim);
    problem *b = make_problem(dtype, policy, 4, 2, head_dim);

    a->args.forward.window = window;
    b->args.forward.window = window;
    if (fast != NULL) {
        run_problem(fast, a, fast->q_block);
        assert_true(a->tiles.n_partial > 0 && a->tiles.n_empty > 0);
        run_problem(ref, b, ref->q_block);
        compare(a, b, path);
    }
    free_problem(a);
    free_problem(b);
    cs_backend_destroy(&ref);
    cs_backend_destroy(&fast);
}

static void every_head_width_agrees_with_ref(void **state)
{
    skip_without_module();
    static const char *const paths[] = {"avx2", "avx512", ""};
    static const int32_t widths[] = {8, 24, 32, 40, 64, 72, 128, 256};

    (void)state;
    for (int p = 0; p < 3; p++) {
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
            check(paths[p], CS_F32, CS_MASK_ISLANDS, widths[i], 0);
        }
        check(paths[p], CS_BF16, CS_MASK_ISLANDS, 64, 0);
        check(paths[p], CS_BF16, CS_MASK_ISLANDS, 40, 0);
    }
}

static void every_policy_agrees_with_ref(void **state)
{
    skip_without_module();
    (void)state;
    for (int policy = 0; policy < CS_MASK_POLICY_COUNT; policy++) {
        check("", CS_F32, (cs_mask_policy)policy, 16, 0);
        check("", CS_F32, (cs_mask_policy)policy, 16, 70);
        check("avx2", CS_F32, (cs_mask_policy)policy, 16, 70);
    }
}

/* Every piece of backward belongs to one thread or is added in order; forward
 * and backward with a head per thread have the bits of one thread. */
static void threads_agree(void **state)
{
    skip_without_module();
    cs_backend *one = open_cpu("", 1);
    cs_backend *two = open_cpu("", 2);
    cs_backend *five = open_cpu("", 5);
    problem *a = make_problem(CS_F32, CS_MASK_CAUSAL, 4, 2, 32);
    problem *b = make_problem(CS_F32, CS_MASK_CAUSAL, 4, 2, 32);
    problem *c = make_problem(CS_F32, CS_MASK_CAUSAL, 4, 2, 32);

    (void)state;
    run_problem(one, a, one->q_block);
    run_problem(two, b, two->q_block);
    run_problem(five, c, five->q_block);
    assert_true(same_bits(CS_F32, a->n_q, a->args.forward.o_THK,
                          b->args.forward.o_THK));
    assert_true(same_bits(CS_F32, a->n_q, a->args.dq_THK, b->args.dq_THK));
    assert_true(same_bits(CS_F32, a->n_k, a->args.dk_TGK, b->args.dk_TGK));
    compare(c, a, "five threads");
    free_problem(a);
    free_problem(b);
    free_problem(c);
    cs_backend_destroy(&one);
    cs_backend_destroy(&two);
    cs_backend_destroy(&five);
}

static void other_blocks_fall_back_to_ref(void **state)
{
    skip_without_module();
    cs_backend *fast = open_cpu("", 1);
    cs_backend *ref = open_ref();
    problem *a = make_problem(CS_F32, CS_MASK_CAUSAL, 2, 1, 16);
    problem *b = make_problem(CS_F32, CS_MASK_CAUSAL, 2, 1, 16);

    (void)state;
    run_problem(fast, a, 48);
    run_problem(ref, b, 48);
    assert_true(same_bits(CS_F32, a->n_q, a->args.forward.o_THK,
                          b->args.forward.o_THK));
    assert_true(same_bits(CS_F32, a->n_k, a->args.dk_TGK, b->args.dk_TGK));
    free_problem(a);
    free_problem(b);
    cs_backend_destroy(&fast);
    cs_backend_destroy(&ref);
}

/* Scratch of forward for n tokens of one causal document. */
static size_t scratch_for(int64_t n)
{
    cs_backend *backend = open_cpu("", 1);
    uint64_t *word = csi_calloc((size_t)n, sizeof *word);
    int32_t *position = csi_calloc((size_t)n, sizeof *position);
    void *q = make_values(CS_F32, n * 8, 1);
    void *o = make_values(CS_F32, n * 8, 2);
    const cs_mask mask = {n, word, position};
    cs_tile_map tiles = {0};
    const cs_attention_args args = {.dtype = CS_F32,
                                    .q_rows = n,
                                    .k_rows = n,
                                    .heads = 1,
                                    .kv_heads = 1,
                                    .head_dim = 8,
                                    .scale = 1.0,
                                    .q_mask = mask,
                                    .k_mask = mask,
                                    .tiles = &tiles,
                                    .q_THK = q,
                                    .k_TGK = q,
                                    .v_TGK = q,
                                    .o_THK = o};

    for (int64_t t = 0; t < n; t++) {
        word[t] = cs_mask_word(1, 0, CS_MASK_TEXT, CS_MASK_TEXT);
        position[t] = (int32_t)t;
    }
    assert_ok(cs_tile_map_build(&tiles, &mask, &mask, 0, backend->q_block,
                                backend->k_block));
    assert_ok(backend->ops.attention(backend, &args));
    const size_t used = backend->scratch_bytes;
    cs_tile_map_fini(&tiles);
    csi_free(word);
    csi_free(position);
    csi_free(q);
    csi_free(o);
    cs_backend_destroy(&backend);
    return used;
}

static void memory_grows_with_tokens_only(void **state)
{
    skip_without_module();
    (void)state;
    const size_t small = scratch_for(1024);
    const size_t large = scratch_for(4096);

    assert_true((double)large < 4.2 * (double)small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_head_width_agrees_with_ref),
        CST_TEST(every_policy_agrees_with_ref),
        CST_TEST(threads_agree),
        CST_TEST(other_blocks_fall_back_to_ref),
        CST_TEST(memory_grows_with_tokens_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
