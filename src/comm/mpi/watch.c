/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life and death of a world's ranks, by control messages.
 *
 * The watch, a thread of each process, tells the others several times in the
 * peer timeout that this one lives, and takes what arrives while the rank
 * computes. A rank that it has not heard of for that long is lost: every wait
 * ends here, and the others learn it the same way. An abort ends every wait
 * everywhere. At the end all say farewell with their status, so that all
 * return the same; a rank that neither says farewell nor can be reached after
 * an abort keeps nobody: whoever waited long enough ends the whole job.
 */
#include "cornstarch/log.h"

#include "base/clock.h"

#include "world.h"

#include <stddef.h>
#include <string.h>

enum {
    TAG_CONTROL = 2,
    SIGNS_PER_TIMEOUT = 8,
    EXIT_LOST_PEER = 4,
    NOBODY = -1 /* the rank that aborted could not say so itself */
};

static const double TIME_TO_END_S = 10.0;
static const double LONGEST_ROUND_S = 0.5;
/* Others wait for the answers of a rank that computes. */
static const double ABORTED_ROUND_S = 0.005;

int64_t csi_mpi_deadline_ns(double wait_s)
{
    const double longest_s = CS_COMM_FOREVER_S;

    return csi_clock_ns() +
           (int64_t)((wait_s < longest_s ? wait_s : longest_s) * 1e9);
}

cs_status csi_mpi_post_control(csi_mpi_world *world)
{
    CSI_MPI_TRY(MPI_Irecv(&world->control_in, sizeof world->control_in,
                          MPI_BYTE, MPI_ANY_SOURCE, TAG_CONTROL, world->comm,
                          &world->control_request),
                "MPI_Irecv");
    return CS_OK;
}

/* ---- saying ---- */

static void write_control(csi_mpi_control *control, csi_mpi_control_kind kind,
                          cs_status status, const cs_error *error)
{
    control->kind = (int32_t)kind;
    control->status = (int32_t)status;
    control->rank = error->rank;
    memcpy(control->message, error->message, sizeof control->message);
}

/* To one peer, unless the one before is still on its way. */
static void say(csi_mpi_world *world, int32_t peer,
                const csi_mpi_control *control, size_t n_bytes,
                MPI_Request *request)
{
    int done = 1;

    if (peer == world->rank || world->peers[peer].is_lost) {
        return;
    }
    if (*request != MPI_REQUEST_NULL) {
        (void)MPI_Test(request, &done, MPI_STATUS_IGNORE);
    }
    if (done != 0) {
        (void)MPI_Isend(control, (int)n_bytes, MPI_BYTE, peer, TAG_CONTROL,
                        world->comm, request);
    }
}

static void say_alive(csi_mpi_world *world)
{
    for (int32_t r = 0; r < world->n_ranks; r++) {
        say(world, r, &world->alive, offsetof(csi_mpi_control, message),
            &world->peers[r].alive);
    }
}

/* ---- aborting ---- */

static void note_abort(csi_mpi_world *world, int32_t rank,
                       const cs_error *error)
{
    if (!world->is_aborted) {
        world->is_aborted = true;
        world->aborted_ns = csi_clock_ns();
        world->aborting_rank = rank;
        world->abort_error = *error;
    }
}

void csi_mpi_abort_locked(csi_mpi_world *world, const cs_error *error)
{
    if (world->is_aborted) {
        return;
    }
    note_abort(world, world->rank, error);
    write_control(&world->abort, CSI_MPI_ABORT, error->status, error);
    for (int32_t r = 0; r < world->n_ranks; r++) {
        say(world, r, &world->abort, sizeof world->abort,
            &world->peers[r].abort);
    }
}

cs_status csi_mpi_abort_self(csi_mpi_world *world, cs_status status)
{
    cs_error error;

    cs_error_get(&error);
    csi_mpi_abort_locked(world, &error);
    csi_mpi_drain(world);
    return status;
}

cs_status csi_mpi_fail_aborted(csi_mpi_world *world)
{
    const char *const message = world->abort_error.message;

    csi_mpi_drain(world);
    if (world->aborting_rank == NOBODY) {
        return CS_FAIL(CS_ERR_PEER, "%s", message);
    }
    return CS_FAIL(CS_ERR_PEER, "rank %d: %s", world->aborting_rank,
                   message[0] != '\0' ? message : "ended the run");
}

/* ---- hearing ---- */

static cs_error error_of(const csi_mpi_control *control)
{
    cs_error error = {
        .status = (cs_status)control->status,
        .rank = control->rank,
    };

    memcpy(error.message, control->message, sizeof error.message);
    error.message[sizeof error.message - 1] = '\0';
    return error;
}

void csi_mpi_take_control(csi_mpi_world *world, int32_t source)
{
    const csi_mpi_control *const control = &world->control_in;
    csi_mpi_peer *const peer = &world->peers[source];

    peer->heard_ns = csi_clock_ns();
    if (control->kind == CSI_MPI_ABORT) {
        const cs_error error = error_of(control);
        note_abort(world, source, &error);
    } else if (control->kind == CSI_MPI_FAREWELL) {
        peer->farewell = *control;
        peer->has_left = true;
    }
}

static void lose(csi_mpi_world *world, int32_t rank, bool is_gone)
{
    csi_mpi_peer *const peer = &world->peers[rank];
    cs_error error = {.status = CS_ERR_PEER, .rank = world->rank};

    (void)(is_gone ? snprintf(error.message, sizeof error.message,
                              "rank %d is lost: its process %d ended", rank,
                              peer->process_id)
                   : snprintf(error.message, sizeof error.message,
                              "rank %d is lost: no sign of life for %g s", rank,
                              world->peer_timeout_s));
    peer->is_lost = true;
    write_control(&peer->farewell, CSI_MPI_FAREWELL, CS_ERR_PEER, &error);
    note_abort(world, NOBODY, &error);
}

/* A watch that did not run for a while itself (a stopped process, a machine
 * asleep) knows nothing of the others. */
static void look_for_lost(csi_mpi_world *world, int64_t round_ns)
{
    const int64_t now_ns = csi_clock_ns();
    const int64_t timeout_ns = (int64_t)(world->peer_timeout_s * 1e9);
    const bool was_away = now_ns - world->watched_ns > timeout_ns / 2;

    for (int32_t r = 0; r < world->n_ranks; r++) {
        csi_mpi_peer *const peer = &world->peers[r];
        const bool is_gone =
            peer->process_id != 0 && !csi_process_lives(peer->process_id);
        if (was_away) {
            peer->heard_ns = now_ns;
        }
        if (r != world->rank && !peer->is_lost && !peer->has_left &&
            (is_gone || now_ns - peer->heard_ns > timeout_ns - round_ns)) {
            lose(world, r, is_gone);
        }
    }
    world->watched_ns = now_ns;
}

/* After an abort a rank has so long to come to its end; then it computes or
 * hangs, and the job is ended around it. */
static void end_if_stuck(csi_mpi_world *world)
{
    const double since_s = (double)(csi_clock_ns() - world->aborted_ns) * 1e-9;

    if (world->is_aborted && !world->is_leaving && since_s > TIME_TO_END_S) {
        cs_log(CS_LOG_ERROR, "comm",
               "rank %d does not come to its end within %g s of: %s",
               world->rank, TIME_TO_END_S, world->abort_error.message);
        (void)MPI_Abort(world->comm, EXIT_LOST_PEER);
    }
}

static cs_status run_watch(void *opaque)
{
    csi_mpi_world *const world = opaque;

    cs_error_set_rank(world->rank);
    csi_mutex_lock(&world->mutex);
    world->watched_ns = csi_clock_ns();
    while (!world->stops_watch) {
        const double share_s = world->peer_timeout_s / SIGNS_PER_TIMEOUT;
        const double longest_s =
            world->is_aborted ? ABORTED_ROUND_S : LONGEST_ROUND_S;
        const int64_t round_ns =
            (int64_t)((share_s < longest_s ? share_s : longest_s) * 1e9);
        const cs_status st = csi_mpi_progress(world);

        if (st != CS_OK) {
            (void)csi_mpi_abort_self(world, st);
        }
        say_alive(world);
        look_for_lost(world, round_ns);
        end_if_stuck(world);
        (void)csi_cond_wait_until(&world->cond, &world->mutex,
                                  csi_clock_ns() + round_ns);
    }
    csi_mutex_unlock(&world->mutex);
    return CS_OK;
}

cs_status csi_mpi_watch_start(csi_mpi_world *world)
{
    for (int32_t r = 0; r < world->n_ranks; r++) {
        world->peers[r].heard_ns = csi_clock_ns();
    }
    CS_TRY(csi_thread_start(&world->watch, run_watch, world));
    return CS_OK;
}

void csi_mpi_watch_stop(csi_mpi_world *world)
{
    csi_mutex_lock(&world->mutex);
    world->stops_watch = true;
    csi_cond_broadcast(&world->cond);
    csi_mutex_unlock(&world->mutex);
    if (csi_thread_join(&world->watch) != CS_OK) { /* it has no failures */
        cs_log(CS_LOG_WARN, "comm", "%s", cs_error_message());
    }
}

/* ---- parting ---- */

/* After an abort those that say nothing are given up in the end: their own
 * watch ends them, unless they hang. */
static bool all_have_left(csi_mpi_world *world)
{
    const double since_s = (double)(csi_clock_ns() - world->aborted_ns) * 1e-9;
    const bool gives_up = world->is_aborted && since_s > 2.0 * TIME_TO_END_S;

    for (int32_t r = 0; r < world->n_ranks; r++) {
        csi_mpi_peer *const peer = &world->peers[r];
        if (r != world->rank && !peer->has_left && !peer->is_lost && gives_up) {
            lose(world, r, false);
        }
        if (r != world->rank && !peer->has_left && !peer->is_lost) {
            return false;
        }
    }
    return true;
}

/* The farewells must be out before a process may go. */
static bool is_said(csi_mpi_world *world)
{
    int done = 1;

    for (int32_t r = 0; r < world->n_ranks && done != 0; r++) {
        csi_mpi_peer *const peer = &world->peers[r];
        MPI_Request *const requests[] = {&peer->abort, &peer->parting,
                                         &peer->alive};
        for (int i = 0; i < 3 && !peer->is_lost && done != 0; i++) {
            if (*requests[i] != MPI_REQUEST_NULL) {
                (void)MPI_Test(requests[i], &done, MPI_STATUS_IGNORE);
            }
        }
    }
    return done != 0;
}

/* Of the farewells of all: the lowest rank that knows a cause, else the lowest
 * that failed. */
static cs_status judge(csi_mpi_world *world)
{
    const csi_mpi_control *worst = NULL;

    for (int32_t r = 0; r < world->n_ranks; r++) {
        const csi_mpi_control *const c = &world->peers[r].farewell;
        const bool has_cause = c->status != CS_OK && c->status != CS_ERR_PEER;
        if (c->status != CS_OK &&
            (worst == NULL || (worst->status == CS_ERR_PEER && has_cause))) {
            worst = c;
        }
    }
    if (worst == NULL) {
        return CS_OK;
    }
    const cs_error error = error_of(worst);
    cs_error_set(&error);
    return cs_pass_at(__FILE__, __LINE__, __func__, error.status);
}

cs_status csi_mpi_part(csi_mpi_world *world, cs_status status)
{
    int64_t n_polls = 0;
    bool done = false;
    cs_error error;

    cs_error_get(&error);
    csi_mutex_lock(&world->mutex);
    world->is_leaving = true;
    write_control(&world->parting, CSI_MPI_FAREWELL, status, &error);
    world->peers[world->rank].farewell = world->parting;
    for (int32_t r = 0; r < world->n_ranks; r++) {
        say(world, r, &world->parting, sizeof world->parting,
            &world->peers[r].parting);
    }
    csi_mutex_unlock(&world->mutex);
    while (!done) {
        csi_mutex_lock(&world->mutex);
        const cs_status st = csi_mpi_progress(world);
        const bool is_out = is_said(world);

        done = st != CS_OK || (all_have_left(world) && is_out);
        csi_mutex_unlock(&world->mutex);
        if (!done) {
            csi_mpi_pause(&n_polls);
        }
    }
    csi_mutex_lock(&world->mutex);
    csi_mpi_finish_all(world);
    csi_mutex_unlock(&world->mutex);
    return judge(world);
}
