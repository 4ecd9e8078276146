/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders: what a crash, a full disk or a fault leaves behind. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"

#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t count_entries(const char *path)
{
    char **names = NULL;
    int64_t count = 0;

    assert_ok(csi_dir_list(path, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    return count;
}

static void assert_content(const char *path, const char *wanted)
{
    size_t n_bytes = 0;
    char *text = cst_read(path, &n_bytes);

    assert_string_equal(text, wanted);
    cst_free(text);
}

static void a_file_is_read_whole_and_ends_with_nul(void **state)
{
    (void)state;
    cst_tmpdir dir;
    char *data = NULL;
    size_t n_bytes = 0;

    cst_tmpdir_make(&dir);
    const char *path = cst_write_text(&dir, "a", "four");
    assert_ok(csi_file_read(path, 4, &data, &n_bytes));
    assert_int_equal(n_bytes, 4);
    assert_string_equal(data, "four");
    csi_free(data);
    path = cst_write_text(&dir, "empty", "");
    assert_ok(csi_file_read(path, 0, &data, &n_bytes));
    assert_int_equal(n_bytes, 0);
    assert_string_equal(data, "");
    csi_free(data);
    cst_tmpdir_remove(&dir);
}

static void a_file_without_a_size_is_read_to_its_end(void **state)
{
    (void)state;
    char *data = NULL;
    size_t n_bytes = 0;

    assert_ok(csi_file_read("/proc/self/status", 1 << 20, &data, &n_bytes));
    assert_contains(data, "Name:");
    assert_int_equal(strlen(data), n_bytes);
    csi_free(data);
    assert_fails(csi_file_read("/proc/self/status", 10, &data, &n_bytes),
                 CS_ERR_FORMAT, "longer than the limit of 10 bytes");
    assert_fails(csi_file_read("/dev/zero", 100000, &data, &n_bytes),
                 CS_ERR_FORMAT, "longer than the limit of 100000 bytes");
}

static void reading_says_what_is_wrong(void **state)
{
    (void)state;
    cst_tmpdir dir;
    char *data = NULL;
    size_t n_bytes = 0;
    csi_file_map map = {0};

    cst_tmpdir_make(&dir);
    const char *path = cst_write_text(&dir, "a", "four");
    assert_fails(csi_file_read(path, 3, &data, &n_bytes), CS_ERR_FORMAT,
                 "a: file has 4 bytes, the limit is 3");
    assert_fails(csi_file_read(cst_path(&dir, "b"), 3, &data, &n_bytes),
                 CS_ERR_IO, "b: cannot open: No such file or directory");
    assert_fails(csi_file_read(dir.path, 3, &data, &n_bytes), CS_ERR_IO,
                 "wanted a file, got a folder");
    assert_fails(csi_file_map_open(dir.path, &map), CS_ERR_IO,
                 "wanted a file, got a folder");
    assert_null(data);
    cst_tmpdir_remove(&dir);
}

static void a_map_shows_the_file(void **state)
{
    (void)state;
    cst_tmpdir dir;
    csi_file_map map = {0};

    cst_tmpdir_make(&dir);
    assert_ok(csi_file_map_open(cst_write_text(&dir, "a", "four"), &map));
    assert_int_equal(map.n_bytes, 4);
    assert_memory_equal(map.data, "four", 4);
    csi_file_map_close(&map);
    assert_null(map.data);
    assert_ok(csi_file_map_open(cst_write_text(&dir, "e", ""), &map));
    assert_null(map.data);
    assert_int_equal(map.n_bytes, 0);
    csi_file_map_close(&map);
    cst_tmpdir_remove(&dir);
}

static void the_old_file_stays_until_commit(void **state)
{
    (void)state;
    cst_tmpdir dir;
    csi_file_writer *writer = NULL;

    cst_tmpdir_make(&dir);
    const char *path = cst_write_text(&dir, "a", "old");
    assert_ok(csi_file_writer_create(path, &writer));
    assert_ok(csi_file_writer_write(writer, "new", 3));
    csi_file_writer_destroy(&writer);
    assert_content(path, "old");
    assert_int_equal(count_entries(dir.path), 1);
    assert_ok(csi_file_writer_create(path, &writer));
    assert_ok(csi_file_writer_write(writer, "ne", 2));
    assert_ok(csi_file_writer_write(writer, "w", 1));
    assert_ok(csi_file_writer_commit(writer));
    assert_fails(csi_file_writer_write(writer, "x", 1), CS_ERR_INTERNAL,
                 "committed or has failed");
    csi_file_writer_destroy(&writer);
    assert_null(writer);
    assert_content(path, "new");
    assert_int_equal(count_entries(dir.path), 1);
    cst_tmpdir_remove(&dir);
}

static void small_and_large_pieces_keep_their_order(void **state)
{
    (void)state;
    cst_tmpdir dir;
    csi_file_writer *writer = NULL;
    static char piece[200000];
    size_t n_bytes = 0;
    size_t at = 0;

    cst_tmpdir_make(&dir);
    assert_ok(csi_file_writer_create(cst_path(&dir, "a"), &writer));
    for (size_t n = 1; n < sizeof piece; n = n * 2 + 1) {
        memset(piece, (int)('a' + n % 26), n);
        assert_ok(csi_file_writer_write(writer, piece, n));
    }
    assert_ok(csi_file_writer_commit(writer));
    csi_file_writer_destroy(&writer);
    char *text = cst_read(cst_path(&dir, "a"), &n_bytes);
    for (size_t n = 1; n < sizeof piece; n = n * 2 + 1) {
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(text[at + i], (int)('a' + n % 26));
        }
        at += n;
    }
    assert_int_equal(at, n_bytes);
    cst_free(text);
    cst_tmpdir_remove(&dir);
}

static void a_full_disk_is_told_and_leaves_the_old_file(void **state)
{
    (void)state;
    cst_tmpdir dir;
    static char large[1 << 20];
    struct rlimit before;

    memset(large, 'x', sizeof large);
    cst_tmpdir_make(&dir);
    const char *path = cst_write_text(&dir, "a", "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* The kernel writes what fits, then refuses: as on a full disk. */
    const struct rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cs_status whole = csi_file_write(path, large, sizeof large);
    cs_error whole_error;
    cs_error_get(&whole_error);
    const cs_status appended = csi_file_append(path, large, sizeof large);
    (void)setrlimit(RLIMIT_FSIZE, &before);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(whole, CS_ERR_IO);
    assert_contains(whole_error.message, "a: cannot write: File too large");
    assert_fails(appended, CS_ERR_IO,
                 "wrote 997 of 1048576 bytes and took them back");
    assert_content(path, "old");
    assert_int_equal(count_entries(dir.path), 1);
    assert_fails(csi_file_append("/dev/full", "x", 1), CS_ERR_IO,
                 "/dev/full: cannot append: No space left on device");
    cst_tmpdir_remove(&dir);
}

static void append_creates_and_adds(void **state)
{
    (void)state;
    cst_tmpdir dir;
    int64_t n_bytes = 0;
    int64_t ns = 0;

    cst_tmpdir_make(&dir);
    const char *path = cst_path(&dir, "a");
    assert_ok(csi_file_append(path, "one\n", 4));
    assert_ok(csi_file_append(path, "two\n", 4));
    assert_content(path, "one\ntwo\n");
    assert_ok(csi_file_copy(path, cst_path(&dir, "b")));
    assert_content(cst_path(&dir, "b"), "one\ntwo\n");
    assert_ok(csi_file_truncate(path, 4));
    assert_ok(csi_file_size(path, &n_bytes));
    assert_int_equal(n_bytes, 4);
    assert_ok(csi_file_mtime_ns(path, &ns));
    assert_true((double)ns * 1e-9 > csi_wall_s() - 1000);
    assert_fails(csi_file_copy(cst_path(&dir, "none"), path), CS_ERR_IO,
                 "none: cannot open");
    assert_fails(csi_file_size(cst_path(&dir, "none"), &n_bytes), CS_ERR_IO,
                 "none: cannot read its size");
    assert_content(path, "one\n");
    cst_tmpdir_remove(&dir);
}

static void folders_are_created_listed_and_removed(void **state)
{
    (void)state;
    cst_tmpdir dir;
    char **names = NULL;
    int64_t count = 0;
    bool empty = false;

    cst_tmpdir_make(&dir);
    const char *deep = cst_path(&dir, "x/y//z/");
    assert_ok(csi_dir_create(deep));
    assert_ok(csi_dir_create(deep));
    assert_true(csi_dir_exists(cst_path(&dir, "x/y/z")));
    assert_false(csi_file_exists(cst_path(&dir, "x")));
    assert_ok(csi_dir_is_empty(deep, &empty));
    assert_true(empty);
    (void)cst_write_text(&dir, "x/b", "");
    (void)cst_write_text(&dir, "x/a", "");
    assert_true(csi_file_exists(cst_path(&dir, "x/a")));
    assert_ok(csi_dir_is_empty(cst_path(&dir, "x"), &empty));
    assert_false(empty);
    assert_ok(csi_dir_list(cst_path(&dir, "x"), &names, &count));
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
    assert_string_equal(names[2], "y");
    for (int64_t i = 0; i < count; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    assert_fails(csi_dir_create(cst_path(&dir, "x/a/c")), CS_ERR_IO,
                 "x/a: cannot create the folder: File exists");
    /* A link is removed, not what it points to. */
    (void)cst_write_text(&dir, "kept", "kept");
    assert_int_equal(symlink(dir.path, cst_path(&dir, "x/link")), 0);
    assert_ok(csi_dir_remove(cst_path(&dir, "x")));
    assert_ok(csi_dir_remove(cst_path(&dir, "x")));
    assert_content(cst_path(&dir, "kept"), "kept");
    assert_ok(csi_dir_is_empty(cst_path(&dir, "x"), &empty));
    assert_true(empty);
    cst_tmpdir_remove(&dir);
}

static void paths_are_joined_and_split(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *name, *joined, *dir;
    } CASES[] = {
        {"a", "b", "a/b", "a"}, {"a/", "b", "a/b", "a"},
        {"a", "/b", "/b", "/"}, {"", "b", "b", "."},
        {"/", "b", "/b", "/"},  {"a/b", "c", "a/b/c", "a/b"},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char *joined = NULL;
        char *folder = NULL;
        assert_ok(csi_path_join(CASES[i].folder, CASES[i].name, &joined));
        assert_string_equal(joined, CASES[i].joined);
        assert_ok(csi_path_dir(joined, &folder));
        assert_string_equal(folder, CASES[i].dir);
        csi_free(joined);
        csi_free(folder);
    }
}

static cs_status do_everything(void *arg)
{
    const cst_tmpdir *dir = arg;
    const char *path = cst_path(dir, "sub/file");
    char *data = NULL;
    size_t n_bytes = 0;
    csi_file_map map = {0};
    char **names = NULL;
    int64_t count = 0;
    bool empty = false;

    CS_TRY(csi_dir_create(cst_path(dir, "sub")));
    CS_TRY(csi_file_write(path, "text", 4));
    CS_TRY(csi_file_append(path, "more", 4));
    CS_TRY(csi_file_copy(path, cst_path(dir, "sub/copy")));
    CS_TRY(csi_file_truncate(path, 2));
    CS_TRY(csi_file_read(path, 100, &data, &n_bytes));
    csi_free(data);
    CS_TRY(csi_file_map_open(path, &map));
    csi_file_map_close(&map);
    CS_TRY(csi_dir_list(cst_path(dir, "sub"), &names, &count));
    for (int64_t i = 0; i < count; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    CS_TRY(csi_dir_is_empty(cst_path(dir, "sub"), &empty));
    CS_TRY(csi_dir_remove(cst_path(dir, "sub")));
    return CS_OK;
}

static void every_fault_is_a_sentence_and_leaves_no_temporary(void **state)
{
    (void)state;
    cst_tmpdir dir;

    cst_tmpdir_make(&dir);
    assert_in_range(cst_torture(do_everything, &dir), 30, 1000);
    cst_tmpdir_remove(&dir);
    cst_tmpdir_make(&dir);
    csi_fault_arm(6);
    const cs_status st = csi_file_write(cst_path(&dir, "a"), "text", 4);
    (void)csi_fault_off();
    assert_fails(st, CS_ERR_IO, "injected fault");
    assert_int_equal(count_entries(dir.path), 0);
    cst_tmpdir_remove(&dir);
}

static void the_clocks_run_and_the_process_has_an_age(void **state)
{
    (void)state;
    const int64_t begin = csi_clock_ns();

    csi_sleep_ns(2000000);
    assert_true(csi_clock_ns() - begin >= 2000000);
    assert_true(csi_clock_s() > 0);
    assert_true(csi_process_age_s() > -0.02 && csi_process_age_s() < 600);
    assert_in_range(csi_peak_rss_bytes(), 1 << 18, (int64_t)1 << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_file_is_read_whole_and_ends_with_nul),
        CST_TEST(a_file_without_a_size_is_read_to_its_end),
        CST_TEST(reading_says_what_is_wrong),
        CST_TEST(a_map_shows_the_file),
        CST_TEST(the_old_file_stays_until_commit),
        CST_TEST(small_and_large_pieces_keep_their_order),
        CST_TEST(a_full_disk_is_told_and_leaves_the_old_file),
        CST_TEST(append_creates_and_adds),
        CST_TEST(folders_are_created_listed_and_removed),
        CST_TEST(paths_are_joined_and_split),
        CST_TEST(every_fault_is_a_sentence_and_leaves_no_temporary),
        CST_TEST(the_clocks_run_and_the_process_has_an_age),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
