/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry of the module: finds what this CPU can do, chooses kernels once
 * and overrides the slots of a table that the reference has filled. Which
 * slots and which bits a rank gets depends on the CPU and on CORNSTARCH_CPU,
 * never on time.
 */
#include "cpu.h"

#include "base/alloc.h"

#include "cpu_features.h"
#include "onednn.h"

#include <omp.h>

/* Looked up by name when the module is opened. */
__attribute__((visibility("default"))) cs_status
csi_cpu_fill(cs_backend *backend);

static void destroy(cs_backend *backend)
{
    csi_cpu_state *state = backend->state;

    if (state != NULL) {
        csi_onednn_destroy(&state->dnnl);
        csi_free(state);
    }
    backend->state = NULL;
}

/* Names the path, so that a report says what computed it. */
static void describe(cs_backend *backend, const csi_cpu_features *found)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    const char *kernels = state->kernels != NULL ? state->kernels->name : "";
    char version[16] = "";

    csi_onednn_version(version, sizeof version);
    if (found->level == CSI_CPU_PLAIN) {
        (void)snprintf(backend->detail, sizeof backend->detail,
                       "plain, f32 products onednn %s", version);
    } else if (state->dnnl != NULL) {
        (void)snprintf(backend->detail, sizeof backend->detail,
                       "%s%s, bf16 products onednn %s", kernels,
                       found->level == CSI_CPU_AMX ? " amx" : "", version);
    } else {
        (void)snprintf(backend->detail, sizeof backend->detail, "%s%s", kernels,
                       state->bf16_gemm != NULL ? " bf16" : "");
    }
}

cs_status csi_cpu_fill(cs_backend *backend)
{
    csi_cpu_features found;
    csi_cpu_state *state = NULL;

    CS_TRY(csi_cpu_detect(&found));
    state = csi_calloc(1, sizeof *state);
    CS_CHECK(state != NULL, CS_ERR_NOMEM, "cpu backend");
    state->ref = backend->ops;
    backend->state = state;
    backend->ops.destroy = destroy;
    omp_set_num_threads(backend->n_threads);
    if (found.level == CSI_CPU_PLAIN) {
        csi_cpu_fill_plain(&backend->ops);
        describe(backend, &found);
        return CS_OK;
    }
    state->kernels = found.level == CSI_CPU_AVX2 ? csi_cpu_kernels_avx2()
                                                 : csi_cpu_kernels_avx512();
    if (found.onednn_bf16) {
        CS_TRY(csi_onednn_create(&state->dnnl));
    } else if (found.bf16_dot) {
        state->bf16_gemm = csi_cpu_gemm_avx512bf16();
    }
    backend->q_block = CSI_CPU_BLOCK;
    backend->k_block = CSI_CPU_BLOCK;
    csi_cpu_fill_products(&backend->ops);
    csi_cpu_fill_pointwise(&backend->ops);
    csi_cpu_fill_rows(&backend->ops);
    csi_cpu_fill_mix(&backend->ops);
    csi_cpu_fill_moves(&backend->ops);
    csi_cpu_fill_attention(&backend->ops);
    csi_cpu_fill_loss(&backend->ops);
    describe(backend, &found);
    return CS_OK;
}
