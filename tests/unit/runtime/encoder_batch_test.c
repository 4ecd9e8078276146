/* SPDX-License-Identifier: Apache-2.0 */
/* What an encoder's layers learn of their items: class tokens, kept, pooled
 * and stacked rows, places in pictures of any size. */
#include "cornstarch/runtime.h"

#include "base/arena.h"

#include "support/test.h"

#include <string.h>

enum {
    MAX_ITEMS = 3
};

typedef struct world {
    cs_module modules[2];
    cs_graph graph;
    cs_batch_item items[MAX_ITEMS];
    cs_batch_modality modality;
    cs_microbatch microbatch;
    cs_backend *backend;
    csi_arena arena;
    cs_module_batch batch;
    cs_nn_batch nn;
} world;

static void world_open(world *w)
{
    memset(w, 0, sizeof *w);
    w->modules[0] = (cs_module){.name = (char *)(uintptr_t) "vision",
                                .modality = CS_MODALITY_VISION,
                                .pool = 1,
                                .stack = 1,
                                .merge = 1,
                                .rope_axes = 1};
    w->graph = (cs_graph){.n_modules = 2, .modules = w->modules};
    w->modality.items = w->items;
    w->microbatch.modality = &w->modality;
    assert_ok(cs_backend_create("ref", 1, &w->backend));
    csi_arena_init(&w->arena, 0);
}

static void world_close(world *w)
{
    cs_module_batch_fini(&w->batch);
    csi_arena_fini(&w->arena);
    cs_backend_destroy(&w->backend);
}

static void add_item(world *w, int64_t patches, int64_t features)
{
    cs_batch_modality *const m = &w->modality;

    m->items[m->n_items++] = (cs_batch_item){
        .input_begin = m->input_rows,
        .encoder_begin = m->encoder_rows,
        .feature_begin = m->feature_rows,
    };
    m->input_rows += patches;
    m->encoder_rows += patches + w->modules[0].class_rows;
    m->feature_rows += features;
}

static cs_status build(world *w)
{
    CS_TRY(cs_module_batch_build(&w->graph, 0, &w->microbatch, w->backend,
                                 &w->arena, &w->batch));
    w->nn = cs_module_batch_nn(&w->batch);
    return CS_OK;
}

static void check_i32(const int32_t *got, const int32_t *wanted, size_t n)
{
    assert_non_null(got);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i], wanted[i]);
    }
}

static void check_i64(const int64_t *got, const int64_t *wanted, size_t n)
{
    assert_non_null(got);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i], wanted[i]);
    }
}

static void class_tokens_come_before_an_items_patches(void **state)
{
    static const int32_t PATCH[] = {-1, 0, 1, 2, -1, 3, 4};
    static const int32_t CLASS[] = {0, -1, -1, -1, 0, -1, -1};
    static const int32_t PLACE[] = {0, 1, 2, 3, 0, 1, 2};
    static const int32_t KEEP[] = {1, 2, 3, 5, 6};
    static const int64_t BEGIN[] = {0, 4, 7};
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].class_rows = 1;
    w.modules[0].feature_skip = 1;
    add_item(&w, 3, 3);
    add_item(&w, 2, 2);
    assert_ok(build(&w));
    assert_int_equal(w.nn.rows, 7);
    assert_int_equal(w.nn.input_rows, 5);
    check_i32(w.nn.patch_index, PATCH, 7);
    check_i32(w.nn.class_index, CLASS, 7);
    check_i32(w.nn.position, PLACE, 7);
    check_i64(w.nn.encoder_begin, BEGIN, 3);
    assert_int_equal(w.nn.kept_rows, 5);
    check_i32(w.nn.keep_rows, KEEP, 5);
    assert_int_equal(w.nn.pooled_rows, 5);
    assert_null(w.nn.stack_index);
    for (int64_t r = 0; r < 7; r++) {
        assert_int_equal(w.nn.mask.word[r] >> 48, r < 4 ? 1 : 2);
    }
    world_close(&w);
}

static void all_rows_are_kept_without_a_list(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].class_rows = 1;
    add_item(&w, 3, 4);
    assert_ok(build(&w));
    assert_null(w.nn.keep_rows);
    assert_int_equal(w.nn.kept_rows, 4);
    world_close(&w);
}

static void pooling_and_stacking_never_cross_items(void **state)
{
    static const int64_t POOL[] = {0, 2, 4, 5, 7, 8};
    static const int32_t STACK[] = {0, 1, 2, -1, 3, 4};
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].pool = 2;
    w.modules[0].stack = 2;
    add_item(&w, 5, 2);
    add_item(&w, 3, 1);
    assert_ok(build(&w));
    assert_int_equal(w.nn.pooled_rows, 5);
    assert_int_equal(w.nn.feature_rows, 3);
    check_i64(w.nn.pool_begin, POOL, 6);
    check_i32(w.nn.stack_index, STACK, 6);
    world_close(&w);
}

/* Qwen2-Audio: a last row without a partner gives no feature. */
static void rows_that_no_feature_needs_are_left_out(void **state)
{
    static const int32_t KEEP[] = {0, 1, 2, 3, 5, 6};
    static const int64_t POOL[] = {0, 2, 4, 6};
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].pool = 2;
    add_item(&w, 5, 2);
    add_item(&w, 2, 1);
    assert_ok(build(&w));
    assert_int_equal(w.nn.kept_rows, 6);
    check_i32(w.nn.keep_rows, KEEP, 6);
    check_i64(w.nn.pool_begin, POOL, 4);
    world_close(&w);
}

static void patches_in_squares_have_rows_and_columns(void **state)
{
    /* 2 x 4 patches in squares of 2 x 2, then 4 x 2 */
    static const int32_t PLACE[] = {0, 0, 1, 1, 0, 0, 1, 1, /* rows */
                                    0, 0, 1, 1, 2, 2, 3, 3, /* */
                                    0, 1, 0, 1, 2, 3, 2, 3, /* columns */
                                    0, 1, 0, 1, 0, 1, 0, 1};
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].is_any_size = true;
    w.modules[0].rope_axes = 2;
    w.modules[0].merge = 2;
    w.modules[0].stack = 4;
    add_item(&w, 8, 2);
    w.items[0].grid_rows = 2;
    w.items[0].grid_columns = 4;
    add_item(&w, 8, 2);
    w.items[1].grid_rows = 4;
    w.items[1].grid_columns = 2;
    assert_ok(build(&w));
    check_i32(w.nn.position, PLACE, 32);
    w.items[1].grid_columns = 3;
    assert_fails(build(&w), CS_ERR_FORMAT,
                 "vision: an item of 8 patches in 4 x 3 squares of 2");
    world_close(&w);
}

/* 1 x 2 tiles of 2 x 2 patches, of which the middle two columns are left. */
static void tiles_give_lines_without_borders_and_with_ends(void **state)
{
    static const int32_t KEEP[] = {1, 2, 3, 4, 7, 11, -1, 9, 13, -1};
    static const int32_t LINE[] = {0, 1, 2, 3, 4, 5, -1, 7, 8, -1};
    static const int32_t NEWLINE[] = {-1, -1, -1, -1, -1, -1, 0, -1, -1, 0};
    static const int32_t PATCH[] = {-1, 0, 1,  2, 3, -1, 4, 5,
                                    6,  7, -1, 8, 9, 10, 11};
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].is_tiled = true;
    w.modules[0].class_rows = 1;
    w.modules[0].feature_skip = 1;
    w.modules[0].image_size = 8;
    w.modules[0].patch_size = 4;
    add_item(&w, 12, 10);
    w.modality.encoder_rows = 15;
    w.items[0].tile_rows = 1;
    w.items[0].tile_columns = 2;
    w.items[0].grid_rows = 2;
    w.items[0].grid_columns = 2;
    assert_ok(build(&w));
    check_i32(w.nn.keep_rows, KEEP, 10);
    check_i32(w.nn.line_index, LINE, 10);
    check_i32(w.nn.newline_index, NEWLINE, 10);
    check_i32(w.nn.patch_index, PATCH, 15);
    assert_int_equal(w.nn.kept_rows, 10);
    for (int64_t r = 0; r < 15; r++) {
        assert_int_equal(w.nn.mask.word[r] >> 48, 1 + r / 5);
        assert_int_equal(w.nn.position[r], r % 5);
    }
    w.items[0].tile_rows = 0;
    assert_fails(build(&w), CS_ERR_FORMAT,
                 "vision: an item of 15 rows and 10 features in 0 x 2 tiles");
    w.items[0].tile_rows = 1;
    w.items[0].grid_columns = 5;
    w.modality.feature_rows = 16;
    assert_fails(build(&w), CS_ERR_FORMAT, "in 1 x 2 tiles");
    world_close(&w);
}

static void counts_that_do_not_fit_are_refused(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    w.modules[0].pool = 2;
    add_item(&w, 4, 3);
    assert_fails(build(&w), CS_ERR_FORMAT,
                 "vision: an item of 4 rows gives 2 features, the index has 3");
    w.modules[0].class_rows = 1;
    assert_fails(build(&w), CS_ERR_FORMAT,
                 "vision: an item's 4 rows are not its patches and 1 class");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(class_tokens_come_before_an_items_patches),
        CST_TEST(all_rows_are_kept_without_a_list),
        CST_TEST(pooling_and_stacking_never_cross_items),
        CST_TEST(rows_that_no_feature_needs_are_left_out),
        CST_TEST(patches_in_squares_have_rows_and_columns),
        CST_TEST(tiles_give_lines_without_borders_and_with_ends),
        CST_TEST(counts_that_do_not_fit_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
