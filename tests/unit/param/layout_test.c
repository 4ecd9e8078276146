/* SPDX-License-Identifier: Apache-2.0 */
/* Stored layouts: which element of a file is which element in memory. */
#include "cornstarch/param.h"

#include "support/test.h"

#include <string.h>

enum {
    MAX_ELEMENTS = 200
};

/* A graph of one layer with the parameter under test. */
typedef struct one {
    cs_layer layer;
    cs_module module;
    cs_graph graph;
    cs_param param;
} one;

static void make(one *o, cs_param_layout layout, cs_shape shape)
{
    static char name[] = "blocks.3.experts.*.w1";

    *o = (one){.layer = {.heads = 4, .kv_heads = 2, .head_dim = 3}};
    o->module.layers = &o->layer;
    o->graph.modules = &o->module;
    o->param = (cs_param){.name = name, .shape = shape, .layout = layout};
}

/* Reads tensors whose element k of tensor i is 100 i + k; checks that writing
 * gives them back. */
static void read_counting(const one *o, int16_t *memory)
{
    int16_t stored[MAX_ELEMENTS];
    int16_t again[MAX_ELEMENTS];
    char name[64];
    cs_shape shape;

    for (int32_t i = 0; i < cs_param_file_count(&o->param); i++) {
        assert_ok(cs_param_file_tensor(&o->param, i, name, sizeof name,
                                       &shape));
        const int64_t n = cs_shape_count(&shape);
        assert_in_range(n, 1, MAX_ELEMENTS);
        for (int64_t k = 0; k < n; k++) {
            stored[k] = (int16_t)(100 * i + k);
        }
        cs_param_from_file(&o->graph, &o->param, i, sizeof *stored, stored,
                           memory);
    }
    for (int32_t i = 0; i < cs_param_file_count(&o->param); i++) {
        assert_ok(cs_param_file_tensor(&o->param, i, name, sizeof name,
                                       &shape));
        cs_param_to_file(&o->graph, &o->param, i, sizeof *again, memory, again);
        for (int64_t k = 0; k < cs_shape_count(&shape); k++) {
            assert_int_equal(again[k], 100 * i + k);
        }
    }
}

static void plain_is_as_stored(void **state)
{
    (void)state;
    one o;
    int16_t memory[MAX_ELEMENTS];

    make(&o, CS_LAYOUT_PLAIN, CS_SHAPE(4, 5));
    read_counting(&o, memory);
    for (int16_t k = 0; k < 20; k++) {
        assert_int_equal(memory[k], k);
    }
}

static void transposed_swaps_rows_and_columns(void **state)
{
    (void)state;
    one o;
    int16_t memory[MAX_ELEMENTS];
    char name[64];
    cs_shape shape;

    make(&o, CS_LAYOUT_TRANSPOSED, CS_SHAPE(4, 5));
    assert_ok(cs_param_file_tensor(&o.param, 0, name, sizeof name, &shape));
    assert_int_equal(shape.dim[0], 5);
    assert_int_equal(shape.dim[1], 4);
    read_counting(&o, memory);
    for (int64_t out = 0; out < 4; out++) {
        for (int64_t in = 0; in < 5; in++) {
            assert_int_equal(memory[out * 5 + in], in * 4 + out);
        }
    }
}

/* Two groups of (2 queries, key, value), heads of 3 rows. */
static void groups_part_into_queries_keys_values(void **state)
{
    (void)state;
    static const int16_t HEAD_AT[] = {0, 1, 4, 5, 2, 6, 3, 7};
    one o;
    int16_t memory[MAX_ELEMENTS];

    make(&o, CS_LAYOUT_QKV_GROUPS, CS_SHAPE(24, 2));
    read_counting(&o, memory);
    for (int64_t row = 0; row < 24; row++) {
        const int64_t at = HEAD_AT[row / 3] * 3 + row % 3;
        assert_int_equal(memory[row * 2], at * 2);
        assert_int_equal(memory[row * 2 + 1], at * 2 + 1);
    }
    make(&o, CS_LAYOUT_QKV_GROUPS, CS_SHAPE(24)); /* a bias */
    read_counting(&o, memory);
    for (int64_t row = 0; row < 24; row++) {
        assert_int_equal(memory[row], HEAD_AT[row / 3] * 3 + row % 3);
    }
}

static void experts_have_a_tensor_each(void **state)
{
    (void)state;
    one o;
    int16_t memory[MAX_ELEMENTS];
    char name[64];
    cs_shape shape;

    make(&o, CS_LAYOUT_EXPERTS, CS_SHAPE(11, 2, 3));
    assert_int_equal(cs_param_file_count(&o.param), 11);
    assert_ok(cs_param_file_tensor(&o.param, 10, name, sizeof name, &shape));
    assert_string_equal(name, "blocks.3.experts.10.w1");
    assert_int_equal(shape.n_dims, 2);
    assert_int_equal(shape.dim[0], 2);
    assert_int_equal(shape.dim[1], 3);
    read_counting(&o, memory);
    for (int16_t k = 0; k < 66; k++) {
        assert_int_equal(memory[k], 100 * (k / 6) + k % 6);
    }
    assert_true(cs_param_file_tensor(&o.param, 10, name, 8, &shape) != CS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(plain_is_as_stored),
        CST_TEST(transposed_swaps_rows_and_columns),
        CST_TEST(groups_part_into_queries_keys_values),
        CST_TEST(experts_have_a_tensor_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
