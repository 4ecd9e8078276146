/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ops that single families of models need (norms of heads, weights with an
 * offset, rotary axes, capped logits, scaled branches, grouped and mixed rows)
 * against central differences in f64, for every choice of what trains.
 */
#include "chain.h"

static const cs_keep P = CS_KEEP_PRODUCT;

/* h = x w of x [rows, 6]; most cases begin so, that gradients flow on. */
static cs_status product_of(chain *c, cs_keep keep, cs_value **h)
{
    const cs_weight w = chain_weight(c, 1);
    cs_value *x = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, keep, h));
    return CS_OK;
}

/* x [4, 6], w [6, 6], norm [3]: two heads of 3, as query and key norms */
static cs_status run_norm_of_heads(chain *c, cs_value **out)
{
    const cs_weight norm = chain_weight(c, 2);
    cs_tape_norm_args args = {
        .kind = CS_NORM_RMS,
        .eps = 1e-3,
        .weight_offset = 1.0,
        .dim = 3,
        .w = &norm,
        .keep_y = CS_KEEP_TEMP,
    };
    cs_value *s = NULL;

    CS_TRY(product_of(c, CS_KEEP_SAVED, &args.x));
    CS_TRY(cs_tape_norm(c->tape, &args, &s, out));
    assert_ptr_equal(s, args.x);
    return CS_OK;
}

/* Gemma's block: the branch is normed before the sum and the sum after it. */
static cs_status run_post_norm(chain *c, cs_value **out)
{
    const cs_weight post = chain_weight(c, 2);
    const cs_weight next = chain_weight(c, 3);
    cs_tape_norm_args args = {
        .kind = CS_NORM_RMS,
        .eps = 1e-3,
        .weight_offset = 1.0,
        .w = &post,
        .keep_y = CS_KEEP_TEMP,
    };
    cs_value *s = NULL;
    cs_value *branch = NULL;
    cs_value *y = NULL;

    CS_TRY(product_of(c, CS_KEEP_SAVED, &args.x));
    CS_TRY(cs_tape_norm(c->tape, &args, &s, &branch));
    args.x = c->leaf[0].input;
    args.r = branch;
    args.w = &next;
    args.keep_s = CS_KEEP_SAVED;
    CS_TRY(cs_tape_norm(c->tape, &args, &s, &y));
    CS_TRY(cs_tape_add(c->tape, s, y, CS_KEEP_TEMP, out));
    return CS_OK;
}

static cs_status run_multiply(chain *c, cs_value **out)
{
    cs_value *h = NULL;

    CS_TRY(product_of(c, CS_KEEP_TEMP, &h));
    CS_TRY(cs_tape_multiply(c->tape, h, -1.75, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* Read by a product too: the second contribution is added. */
static cs_status run_multiply_beside_a_product(chain *c, cs_value **out)
{
    const cs_weight w = chain_weight(c, 2);
    cs_value *h = NULL;
    cs_value *a = NULL;
    cs_value *b = NULL;

    CS_TRY(product_of(c, P, &h));
    CS_TRY(cs_tape_multiply(c->tape, h, 0.5, CS_KEEP_TEMP, &a));
    CS_TRY(cs_tape_linear(c->tape, h, &w, NULL, CS_ACT_NONE, CS_KEEP_TEMP, &b));
    CS_TRY(cs_tape_add(c->tape, a, b, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* LayerScale: x + scale * (x w) */
static cs_status run_scale(chain *c, cs_value **out)
{
    const cs_weight scale = chain_weight(c, 2);
    cs_value *h = NULL;
    cs_value *y = NULL;

    CS_TRY(product_of(c, CS_KEEP_SAVED, &h));
    CS_TRY(cs_tape_scale(c->tape, h, &scale, CS_KEEP_TEMP, &y));
    CS_TRY(cs_tape_add(c->tape, c->leaf[0].input, y, CS_KEEP_TEMP, out));
    return CS_OK;
}

static cs_status run_scale_twice(chain *c, cs_value **out)
{
    const cs_weight first = chain_weight(c, 2);
    const cs_weight second = chain_weight(c, 3);
    cs_value *h = NULL;
    cs_value *a = NULL;
    cs_value *b = NULL;

    CS_TRY(product_of(c, CS_KEEP_SAVED, &h));
    CS_TRY(cs_tape_scale(c->tape, h, &first, CS_KEEP_TEMP, &a));
    CS_TRY(cs_tape_scale(c->tape, h, &second, CS_KEEP_TEMP, &b));
    CS_TRY(cs_tape_add(c->tape, a, b, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* Four rows to one, as patch mergers do; a row twice, a row never, a gap. */
static cs_status run_gather_groups(chain *c, cs_value **out)
{
    static const int32_t INDEX[8] = {3, 0, -1, 3, 1, 1, 4, 0};
    const cs_weight w = chain_weight(c, 2);
    cs_value *h = NULL;
    cs_value *y = NULL;

    CS_TRY(product_of(c, CS_KEEP_TEMP, &h));
    CS_TRY(cs_tape_gather(c->tape, h, INDEX, 2, 4, P, &y));
    CS_TRY(cs_tape_linear(c->tape, y, &w, NULL, CS_ACT_NONE, CS_KEEP_TEMP,
                          out));
    return CS_OK;
}

static cs_status run_gather_and_read(chain *c, cs_value **out)
{
    static const int32_t INDEX[4] = {2, 2, -1, 0};
    cs_value *h = NULL;
    cs_value *y = NULL;

    CS_TRY(product_of(c, CS_KEEP_TEMP, &h));
    CS_TRY(cs_tape_gather(c->tape, h, INDEX, 4, 1, CS_KEEP_TEMP, &y));
    CS_TRY(cs_tape_add(c->tape, h, y, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* Positions read between the rows of their table. */
static cs_status run_add_mixed(chain *c, cs_value **out)
{
    static const int32_t INDEX[8] = {0, 1, 2, 2, -1, 1, 1, -1};
    static const double WEIGHT[8] = {0.25, 0.75, 1.5, -0.5, 9.0, 1.0, 2.0, 9.0};
    const cs_weight table = chain_weight(c, 2);

    CS_TRY(product_of(c, CS_KEEP_TEMP, out));
    CS_TRY(cs_tape_add_mixed(c->tape, *out, &table, 2, INDEX, WEIGHT));
    return CS_OK;
}

/* x [5, 6], head [7, 6] with capped logits. */
static cs_status run_capped_head(chain *c, cs_value **out)
{
    static const int32_t LABELS[5] = {6, -100, 0, 2, 6};
    const cs_weight head = chain_weight(c, 2);
    const cs_tape_loss_args loss = {
        .labels = LABELS,
        .loss_scale = 1.0,
        .softcap = 0.8,
        .loss_sum = &c->loss_sum,
    };
    cs_value *h = NULL;

    CS_TRY(product_of(c, CS_KEEP_SAVED, &h));
    CS_TRY(cs_tape_head_loss(c->tape, h, &head, &loss));
    *out = NULL;
    return CS_OK;
}

static const chain_case CASES[] = {
    {"norm of heads",
     3,
     {INPUT(4, 6), WEIGHT(6, 6), WEIGHT(0, 3)},
     run_norm_of_heads},
    {"post norm",
     4,
     {INPUT(4, 6), WEIGHT(6, 6), WEIGHT(0, 6), WEIGHT(0, 6)},
     run_post_norm},
    {"multiply", 2, {INPUT(4, 6), WEIGHT(5, 6)}, run_multiply},
    {"multiply beside a product",
     3,
     {INPUT(4, 6), WEIGHT(6, 6), WEIGHT(6, 6)},
     run_multiply_beside_a_product},
    {"scale", 3, {INPUT(4, 6), WEIGHT(6, 6), WEIGHT(0, 6)}, run_scale},
    {"scale twice",
     4,
     {INPUT(4, 6), WEIGHT(5, 6), WEIGHT(0, 5), WEIGHT(0, 5)},
     run_scale_twice},
    {"gather groups",
     3,
     {INPUT(5, 6), WEIGHT(2, 6), WEIGHT(3, 8)},
     run_gather_groups},
    {"gather and read", 2, {INPUT(4, 6), WEIGHT(3, 6)}, run_gather_and_read},
    {"add mixed", 3, {INPUT(4, 6), WEIGHT(5, 6), WEIGHT(3, 5)}, run_add_mixed},
    {"capped head",
     3,
     {INPUT(5, 6), WEIGHT(6, 6), WEIGHT(7, 6)},
     run_capped_head},
};

CHAIN_MAIN(CASES)
