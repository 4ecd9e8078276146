/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads return statuses like functions do: a join hands over the status and
 * the sentence. Locks cannot fail here except by our own mistakes, so they
 * return nothing.
 */
#include "base/thread.h"

#include "base/alloc.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void *run_thread(void *opaque)
{
    csi_thread *const thread = opaque;

    cs_error_clear();
    thread->status = thread->fn(thread->arg);
    cs_error_get(&thread->error);
    return NULL;
}

cs_status csi_thread_start(csi_thread *thread, csi_thread_fn fn, void *arg)
{
    *thread = (csi_thread){.fn = fn, .arg = arg, .status = CS_OK};
    CS_CHECK(!csi_fault_point(), CS_ERR_NOMEM,
             "cannot start a thread: injected fault");
    const int error = pthread_create(&thread->handle, NULL, run_thread, thread);

    CS_CHECK(error == 0, CS_ERR_NOMEM, "cannot start a thread: %s",
             strerrordesc_np(error));
    thread->started = true;
    return CS_OK;
}

cs_status csi_thread_join(csi_thread *thread)
{
    if (!thread->started) {
        return CS_OK;
    }
    const int error = pthread_join(thread->handle, NULL);

    thread->started = false;
    CS_CHECK(error == 0, CS_ERR_INTERNAL, "cannot join a thread: %s",
             strerrordesc_np(error));
    if (thread->status != CS_OK) {
        cs_error_set(&thread->error);
    }
    return thread->status;
}

void csi_mutex_init(csi_mutex *mutex)
{
    (void)pthread_mutex_init(&mutex->handle, NULL);
}

void csi_mutex_fini(csi_mutex *mutex)
{
    (void)pthread_mutex_destroy(&mutex->handle);
}

void csi_mutex_lock(csi_mutex *mutex)
{
    (void)pthread_mutex_lock(&mutex->handle);
}

void csi_mutex_unlock(csi_mutex *mutex)
{
    (void)pthread_mutex_unlock(&mutex->handle);
}

void csi_cond_init(csi_cond *cond)
{
    pthread_condattr_t attributes;

    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&cond->handle, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void csi_cond_fini(csi_cond *cond)
{
    (void)pthread_cond_destroy(&cond->handle);
}

void csi_cond_broadcast(csi_cond *cond)
{
    (void)pthread_cond_broadcast(&cond->handle);
}

bool csi_cond_wait_until(csi_cond *cond, csi_mutex *mutex, int64_t deadline_ns)
{
    const struct timespec deadline = {
        .tv_sec = deadline_ns / 1000000000,
        .tv_nsec = deadline_ns % 1000000000,
    };

    return pthread_cond_timedwait(&cond->handle, &mutex->handle, &deadline) !=
           ETIMEDOUT;
}

int32_t csi_cpu_count(void)
{
    cpu_set_t cores;

    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof cores, &cores) != 0) {
        return 1;
    }
    const int n = CPU_COUNT(&cores);
    return n > 0 ? n : 1;
}

int32_t csi_cpu_online(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 && n < INT32_MAX ? (int32_t)n : 1;
}

void csi_machine_name(char out[CSI_MACHINE_NAME_BYTES])
{
    char host[256] = "";
    char names[64] = "";

    if (gethostname(host, sizeof host - 1) != 0) {
        host[0] = '\0';
    }
    const ssize_t n = readlink("/proc/self/ns/pid", names, sizeof names - 1);
    names[n > 0 ? n : 0] = '\0';
    (void)snprintf(out, CSI_MACHINE_NAME_BYTES, "%s %s", host, names);
}

int32_t csi_process_id(void)
{
    return (int32_t)getpid();
}

bool csi_process_lives(int32_t id)
{
    return id > 0 && kill((pid_t)id, 0) == 0;
}
