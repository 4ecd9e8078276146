/* SPDX-License-Identifier: Apache-2.0 */
/* Threads hand over their status and sentence; waits end at deadlines. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"

#include "support/test.h"

typedef struct shared {
    csi_mutex mutex;
    csi_cond cond;
    int64_t n;
    bool go;
} shared;

static cs_status fail_as_rank_five(void *arg)
{
    (void)arg;
    cs_error_set_rank(5);
    return CS_FAIL(CS_ERR_SHAPE, "wanted 1, got 2");
}

static void a_join_brings_status_sentence_and_rank(void **state)
{
    (void)state;
    csi_thread thread;
    cs_error error;

    assert_ok(csi_thread_start(&thread, fail_as_rank_five, NULL));
    assert_fails(csi_thread_join(&thread), CS_ERR_SHAPE, "wanted 1, got 2");
    cs_error_get(&error);
    assert_int_equal(error.rank, 5);
    assert_string_equal(error.frames[0].function, "fail_as_rank_five");
    assert_int_equal(cs_error_rank(), -1);
    assert_ok(csi_thread_join(&thread));
}

static cs_status succeed(void *arg)
{
    *(bool *)arg = true;
    return CS_OK;
}

static void errors_of_one_thread_are_not_seen_by_another(void **state)
{
    (void)state;
    csi_thread thread;
    bool ran = false;

    (void)CS_FAIL(CS_ERR_IO, "mine");
    assert_ok(csi_thread_start(&thread, succeed, &ran));
    assert_ok(csi_thread_join(&thread));
    assert_true(ran);
    assert_string_equal(cs_error_message(), "mine");
}

static void a_thread_that_cannot_start_is_an_error(void **state)
{
    (void)state;
    csi_thread thread;
    bool ran = false;

    csi_fault_arm(1);
    const cs_status st = csi_thread_start(&thread, succeed, &ran);
    (void)csi_fault_off();
    assert_fails(st, CS_ERR_NOMEM, "cannot start a thread");
    assert_ok(csi_thread_join(&thread));
    assert_false(ran);
}

static cs_status count_up(void *arg)
{
    shared *s = arg;

    csi_mutex_lock(&s->mutex);
    while (!s->go) {
        if (!csi_cond_wait_until(&s->cond, &s->mutex,
                                 csi_clock_ns() + 20000000000)) {
            csi_mutex_unlock(&s->mutex);
            return CS_FAIL(CS_ERR_PEER, "nobody said go");
        }
    }
    csi_mutex_unlock(&s->mutex);
    for (int i = 0; i < 10000; i++) {
        csi_mutex_lock(&s->mutex);
        s->n++;
        csi_mutex_unlock(&s->mutex);
    }
    return CS_OK;
}

static void a_broadcast_wakes_all_and_a_mutex_excludes(void **state)
{
    (void)state;
    csi_thread threads[4];
    shared s = {.n = 0};

    csi_mutex_init(&s.mutex);
    csi_cond_init(&s.cond);
    for (int i = 0; i < 4; i++) {
        assert_ok(csi_thread_start(&threads[i], count_up, &s));
    }
    csi_mutex_lock(&s.mutex);
    s.go = true;
    csi_cond_broadcast(&s.cond);
    csi_mutex_unlock(&s.mutex);
    for (int i = 0; i < 4; i++) {
        assert_ok(csi_thread_join(&threads[i]));
    }
    assert_int_equal(s.n, 40000);
    csi_cond_fini(&s.cond);
    csi_mutex_fini(&s.mutex);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    shared s = {.n = 0};

    csi_mutex_init(&s.mutex);
    csi_cond_init(&s.cond);
    const int64_t deadline = csi_clock_ns() + 3000000;
    bool woke = true;
    csi_mutex_lock(&s.mutex);
    while (woke) { /* a wake-up may come for nothing */
        woke = csi_cond_wait_until(&s.cond, &s.mutex, deadline);
    }
    csi_mutex_unlock(&s.mutex);
    assert_true(csi_clock_ns() >= deadline);
    csi_cond_fini(&s.cond);
    csi_mutex_fini(&s.mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(a_join_brings_status_sentence_and_rank),
        CST_TEST(errors_of_one_thread_are_not_seen_by_another),
        CST_TEST(a_thread_that_cannot_start_is_an_error),
        CST_TEST(a_broadcast_wakes_all_and_a_mutex_excludes),
        CST_TEST(a_wait_ends_at_its_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
