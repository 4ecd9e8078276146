/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over mask words, and rotary positions. */
#include "check.h"

static cs_status check_attention(const cs_attention_args *a)
{
    CHECK_DTYPE(a, "attention");
    CHECK_SIZE(a->q_rows, 0, "attention", "query rows");
    CHECK_SIZE(a->k_rows, 0, "attention", "key rows");
    CHECK_SIZE(a->kv_heads, 1, "attention", "key/value heads");
    CHECK_SIZE(a->head_dim, 1, "attention", "head_dim");
    CS_CHECK(a->heads >= 1 && a->heads % a->kv_heads == 0, CS_ERR_SHAPE,
             "attention: %d heads are not a multiple of %d key/value heads",
             a->heads, a->kv_heads);
    CS_CHECK(a->q_mask.n_tokens == a->q_rows && a->k_mask.n_tokens == a->k_rows,
             CS_ERR_SHAPE,
             "attention: %" PRId64 " x %" PRId64 " rows, but %" PRId64
             " x %" PRId64 " mask words",
             a->q_rows, a->k_rows, a->q_mask.n_tokens, a->k_mask.n_tokens);
    CHECK_PTR(a->tiles, "attention", "tile map");
    CS_CHECK(a->tiles->q_tokens == a->q_rows && a->tiles->k_tokens == a->k_rows,
             CS_ERR_SHAPE,
             "attention: %" PRId64 " x %" PRId64
             " rows, but a tile map of %" PRId64 " x %" PRId64,
             a->q_rows, a->k_rows, a->tiles->q_tokens, a->tiles->k_tokens);
    return CS_OK;
}

/* Multiply-adds on the tiles that are not empty: what kernels really do. */
static double tile_flops(const cs_attention_args *a)
{
    const double tiles = (double)(a->tiles->n_full + a->tiles->n_partial);
    const double pairs =
        tiles * (double)a->tiles->q_block * (double)a->tiles->k_block;
    return 4.0 * pairs * (double)a->heads * (double)a->head_dim;
}

cs_status cs_op_attention(cs_backend *backend, const cs_attention_args *a)
{
    CS_TRY(check_attention(a));
    if (a->q_rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->q_THK, "attention", "q");
    CHECK_PTR(a->o_THK, "attention", "o");
    CALL(backend, attention, a, CS_OP_ATTENTION, tile_flops(a));
    return CS_OK;
}

cs_status cs_op_attention_backward(cs_backend *backend,
                                   const cs_attention_backward_args *a)
{
    CS_TRY(check_attention(&a->forward));
    if (a->forward.q_rows == 0) {
        return CS_OK;
    }
    CHECK_PTR(a->forward.lse_HT, "attention_backward", "lse");
    CHECK_PTR(a->do_THK, "attention_backward", "do");
    CHECK_PTR(a->dq_THK, "attention_backward", "dq");
    CHECK_PTR(a->dk_TGK, "attention_backward", "dk");
    CHECK_PTR(a->dv_TGK, "attention_backward", "dv");
    CALL(backend, attention_backward, a, CS_OP_ATTENTION,
         2.5 * tile_flops(&a->forward));
    return CS_OK;
}

static cs_status check_rope_tables(const cs_rope_args *a)
{
    const int32_t n_axes = a->n_axes > 1 ? a->n_axes : 1;

    CHECK_PTR(a->position_T, "rope", "position");
    CHECK_PTR(a->inverse_frequency, "rope", "inverse_frequency");
    CS_CHECK(a->long_frequency == NULL || a->is_long_T != NULL, CS_ERR_ARG,
             "rope: long frequencies need is_long");
    for (int32_t pair = 0; a->axis != NULL && pair < a->rotary_dim / 2;
         pair++) {
        CS_CHECK(a->axis[pair] < n_axes, CS_ERR_ARG,
                 "rope: axis of pair %d wanted 0..%d, got %d", pair, n_axes - 1,
                 a->axis[pair]);
    }
    return CS_OK;
}

cs_status cs_op_rope(cs_backend *backend, const cs_rope_args *a)
{
    CHECK_DTYPE(a, "rope");
    CHECK_SIZE(a->rows, 0, "rope", "rows");
    CS_CHECK(a->rotary_dim >= 0 && a->rotary_dim % 2 == 0 &&
                 a->rotary_dim <= a->head_dim,
             CS_ERR_SHAPE,
             "rope: rotary_dim %d wanted even and at most head_dim %d",
             a->rotary_dim, a->head_dim);
    if (a->rows == 0) {
        return CS_OK;
    }
    CS_TRY(check_rope_tables(a));
    CALL(backend, rope, a, CS_OP_OTHER, 0.0);
    return CS_OK;
}
