/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention cases. A case with `rows` tokens is packed from documents of text
 * and two modalities under its policy, then given tokens of no document (in
 * the middle and at the end) and live tokens that see nothing. With `option`
 * the queries are every other token, back to front: what one rank of context
 * parallelism holds.
 */
#include "op_case.h"
#include "test.h"

#include <string.h>

enum {
    ATT_Q,
    ATT_K,
    ATT_V,
    ATT_O,
    ATT_LSE,
    ATT_DO,
    ATT_DQ,
    ATT_DK,
    ATT_DV
};

static int64_t n_queries(const op_case *c)
{
    return c->option ? (c->rows + 1) / 2 : c->rows;
}

/* One document of about a third of the rows; returns its end. */
static int64_t write_document(op_run *r, uint64_t *word, int64_t at,
                              uint32_t document)
{
    const int64_t left = r->c->rows - at;
    cs_mask_run runs[5] = {
        {.modality = -1, .is_prompt = true}, {.modality = 0, .is_prompt = true},
        {.modality = -1, .is_prompt = true}, {.modality = 1, .branch = 1},
        {.modality = -1, .branch = 2},
    };
    int64_t n = 0;

    for (int32_t i = 0; i < 5; i++) {
        const int64_t wanted =
            1 + op_draw(r, 3, (int64_t)document * 5 + i, r->c->rows / 8 + 1);

        runs[i].n_tokens = wanted < left - n ? wanted : left - n;
        runs[i].item = i;
        n += runs[i].n_tokens;
    }
    assert_ok(cs_mask_build(r->c->policy, 2, document, runs, 5, word + at));
    return at + n;
}

static void make_masks(op_run *r)
{
    const int64_t n = r->c->rows;
    const int64_t n_q = n_queries(r->c);
    uint64_t *word = op_alloc(r, (size_t)n * sizeof *word);
    int32_t *position = op_alloc(r, (size_t)n * sizeof *position);
    uint64_t *q_word = op_alloc(r, (size_t)n_q * sizeof *q_word);
    int32_t *q_position = op_alloc(r, (size_t)n_q * sizeof *q_position);
    uint32_t document = 1;

    for (int64_t at = 0; at < n; document++) {
        at = write_document(r, word, at, document);
    }
    for (int64_t t = 0; t < n; t++) {
        position[t] = (int32_t)t;
        if (op_draw(r, 4, t, 16) == 0 || (t > 8 && t == n - 1)) {
            word[t] = 0;
        } else if (op_draw(r, 5, t, 16) == 0) {
            word[t] &= ~((uint64_t)0xffffffff << 16); /* sees nothing */
        }
    }
    for (int64_t t = 0; t < n_q; t++) {
        const int64_t from = r->c->option ? n - 1 - 2 * t : t;
        q_word[t] = word[from];
        q_position[t] = position[from];
    }
    r->k_mask = (cs_mask){n, word, position};
    r->q_mask = (cs_mask){n_q, q_word, q_position};
}

void op_attention_layout(op_run *r)
{
    const op_case *c = r->c;
    const int64_t n_q = n_queries(c) * c->heads * c->in;
    const int64_t n_k = c->rows * c->kv_heads * c->in;

    make_masks(r);
    op_in(r, ATT_Q, r->dtype, n_q);
    op_in(r, ATT_K, r->dtype, n_k);
    op_in(r, ATT_V, r->dtype, n_k);
    op_out(r, ATT_O, r->dtype, n_q);
    op_out(r, ATT_LSE, r->real, c->heads * n_queries(c));
    op_cotangent(r, ATT_DO, ATT_O);
    op_gradient(r, ATT_DQ, ATT_Q, r->dtype, false);
    op_gradient(r, ATT_DK, ATT_K, r->dtype, false);
    op_gradient(r, ATT_DV, ATT_V, r->dtype, false);
}

cs_status op_attention_run(op_run *r)
{
    const op_case *c = r->c;
    cs_tile_map tiles = {0};
    cs_status st = CS_OK;
    const cs_attention_backward_args args = {
        .forward =
            {
                .dtype = r->dtype,
                .q_rows = n_queries(c),
                .k_rows = c->rows,
                .heads = c->heads,
                .kv_heads = c->kv_heads,
                .head_dim = (int32_t)c->in,
                .scale = c->scale,
                .softcap = c->softcap,
                .window = c->window,
                .q_mask = r->q_mask,
                .k_mask = r->k_mask,
                .tiles = &tiles,
                .q_THK = r->array[ATT_Q].data,
                .k_TGK = r->array[ATT_K].data,
                .v_TGK = r->array[ATT_V].data,
                .o_THK = r->array[ATT_O].data,
                .lse_HT = r->array[ATT_LSE].data,
            },
        .do_THK = r->array[ATT_DO].data,
        .dq_THK = r->array[ATT_DQ].data,
        .dk_TGK = r->array[ATT_DK].data,
        .dv_TGK = r->array[ATT_DV].data,
    };

    CS_TRY_GOTO(undo,
                cs_tile_map_build(&tiles, &r->q_mask, &r->k_mask, c->window,
                                  r->backend->q_block, r->backend->k_block));
    CS_TRY_GOTO(undo, r->backend->ops.attention(r->backend, &args.forward));
    if (r->with_backward) {
        CS_TRY_GOTO(undo,
                    r->backend->ops.attention_backward(r->backend, &args));
    }
undo:
    cs_tile_map_fini(&tiles);
    return st;
}
