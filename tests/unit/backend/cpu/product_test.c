/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products on sizes that cross every block of gemm.c, and what docs/numerics.md
 * promises about their bits: a row does not depend on the other rows, nor on
 * the number of threads, nor on where the arrays lie.
 */
#include "open_cpu.h"

static const char *const paths[] = {"avx2", "avx512", "", "onednn", "plain"};
enum {
    N_PATHS = sizeof paths / sizeof paths[0],
    N_OWN_PATHS = 3
};

typedef struct size3 {
    int64_t rows, in, out;
} size3;

/* All arrays of one linear layer and its three products. */
typedef struct layer {
    cs_dtype dtype;
    size3 s;
    void *x, *w, *b, *dy;
    void *y, *pre, *dx, *dw, *db;
} layer;

static layer make_layer(cs_dtype dtype, size3 s)
{
    return (layer){
        .dtype = dtype,
        .s = s,
        .x = make_values(dtype, s.rows * s.in, 1),
        .w = make_values(dtype, s.out * s.in, 2),
        .b = make_values(dtype, s.out, 3),
        .dy = make_values(dtype, s.rows * s.out, 4),
        .y = make_values(dtype, s.rows * s.out, 5),
        .pre = make_values(dtype, s.rows * s.out, 6),
        .dx = make_values(dtype, s.rows * s.in, 7),
        .dw = make_values(CS_F32, s.out * s.in, 8),
        .db = make_values(CS_F32, s.out, 9),
    };
}

static void free_layer(layer *l)
{
    void *const all[] = {l->x,   l->w,  l->b,  l->dy, l->y,
                         l->pre, l->dx, l->dw, l->db};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        csi_free(all[i]);
    }
}

static void run_layer(cs_backend *backend, const layer *l, bool accumulate)
{
    const cs_linear_args forward = {.dtype = l->dtype,
                                    .rows = l->s.rows,
                                    .in = l->s.in,
                                    .out = l->s.out,
                                    .x_TI = l->x,
                                    .w_OI = l->w,
                                    .b_O = l->b,
                                    .activation = CS_ACT_GELU,
                                    .pre_TO = l->pre,
                                    .y_TO = l->y};
    const cs_linear_input_args input = {.dtype = l->dtype,
                                        .rows = l->s.rows,
                                        .in = l->s.in,
                                        .out = l->s.out,
                                        .dy_TO = l->dy,
                                        .w_OI = l->w,
                                        .dx_TI = l->dx,
                                        .accumulate = accumulate};
    const cs_linear_weight_args weight = {.dtype = l->dtype,
                                          .rows = l->s.rows,
                                          .in = l->s.in,
                                          .out = l->s.out,
                                          .dy_TO = l->dy,
                                          .x_TI = l->x,
                                          .dw_OI = l->dw,
                                          .db_O = l->db};

    assert_ok(backend->ops.linear(backend, &forward));
    assert_ok(backend->ops.linear_input(backend, &input));
    assert_ok(backend->ops.linear_weight(backend, &weight));
}

static void compare_layers(const layer *a, const layer *b, const char *where)
{
    const int64_t n_x = a->s.rows * a->s.in;
    const int64_t n_y = a->s.rows * a->s.out;
    const int64_t n_w = a->s.out * a->s.in;
    const double most = tolerance_of(a->dtype);
    const double errors[] = {
        largest_error(a->dtype, n_y, a->y, b->y),
        largest_error(a->dtype, n_y, a->pre, b->pre),
        largest_error(a->dtype, n_x, a->dx, b->dx),
        largest_error(CS_F32, n_w, a->dw, b->dw),
        largest_error(CS_F32, a->s.out, a->db, b->db),
    };

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (!(errors[i] <= most)) {
            fail_msg("path '%s', %s, %lldx%lld->%lld, array %zu: error %g",
                     where, cs_dtype_name(a->dtype), (long long)a->s.rows,
                     (long long)a->s.in, (long long)a->s.out, i, errors[i]);
        }
    }
}

static void check_size(cs_backend *fast, cs_backend *ref, const char *path,
                       size3 s, cs_dtype dtype)
{
    layer a = make_layer(dtype, s);
    layer b = make_layer(dtype, s);
    const bool accumulate = s.rows % 2 == 1;

    run_layer(fast, &a, accumulate);
    run_layer(ref, &b, accumulate);
    compare_layers(&a, &b, path);
    free_layer(&a);
    free_layer(&b);
}

static void every_block_boundary_agrees_with_ref(void **state)
{
    skip_without_module();
    static const size3 sizes[] = {
        {3, 513, 5},     /* one more than a depth step, either dtype */
        {17, 1100, 70},  /* several depth steps with bias and activation */
        {1031, 24, 20},  /* more rows than a super-block; deep weight sums */
        {21, 20, 1100},  /* more columns than a block */
        {18, 20, 1100},  /* overwrites in several depth steps */
        {70, 300, 1100}, /* more results than a block of onednn.c */
        {40, 640, 300},
    };
    cs_backend *ref = open_ref();

    (void)state;
    for (int p = 0; p < N_PATHS; p++) {
        cs_backend *fast = open_cpu(paths[p], 1);

        for (size_t i = 0; fast != NULL && i < sizeof sizes / sizeof sizes[0];
             i++) {
            check_size(fast, ref, paths[p], sizes[i], CS_F32);
            check_size(fast, ref, paths[p], sizes[i], CS_BF16);
        }
        cs_backend_destroy(&fast);
    }
    cs_backend_destroy(&ref);
}

/* Rows 37 .. 43 of the layer on their own. */
static void check_rows_alone(cs_backend *backend, cs_dtype dtype)
{
    enum {
        FIRST = 37,
        N = 7
    };
    const size3 s = {.rows = 150, .in = 600, .out = 90};
    layer all = make_layer(dtype, s);
    layer part = make_layer(dtype, (size3){N, s.in, s.out});
    const size_t size = cs_dtype_bytes(dtype);
    const size_t skip_x = (size_t)(FIRST * s.in) * size;
    const size_t skip_y = (size_t)(FIRST * s.out) * size;

    memcpy(part.x, (const char *)all.x + skip_x, (size_t)(N * s.in) * size);
    memcpy(part.dy, (const char *)all.dy + skip_y, (size_t)(N * s.out) * size);
    run_layer(backend, &all, false);
    run_layer(backend, &part, false);
    assert_true(same_bits(dtype, N * s.out, part.y, (char *)all.y + skip_y));
    assert_true(same_bits(dtype, N * s.out, part.pre,
                          (char *)all.pre + skip_y));
    assert_true(same_bits(dtype, N * s.in, part.dx, (char *)all.dx + skip_x));
    free_layer(&all);
    free_layer(&part);
}

static void rows_do_not_depend_on_other_rows(void **state)
{
    skip_without_module();
    (void)state;
    for (int p = 0; p < N_OWN_PATHS; p++) {
        cs_backend *backend = open_cpu(paths[p], 1);

        if (backend != NULL) {
            check_rows_alone(backend, CS_F32);
            check_rows_alone(backend, CS_BF16);
        }
        cs_backend_destroy(&backend);
    }
}

/* Runs a on one and b on the other; every bit must be the same. */
static void check_same(cs_backend *one, cs_backend *other, layer *a, layer *b)
{
    const size3 s = a->s;

    run_layer(one, a, true);
    run_layer(other, b, true);
    assert_true(same_bits(a->dtype, s.rows * s.out, a->y, b->y));
    assert_true(same_bits(a->dtype, s.rows * s.in, a->dx, b->dx));
    assert_true(same_bits(CS_F32, s.out * s.in, a->dw, b->dw));
    assert_true(same_bits(CS_F32, s.out, a->db, b->db));
}

static void threads_change_no_bit(void **state)
{
    skip_without_module();
    const cs_dtype dtypes[] = {CS_F32, CS_BF16};
    const size3 s = {.rows = 1100, .in = 70, .out = 170};

    (void)state;
    for (int i = 0; i < 2; i++) {
        cs_backend *one = open_cpu("", 1);
        cs_backend *three = open_cpu("", 3);
        layer a = make_layer(dtypes[i], s);
        layer b = make_layer(dtypes[i], s);

        check_same(one, three, &a, &b);
        free_layer(&a);
        free_layer(&b);
        cs_backend_destroy(&one);
        cs_backend_destroy(&three);
    }
}

static void *shifted(cs_dtype dtype, void *array, int64_t n)
{
    const size_t size = cs_dtype_bytes(dtype);

    memmove((char *)array + size, array, (size_t)n * size);
    return (char *)array + size;
}

static void addresses_change_no_bit(void **state)
{
    skip_without_module();
    const size3 s = {.rows = 33, .in = 130, .out = 67};
    cs_backend *backend = open_cpu("", 1);
    layer a = make_layer(CS_F32, s);
    layer b = make_layer(CS_F32, s);
    layer moved = b;

    (void)state;
    moved.x = shifted(CS_F32, b.x, s.rows * s.in);
    moved.w = shifted(CS_F32, b.w, s.out * s.in);
    moved.dy = shifted(CS_F32, b.dy, s.rows * s.out);
    moved.y = shifted(CS_F32, b.y, s.rows * s.out);
    moved.dx = shifted(CS_F32, b.dx, s.rows * s.in);
    moved.dw = shifted(CS_F32, b.dw, s.out * s.in);
    check_same(backend, backend, &a, &moved);
    free_layer(&a);
    free_layer(&b);
    cs_backend_destroy(&backend);
}

/* ---- slices of one weight ---- */

/* Rows [first, first + n) of the layer's weight as a layer of its own, whose
 * weight, bias and gradients lie inside the big one's. */
static layer slice_of(const layer *all, int64_t first, int64_t n)
{
    const size_t size = cs_dtype_bytes(all->dtype);
    const size_t skip = (size_t)(first * all->s.in);
    const size3 s = {all->s.rows, all->s.in, n};
    layer part = *all;

    part.s = s;
    part.w = (char *)all->w + skip * size;
    part.b = (char *)all->b + (size_t)first * size;
    part.dw = (float *)all->dw + skip;
    part.db = (float *)all->db + first;
    part.dy = make_values(all->dtype, s.rows * n, 4);
    part.y = make_values(all->dtype, s.rows * n, 5);
    part.pre = make_values(all->dtype, s.rows * n, 6);
    for (int64_t t = 0; t < s.rows; t++) {
        memcpy((char *)part.dy + (size_t)(t * n) * size,
               (char *)all->dy + (size_t)(t * all->s.out + first) * size,
               (size_t)n * size);
    }
    return part;
}

/* Runs the slices of `cut` and compares them with the whole product `want`:
 * every bit but those of dx, which is summed slice by slice. */
static void check_slices(cs_backend *backend, layer *cut, const layer *want)
{
    static const int64_t ends[] = {0, 80, 101, 170};
    const size_t size = cs_dtype_bytes(cut->dtype);

    for (int i = 0; i < 3; i++) {
        const int64_t n = ends[i + 1] - ends[i];
        layer part = slice_of(cut, ends[i], n);

        run_layer(backend, &part, i > 0);
        for (int64_t t = 0; t < want->s.rows; t++) {
            const size_t at = (size_t)(t * want->s.out + ends[i]) * size;
            assert_memory_equal((char *)part.y + (size_t)(t * n) * size,
                                (char *)want->y + at, (size_t)n * size);
        }
        csi_free(part.dy);
        csi_free(part.y);
        csi_free(part.pre);
    }
    assert_true(same_bits(CS_F32, want->s.out * want->s.in, cut->dw, want->dw));
    assert_true(same_bits(CS_F32, want->s.out, cut->db, want->db));
    assert_true(largest_error(cut->dtype, want->s.rows * want->s.in, cut->dx,
                              want->dx) <= 2 * tolerance_of(cut->dtype));
}

/* Fused products (q, k and v; gate and up) hand out rows of one weight; the
 * second round has other numbers at the same addresses. */
static void slices_of_a_weight_are_products_of_their_own(void **state)
{
    skip_without_module();
    const cs_dtype dtypes[] = {CS_F32, CS_BF16};
    const size3 s = {.rows = 40, .in = 70, .out = 170};

    (void)state;
    for (int i = 0; i < 2 * N_OWN_PATHS; i++) {
        cs_backend *backend = open_cpu(paths[i / 2], 1);
        layer want = make_layer(dtypes[i % 2], s);
        layer cut = make_layer(dtypes[i % 2], s);

        for (uint32_t round = 0; backend != NULL && round < 2; round++) {
            void *w = make_values(want.dtype, s.out * s.in, 20 + round);
            const size_t n_bytes =
                (size_t)(s.out * s.in) * cs_dtype_bytes(want.dtype);

            memcpy(want.w, w, n_bytes);
            memcpy(cut.w, w, n_bytes);
            csi_free(w);
            run_layer(backend, &want, false);
            check_slices(backend, &cut, &want);
        }
        free_layer(&want);
        free_layer(&cut);
        cs_backend_destroy(&backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_block_boundary_agrees_with_ref),
        CST_TEST(rows_do_not_depend_on_other_rows),
        CST_TEST(threads_change_no_bit),
        CST_TEST(addresses_change_no_bit),
        CST_TEST(slices_of_a_weight_are_products_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
