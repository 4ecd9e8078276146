/* SPDX-License-Identifier: Apache-2.0 */
/* The table of cases, the table of ops, the table of tolerances. */
#include "op_case.h"

#define LINEAR(t, i, o, ...)                                             \
    {                                                                    \
        .op = OP_LINEAR, .rows = (t), .in = (i), .out = (o), __VA_ARGS__ \
    }
#define ACTIVATION(t, i, ...)                                    \
    {                                                            \
        .op = OP_ACTIVATION, .rows = (t), .in = (i), __VA_ARGS__ \
    }
#define GATED(t, i, ...)                                    \
    {                                                       \
        .op = OP_GATED, .rows = (t), .in = (i), __VA_ARGS__ \
    }
#define RMS(t, d, ...)                                              \
    {                                                               \
        .op = OP_NORM, .norm = CS_NORM_RMS, .rows = (t), .in = (d), \
        __VA_ARGS__                                                 \
    }
#define LAYER(t, d, ...)                                              \
    {                                                                 \
        .op = OP_NORM, .norm = CS_NORM_LAYER, .rows = (t), .in = (d), \
        __VA_ARGS__                                                   \
    }
#define AXPBY(t, i, ...)                                    \
    {                                                       \
        .op = OP_AXPBY, .rows = (t), .in = (i), __VA_ARGS__ \
    }
#define HEAD(t, i, v, ...)                                                  \
    {                                                                       \
        .op = OP_HEAD_LOSS, .rows = (t), .in = (i), .out = (v), __VA_ARGS__ \
    }
#define ROPE(t, h, g, k, rotary, ...)                                         \
    {                                                                         \
        .op = OP_ROPE, .rows = (t), .heads = (h), .kv_heads = (g), .in = (k), \
        .out = (rotary), __VA_ARGS__                                          \
    }
#define ATTENTION(t, h, g, k, ...)                                      \
    {                                                                   \
        .op = OP_ATTENTION, .rows = (t), .heads = (h), .kv_heads = (g), \
        .in = (k), __VA_ARGS__                                          \
    }
#define GATHER(t, d, x_rows, ...)                                             \
    {                                                                         \
        .op = OP_GATHER, .rows = (t), .in = (d), .out = (x_rows), __VA_ARGS__ \
    }
#define POOL(groups, d, largest, ...)                                 \
    {                                                                 \
        .op = OP_POOL, .rows = (groups), .in = (d), .out = (largest), \
        __VA_ARGS__                                                   \
    }
#define IM2COL(items, c, k, s, p, ...)                           \
    {                                                            \
        .op = OP_IM2COL, .rows = (items), .in = (c), .out = (k), \
        .stride = (s), .pad = (p), __VA_ARGS__                   \
    }
#define MIX(t, d, x_rows, k, ...)                                             \
    {                                                                         \
        .op = OP_MIX, .rows = (t), .in = (d), .out = (x_rows), .stride = (k), \
        __VA_ARGS__                                                           \
    }
#define SCALE(t, d, ...)                                    \
    {                                                       \
        .op = OP_SCALE, .rows = (t), .in = (d), __VA_ARGS__ \
    }
#define ROUTE(t, e, k, ...)                                               \
    {                                                                     \
        .op = OP_ROUTE, .rows = (t), .in = (e), .heads = (k), __VA_ARGS__ \
    }
#define ADAMW(t, i)                            \
    {                                          \
        .op = OP_ADAMW, .rows = (t), .in = (i) \
    }
#define SQUARES(t, i)                                \
    {                                                \
        .op = OP_SUM_SQUARES, .rows = (t), .in = (i) \
    }
#define CAST(t, i)                            \
    {                                         \
        .op = OP_CAST, .rows = (t), .in = (i) \
    }

#define ACT(a) .activation = CS_ACT_##a
#define YES    .option = true
#define ADD    .accumulate = true

const op_case op_cases[] = {
    LINEAR(1, 1, 1, ADD),
    LINEAR(0, 5, 3, YES),
    LINEAR(1, 33, 65, YES),
    LINEAR(7, 5, 3, YES, ADD),
    LINEAR(7, 64, 8, ACT(GELU)),
    LINEAR(33, 65, 7, YES, ACT(GELU_TANH)),
    LINEAR(65, 7, 33, YES, ADD, ACT(SILU)),
    LINEAR(33, 129, 65, ADD),
    LINEAR(64, 256, 192, YES, ACT(QUICK_GELU)),
    LINEAR(130, 40, 48, YES, ACT(RELU)),
    LINEAR(140, 520, 300, YES, ADD),

    ACTIVATION(7, 33, ACT(NONE)),
    ACTIVATION(7, 33, ACT(GELU)),
    ACTIVATION(33, 65, ACT(GELU_TANH), YES),
    ACTIVATION(1, 1, ACT(SILU)),
    ACTIVATION(33, 7, ACT(SILU), YES),
    ACTIVATION(65, 5, ACT(RELU)),
    ACTIVATION(7, 129, ACT(QUICK_GELU)),
    ACTIVATION(0, 8, ACT(GELU)),

    GATED(7, 33, ACT(SILU)),
    GATED(33, 65, ACT(GELU_TANH)),
    GATED(1, 1, ACT(GELU)),
    GATED(65, 64, ACT(SILU)),
    GATED(0, 64, ACT(SILU)),

    RMS(1, 1, ADD),
    RMS(7, 33, YES),
    RMS(33, 65, ADD),
    RMS(65, 256, YES, ADD),
    RMS(0, 64, YES),
    RMS(7, 33, YES, .scale = 1),
    RMS(65, 72, ADD, .scale = 1),
    LAYER(1, 7, ADD),
    LAYER(7, 33, YES),
    LAYER(33, 65, ADD),
    LAYER(65, 256, YES, ADD),
    LAYER(0, 64, ADD),

    AXPBY(7, 33, ADD),
    AXPBY(33, 65, YES),
    AXPBY(65, 64, .accumulate = false),
    AXPBY(0, 64, YES),

    HEAD(1, 7, 2, .option = false),
    HEAD(7, 33, 65, .option = false),
    HEAD(33, 64, 259, .option = false),
    HEAD(65, 40, 1031, .option = false),
    HEAD(7, 8, 33, YES),
    HEAD(0, 8, 33, .option = false),
    HEAD(7, 33, 65, .softcap = 3),
    HEAD(65, 40, 1031, .softcap = 8),

    ROPE(7, 2, 1, 8, 8, .scale = 1),
    ROPE(33, 4, 2, 64, 64, .scale = 1),
    ROPE(65, 3, 3, 10, 6, .scale = 1.25),
    ROPE(5, 1, 1, 80, 40, .scale = 1, YES),
    ROPE(0, 2, 1, 8, 8, .scale = 1),
    ROPE(33, 4, 2, 16, 16, .scale = 1, .stride = 2),
    ROPE(33, 2, 2, 80, 72, .scale = 1, .stride = 3),
    ROPE(33, 4, 1, 96, 96, .scale = 1.19, ADD),
    ROPE(33, 2, 1, 40, 36, .scale = 0.8, .stride = 2, ADD, YES),

    ATTENTION(1, 1, 1, 4, .scale = 0.5),
    ATTENTION(0, 2, 1, 8, .scale = 0.5),
    ATTENTION(33, 2, 1, 8, .scale = 0.35, .policy = CS_MASK_CAUSAL),
    ATTENTION(65, 4, 2, 7, .scale = 0.4, .policy = CS_MASK_ISLANDS),
    ATTENTION(65, 3, 1, 33, .scale = 0.2, .policy = CS_MASK_ISLANDS, YES),
    ATTENTION(70, 2, 2, 16, .scale = 0.25, .window = 9,
              .policy = CS_MASK_CAUSAL),
    ATTENTION(70, 2, 2, 16, .scale = 0.25, .window = 5, YES,
              .policy = CS_MASK_IMAGE_SEES_PROMPT),
    ATTENTION(33, 4, 1, 16, .scale = 0.5, .softcap = 2.0,
              .policy = CS_MASK_PREFIX_LM),
    ATTENTION(130, 2, 1, 64, .scale = 0.125, .policy = CS_MASK_BRANCHES),
    ATTENTION(200, 2, 2, 80, .scale = 0.11, .policy = CS_MASK_BIDIRECTIONAL),
    ATTENTION(300, 4, 2, 32, .scale = 0.18,
              .policy = CS_MASK_ISLANDS_PER_MODALITY, YES),
    ATTENTION(150, 2, 1, 128, .scale = 0.09, .softcap = 5.0, .window = 40,
              .policy = CS_MASK_CAUSAL),

    ATTENTION(129, 2, 2, 8, .scale = 0.35, .window = 33,
              .policy = CS_MASK_CAUSAL),
    ATTENTION(70, 4, 1, 72, .scale = 0.12, .window = 20, .softcap = 3.0,
              .policy = CS_MASK_CAUSAL),
    ATTENTION(97, 6, 2, 40, .scale = 0.2, .softcap = 1.0, YES,
              .policy = CS_MASK_ISLANDS),
    ATTENTION(130, 3, 3, 96, .scale = 0.1, .policy = CS_MASK_BIDIRECTIONAL),
    ATTENTION(66, 4, 2, 256, .scale = 0.06, .window = 17, .softcap = 50.0,
              .policy = CS_MASK_IMAGE_SEES_PROMPT),
    ATTENTION(66, 2, 1, 264, .scale = 0.06, .policy = CS_MASK_CAUSAL),
    ATTENTION(100, 8, 1, 104, .scale = 0.1, .window = 64,
              .policy = CS_MASK_PREFIX_LM),

    GATHER(7, 33, 5, .accumulate = false),
    GATHER(33, 65, 7, YES),
    GATHER(65, 8, 65, ADD),
    GATHER(1, 1, 1, ADD, YES),
    GATHER(0, 8, 3, YES),

    POOL(7, 33, 4, .accumulate = false),
    POOL(33, 7, 9, ADD),
    POOL(1, 65, 1, ADD),
    POOL(0, 65, 1, .accumulate = false),

    IM2COL(3, 5, 3, 1, 1, .accumulate = false),
    IM2COL(4, 7, 3, 2, 1, ADD),
    IM2COL(2, 33, 5, 3, 0, ADD),
    IM2COL(5, 1, 1, 1, 0, .accumulate = false),
    IM2COL(0, 5, 3, 1, 1, .accumulate = false),

    MIX(7, 33, 5, 2, .option = false),
    MIX(33, 65, 40, 3, YES),
    MIX(70, 64, 140, 2, .option = false),
    MIX(300, 320, 600, 2, .option = false),
    MIX(1, 1, 1, 1, YES),
    MIX(0, 8, 3, 2, YES),
    SCALE(7, 33, ADD),
    SCALE(33, 65, .accumulate = false),
    SCALE(65, 64, YES),
    SCALE(400, 350, ADD),
    SCALE(0, 8, ADD),
    ROUTE(7, 4, 2, YES),
    ROUTE(33, 8, 2, YES, ADD),
    ROUTE(65, 5, 1, ADD),
    ROUTE(9, 33, 4, .option = false),
    ROUTE(5, 3, 3, YES, ADD),
    ROUTE(0, 4, 2, YES),

    ADAMW(1, 1),
    ADAMW(33, 65),
    ADAMW(0, 8),
    SQUARES(1, 7),
    SQUARES(65, 129),
    SQUARES(0, 8),
    CAST(1, 1),
    CAST(33, 65),
    CAST(0, 8),
};

const int64_t n_op_cases = sizeof op_cases / sizeof op_cases[0];

#define KIND(name, has_backward)                                   \
    {                                                              \
#        name, op_##name##_layout, op_##name##_run, (has_backward) \
    }

const op_kind op_kinds[OP_COUNT] = {
    [OP_LINEAR] = KIND(linear, true),
    [OP_ACTIVATION] = KIND(activation, true),
    [OP_GATED] = KIND(gated, true),
    [OP_NORM] = KIND(norm, true),
    [OP_AXPBY] = KIND(axpby, false),
    [OP_HEAD_LOSS] = KIND(head_loss, true),
    [OP_ROPE] = KIND(rope, true),
    [OP_ATTENTION] = KIND(attention, true),
    [OP_GATHER] = KIND(gather, true),
    [OP_POOL] = KIND(pool, true),
    [OP_IM2COL] = KIND(im2col, true),
    [OP_MIX] = KIND(mix, true),
    [OP_SCALE] = KIND(scale, true),
    [OP_ROUTE] = KIND(route, true),
    [OP_ADAMW] = KIND(adamw, false),
    [OP_SUM_SQUARES] = KIND(sum_squares, false),
    [OP_CAST] = KIND(cast, false),
};

/*
 * Relative to the largest element of the array. One bf16 ulp of the largest
 * element is at most 2^-7 of it; two roundings of one value differ by at most
 * that.
 */
#define ULP   0x1p-7
#define EXACT 0.0

const op_tolerance op_tolerances[OP_COUNT] = {
    [OP_LINEAR] = {1e-5, 2 * ULP, 2 * ULP,
                   "f32 sums of 520 terms in another order; in bf16 the "
                   "rounded gradient of the activation is summed again"},
    [OP_ACTIVATION] = {2e-6, ULP, ULP, "polynomials of exp and erf; one round"},
    [OP_GATED] = {2e-6, ULP, ULP, "as activation"},
    [OP_NORM] = {1e-5, ULP, 2 * ULP,
                 "rows of 256 in another order; the residual sum is rounded "
                 "before the norm is taken"},
    [OP_AXPBY] = {1e-6, ULP, ULP, "a fused multiply-add rounds once less"},
    [OP_HEAD_LOSS] = {2e-5, 2 * ULP, ULP,
                      "f32 sums over 1031 words; a fast backend may round the "
                      "gradient of logits to bf16 before its products"},
    [OP_ROPE] = {1e-6, ULP, ULP, "angles are f64 everywhere; one round"},
    [OP_ATTENTION] = {2e-5, 4 * ULP, 4 * ULP,
                      "softmax sums in blocks; in bf16 a fast backend rounds "
                      "weights and their gradients before the products, and "
                      "backward reads the rounded output"},
    [OP_GATHER] = {EXACT, 4 * ULP, 8 * ULP,
                   "sums in the same order; a bf16 gradient rounds at each "
                   "of a row's additions"},
    [OP_POOL] = {1e-6, ULP, ULP, "a mean may be a product with 1/n"},
    [OP_IM2COL] = {1e-6, ULP, ULP, "copies forward, short sums backward"},
    [OP_MIX] = {2e-6, 4 * ULP, 8 * ULP,
                "as gather; products may be fused into the sums"},
    [OP_SCALE] = {2e-6, ULP, ULP, "one product; columns summed per thread"},
    [OP_ROUTE] = {2e-6, ULP, ULP, "polynomials of exp; choices are exact"},
    [OP_ADAMW] = {2e-6, ULP, ULP, "square root and quotient in f32"},
    [OP_SUM_SQUARES] = {1e-12, 1e-12, EXACT, "f64 sums in another order"},
    [OP_CAST] = {EXACT, EXACT, EXACT, "rounding to nearest even is exact"},
};
