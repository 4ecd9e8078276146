/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mixture of experts against central differences in f64: every choice of
 * what trains among x, router, gates, ups and downs, with and without the
 * balance loss, inside a residual layer and alone.
 */
#include "chain.h"

static const cs_keep P = CS_KEEP_PRODUCT;

/* Leaves 0 .. 4: x, router, gate, up, down. */
static cs_status moe_of(chain *c, cs_tape_moe_args *args, cs_value *x,
                        cs_value **y)
{
    const cs_weight router = chain_weight(c, 1);
    const cs_weight gate = chain_weight(c, 2);
    const cs_weight up = chain_weight(c, 3);
    const cs_weight down = chain_weight(c, 4);

    args->activation = CS_ACT_SILU;
    args->router_w = &router;
    args->gate_w = &gate;
    args->up_w = &up;
    args->down_w = &down;
    CS_TRY(cs_tape_moe(c->tape, args, x, CS_KEEP_TEMP, y));
    return CS_OK;
}

static cs_status run_alone(chain *c, cs_tape_moe_args args, cs_value **out)
{
    cs_value *x = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(moe_of(c, &args, x, out));
    return CS_OK;
}

static cs_status run_two_of_three(chain *c, cs_value **out)
{
    return run_alone(c, (cs_tape_moe_args){.experts = 3, .top_k = 2}, out);
}

static cs_status run_normalised(chain *c, cs_value **out)
{
    return run_alone(c,
                     (cs_tape_moe_args){.experts = 3,
                                        .top_k = 2,
                                        .normalises = true},
                     out);
}

static cs_status run_one_of_five(chain *c, cs_value **out)
{
    return run_alone(c, (cs_tape_moe_args){.experts = 5, .top_k = 1}, out);
}

/* Two documents, the second twice as heavy; the last row is in none. */
static cs_tape_moe_args balanced(chain *c)
{
    static const int64_t BEGIN[4] = {0, 2, 2, 5};
    static const int64_t LABELS[3] = {1, 7, 2};

    return (cs_tape_moe_args){
        .experts = 3,
        .top_k = 2,
        .normalises = true,
        .coefficient = 0.3,
        .loss_scale = 1.0,
        .n_documents = 3,
        .document_begin = BEGIN,
        .document_labels = LABELS,
        .balance_sum = &c->loss_sum,
    };
}

static cs_status run_balanced(chain *c, cs_value **out)
{
    return run_alone(c, balanced(c), out);
}

/* h = x w; h + moe(norm(h)): x is no leaf, and its gradient has two more
 * contributions. */
static cs_status run_layer(chain *c, cs_value **out)
{
    const cs_weight w = chain_weight(c, 5);
    const cs_weight norm = chain_weight(c, 6);
    cs_tape_moe_args moe = balanced(c);
    cs_tape_norm_args args = {
        .kind = CS_NORM_RMS,
        .eps = 1e-3,
        .w = &norm,
        .keep_y = P,
    };
    cs_value *x = NULL;
    cs_value *s = NULL;
    cs_value *y = NULL;
    cs_value *m = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, P, &args.x));
    CS_TRY(cs_tape_norm(c->tape, &args, &s, &y));
    CS_TRY(moe_of(c, &moe, y, &m));
    CS_TRY(cs_tape_add(c->tape, s, m, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* The experts read a value that somebody else reads after them. */
static cs_status run_second_reader(chain *c, cs_value **out)
{
    const cs_weight w = chain_weight(c, 5);
    cs_tape_moe_args moe = {.experts = 3, .top_k = 2};
    cs_value *x = NULL;
    cs_value *m = NULL;
    cs_value *other = NULL;

    CS_TRY(chain_input(c, 0, &x));
    CS_TRY(moe_of(c, &moe, x, &m));
    CS_TRY(cs_tape_linear(c->tape, x, &w, NULL, CS_ACT_NONE, P, &other));
    CS_TRY(cs_tape_add(c->tape, other, m, CS_KEEP_TEMP, out));
    return CS_OK;
}

/* x [6, 4], experts of 4 -> 3 -> 4 */
#define EXPERTS(e)                                                 \
    INPUT(6, 4), WEIGHT((e), 4), WEIGHT((e), 12), WEIGHT((e), 12), \
        WEIGHT((e), 12)

static const chain_case CASES[] = {
    {"two of three", 5, {EXPERTS(3)}, run_two_of_three},
    {"normalised", 5, {EXPERTS(3)}, run_normalised},
    {"one of five", 5, {EXPERTS(5)}, run_one_of_five},
    {"balance loss", 5, {EXPERTS(3)}, run_balanced},
    {"layer", 7, {EXPERTS(3), WEIGHT(4, 4), WEIGHT(0, 4)}, run_layer},
    {"second reader", 6, {EXPERTS(3), WEIGHT(4, 4)}, run_second_reader},
};

CHAIN_MAIN(CASES)
