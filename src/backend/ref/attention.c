/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference: attention over mask words, two passes per row (largest logit,
 * then the weights). Visibility is asked pair by pair, without the tile map,
 * so that it is right for any mask and can prove kernels that use tiles.
 *
 * Scratch, in this order: visible keys (int32 [k_rows]), one row of REAL
 * [head_dim], then REAL [k_rows] forward or 2 x [k_rows, G, K] backward.
 */
#include "base/checked.h"

#include "ref.h"

#include <inttypes.h>
#include <tgmath.h>

/* Keys that one query sees, ascending. */
typedef struct csi_visible {
    int32_t *key;
    int64_t n;
} csi_visible;

static void list_visible(const cs_attention_args *a, int64_t t,
                         csi_visible *seen)
{
    const uint64_t word = a->q_mask.word[t];
    const int32_t position = a->q_mask.position[t];

    seen->n = 0;
    for (int64_t k = 0; k < a->k_rows; k++) {
        if (cs_mask_visible(word, position, a->k_mask.word[k],
                            a->k_mask.position[k], a->window)) {
            seen->key[seen->n++] = (int32_t)k;
        }
    }
}

#define KERNELS "kernels_attention.h"
#include "each_dtype.h"

/* n_real counts REAL behind the list of keys. */
static cs_status get_scratch(cs_backend *b, const cs_attention_args *a,
                             int64_t n_real, csi_visible *seen, void **real)
{
    const int64_t key_bytes =
        csi_round_up(a->k_rows * (int64_t)sizeof(int32_t), 64);
    const size_t n_bytes =
        (size_t)key_bytes +
        (size_t)n_real * cs_dtype_bytes(cs_real_dtype(a->dtype));
    char *scratch = csi_backend_scratch(b, n_bytes);

    CS_CHECK(scratch != NULL, CS_ERR_NOMEM,
             "ref attention: scratch of %zu bytes", n_bytes);
    seen->key = (void *)scratch;
    seen->n = 0;
    *real = scratch + key_bytes;
    return CS_OK;
}

cs_status csi_ref_attention(cs_backend *b, const cs_attention_args *a)
{
    csi_visible seen = {0};
    void *real = NULL;

    CS_TRY(get_scratch(b, a, a->head_dim + a->k_rows, &seen, &real));
    RUN_DTYPE("attention", a->dtype, attention, a, &seen, real);
}

cs_status csi_ref_attention_backward(cs_backend *b,
                                     const cs_attention_backward_args *a)
{
    const cs_attention_args *f = &a->forward;
    const int64_t n = f->k_rows * f->kv_heads * f->head_dim;
    csi_visible seen = {0};
    void *real = NULL;

    CS_TRY(get_scratch(b, f, f->head_dim + 2 * n, &seen, &real));
    RUN_DTYPE("attention_backward", f->dtype, attention_backward, a, &seen,
              real);
}
