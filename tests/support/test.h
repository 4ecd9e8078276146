/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CST_TEST_H
#define CST_TEST_H
/*
 * What every test program includes: cmocka (its header wants four others
 * before it), assertions about statuses that print the sentence, temporary
 * folders, a leak check around each test, and torture: run a body with the
 * n-th fallible call failing, for every n.
 *
 *     static void bad_magic_is_refused(void **state)
 *     {
 *         (void)state;
 *         assert_fails(cs_x_open(p, &x), CS_ERR_FORMAT, "magic");
 *     }
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {CST_TEST(bad_magic_is_refused)};
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * Assertions belong to the main thread: a body that runs in a rank's thread
 * returns a cs_status, and the main thread asserts on it.
 */
#include "cornstarch/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- statuses -------------------------------------------------------- */

/* The expression returns CS_OK; otherwise its sentence is shown. */
#define assert_ok(expr) cst_assert_ok((expr), #expr, __FILE__, __LINE__)

/* The expression fails with `code`, and its sentence contains `part`. */
#define assert_fails(expr, code, part) \
    cst_assert_fails((expr), (code), (part), #expr, __FILE__, __LINE__)

/* |got - wanted| <= tolerance * max(1, |wanted|); NaN never passes. */
#define assert_near(got, wanted, tolerance) \
    cst_assert_near((got), (wanted), (tolerance), #got, __FILE__, __LINE__)

/* `text` contains `part`. */
#define assert_contains(text, part) \
    cst_assert_contains((text), (part), __FILE__, __LINE__)

void cst_assert_ok(cs_status status, const char *expr, const char *file,
                   int line);
void cst_assert_fails(cs_status status, cs_status wanted, const char *part,
                      const char *expr, const char *file, int line);
void cst_assert_near(double got, double wanted, double tolerance,
                     const char *expr, const char *file, int line);
void cst_assert_contains(const char *text, const char *part, const char *file,
                         int line);

/* --- one test, with a leak check around it --------------------------- */

#define CST_TEST(f) cmocka_unit_test_setup_teardown(f, cst_begin, cst_end)

/* Fails the test when csi_alloc_live() is not what it was before it. */
int cst_begin(void **state);
int cst_end(void **state);

/* Skips the running test and says why on stderr, so that nobody overlooks
 * it; ends the test. */
void cst_skip(const char *why);

/* --- files ----------------------------------------------------------- */

enum {
    CST_PATH_BYTES = 512
};

typedef struct cst_tmpdir {
    char path[CST_PATH_BYTES];
} cst_tmpdir;

/* A new empty folder below $TMPDIR or /tmp. */
void cst_tmpdir_make(cst_tmpdir *dir);
void cst_tmpdir_remove(cst_tmpdir *dir); /* with everything in it */

/* "<dir>/<name>", valid until eight more calls in this thread. */
const char *cst_path(const cst_tmpdir *dir, const char *name);
/* "<repository>/<name>", same life. */
const char *cst_source_path(const char *name);

/* Writes the whole file; text ends at its NUL. Returns the path. */
const char *cst_write_text(const cst_tmpdir *dir, const char *name,
                           const char *text);
const char *cst_write_bytes(const cst_tmpdir *dir, const char *name,
                            const void *data, size_t n_bytes);
/* The whole file, NUL-terminated; free with cst_free. */
char *cst_read(const char *path, size_t *n_bytes);
void cst_free(void *p);

/* --- torture --------------------------------------------------------- */

typedef cs_status (*cst_body_fn)(void *arg);

/*
 * Calls body(arg) with the 1st, 2nd, ... fallible call failing (and all after
 * it), until the body gets through without meeting the fault. Each failing
 * call must return NOMEM, IO, COMM or PEER with a sentence and leave no
 * allocation behind; success in spite of a fault is an error that somebody
 * swallowed. The body frees what it made when it succeeds. Returns how many
 * faults were planted; a body without fallible calls is refused.
 */
#define cst_torture(body, arg) \
    cst_torture_at((body), (arg), #body, __FILE__, __LINE__)
int64_t cst_torture_at(cst_body_fn body, void *arg, const char *name,
                       const char *file, int line);

#endif
