/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helpers of test.h. They use nothing of the library but statuses and the
 * allocation counters, so that a fault elsewhere cannot hide itself here, and
 * the plain heap, so that the leak check sees only the code under test.
 */
#include "test.h"

#include "base/alloc.h"

#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- statuses -------------------------------------------------------- */

void cst_assert_ok(cs_status status, const char *expr, const char *file,
                   int line)
{
    if (status == CS_OK) {
        return;
    }
    print_error("%s\n  wanted OK, got %s: %s\n", expr, cs_status_name(status),
                cs_error_message());
    cs_error_print(stderr, true);
    _fail(file, line);
}

void cst_assert_fails(cs_status status, cs_status wanted, const char *part,
                      const char *expr, const char *file, int line)
{
    if (status == CS_OK) {
        print_error("%s\n  wanted %s, got OK\n", expr, cs_status_name(wanted));
        _fail(file, line);
    }
    const char *sentence = cs_error_message();
    if (status != wanted) {
        print_error("%s\n  wanted %s, got %s: %s\n", expr,
                    cs_status_name(wanted), cs_status_name(status), sentence);
        _fail(file, line);
    }
    if (strstr(sentence, part) == NULL) {
        print_error("%s\n  wanted a sentence with '%s', got '%s'\n", expr, part,
                    sentence);
        _fail(file, line);
    }
}

void cst_assert_near(double got, double wanted, double tolerance,
                     const char *expr, const char *file, int line)
{
    double bound = tolerance * fmax(1.0, fabs(wanted));
    if (fabs(got - wanted) <= bound) {
        return;
    }
    print_error("%s\n  wanted %.17g within %g, got %.17g\n", expr, wanted,
                bound, got);
    _fail(file, line);
}

void cst_assert_contains(const char *text, const char *part, const char *file,
                         int line)
{
    if (text != NULL && strstr(text, part) != NULL) {
        return;
    }
    print_error("wanted text with '%s', got '%s'\n", part,
                text != NULL ? text : "(null)");
    _fail(file, line);
}

/* --- one test -------------------------------------------------------- */

static int64_t live_before;

int cst_begin(void **state)
{
    (void)state;
    cs_error_clear();
    live_before = csi_alloc_live();
    return 0;
}

int cst_end(void **state)
{
    (void)state;
    (void)csi_fault_off();
    int64_t leaked = csi_alloc_live() - live_before;
    if (leaked != 0) {
        print_error("%" PRId64 " allocations were not freed\n", leaked);
        return -1;
    }
    return 0;
}

void cst_skip(const char *why)
{
    (void)fprintf(stderr, "SKIPPED: %s\n", why);
    skip();
}

/* --- files ----------------------------------------------------------- */

static char *next_path(void)
{
    static _Thread_local char ring[8][CST_PATH_BYTES];
    static _Thread_local unsigned turn;
    return ring[turn++ % 8];
}

static const char *join(const char *folder, const char *name)
{
    char *path = next_path();
    int length = snprintf(path, CST_PATH_BYTES, "%s/%s", folder, name);
    if (length < 0 || length >= CST_PATH_BYTES) {
        fail_msg("path too long: %s/%s", folder, name);
    }
    return path;
}

const char *cst_path(const cst_tmpdir *dir, const char *name)
{
    return join(dir->path, name);
}

const char *cst_source_path(const char *name)
{
    return join(CST_SOURCE_DIR, name);
}

void cst_tmpdir_make(cst_tmpdir *dir)
{
    const char *root = getenv("TMPDIR");
    if (root == NULL || root[0] == '\0') {
        root = "/tmp";
    }
    int length = snprintf(dir->path, sizeof dir->path,
                          "%s/cornstarch-test-XXXXXX", root);
    if (length < 0 || (size_t)length >= sizeof dir->path ||
        mkdtemp(dir->path) == NULL) {
        fail_msg("no temporary folder below %s", root);
    }
}

static int remove_entry(const char *path, const struct stat *info, int kind,
                        struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void cst_tmpdir_remove(cst_tmpdir *dir)
{
    if (dir->path[0] != '\0' &&
        nftw(dir->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        fail_msg("cannot remove %s", dir->path);
    }
    dir->path[0] = '\0';
}

const char *cst_write_bytes(const cst_tmpdir *dir, const char *name,
                            const void *data, size_t n_bytes)
{
    const char *path = cst_path(dir, name);
    FILE *file = fopen(path, "wb");
    bool written = file != NULL && fwrite(data, 1, n_bytes, file) == n_bytes;
    if (file == NULL || fclose(file) != 0 || !written) {
        fail_msg("cannot write %s", path);
    }
    return path;
}

const char *cst_write_text(const cst_tmpdir *dir, const char *name,
                           const char *text)
{
    return cst_write_bytes(dir, name, text, strlen(text));
}

char *cst_read(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s", path);
        return NULL;
    }
    size_t length = 0;
    size_t capacity = 1 << 16;
    char *data = malloc(capacity);
    while (data != NULL) {
        length += fread(data + length, 1, capacity - length, file);
        if (length < capacity) {
            break;
        }
        capacity *= 2;
        char *larger = realloc(data, capacity);
        if (larger == NULL) {
            free(data);
        }
        data = larger;
    }
    (void)fclose(file);
    if (data == NULL) {
        fail_msg("no memory for %s", path);
        return NULL;
    }
    data[length] = '\0';
    if (n_bytes != NULL) {
        *n_bytes = length;
    }
    return data;
}

void cst_free(void *p)
{
    free(p);
}

/* --- torture --------------------------------------------------------- */

static bool is_clean_failure(cs_status status)
{
    return (status == CS_ERR_NOMEM || status == CS_ERR_IO ||
            status == CS_ERR_COMM || status == CS_ERR_PEER) &&
           cs_error_message()[0] != '\0';
}

int64_t cst_torture_at(cst_body_fn body, void *arg, const char *name,
                       const char *file, int line)
{
    enum {
        MOST_FAULTS = 100000
    };
    for (int64_t n = 1; n <= MOST_FAULTS; n++) {
        int64_t live = csi_alloc_live();
        cs_error_clear();
        csi_fault_arm(n);
        cs_status status = body(arg);
        int64_t seen = csi_fault_off();
        int64_t leaked = csi_alloc_live() - live;
        if (leaked != 0) {
            print_error("%s: fault %" PRId64 " leaks %" PRId64
                        " allocations (status %s: %s)\n",
                        name, n, leaked, cs_status_name(status),
                        cs_error_message());
            _fail(file, line);
        }
        if (seen < n) { /* the fault was not reached */
            cst_assert_ok(status, name, file, line);
            if (n == 1) {
                print_error("%s: has no fallible calls\n", name);
                _fail(file, line);
            }
            return n - 1;
        }
        if (status == CS_OK) {
            print_error("%s: fault %" PRId64 " was swallowed\n", name, n);
            _fail(file, line);
        }
        if (!is_clean_failure(status)) {
            print_error("%s: fault %" PRId64 " ends in %s: %s\n", name, n,
                        cs_status_name(status), cs_error_message());
            _fail(file, line);
        }
    }
    print_error("%s: more than %d fallible calls\n", name, (int)MOST_FAULTS);
    _fail(file, line);
    return 0;
}
