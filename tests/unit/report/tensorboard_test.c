/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event files, read again by a second reader that knows only the formats'
 * descriptions: TFRecord frames, protobuf fields, published checksums.
 */
#include "cornstarch/report.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"

#include "internal.h"
#include "support/test.h"

#include <math.h>
#include <string.h>

typedef struct event {
    double wall_s;
    int64_t step;
    char version[32];
    char tag[300];
    float value;
    bool has_value;
} event;

static uint64_t read_fixed(const uint8_t *at, int n_bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < n_bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static uint64_t read_varint(const uint8_t **at)
{
    uint64_t value = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        const uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return value;
}

static void copy_text(char *out, size_t capacity, const uint8_t *at, size_t n)
{
    assert_true(n < capacity);
    memcpy(out, at, n);
    out[n] = '\0';
}

/* depth 0 = Event, 1 = Summary, 2 = Summary.Value. */
static void read_message(const uint8_t *at, size_t n_bytes, int depth,
                         event *out)
{
    const uint8_t *const end = at + n_bytes;

    while (at < end) {
        const uint64_t key = read_varint(&at);
        const int field = (int)(key >> 3) + 10 * depth;
        if ((key & 7) == 1) {
            const uint64_t bits = read_fixed(at, 8);
            assert_int_equal(field, 1);
            memcpy(&out->wall_s, &bits, sizeof bits);
            at += 8;
        } else if ((key & 7) == 5) {
            const uint32_t bits = (uint32_t)read_fixed(at, 4);
            assert_int_equal(field, 22);
            memcpy(&out->value, &bits, sizeof bits);
            out->has_value = true;
            at += 4;
        } else if ((key & 7) == 0) {
            assert_int_equal(field, 2);
            out->step = (int64_t)read_varint(&at);
        } else {
            assert_int_equal(key & 7, 2);
            const size_t n = (size_t)read_varint(&at);
            assert_true(n <= (size_t)(end - at));
            if (field == 3) {
                copy_text(out->version, sizeof out->version, at, n);
            } else if (field == 21) {
                copy_text(out->tag, sizeof out->tag, at, n);
            } else {
                assert_true(field == 5 || field == 11);
                read_message(at, n, depth + 1, out);
            }
            at += n;
        }
    }
    assert_ptr_equal(at, end);
}

static uint32_t mask(uint32_t crc)
{
    return (uint32_t)(((uint64_t)crc >> 15 | (uint64_t)crc << 17) +
                      0xa282ead8U);
}

static int32_t read_events(const char *path, event *events, int32_t max)
{
    size_t n_bytes = 0;
    char *data = cst_read(path, &n_bytes);
    const uint8_t *at = (const uint8_t *)data;
    const uint8_t *const end = at + n_bytes;
    int32_t n = 0;

    while (at < end) {
        assert_true(end - at >= 16 && n < max);
        const size_t n_event = (size_t)read_fixed(at, 8);
        assert_true(n_event <= (size_t)(end - at) - 16);
        assert_int_equal(read_fixed(at + 8, 4), mask(csi_crc32c(at, 8)));
        assert_int_equal(read_fixed(at + 12 + n_event, 4),
                         mask(csi_crc32c(at + 12, n_event)));
        events[n] = (event){.step = -1};
        read_message(at + 12, n_event, 0, &events[n++]);
        at += 16 + n_event;
    }
    cst_free(data);
    return n;
}

/* The path of the one file in a folder, valid as cst_path is. */
static const char *only_file(const cst_tmpdir *dir)
{
    char **names = NULL;
    int64_t n = 0;

    assert_ok(csi_dir_list(dir->path, &names, &n));
    assert_int_equal(n, 1);
    const char *const path = cst_path(dir, names[0]);

    csi_free(names[0]);
    csi_free(names);
    return path;
}

static void checksums_are_those_of_rfc_3720(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(csi_crc32c("123456789", 9), 0xe3069283U);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(csi_crc32c(bytes, 32), 0x8a9136aaU);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(csi_crc32c(bytes, 32), 0x62a8ab43U);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(csi_crc32c(bytes, 32), 0x46dd794eU);
    assert_int_equal(csi_crc32c(bytes, 0), 0U);
}

static void scalars_are_read_back(void **state)
{
    static event events[8];
    cst_tmpdir dir;
    cs_tensorboard *board = NULL;
    const double before_s = csi_wall_s();

    (void)state;
    cst_tmpdir_make(&dir);
    assert_ok(cs_tensorboard_create(dir.path, &board));
    assert_ok(cs_tensorboard_scalar(board, "train/loss", 1, 2.5));
    assert_ok(cs_tensorboard_scalar(board, "train/loss", 300, -1e-3));
    assert_ok(cs_tensorboard_scalar(board, "eval/\xc3\xa9t\xc3\xa9",
                                    (int64_t)1 << 40, NAN));
    cs_tensorboard_destroy(&board);
    assert_null(board);
    assert_int_equal(read_events(only_file(&dir), events, 8), 4);
    assert_string_equal(events[0].version, "brain.Event:2");
    assert_false(events[0].has_value);
    assert_string_equal(events[1].tag, "train/loss");
    assert_int_equal(events[1].step, 1);
    assert_true(events[1].value == 2.5F);
    assert_int_equal(events[2].step, 300);
    assert_true(events[2].value == -1e-3F);
    assert_string_equal(events[3].tag, "eval/\xc3\xa9t\xc3\xa9");
    assert_true(events[3].step == (int64_t)1 << 40);
    assert_true(isnan(events[3].value));
    for (int i = 0; i < 4; i++) {
        assert_true(events[i].wall_s >= before_s &&
                    events[i].wall_s <= csi_wall_s());
    }
    cst_tmpdir_remove(&dir);
}

static void file_is_named_as_tensorboard_looks_for(void **state)
{
    cst_tmpdir dir;
    cs_tensorboard *board = NULL;

    (void)state;
    cst_tmpdir_make(&dir);
    assert_ok(cs_tensorboard_create(dir.path, &board));
    const char *const path = only_file(&dir);
    assert_contains(path, "/events.out.tfevents.");
    assert_string_equal(path + strlen(path) - 11, ".cornstarch");
    cs_tensorboard_destroy(&board);
    cst_tmpdir_remove(&dir);
}

static void tags_of_any_length_are_kept_or_refused(void **state)
{
    static event events[4];
    char tag[258];
    cst_tmpdir dir;
    cs_tensorboard *board = NULL;

    (void)state;
    memset(tag, 'x', sizeof tag);
    tag[257] = '\0';
    cst_tmpdir_make(&dir);
    assert_ok(cs_tensorboard_create(dir.path, &board));
    assert_fails(cs_tensorboard_scalar(board, tag, 1, 1.0), CS_ERR_ARG, "257");
    assert_fails(cs_tensorboard_scalar(board, "", 1, 1.0), CS_ERR_ARG, "tag");
    tag[256] = '\0';
    assert_ok(cs_tensorboard_scalar(board, tag, INT64_MAX, 1.0));
    assert_int_equal(read_events(only_file(&dir), events, 4), 2);
    assert_string_equal(events[1].tag, tag);
    assert_true(events[1].step == INT64_MAX);
    cs_tensorboard_destroy(&board);
    cst_tmpdir_remove(&dir);
}

static cs_status write_board(void *arg)
{
    cs_tensorboard *board = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_tensorboard_create(arg, &board));
    st = cs_tensorboard_scalar(board, "a", 1, 1.0);
    cs_tensorboard_destroy(&board);
    CS_TRY(st);
    return CS_OK;
}

static void every_failure_is_told(void **state)
{
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    assert_true(cst_torture(write_board, dir.path) > 5);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(checksums_are_those_of_rfc_3720),
        CST_TEST(scalars_are_read_back),
        CST_TEST(file_is_named_as_tensorboard_looks_for),
        CST_TEST(tags_of_any_length_are_kept_or_refused),
        CST_TEST(every_failure_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
