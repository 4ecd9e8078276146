/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every op of the tape, and short chains of them, against central differences
 * in f64: for every choice of which leaves train, both halves of backward, and
 * two microbatches that add up.
 */
#include "chain.h"

static const cs_keep P = CS_KEEP_PRODUCT;

/* x [5, 4], w [3, 4], b [3] */
static cs_status linear_with(chain *c, cs_activation activation, bool has_bias,
                             cs_value **out)
{
    const cs_weight w = chain_weight(c, 1);
    const cs_weight b = has_bias ? chain_weight(c, 2) : (cs_weight){0};
    cs_value *x = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, has_bias ? &b : NULL, activation,
                          CS_KEEP_TEMP, out));
    return CS_OK;
}
static cs_status run_linear(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_NONE, false, out);
}
static cs_status run_linear_bias(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_NONE, true, out);
}
static cs_status run_linear_gelu(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_GELU, true, out);
}
static cs_status run_linear_gelu_tanh(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_GELU_TANH, true, out);
}
static cs_status run_linear_silu(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_SILU, false, out);
}
static cs_status run_linear_quick_gelu(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_QUICK_GELU, true, out);
}
static cs_status run_linear_relu(chain *c, cs_value **out)
{
    return linear_with(c, CS_ACT_RELU, true, out);
}

/* Two products in a row: the gradient of the first's output is deferred. */
static cs_status run_two_linears(chain *c, cs_value **out)
{
    const cs_weight w1 = chain_weight(c, 1);
    const cs_weight b1 = chain_weight(c, 2);
    const cs_weight w2 = chain_weight(c, 3);
    const cs_weight b2 = chain_weight(c, 4);
    cs_value *x = NULL;
    cs_value *h = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w1, &b1, CS_ACT_GELU, P, &h));
    CS_TRY(cs_tape_linear(c->tape, h, &w2, &b2, CS_ACT_NONE, CS_KEEP_TEMP,
                          out));
    return CS_OK;
}

/* One value read by two products: contributions add up. */
static cs_status run_two_readers(chain *c, cs_value **out)
{
    const cs_weight w0 = chain_weight(c, 1);
    const cs_weight w1 = chain_weight(c, 2);
    const cs_weight w2 = chain_weight(c, 3);
    cs_value *x = NULL;
    cs_value *h = NULL;
    cs_value *a = NULL;
    cs_value *b = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w0, NULL, CS_ACT_NONE, P, &h));
    CS_TRY(cs_tape_linear(c->tape, h, &w1, NULL, CS_ACT_NONE, P, &a));
    CS_TRY(cs_tape_linear(c->tape, h, &w2, NULL, CS_ACT_SILU, P, &b));
    CS_TRY(cs_tape_add(c->tape, a, b, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* x [4, 6], w [6], b [6], r [4, 6], wo [6, 6]: like the second norm of a
 * block, x + r goes on beside the normed branch. */
static cs_status norm_with(chain *c, cs_norm_kind kind, bool has_bias,
                           bool has_residual, cs_value **out)
{
    const cs_weight w = chain_weight(c, 1);
    const cs_weight b = has_bias ? chain_weight(c, 2) : (cs_weight){0};
    const cs_weight wo = chain_weight(c, 4);
    cs_tape_norm_args args = {
        .kind = kind,
        .eps = 1e-3,
        .w = &w,
        .b = has_bias ? &b : NULL,
        .keep_s = CS_KEEP_SAVED,
        .keep_y = P,
    };
    cs_value *s = NULL;
    cs_value *y = NULL;
    cs_value *m = NULL;

    CS_TRY(chain_input(c, 0, &args.x));
    if (has_residual) {
        CS_TRY(chain_input(c, 3, &args.r));
    }
    CS_TRY(cs_tape_norm(c->tape, &args, &s, &y));
    CS_TRY(cs_tape_linear(c->tape, y, &wo, NULL, CS_ACT_NONE, P, &m));
    CS_TRY(cs_tape_add(c->tape, s, m, CS_KEEP_TEMP, out));
    return CS_OK;
}
static cs_status run_rms_norm(chain *c, cs_value **out)
{
    return norm_with(c, CS_NORM_RMS, false, false, out);
}
static cs_status run_rms_norm_residual(chain *c, cs_value **out)
{
    return norm_with(c, CS_NORM_RMS, false, true, out);
}
static cs_status run_layer_norm(chain *c, cs_value **out)
{
    return norm_with(c, CS_NORM_LAYER, true, false, out);
}
static cs_status run_layer_norm_residual(chain *c, cs_value **out)
{
    return norm_with(c, CS_NORM_LAYER, true, true, out);
}

/* Two documents, an island, and a token that is none: tokens 0..6. */
enum {
    N_TOKENS = 7
};
static const int32_t POSITION[N_TOKENS] = {0, 1, 2, 3, 4, 5, 6};
static const int32_t ROTARY[N_TOKENS] = {0, 1, 2, 3, 0, 1, 2};

static void fill_words(uint64_t *word)
{
    word[0] = cs_mask_word(1, 0, 1, 1);
    word[1] = cs_mask_word(1, 1, 0, 2);
    word[2] = cs_mask_word(1, 1, 0, 2);
    word[3] = cs_mask_word(1, 0, 3, 1);
    word[4] = cs_mask_word(2, 0, 1, 1);
    word[5] = 0;
    word[6] = cs_mask_word(2, 0, 1, 1);
}

/* x [7, 6]; wq [8, 6], wk [4, 6], wv [4, 6]: 4 heads of 2, 2 of keys */
static cs_status run_attention(chain *c, cs_value **out)
{
    static const double FREQUENCY[1] = {0.8};
    uint64_t *word = NULL;
    cs_tile_map *tiles = NULL;
    cs_value *x = NULL;
    cs_value *qkv[3];
    void *memory = NULL;

    CS_TRY(cs_tape_alloc(c->tape, P, sizeof *word * N_TOKENS, &memory));
    word = memory;
    fill_words(word);
    const cs_mask mask = {N_TOKENS, word, POSITION};
    CS_TRY(cs_tape_alloc(c->tape, P, sizeof *tiles, &memory));
    tiles = memory;
    static int64_t row_begin[2] = {0, 1};
    static cs_tile_run run = {0, 1, CS_TILE_PARTIAL};
    *tiles = (cs_tile_map){.q_tokens = N_TOKENS,
                           .k_tokens = N_TOKENS,
                           .q_block = 16,
                           .k_block = 16,
                           .n_q_blocks = 1,
                           .n_k_blocks = 1,
                           .row_begin = row_begin,
                           .runs = &run,
                           .n_partial = 1};
    CS_TRY(chain_input(c, 0, &x));
    for (int i = 0; i < 3; i++) {
        const cs_weight w = chain_weight(c, i + 1);
        CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, CS_KEEP_SAVED,
                              &qkv[i]));
    }
    const cs_rope_args rope = {
        .q_heads = 4,
        .k_heads = 2,
        .head_dim = 2,
        .rotary_dim = 2,
        .position_T = ROTARY,
        .inverse_frequency = FREQUENCY,
        .scale = 1.0,
    };
    CS_TRY(cs_tape_rope(c->tape, &rope, qkv[0], qkv[1]));
    const cs_attention_args args = {
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 2,
        .scale = 0.7,
        .q_mask = mask,
        .k_mask = mask,
        .tiles = tiles,
    };
    CS_TRY(cs_tape_attention(c->tape, &args, qkv[0], qkv[1], qkv[2],
                             CS_KEEP_SAVED, out));
    return CS_OK;
}

/* gate [3, 4], up [3, 4] through products, so that their gradients flow on */
static cs_status run_gated(chain *c, cs_value **out)
{
    const cs_weight wg = chain_weight(c, 1);
    const cs_weight wu = chain_weight(c, 2);
    cs_value *x = NULL;
    cs_value *gate = NULL;
    cs_value *up = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &wg, NULL, CS_ACT_NONE, CS_KEEP_SAVED,
                          &gate));
    CS_TRY(cs_tape_linear(c->tape, x, &wu, NULL, CS_ACT_NONE, CS_KEEP_SAVED,
                          &up));
    CS_TRY(cs_tape_gated(c->tape, gate, up, CS_ACT_SILU, CS_KEEP_TEMP, out));
    return CS_OK;
}

static cs_status run_add(chain *c, cs_value **out)
{
    cs_value *a = NULL;
    cs_value *b = NULL;

    CS_TRY(chain_input(c, 0, &a));
    CS_TRY(chain_input(c, 1, &b));
    CS_TRY(cs_tape_add(c->tape, a, b, CS_KEEP_TEMP, out));
    return CS_OK;
}

static cs_status run_add_to_itself(chain *c, cs_value **out)
{
    const cs_weight w = chain_weight(c, 1);
    cs_value *x = NULL;
    cs_value *h = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, P, &h));
    CS_TRY(cs_tape_add(c->tape, h, h, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* table [5, 4], positions [3, 4], features through w [4, 3] of x [2, 3] */
static cs_status run_embed(chain *c, cs_value **out)
{
    static const int32_t IDS[6] = {4, 0, -1, -1, 4, 2};
    static const int32_t PLACES[6] = {0, 1, 2, 0, 1, 2};
    static const int32_t MERGE[6] = {-1, -1, 1, 0, -1, -1};
    const cs_weight table = chain_weight(c, 0);
    const cs_weight positions = chain_weight(c, 1);
    const cs_weight w = chain_weight(c, 3);
    cs_value *x = NULL;
    cs_value *features = NULL;

    CS_TRY(chain_input(c, 2, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, CS_KEEP_TEMP,
                          &features));
    CS_TRY(cs_tape_embed(c->tape, &table, IDS, 6, CS_KEEP_TEMP, out));
    CS_TRY(cs_tape_add_embed(c->tape, *out, &positions, PLACES));
    CS_TRY(cs_tape_merge(c->tape, *out, features, MERGE));
    return CS_OK;
}

/* The same features merged twice: their gradients add up. */
static cs_status run_merge_twice(chain *c, cs_value **out)
{
    static const int32_t IDS[4] = {0, -1, 1, -1};
    static const int32_t MERGE[4] = {-1, 1, -1, 0};
    const cs_weight table = chain_weight(c, 0);
    cs_value *features = NULL;

    CS_TRY(chain_input(c, 1, &features));
    CS_TRY(cs_tape_embed(c->tape, &table, IDS, 4, CS_KEEP_TEMP, out));
    CS_TRY(cs_tape_merge(c->tape, *out, features, MERGE));
    CS_TRY(cs_tape_merge(c->tape, *out, features, MERGE));
    return CS_OK;
}

/* x [7, 3]: groups of 2, 3 and 2 rows */
static cs_status run_pool(chain *c, cs_value **out)
{
    static const int64_t BEGIN[4] = {0, 2, 5, 7};
    const cs_weight w = chain_weight(c, 1);
    cs_value *x = NULL;
    cs_value *h = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, CS_KEEP_TEMP, &h));
    CS_TRY(cs_tape_pool(c->tape, h, BEGIN, 3, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* Whisper's stem on two items of 5 and 4 rows: stride 1, then stride 2. */
static cs_status run_convolutions(chain *c, cs_value **out)
{
    static const int64_t ROWS[3] = {0, 5, 9};
    static const int64_t HALF[3] = {0, 3, 5};
    const cs_weight w1 = chain_weight(c, 1);
    const cs_weight w2 = chain_weight(c, 2);
    const cs_im2col_args first = {
        .items = 2,
        .in_begin = ROWS,
        .out_begin = ROWS,
        .channels = 2,
        .kernel = 3,
        .stride = 1,
        .pad = 1,
    };
    cs_im2col_args second = first;
    cs_value *x = NULL;
    cs_value *columns = NULL;
    cs_value *h = NULL;

    second.out_begin = HALF;
    second.channels = 3;
    second.stride = 2;
    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_im2col(c->tape, &first, x, P, &columns));
    CS_TRY(cs_tape_linear(c->tape, columns, &w1, NULL, CS_ACT_GELU,
                          CS_KEEP_TEMP, &h));
    CS_TRY(cs_tape_im2col(c->tape, &second, h, P, &columns));
    CS_TRY(cs_tape_linear(c->tape, columns, &w2, NULL, CS_ACT_NONE,
                          CS_KEEP_TEMP, out));
    return CS_OK;
}

/* x [6, 4], head [5, 4]; two rows have no label. loss_scale is part of the
 * gradient, the sum is not scaled: 1 keeps them the same number. */
static cs_status run_head_loss(chain *c, cs_value **out)
{
    static const int32_t LABELS[6] = {3, -100, 0, 4, -100, 3};
    const cs_weight w = chain_weight(c, 2);
    const cs_weight norm = chain_weight(c, 1);
    const cs_tape_loss_args loss = {
        .labels = LABELS,
        .loss_scale = 1.0,
        .loss_sum = &c->loss_sum,
    };
    cs_tape_norm_args args = {
        .kind = CS_NORM_RMS,
        .eps = 1e-5,
        .w = &norm,
        .keep_y = CS_KEEP_SAVED,
    };
    cs_value *s = NULL;
    cs_value *y = NULL;

    CS_TRY(chain_input(c, 0, &args.x));
    CS_TRY(cs_tape_norm(c->tape, &args, &s, &y));
    CS_TRY(cs_tape_head_loss(c->tape, y, &w, &loss));
    *out = NULL;
    return CS_OK;
}

/* Three residual layers. A result that no backward reads is temporary: it is
 * moved to the front of the workspace at the border. */
static cs_status run_layers(chain *c, cs_value **out)
{
    cs_value *x = NULL;

    CS_TRY(chain_input(c, 0, &x));
    for (int layer = 0; layer < 3; layer++) {
        const cs_weight norm = chain_weight(c, 1 + 3 * layer);
        const cs_weight up = chain_weight(c, 2 + 3 * layer);
        const cs_weight down = chain_weight(c, 3 + 3 * layer);
        cs_tape_norm_args args = {
            .kind = CS_NORM_RMS,
            .eps = 1e-3,
            .x = x,
            .w = &norm,
            .keep_y = P,
        };
        cs_value *s = NULL;
        cs_value *y = NULL;
        cs_value *h = NULL;
        cs_value *m = NULL;
        /* all up to the next layer's norm, whose backward reads x */
        const unsigned needed = layer < 2 ? (1U << (5 + 3 * layer)) - 1U : 0U;

        CS_TRY(cs_tape_layer_begin(c->tape, x));
        CS_TRY(cs_tape_norm(c->tape, &args, &s, &y));
        CS_TRY(cs_tape_linear(c->tape, y, &up, NULL, CS_ACT_SILU, P, &h));
        CS_TRY(cs_tape_linear(c->tape, h, &down, NULL, CS_ACT_NONE,
                              CS_KEEP_TEMP, &m));
        CS_TRY(cs_tape_add(c->tape, s, m,
                           (c->trains & needed) != 0 ? CS_KEEP_SAVED
                                                     : CS_KEEP_TEMP,
                           &x));
        CS_TRY(cs_tape_layer_end(c->tape, x));
    }
    *out = x;
    return CS_OK;
}

static const chain_case CASES[] = {
    {"linear", 2, {INPUT(5, 4), WEIGHT(3, 4)}, run_linear},
    {"linear, bias",
     3,
     {INPUT(5, 4), WEIGHT(3, 4), WEIGHT(0, 3)},
     run_linear_bias},
    {"linear, gelu",
     3,
     {INPUT(5, 4), WEIGHT(3, 4), WEIGHT(0, 3)},
     run_linear_gelu},
    {"linear, gelu tanh",
     3,
     {INPUT(5, 4), WEIGHT(3, 4), WEIGHT(0, 3)},
     run_linear_gelu_tanh},
    {"linear, silu", 2, {INPUT(5, 4), WEIGHT(3, 4)}, run_linear_silu},
    {"linear, quick gelu",
     3,
     {INPUT(5, 4), WEIGHT(3, 4), WEIGHT(0, 3)},
     run_linear_quick_gelu},
    {"linear, relu",
     3,
     {INPUT(5, 4), WEIGHT(3, 4), WEIGHT(0, 3)},
     run_linear_relu},
    {"two linears",
     5,
     {INPUT(5, 4), WEIGHT(6, 4), WEIGHT(0, 6), WEIGHT(3, 6), WEIGHT(0, 3)},
     run_two_linears},
    {"two readers",
     4,
     {INPUT(5, 4), WEIGHT(4, 4), WEIGHT(3, 4), WEIGHT(3, 4)},
     run_two_readers},
    {"rms norm",
     5,
     {INPUT(4, 6), WEIGHT(0, 6), WEIGHT(0, 6), INPUT(4, 6), WEIGHT(6, 6)},
     run_rms_norm},
    {"rms norm, residual",
     5,
     {INPUT(4, 6), WEIGHT(0, 6), WEIGHT(0, 6), INPUT(4, 6), WEIGHT(6, 6)},
     run_rms_norm_residual},
    {"layer norm",
     5,
     {INPUT(4, 6), WEIGHT(0, 6), WEIGHT(0, 6), INPUT(4, 6), WEIGHT(6, 6)},
     run_layer_norm},
    {"layer norm, residual",
     5,
     {INPUT(4, 6), WEIGHT(0, 6), WEIGHT(0, 6), INPUT(4, 6), WEIGHT(6, 6)},
     run_layer_norm_residual},
    {"attention",
     4,
     {INPUT(7, 6), WEIGHT(8, 6), WEIGHT(4, 6), WEIGHT(4, 6)},
     run_attention},
    {"gated", 3, {INPUT(3, 4), WEIGHT(5, 4), WEIGHT(5, 4)}, run_gated},
    {"add", 2, {INPUT(3, 4), INPUT(3, 4)}, run_add},
    {"add to itself", 2, {INPUT(3, 4), WEIGHT(5, 4)}, run_add_to_itself},
    {"embed and merge",
     4,
     {WEIGHT(5, 4), WEIGHT(3, 4), INPUT(2, 3), WEIGHT(4, 3)},
     run_embed},
    {"merge twice", 2, {WEIGHT(2, 3), INPUT(2, 3)}, run_merge_twice},
    {"pool", 2, {INPUT(7, 3), WEIGHT(2, 3)}, run_pool},
    {"convolutions",
     3,
     {INPUT(9, 2), WEIGHT(3, 6), WEIGHT(2, 9)},
     run_convolutions},
    {"head and loss",
     3,
     {INPUT(6, 4), WEIGHT(0, 4), WEIGHT(5, 4)},
     run_head_loss},
    {"layers",
     10,
     {INPUT(4, 5), WEIGHT(0, 5), WEIGHT(6, 5), WEIGHT(5, 6), WEIGHT(0, 5),
      WEIGHT(6, 5), WEIGHT(5, 6), WEIGHT(0, 5), WEIGHT(6, 5), WEIGHT(5, 6)},
     run_layers},
};

CHAIN_MAIN(CASES)
