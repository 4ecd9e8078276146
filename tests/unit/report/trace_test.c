/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.json as a viewer reads it: boxes where they belong, arrows that join
 * each send to its own receive, steps one after another.
 */
#include "base/json.h"

#include "support/test.h"
#include "timelines.h"

#include <math.h>
#include <string.h>

static json_t *save_and_load(const cst_tmpdir *dir, const cs_timeline *t,
                             int32_t n)
{
    json_t *json = NULL;
    const char *const path = cst_path(dir, "trace.json");

    assert_ok(cs_trace_save(t, n, path));
    assert_ok(csi_json_load(path, 1 << 24, &json));
    return json;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *const text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    assert_true(json_is_number(value));
    return json_number_value(value);
}

static bool is_phase(const json_t *event, const char *phase)
{
    return strcmp(text_of(event, "ph"), phase) == 0;
}

static int64_t count_phase(const json_t *events, const char *phase)
{
    int64_t n = 0;

    for (size_t i = 0; i < json_array_size(events); i++) {
        n += is_phase(json_array_get(events, i), phase);
    }
    return n;
}

/* The box on the arrow's row that holds the arrow's end. */
static const json_t *box_under(const json_t *events, const json_t *arrow)
{
    const double at = number_of(arrow, "ts");

    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        if (is_phase(e, "X") &&
            number_of(e, "pid") == number_of(arrow, "pid") &&
            number_of(e, "tid") == number_of(arrow, "tid") &&
            strstr(text_of(e, "name"), "_") != NULL &&
            number_of(e, "ts") <= at &&
            at < number_of(e, "ts") + number_of(e, "dur")) {
            return e;
        }
    }
    fail_msg("an arrow begins or ends outside all boxes");
    return NULL;
}

static const json_t *arrow_end(const json_t *events, const json_t *start)
{
    const json_t *found = NULL;

    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        if (is_phase(e, "f") && number_of(e, "id") == number_of(start, "id")) {
            assert_null(found);
            found = e;
        }
    }
    assert_non_null(found);
    return found;
}

static void check_arrow(const json_t *events, const json_t *start)
{
    const json_t *const end = arrow_end(events, start);
    const json_t *const send =
        json_object_get(box_under(events, start), "args");
    const json_t *const recv = json_object_get(box_under(events, end), "args");

    assert_int_equal(strncmp(text_of(send, "action"), "SEND_", 5), 0);
    assert_int_equal(strncmp(text_of(recv, "action"), "RECV_", 5), 0);
    assert_string_equal(text_of(send, "action") + 5,
                        text_of(recv, "action") + 5);
    assert_true(number_of(send, "microbatch") == number_of(recv, "microbatch"));
    assert_true(number_of(send, "step") == number_of(recv, "step"));
    /* Replica r is ranks 2r and 2r + 1: no arrow leaves it. */
    assert_int_equal((int)number_of(start, "pid") / 2,
                     (int)number_of(end, "pid") / 2);
    assert_true(number_of(start, "pid") != number_of(end, "pid"));
}

static void every_send_has_an_arrow_to_its_receive(void **state)
{
    static cst_step steps[2];
    cst_tmpdir dir;
    int64_t n_sends = 0;

    (void)state;
    cst_tmpdir_make(&dir);
    cst_make_step(&steps[0], 5, 2, 3);
    cst_make_step(&steps[1], 9, 2, 2);
    const cs_timeline timelines[] = {steps[0].timeline, steps[1].timeline};
    json_t *json = save_and_load(&dir, timelines, 2);
    const json_t *const events = json_object_get(json, "traceEvents");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        n_sends +=
            is_phase(e, "X") && strncmp(text_of(e, "name"), "SEND_", 5) == 0;
        if (is_phase(e, "s")) {
            check_arrow(events, e);
        }
    }
    assert_int_equal(n_sends, 2 * 3 * (2 + 1) + 2 * 2 * (2 + 1));
    assert_int_equal(count_phase(events, "s"), n_sends);
    assert_int_equal(count_phase(events, "f"), n_sends);
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static const json_t *find_box(const json_t *events, const char *name, int pid,
                              int tid)
{
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        if (is_phase(e, "X") && strcmp(text_of(e, "name"), name) == 0 &&
            (int)number_of(e, "pid") == pid &&
            (int)number_of(e, "tid") == tid) {
            return e;
        }
    }
    fail_msg("no box '%s' on rank %d, thread %d", name, pid, tid);
    return NULL;
}

static void boxes_say_what_and_when(void **state)
{
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    cst_make_step(&step, 5, 1, 2);
    json_t *json = save_and_load(&dir, &step.timeline, 1);
    const json_t *const events = json_object_get(json, "traceEvents");

    assert_int_equal(count_phase(events, "X"), step.timeline.n_events);
    const json_t *e = find_box(events, "FORWARD language_model", 1, 0);
    assert_near(number_of(e, "ts"), 3000.0, 1e-9);
    assert_near(number_of(e, "dur"), 2000.0, 1e-9);
    const json_t *args = json_object_get(e, "args");
    assert_string_equal(text_of(args, "action"), "FORWARD");
    assert_string_equal(text_of(args, "module"), "language_model");
    assert_string_equal(text_of(args, "stage"), "language_model 0");
    assert_near(number_of(args, "microbatch"), 0.0, 0.0);
    assert_near(number_of(args, "step"), 5.0, 0.0);
    (void)find_box(events, "FORWARD vision", 0, 1);
    (void)find_box(events, "SEND_ACTIVATION vision", 0, 2);
    (void)find_box(events, "RECV_ACTIVATION language_model", 1, 2);
    (void)find_box(events, "SEND_GRADIENT language_model", 1, 2);
    (void)find_box(events, "RECV_GRADIENT vision", 0, 2);
    (void)find_box(events, "REDUCE_GRADIENTS language_model", 1, 2);
    (void)find_box(events, "OPTIMIZER_STEP", 0, 0);
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static void rows_are_named(void **state)
{
    static const char *const NAMES[] = {"actual", "predicted", "communication"};
    static cst_step step;
    cst_tmpdir dir;
    int n_ranks = 0;
    int n_threads = 0;

    (void)state;
    cst_tmpdir_make(&dir);
    cst_make_step(&step, 5, 1, 1);
    json_t *json = save_and_load(&dir, &step.timeline, 1);
    const json_t *const events = json_object_get(json, "traceEvents");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        const char *const name = text_of(json_object_get(e, "args"), "name");
        if (strcmp(text_of(e, "name"), "process_name") == 0) {
            assert_string_equal(name, (int)number_of(e, "pid") == 0 ? "rank 0"
                                                                    : "rank 1");
            n_ranks++;
        } else if (strcmp(text_of(e, "name"), "thread_name") == 0) {
            assert_string_equal(name, NAMES[(int)number_of(e, "tid")]);
            n_threads++;
        }
    }
    assert_int_equal(n_ranks, 2);
    assert_int_equal(n_threads, 6);
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static void steps_follow_one_another(void **state)
{
    static cst_step steps[2];
    cst_tmpdir dir;
    double first_end = 0.0;
    double second_start = INFINITY;

    (void)state;
    cst_tmpdir_make(&dir);
    cst_make_step(&steps[0], 5, 1, 3);
    cst_make_step(&steps[1], 6, 1, 3);
    /* A clock that is a little ahead must not reach into the step before. */
    steps[1].events[0].start_s = -2e-3;
    const cs_timeline timelines[] = {steps[0].timeline, steps[1].timeline};
    json_t *json = save_and_load(&dir, timelines, 2);
    const json_t *const events = json_object_get(json, "traceEvents");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        if (!is_phase(e, "X")) {
            continue;
        }
        const double ts = number_of(e, "ts");
        if ((int)number_of(json_object_get(e, "args"), "step") == 5) {
            first_end = fmax(first_end, ts + number_of(e, "dur"));
        } else {
            second_start = fmin(second_start, ts);
        }
    }
    assert_true(first_end > 0.0 && second_start >= first_end);
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static void boxes_of_a_row_do_not_overlap(void **state)
{
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    cst_make_step(&step, 5, 1, 3);
    for (int64_t i = 0; i < step.timeline.n_events; i++) {
        if (step.events[i].kind == CS_TIMELINE_PREDICTED) {
            step.events[i].end_s += 1.5e-3; /* into the next one */
        }
    }
    json_t *json = save_and_load(&dir, &step.timeline, 1);
    const json_t *const events = json_object_get(json, "traceEvents");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *a = json_array_get(events, i);
        for (size_t k = 0; k < i; k++) {
            const json_t *b = json_array_get(events, k);
            if (is_phase(a, "X") && is_phase(b, "X") &&
                number_of(a, "pid") == number_of(b, "pid") &&
                number_of(a, "tid") == number_of(b, "tid")) {
                assert_true(number_of(b, "dur") > 0.0);
                assert_true(number_of(b, "ts") + number_of(b, "dur") <=
                            number_of(a, "ts") + 1e-6);
            }
        }
    }
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static void a_send_without_receive_has_no_arrow(void **state)
{
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    cst_make_step(&step, 5, 1, 1);
    step.timeline.n_events = 2; /* FORWARD, SEND */
    json_t *json = save_and_load(&dir, &step.timeline, 1);
    const json_t *const events = json_object_get(json, "traceEvents");
    assert_int_equal(count_phase(events, "X"), 2);
    assert_int_equal(count_phase(events, "s"), 0);
    assert_int_equal(count_phase(events, "f"), 0);
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static void no_steps_make_an_empty_trace(void **state)
{
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    json_t *json = save_and_load(&dir, NULL, 0);
    assert_int_equal(json_array_size(json_object_get(json, "traceEvents")), 0);
    json_decref(json);
    cst_tmpdir_remove(&dir);
}

static void nonsense_is_refused(void **state)
{
    static cst_step step;
    cst_tmpdir dir;

    (void)state;
    cst_tmpdir_make(&dir);
    const char *const path = cst_path(&dir, "trace.json");
    const struct {
        cs_timeline_event event;
        const char *part;
    } cases[] = {
        {{0, 2, {CS_ACTION_FORWARD, 0, 0, -1}, 0, 1}, "wanted a rank below 2"},
        {{0, -1, {CS_ACTION_FORWARD, 0, 0, -1}, 0, 1}, "got -1"},
        {{0, 0, {CS_ACTION_FORWARD, 2, 0, -1}, 0, 1}, "stage 2 of 2"},
        {{0, 0, {CS_ACTION_SEND_GRADIENT, -1, 0, 1}, 0, 1}, "edge 1 of 1"},
        {{0, 0, {CS_ACTION_COUNT, -1, 0, 1}, 0, 1}, "unknown kind"},
        {{0, 0, {CS_ACTION_AGREE, -1, 0, 1}, 0, NAN}, "ends at"},
        {{0, 0, {CS_ACTION_AGREE, -1, 0, 1}, 2, 1}, "starts at 2, ends at 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cst_make_step(&step, 5, 1, 1);
        step.events[3] = cases[i].event;
        assert_fails(cs_trace_save(&step.timeline, 1, path), CS_ERR_ARG,
                     cases[i].part);
    }
    cst_tmpdir_remove(&dir);
}

static cs_status save(void *arg)
{
    static cst_step step;

    cst_make_step(&step, 5, 1, 2);
    CS_TRY(cs_trace_save(&step.timeline, 1, arg));
    return CS_OK;
}

static void every_failure_is_told(void **state)
{
    cst_tmpdir dir;
    char path[CST_PATH_BYTES];

    (void)state;
    cst_tmpdir_make(&dir);
    memcpy(path, cst_path(&dir, "trace.json"), sizeof path);
    assert_true(cst_torture(save, path) > 5);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(every_send_has_an_arrow_to_its_receive),
        CST_TEST(boxes_say_what_and_when),
        CST_TEST(rows_are_named),
        CST_TEST(steps_follow_one_another),
        CST_TEST(boxes_of_a_row_do_not_overlap),
        CST_TEST(a_send_without_receive_has_no_arrow),
        CST_TEST(no_steps_make_an_empty_trace),
        CST_TEST(nonsense_is_refused),
        CST_TEST(every_failure_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
