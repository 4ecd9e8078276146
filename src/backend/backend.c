/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of backends. A table is filled by ref first, so that it is
 * complete, and then overridden by the module of the fast CPU kernels, which
 * is opened only when somebody asks for it: the program starts in
 * milliseconds and runs where the module's libraries are missing.
 *
 * The module brings an OpenMP runtime that reads its environment when it is
 * loaded, so that is set before. Ranks are threads and may create backends at
 * the same time: opening happens under a lock.
 */
#include "cornstarch/backend.h"

#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/module.h"
#include "base/thread.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MODULE_NAME "libcornstarch_cpu.so"

typedef cs_status (*fill_fn)(cs_backend *backend);

cs_dtype cs_real_dtype(cs_dtype dtype)
{
    return dtype == CS_F64 ? CS_F64 : CS_F32;
}

void *csi_backend_scratch(cs_backend *backend, size_t n_bytes)
{
    if (n_bytes > backend->scratch_bytes) {
        const size_t grown = n_bytes + n_bytes / 4;

        csi_free(backend->scratch);
        backend->scratch = csi_aligned(grown);
        backend->scratch_bytes = backend->scratch != NULL ? grown : 0;
    }
    return backend->scratch;
}

/* Spinning threads that meet other work lose more than they win, and a
 * dynamic team would change results: see docs/numerics.md. What the user has
 * set stays. Before main(): setenv() moves the environment under any thread
 * that reads it, and libraries read it whenever they like. */
__attribute__((constructor)) static void set_openmp_environment(void)
{
    static const char *const settings[][2] = {
        {"GOMP_SPINCOUNT", "1000"},
        {"OMP_DYNAMIC", "false"},
        {"OMP_MAX_ACTIVE_LEVELS", "1"},
    };

    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        (void)setenv(settings[i][0], settings[i][1], 0);
    }
}

static cs_status fill_from_module(cs_backend *backend)
{
    void *module = NULL;
    fill_fn fill = NULL;

    CS_TRY(csi_module_open(MODULE_NAME, false, &module));
    CS_TRY(csi_module_find(module, MODULE_NAME, "csi_cpu_fill", &fill,
                           sizeof fill));
    CS_TRY(fill(backend));
    return CS_OK;
}

static void fill_ref(cs_backend *backend)
{
    backend->name = "ref";
    (void)snprintf(backend->detail, sizeof backend->detail, "plain loops");
    backend->q_block = 64;
    backend->k_block = 64;
    csi_ref_fill(backend);
}

static cs_status create(const char *name, int32_t n_threads, bool use_module,
                        cs_backend **out)
{
    static csi_mutex opening = {.handle = PTHREAD_MUTEX_INITIALIZER};
    cs_status st = CS_OK;
    cs_backend *backend = csi_calloc(1, sizeof *backend);

    CS_CHECK(backend != NULL, CS_ERR_NOMEM, "backend %s", name);
    backend->n_threads = n_threads;
    fill_ref(backend);
    if (use_module) {
        backend->name = "cpu";
        csi_mutex_lock(&opening);
        st = fill_from_module(backend);
        csi_mutex_unlock(&opening);
        CS_TRY_GOTO(undo, st);
    }
    *out = backend;
    return CS_OK;

undo:
    cs_backend_destroy(&backend);
    return st;
}

cs_status cs_backend_create(const char *name, int32_t n_threads,
                            cs_backend **out)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    const char *narrowed = getenv("CORNSTARCH_CPU");
    const bool is_auto = strcmp(name, "auto") == 0;

    CS_CHECK(n_threads >= 1, CS_ERR_ARG,
             "backend %s: wanted at least 1 thread, got %" PRId32, name,
             n_threads);
    CS_CHECK(is_auto || strcmp(name, "ref") == 0 || strcmp(name, "cpu") == 0,
             CS_ERR_ARG, "backend: wanted auto, cpu or ref, got '%s'", name);
    if (strcmp(name, "ref") == 0 ||
        (narrowed != NULL && strcmp(narrowed, "ref") == 0)) {
        CS_TRY(create(name, n_threads, false, out));
        return CS_OK;
    }
    const cs_status st = create(name, n_threads, true, out);
    if (st == CS_OK || !is_auto || st == CS_ERR_NOMEM || st == CS_ERR_ARG) {
        CS_TRY(st);
        return CS_OK;
    }
    if (!atomic_flag_test_and_set(&warned)) {
        cs_log(CS_LOG_WARN, "backend", "using the slow reference kernels: %s",
               cs_error_message());
    }
    cs_error_clear();
    CS_TRY(create(name, n_threads, false, out));
    return CS_OK;
}

void cs_backend_destroy(cs_backend **backend)
{
    cs_backend *b = *backend;

    if (b == NULL) {
        return;
    }
    if (b->ops.destroy != NULL) {
        b->ops.destroy(b);
    }
    csi_free(b->scratch);
    csi_free(b);
    *backend = NULL;
}
