/* SPDX-License-Identifier: Apache-2.0 */
#include "cornstarch/tensor.h"

#include "test.h"

static void sizes_follow_from_the_shape(void **state)
{
    float data[24] = {0};
    cs_tensor t = cs_tensor_2d(data, CS_F32, 4, 6);

    (void)state;
    assert_int_equal(cs_tensor_rows(&t), 4);
    assert_int_equal(cs_tensor_columns(&t), 6);
    assert_int_equal(cs_tensor_count(&t), 24);
    assert_int_equal(cs_tensor_bytes(&t), 96);
    t.shape = CS_SHAPE(4, 3, 2);
    t.dtype = CS_BF16;
    assert_int_equal(cs_tensor_columns(&t), 6);
    assert_int_equal(cs_tensor_bytes(&t), 48);
    t.shape = (cs_shape){0};
    assert_int_equal(cs_tensor_count(&t), 1);
    t = cs_tensor_1d(NULL, CS_F64, 0);
    assert_int_equal(cs_tensor_count(&t), 0);
    assert_int_equal(cs_tensor_columns(&t), 1);
}

static void a_row_view_is_the_same_memory(void **state)
{
    double data[12] = {0};
    const cs_tensor t = cs_tensor_2d(data, CS_F64, 4, 3);
    const cs_tensor view = cs_tensor_row_view(&t, 1, 3);
    const cs_tensor empty = cs_tensor_row_view(&t, 4, 4);

    (void)state;
    assert_ptr_equal(view.data, data + 3);
    assert_int_equal(cs_tensor_rows(&view), 2);
    assert_int_equal(cs_tensor_columns(&view), 3);
    assert_int_equal(cs_tensor_count(&empty), 0);
    cs_tensor_set(&view, 4, 2.5);
    assert_near(data[7], 2.5, 0);
    assert_near(cs_tensor_get(&t, 7), 2.5, 0);
}

static void elements_of_any_dtype_are_numbers(void **state)
{
    static const cs_dtype dtypes[] = {CS_F32, CS_F64, CS_BF16, CS_F16,
                                      CS_I32, CS_I64, CS_U64,  CS_U8};
    uint64_t data[2] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        const cs_tensor t = cs_tensor_1d(data, dtypes[i], 2);

        cs_tensor_set(&t, 1, 3.0);
        assert_near(cs_tensor_get(&t, 1), 3.0, 0);
    }
}

/* The digest of nothing is a published constant of XXH3-128. */
static void the_checksum_is_xxh3_128(void **state)
{
    uint8_t data[3] = {1, 2, 3};
    char first[33] = "";
    char second[33] = "";
    const cs_tensor none = cs_tensor_1d(NULL, CS_U8, 0);
    const cs_tensor t = cs_tensor_1d(data, CS_U8, 3);

    (void)state;
    cs_tensor_checksum(&none, first);
    assert_string_equal(first, "99aa06d3014798d86001c324468d497f");
    cs_tensor_checksum(&t, first);
    data[2] = 4;
    cs_tensor_checksum(&t, second);
    assert_string_not_equal(first, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(sizes_follow_from_the_shape),
        CST_TEST(a_row_view_is_the_same_memory),
        CST_TEST(elements_of_any_dtype_are_numbers),
        CST_TEST(the_checksum_is_xxh3_128),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
