/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_THREAD_H
#define CS_BASE_THREAD_H
/* pthread behind statuses. Waits take deadlines: nothing here hangs alone. */
#include "cornstarch/status.h"

#include <pthread.h>
#include <stdatomic.h>

typedef cs_status (*csi_thread_fn)(void *arg);

typedef struct csi_thread {
    pthread_t handle;
    csi_thread_fn fn;
    void *arg;
    cs_error error; /* valid after join when the status is not OK */
    cs_status status;
    bool started;
} csi_thread;

CS_NODISCARD cs_status csi_thread_start(csi_thread *thread, csi_thread_fn fn,
                                        void *arg);
/* Joins; returns the thread's own status and installs its error trail here.
 * A thread that was never started joins with OK. */
CS_NODISCARD cs_status csi_thread_join(csi_thread *thread);

/* Cores that this process may use; at least 1. */
int32_t csi_cpu_count(void);
/* Cores that this machine has. */
int32_t csi_cpu_online(void);
enum {
    CSI_MACHINE_NAME_BYTES = 320
};
/* The machine, and which of its processes are seen here: two processes with
 * the same name can ask for each other by process id. */
void csi_machine_name(char out[CSI_MACHINE_NAME_BYTES]);
int32_t csi_process_id(void);
/* false: there is none of that id, or none that can be asked for. */
bool csi_process_lives(int32_t id);

typedef struct csi_mutex {
    pthread_mutex_t handle;
} csi_mutex;
/* For a mutex in static memory. */
#define CSI_MUTEX_INIT            \
    {                             \
        PTHREAD_MUTEX_INITIALIZER \
    }
typedef struct csi_cond {
    pthread_cond_t handle; /* monotonic clock */
} csi_cond;

void csi_mutex_init(csi_mutex *mutex);
void csi_mutex_fini(csi_mutex *mutex);
void csi_mutex_lock(csi_mutex *mutex);
void csi_mutex_unlock(csi_mutex *mutex);
void csi_cond_init(csi_cond *cond);
void csi_cond_fini(csi_cond *cond);
void csi_cond_broadcast(csi_cond *cond);
/* false = the deadline (csi_clock_ns) passed. */
bool csi_cond_wait_until(csi_cond *cond, csi_mutex *mutex, int64_t deadline_ns);
#endif
