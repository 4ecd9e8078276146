/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only OpenMP of this backend. Ranges are static, so a result never
 * depends on which thread was faster; with one thread there is no parallel
 * region at all, since ranks are threads themselves.
 *
 * Waking threads costs microseconds on an idle machine and milliseconds on a
 * busy one, so little work is not shared: its ranges are the same, and so are
 * its bits, but one thread runs them all.
 */
#include "cpu.h"

#include <omp.h>

/* Elements below which sharing costs more than it saves: some 30 us. */
enum {
    GRAIN = 131072
};

static void run_part(int64_t n, int64_t part, int64_t threads,
                     csi_cpu_range_fn fn, void *arg)
{
    const int64_t begin = n * part / threads;
    const int64_t end = n * (part + 1) / threads;

    if (begin < end) {
        fn(arg, begin, end, (int32_t)part);
    }
}

void csi_cpu_parallel(const cs_backend *backend, int64_t n, int64_t unit,
                      csi_cpu_range_fn fn, void *arg)
{
    const int64_t threads = backend->n_threads;

    if (threads == 1 || n <= 1) {
        if (n > 0) {
            fn(arg, 0, n, 0);
        }
        return;
    }
    if (n * unit < GRAIN) {
        for (int64_t part = 0; part < threads; part++) {
            run_part(n, part, threads, fn, arg);
        }
        return;
    }
#pragma omp parallel num_threads(backend->n_threads)
    {
        const int64_t count = omp_get_num_threads();
        const int64_t me = omp_get_thread_num();

        for (int64_t part = me; part < threads; part += count) {
            run_part(n, part, threads, fn, arg);
        }
    }
}
