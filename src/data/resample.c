/* SPDX-License-Identifier: Apache-2.0 */
/* The three calls of soxr that are used, found by name once per process. */
#include "resample.h"

#if CS_HAVE_SNDFILE

#    include "base/alloc.h"
#    include "base/thread.h"

#    include <dlfcn.h>
#    include <inttypes.h>
#    include <soxr.h>
#    include <string.h>

static const char LIBRARY[] = "libsoxr.so.0";

/* Null until the library is open; it stays open. */
typedef struct soxr_calls {
    soxr_t (*create)(double, double, unsigned, soxr_error_t *,
                     const soxr_io_spec_t *, const soxr_quality_spec_t *,
                     const soxr_runtime_spec_t *);
    soxr_error_t (*process)(soxr_t, soxr_in_t, size_t, size_t *, soxr_out_t,
                            size_t, size_t *);
    soxr_quality_spec_t (*quality)(unsigned long, unsigned long);
    void (*delete)(soxr_t);
} soxr_calls;

struct csi_resampler {
    const soxr_calls *calls;
    const char *where;
    soxr_t handle; /* owned */
};

static cs_status find(void *library, const char *name, void *call)
{
    void *const symbol = dlsym(library, name);

    CS_CHECK(symbol != NULL, CS_ERR_UNSUPPORTED,
             "unsupported: resampling: %s has no %s", LIBRARY, name);
    memcpy(call, &symbol, sizeof symbol);
    return CS_OK;
}

static cs_status open_library(soxr_calls *calls)
{
    void *const library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    soxr_calls found = {.create = NULL};

    CS_CHECK(library != NULL, CS_ERR_UNSUPPORTED, "unsupported: resampling: %s",
             dlerror());
    CS_TRY(find(library, "soxr_create", &found.create));
    CS_TRY(find(library, "soxr_process", &found.process));
    CS_TRY(find(library, "soxr_quality_spec", &found.quality));
    CS_TRY(find(library, "soxr_delete", &found.delete));
    *calls = found;
    return CS_OK;
}

static cs_status get_calls(const soxr_calls **out)
{
    static csi_mutex opening = CSI_MUTEX_INIT;
    static soxr_calls calls;
    cs_status st = CS_OK;

    csi_mutex_lock(&opening);
    if (calls.create == NULL) {
        st = open_library(&calls);
    }
    csi_mutex_unlock(&opening);
    CS_TRY(st);
    *out = &calls;
    return CS_OK;
}

cs_status csi_resampler_create(const char *where, int32_t from_hz,
                               int32_t to_hz, csi_resampler **out)
{
    const soxr_calls *calls = NULL;
    soxr_error_t error = NULL;

    CS_TRY(get_calls(&calls));
    csi_resampler *r = csi_calloc(1, sizeof *r);

    CS_CHECK(r != NULL, CS_ERR_NOMEM, "%s: no memory to resample", where);
    const soxr_quality_spec_t quality = calls->quality(SOXR_HQ, 0);
    *r = (csi_resampler){.calls = calls, .where = where};
    r->handle = calls->create(from_hz, to_hz, 1, &error, NULL, &quality, NULL);
    if (error != NULL) {
        csi_resampler_destroy(&r);
        return CS_FAIL(CS_ERR_NOMEM,
                       "%s: no resampler from %" PRId32 " to %" PRId32
                       " Hz: %s",
                       where, from_hz, to_hz, error);
    }
    *out = r;
    return CS_OK;
}

void csi_resampler_destroy(csi_resampler **resampler)
{
    csi_resampler *const r = *resampler;

    if (r != NULL) {
        r->calls->delete (r->handle);
        csi_free(r);
    }
    *resampler = NULL;
}

cs_status csi_resampler_push(csi_resampler *resampler, const float *in,
                             size_t *n_in, float *out, size_t *n_out)
{
    size_t n_taken = 0;
    size_t n_written = 0;
    const soxr_error_t error =
        resampler->calls->process(resampler->handle, in, *n_in, &n_taken, out,
                                  *n_out, &n_written);

    CS_CHECK(error == NULL, CS_ERR_INTERNAL, "%s: soxr: %s", resampler->where,
             error);
    *n_in = n_taken;
    *n_out = n_written;
    return CS_OK;
}

#endif
