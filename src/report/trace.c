/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.json in the Chrome trace format, which Perfetto opens: a process per
 * rank, threads for actual compute, prediction and communication, an arrow
 * from each send to its receive. Steps follow one another. Written piece by
 * piece, because a long pipeline has more events than belong in memory twice.
 */
#include "base/alloc.h"
#include "base/file.h"

#include "internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum {
    PIECE_BYTES = 32 * 1024,
    TID_ACTUAL = 0,
    TID_PREDICTED = 1,
    TID_COMMUNICATION = 2,
    N_TIDS = 3
};

typedef struct trace_writer {
    csi_file_writer *file; /* owned */
    csi_str text;          /* what the file has not got yet */
    bool has_events;
    int64_t n_flows; /* arrows so far: their ids */
    double offset_s; /* where the step at hand begins */
} trace_writer;

static cs_status pass_on(trace_writer *w, size_t limit)
{
    CS_TRY(csi_str_check(&w->text));
    if (w->text.length > limit) {
        CS_TRY(csi_file_writer_write(w->file, w->text.data, w->text.length));
        csi_str_clear(&w->text);
    }
    return CS_OK;
}

static void begin_event(trace_writer *w)
{
    csi_str_add(&w->text, w->has_events ? ",\n" : "\n");
    w->has_events = true;
}

static void name_thread(trace_writer *w, int32_t rank, int tid,
                        const char *name)
{
    begin_event(w);
    csi_str_addf(&w->text,
                 "{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": %d, "
                 "\"tid\": %d, \"args\": {\"name\": \"%s\"}}",
                 rank, tid, name);
}

static cs_status name_rank(trace_writer *w, int32_t rank)
{
    begin_event(w);
    csi_str_addf(&w->text,
                 "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, "
                 "\"args\": {\"name\": \"rank %d\"}}",
                 rank, rank);
    begin_event(w);
    csi_str_addf(&w->text,
                 "{\"ph\": \"M\", \"name\": \"process_sort_index\", \"pid\": "
                 "%d, \"args\": {\"sort_index\": %d}}",
                 rank, rank);
    name_thread(w, rank, TID_ACTUAL, "actual");
    name_thread(w, rank, TID_PREDICTED, "predicted");
    name_thread(w, rank, TID_COMMUNICATION, "communication");
    CS_TRY(pass_on(w, PIECE_BYTES));
    return CS_OK;
}

static int tid_of(const cs_timeline_event *e)
{
    if (e->kind == CS_TIMELINE_PREDICTED) {
        return TID_PREDICTED;
    }
    return csi_action_is_communication(e->action.kind) ? TID_COMMUNICATION
                                                       : TID_ACTUAL;
}

/* One of the fixed colour names of the format. */
static const char *color_of(cs_action_kind kind)
{
    switch (kind) {
    case CS_ACTION_FORWARD:
        return "thread_state_running";
    case CS_ACTION_BACKWARD_INPUT:
        return "rail_response";
    case CS_ACTION_BACKWARD_WEIGHT:
        return "rail_animation";
    case CS_ACTION_GRADIENT_NORM:
    case CS_ACTION_OPTIMIZER_STEP:
        return "rail_load";
    default:
        return "generic_work";
    }
}

static double microseconds(const trace_writer *w, double t_s)
{
    return (w->offset_s + t_s) * 1e6;
}

/* Boxes of one row must not overlap, or viewers drop them; but a send that the
 * simulator predicts goes on while the rank computes. ends[i] = when the box
 * of event i ends: with the event, or where its row's next box begins. */
static cs_status find_ends(const cs_timeline *t, double **out)
{
    const size_t n_rows = (size_t)t->n_ranks * N_TIDS;
    double *ends = csi_calloc((size_t)t->n_events + 1, sizeof *ends);
    double *next = csi_calloc(n_rows, sizeof *next);

    if (ends == NULL || next == NULL) {
        csi_free(ends);
        csi_free(next);
        return CS_FAIL(CS_ERR_NOMEM, "trace: %" PRId64 " events", t->n_events);
    }
    for (size_t row = 0; row < n_rows; row++) {
        next[row] = INFINITY;
    }
    for (int64_t i = t->n_events - 1; i >= 0; i--) {
        const cs_timeline_event *e = &t->events[i];
        const int64_t row = (int64_t)e->rank * N_TIDS + tid_of(e);
        ends[i] = fmax(e->start_s, fmin(e->end_s, next[row]));
        next[row] = e->start_s;
    }
    csi_free(next);
    *out = ends;
    return CS_OK;
}

static cs_status write_event(trace_writer *w, const cs_timeline *t,
                             const cs_timeline_event *e, double end_s)
{
    const int32_t stage = csi_timeline_stage(t, &e->action);
    const char *stage_name = stage >= 0 ? t->stage_name[stage] : "";
    csi_str module = {0};

    csi_str_add_bytes(&module, stage_name, csi_module_length(stage_name));
    begin_event(w);
    csi_str_addf(&w->text, "{\"ph\": \"X\", \"name\": \"%s%s",
                 cs_action_name(e->action.kind), stage >= 0 ? " " : "");
    csi_str_add_json(&w->text, csi_str_get(&module));
    csi_str_addf(&w->text,
                 "\", \"cat\": \"%s\", \"cname\": \"%s\", \"pid\": %d, "
                 "\"tid\": %d, \"ts\": %.3f, \"dur\": %.3f, "
                 "\"args\": {\"action\": \"%s\", \"module\": \"",
                 e->kind == CS_TIMELINE_ACTUAL ? "actual" : "predicted",
                 color_of(e->action.kind), e->rank, tid_of(e),
                 microseconds(w, e->start_s), (end_s - e->start_s) * 1e6,
                 cs_action_name(e->action.kind));
    csi_str_add_json(&w->text, csi_str_get(&module));
    csi_str_add(&w->text, "\", \"stage\": \"");
    csi_str_add_json(&w->text, stage_name);
    csi_str_addf(&w->text, "\", \"microbatch\": %d, \"step\": %" PRId64 "}}",
                 e->action.microbatch, t->step);
    w->text.failed = w->text.failed || module.failed;
    csi_str_fini(&module);
    CS_TRY(pass_on(w, PIECE_BYTES));
    return CS_OK;
}

/* ---- arrows ---- */

static bool is_send(cs_action_kind kind)
{
    return kind == CS_ACTION_SEND_ACTIVATION || kind == CS_ACTION_SEND_GRADIENT;
}

static bool is_message(cs_action_kind kind)
{
    return is_send(kind) || kind == CS_ACTION_RECV_ACTIVATION ||
           kind == CS_ACTION_RECV_GRADIENT;
}

static bool is_gradient(cs_action_kind kind)
{
    return kind == CS_ACTION_SEND_GRADIENT || kind == CS_ACTION_RECV_GRADIENT;
}

static int compare_i32(int32_t a, int32_t b)
{
    return (a > b) - (a < b);
}

/* Same message: same edge, microbatch and direction, actual or predicted. */
static int compare_message(const cs_timeline_event *a,
                           const cs_timeline_event *b)
{
    int order = compare_i32((int32_t)a->kind, (int32_t)b->kind);

    order = order != 0 ? order
                       : compare_i32(is_gradient(a->action.kind),
                                     is_gradient(b->action.kind));
    order = order != 0 ? order : compare_i32(a->action.edge, b->action.edge);
    return order != 0 ? order
                      : compare_i32(a->action.microbatch, b->action.microbatch);
}

/* Sends before receives, each by rank: replicas run equal lists on ranks in
 * equal order, so the k-th send of a message belongs to its k-th receive. */
static int compare_events(const void *left, const void *right)
{
    const cs_timeline_event *a = *(const cs_timeline_event *const *)left;
    const cs_timeline_event *b = *(const cs_timeline_event *const *)right;
    int order = compare_message(a, b);

    order = order != 0
                ? order
                : compare_i32(is_send(b->action.kind), is_send(a->action.kind));
    return order != 0 ? order : compare_i32(a->rank, b->rank);
}

/* The arrow's head lies just inside the receive, where viewers look for the
 * event that it belongs to. */
static cs_status write_arrow(trace_writer *w, const cs_timeline_event *send,
                             const cs_timeline_event *recv)
{
    const char *name =
        is_gradient(send->action.kind) ? "gradient" : "activation";

    begin_event(w);
    csi_str_addf(&w->text,
                 "{\"ph\": \"s\", \"name\": \"%s\", \"cat\": \"message\", "
                 "\"id\": %" PRId64 ", \"pid\": %d, \"tid\": %d, \"ts\": %.3f}",
                 name, w->n_flows, send->rank, tid_of(send),
                 microseconds(w, send->start_s));
    begin_event(w);
    csi_str_addf(&w->text,
                 "{\"ph\": \"f\", \"bp\": \"e\", \"name\": \"%s\", \"cat\": "
                 "\"message\", \"id\": %" PRId64
                 ", \"pid\": %d, \"tid\": %d, \"ts\": %.3f}",
                 name, w->n_flows, recv->rank, tid_of(recv),
                 microseconds(w, fmax(recv->start_s, recv->end_s - 1e-9)));
    w->n_flows++;
    CS_TRY(pass_on(w, PIECE_BYTES));
    return CS_OK;
}

/* messages[0..n) are all of one message: sends, then receives. */
static cs_status write_group(trace_writer *w,
                             const cs_timeline_event *const *messages,
                             int64_t n)
{
    int64_t n_sends = 0;

    while (n_sends < n && is_send(messages[n_sends]->action.kind)) {
        n_sends++;
    }
    for (int64_t i = 0; i < n_sends && n_sends + i < n; i++) {
        CS_TRY(write_arrow(w, messages[i], messages[n_sends + i]));
    }
    return CS_OK;
}

static cs_status write_arrows(trace_writer *w, const cs_timeline *t)
{
    cs_status st = CS_OK;
    int64_t n = 0;
    const cs_timeline_event **messages =
        csi_calloc((size_t)t->n_events + 1, sizeof(cs_timeline_event *));

    CS_CHECK(messages != NULL, CS_ERR_NOMEM, "trace: messages");
    for (int64_t i = 0; i < t->n_events; i++) {
        if (is_message(t->events[i].action.kind)) {
            messages[n++] = &t->events[i];
        }
    }
    qsort(messages, (size_t)n, sizeof(cs_timeline_event *), compare_events);
    for (int64_t first = 0; first < n;) {
        int64_t next = first + 1;
        while (next < n &&
               compare_message(messages[first], messages[next]) == 0) {
            next++;
        }
        CS_TRY_GOTO(done, write_group(w, &messages[first], next - first));
        first = next;
    }
done:
    csi_free(messages);
    return st;
}

/* ---- the file ---- */

static cs_status write_step(trace_writer *w, const cs_timeline *t)
{
    double start = 0.0;
    double end = 0.0;
    double predicted_start = 0.0;
    double predicted_end = 0.0;
    double *ends = NULL;
    cs_status st = CS_OK;

    csi_timeline_span(t, CS_TIMELINE_ACTUAL, &start, &end);
    csi_timeline_span(t, CS_TIMELINE_PREDICTED, &predicted_start,
                      &predicted_end);
    w->offset_s -= fmin(start, predicted_start);
    begin_event(w);
    csi_str_addf(&w->text,
                 "{\"ph\": \"i\", \"s\": \"g\", \"name\": \"step %" PRId64
                 "\", \"pid\": 0, \"tid\": 0, \"ts\": %.3f}",
                 t->step, microseconds(w, 0.0));
    CS_TRY(find_ends(t, &ends));
    for (int64_t i = 0; i < t->n_events; i++) {
        CS_TRY_GOTO(done, write_event(w, t, &t->events[i], ends[i]));
    }
    CS_TRY_GOTO(done, write_arrows(w, t));
    w->offset_s += fmax(end, predicted_end) * 1.02; /* a gap to see */
done:
    csi_free(ends);
    return st;
}

cs_status cs_trace_save(const cs_timeline *timelines, int32_t n_timelines,
                        const char *path)
{
    trace_writer w = {0};
    cs_status st = CS_OK;
    int32_t n_ranks = 0;

    for (int32_t i = 0; i < n_timelines; i++) {
        CS_TRY(csi_timeline_check(&timelines[i]));
        n_ranks =
            timelines[i].n_ranks > n_ranks ? timelines[i].n_ranks : n_ranks;
    }
    CS_TRY_GOTO(done, csi_file_writer_create(path, &w.file));
    csi_str_add(&w.text, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [");
    for (int32_t rank = 0; rank < n_ranks; rank++) {
        CS_TRY_GOTO(done, name_rank(&w, rank));
    }
    for (int32_t i = 0; i < n_timelines; i++) {
        CS_TRY_GOTO(done, write_step(&w, &timelines[i]));
    }
    csi_str_add(&w.text, "\n]}\n");
    CS_TRY_GOTO(done, pass_on(&w, 0));
    CS_TRY_GOTO(done, csi_file_writer_commit(w.file));
done:
    csi_str_fini(&w.text);
    csi_file_writer_destroy(&w.file);
    return st;
}
