/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the kernels, one slot at a time, on shapes of small multimodal
 * models: products in GFLOP/s, attention in GFLOP/s over visible pairs only
 * (a kernel that multiplies hidden pairs looks slower, as it should), the rest
 * in GB/s of what must be read and written. One JSON object goes to stdout.
 *
 *     op_bench [backend [threads [only names that contain this]]]
 */
#include "cornstarch/backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIN_SECONDS 0.15

enum {
    MIN_RUNS = 5,
    MAX_RUNS = 400,
    SEQUENCE = 2048,
    DOCUMENT = 256, /* tokens of a packed sample */
    PICTURE = 64    /* of which bidirectional */
};

typedef struct bench {
    cs_backend *backend;
    const char *only;
    int64_t n_cases;
    double log_sum[2]; /* of gflops and gbs */
    int64_t n_sum[2];
} bench;

/* One measured call; `work` is flops or bytes. */
typedef struct measured {
    const char *name;
    char shape[64];
    cs_dtype dtype;
    bool is_flops;
    double work;
    cs_status (*call)(cs_backend *backend, const void *args);
    const void *args;
} measured;

/* Seconds of this thread, which other load on the machine does not change;
 * with several threads, seconds of the clock on the wall. */
static double now(const bench *b)
{
    struct timespec t;

    (void)clock_gettime(b->backend->n_threads == 1 ? CLOCK_THREAD_CPUTIME_ID
                                                   : CLOCK_MONOTONIC,
                        &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "op_bench: %s: ", what);
    cs_error_print(stderr, false);
    exit(1);
}

static void print_case(bench *b, const measured *m, double least, double median)
{
    const double rate = m->work / least / 1e9;
    const int kind = m->is_flops ? 0 : 1;

    printf("%s\n    {\"name\": \"%s\", \"shape\": \"%s\", \"dtype\": \"%s\", "
           "\"microseconds\": %.1f, \"median_microseconds\": %.1f, "
           "\"%s\": %.1f}",
           b->n_cases > 0 ? "," : "", m->name, m->shape,
           cs_dtype_name(m->dtype), 1e6 * least, 1e6 * median,
           m->is_flops ? "gflops" : "gbs", rate);
    (void)fflush(stdout);
    b->n_cases++;
    b->log_sum[kind] += log(rate);
    b->n_sum[kind]++;
}

static void measure(bench *b, const measured *m)
{
    static double seconds[MAX_RUNS];
    int n = 0;
    double total = 0.0;

    if (b->only != NULL && strstr(m->name, b->only) == NULL) {
        return;
    }
    if (m->call(b->backend, m->args) != CS_OK) {
        fail(m->name);
    }
    while (n < MAX_RUNS && (n < MIN_RUNS || total < MIN_SECONDS)) {
        const double start = now(b);

        if (m->call(b->backend, m->args) != CS_OK) {
            fail(m->name);
        }
        seconds[n] = now(b) - start;
        total += seconds[n];
        n++;
    }
    qsort(seconds, (size_t)n, sizeof seconds[0], by_value);
    print_case(b, m, seconds[0], seconds[n / 2]);
}

/* Zero-mean values in either dtype; freed at exit of the case. */
static void *values(cs_dtype dtype, int64_t n)
{
    void *data =
        aligned_alloc(64, ((size_t)n * cs_dtype_bytes(dtype) + 127) / 64 * 64);
    uint32_t state = 12345;

    if (data == NULL) {
        (void)fprintf(stderr, "op_bench: out of memory\n");
        exit(1);
    }
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525U + 1013904223U;
        csi_dtype_set(data, dtype, i, (double)(state >> 8) / 8388608.0 - 1.0);
    }
    return data;
}

/* ---- products ---- */

static cs_status call_linear(cs_backend *b, const void *args)
{
    return b->ops.linear(b, args);
}
static cs_status call_input(cs_backend *b, const void *args)
{
    return b->ops.linear_input(b, args);
}
static cs_status call_weight(cs_backend *b, const void *args)
{
    return b->ops.linear_weight(b, args);
}

static void bench_linear(bench *b, cs_dtype dtype, int64_t rows, int64_t in,
                         int64_t out)
{
    void *x = values(dtype, rows * in);
    void *w = values(dtype, out * in);
    void *y = values(dtype, rows * out);
    void *dw = values(CS_F32, out * in);
    const cs_linear_args forward = {.dtype = dtype,
                                    .rows = rows,
                                    .in = in,
                                    .out = out,
                                    .x_TI = x,
                                    .w_OI = w,
                                    .activation = CS_ACT_NONE,
                                    .y_TO = y};
    const cs_linear_input_args input = {.dtype = dtype,
                                        .rows = rows,
                                        .in = in,
                                        .out = out,
                                        .dy_TO = y,
                                        .w_OI = w,
                                        .dx_TI = x};
    const cs_linear_weight_args weight = {.dtype = dtype,
                                          .rows = rows,
                                          .in = in,
                                          .out = out,
                                          .dy_TO = y,
                                          .x_TI = x,
                                          .dw_OI = dw};
    measured m = {.name = "linear",
                  .dtype = dtype,
                  .is_flops = true,
                  .work = 2.0 * (double)rows * (double)in * (double)out,
                  .call = call_linear,
                  .args = &forward};

    (void)snprintf(m.shape, sizeof m.shape, "%lldx%lld->%lld", (long long)rows,
                   (long long)in, (long long)out);
    measure(b, &m);
    m.name = "linear_input";
    m.call = call_input;
    m.args = &input;
    measure(b, &m);
    m.name = "linear_weight";
    m.call = call_weight;
    m.args = &weight;
    measure(b, &m);
    free(x);
    free(w);
    free(y);
    free(dw);
}

/* ---- attention ---- */

static cs_status call_attention(cs_backend *b, const void *args)
{
    const cs_attention_backward_args *a = args;
    return b->ops.attention(b, &a->forward);
}
static cs_status call_attention_backward(cs_backend *b, const void *args)
{
    return b->ops.attention_backward(b, args);
}

/* Packed samples of DOCUMENT tokens: a prompt, a picture, an answer; or one
 * causal document of all tokens. */
static void fill_words(uint64_t *word, int32_t *position, int64_t n,
                       cs_mask_policy policy)
{
    const bool packed = policy != CS_MASK_CAUSAL;
    const int64_t length = packed ? DOCUMENT : n;

    for (int64_t at = 0; at < n; at += length) {
        const cs_mask_run runs[] = {
            {.n_tokens = 8, .modality = -1, .item = 0, .is_prompt = true},
            {.n_tokens = PICTURE, .modality = 0, .item = 0, .is_prompt = true},
            {.n_tokens = length - 8 - PICTURE, .modality = -1, .item = 0},
        };

        if (cs_mask_build(policy, 1, (uint32_t)(at / length + 1), runs, 3,
                          word + at) != CS_OK) {
            fail("mask");
        }
    }
    for (int64_t t = 0; t < n; t++) {
        position[t] = (int32_t)t;
    }
}

static void bench_attention(bench *b, cs_dtype dtype, cs_mask_policy policy,
                            int32_t heads, int32_t kv_heads, int32_t head_dim)
{
    static uint64_t word[SEQUENCE];
    static int32_t position[SEQUENCE];
    const int64_t n = SEQUENCE;
    const cs_mask mask = {n, word, position};
    cs_tile_map tiles = {0};
    void *q = values(dtype, n * heads * head_dim);
    void *k = values(dtype, n * kv_heads * head_dim);
    void *v = values(dtype, n * kv_heads * head_dim);
    void *o = values(dtype, n * heads * head_dim);
    void *d_o = values(dtype, n * heads * head_dim);
    void *dq = values(dtype, n * heads * head_dim);
    void *dk = values(dtype, n * kv_heads * head_dim);
    void *dv = values(dtype, n * kv_heads * head_dim);
    void *lse = values(CS_F32, n * heads);

    fill_words(word, position, n, policy);
    if (cs_tile_map_build(&tiles, &mask, &mask, 0, b->backend->q_block,
                          b->backend->k_block) != CS_OK) {
        fail("tile map");
    }
    const cs_attention_backward_args args = {
        .forward = {.dtype = dtype,
                    .q_rows = n,
                    .k_rows = n,
                    .heads = heads,
                    .kv_heads = kv_heads,
                    .head_dim = head_dim,
                    .scale = 1.0 / sqrt((double)head_dim),
                    .q_mask = mask,
                    .k_mask = mask,
                    .tiles = &tiles,
                    .q_THK = q,
                    .k_TGK = k,
                    .v_TGK = v,
                    .o_THK = o,
                    .lse_HT = lse},
        .do_THK = d_o,
        .dq_THK = dq,
        .dk_TGK = dk,
        .dv_TGK = dv,
    };
    const double pairs = (double)cs_mask_visible_pairs(&mask, &mask, 0);
    measured m = {.name = "attention",
                  .dtype = dtype,
                  .is_flops = true,
                  .work = 4.0 * pairs * heads * head_dim,
                  .call = call_attention,
                  .args = &args};

    (void)snprintf(m.shape, sizeof m.shape, "%s %lldx%d/%dx%d",
                   cs_mask_policy_name(policy), (long long)n, (int)heads,
                   (int)kv_heads, (int)head_dim);
    measure(b, &m);
    m.name = "attention_backward";
    m.work *= 2.5;
    m.call = call_attention_backward;
    measure(b, &m);
    cs_tile_map_fini(&tiles);
    free(q);
    free(k);
    free(v);
    free(o);
    free(d_o);
    free(dq);
    free(dk);
    free(dv);
    free(lse);
}

/* ---- memory-bound kernels ---- */

static cs_status call_norm(cs_backend *b, const void *args)
{
    return b->ops.norm(b, args);
}
static cs_status call_norm_backward(cs_backend *b, const void *args)
{
    return b->ops.norm_backward(b, args);
}
static cs_status call_gated(cs_backend *b, const void *args)
{
    return b->ops.gated(b, args);
}
static cs_status call_gated_backward(cs_backend *b, const void *args)
{
    return b->ops.gated_backward(b, args);
}
static cs_status call_activation(cs_backend *b, const void *args)
{
    return b->ops.activation(b, args);
}
static cs_status call_activation_backward(cs_backend *b, const void *args)
{
    return b->ops.activation_backward(b, args);
}
static cs_status call_rope(cs_backend *b, const void *args)
{
    return b->ops.rope(b, args);
}
static cs_status call_axpby(cs_backend *b, const void *args)
{
    return b->ops.axpby(b, args);
}
static cs_status call_adamw(cs_backend *b, const void *args)
{
    return b->ops.adamw(b, args);
}

/* Arrays of one size for every memory-bound kernel. */
typedef struct arrays {
    cs_dtype dtype;
    int64_t rows, dim;
    void *x, *r, *s, *y, *w, *rstd, *dw;
    int32_t *position;
    double frequency[32];
} arrays;

static arrays make_arrays(cs_dtype dtype, int64_t rows, int64_t dim)
{
    const int64_t n = rows * dim;
    arrays a = {.dtype = dtype,
                .rows = rows,
                .dim = dim,
                .x = values(dtype, n),
                .r = values(dtype, n),
                .s = values(dtype, n),
                .y = values(dtype, n),
                .w = values(dtype, dim),
                .rstd = values(CS_F32, rows),
                .dw = values(CS_F32, dim),
                .position = calloc((size_t)rows, sizeof(int32_t))};

    for (int i = 0; i < 32; i++) {
        a.frequency[i] = pow(10000.0, -i / 32.0);
    }
    for (int64_t t = 0; a.position != NULL && t < rows; t++) {
        a.position[t] = (int32_t)(t % DOCUMENT);
    }
    return a;
}

static void free_arrays(arrays *a)
{
    free(a->x);
    free(a->r);
    free(a->s);
    free(a->y);
    free(a->w);
    free(a->rstd);
    free(a->dw);
    free(a->position);
}

/* `passes` is how often an array of rows x dim is read or written. */
static void bench_rows_call(bench *b, const arrays *a, const char *name,
                            double passes,
                            cs_status (*call)(cs_backend *, const void *),
                            const void *args)
{
    measured m = {.name = name,
                  .dtype = a->dtype,
                  .work = passes * (double)(a->rows * a->dim) *
                          (double)cs_dtype_bytes(a->dtype),
                  .call = call,
                  .args = args};

    (void)snprintf(m.shape, sizeof m.shape, "%lldx%lld", (long long)a->rows,
                   (long long)a->dim);
    measure(b, &m);
}

static void bench_norms(bench *b, const arrays *a)
{
    const cs_norm_args forward = {.dtype = a->dtype,
                                  .kind = CS_NORM_RMS,
                                  .rows = a->rows,
                                  .dim = a->dim,
                                  .eps = 1e-6,
                                  .x_TD = a->x,
                                  .r_TD = a->r,
                                  .w_D = a->w,
                                  .s_TD = a->s,
                                  .y_TD = a->y,
                                  .rstd_T = a->rstd};
    const cs_norm_backward_args backward = {.dtype = a->dtype,
                                            .kind = CS_NORM_RMS,
                                            .rows = a->rows,
                                            .dim = a->dim,
                                            .s_TD = a->s,
                                            .w_D = a->w,
                                            .rstd_T = a->rstd,
                                            .dy_TD = a->y,
                                            .ds_TD = a->x,
                                            .dw_D = a->dw};
    const cs_rope_args rope = {.dtype = a->dtype,
                               .rows = a->rows,
                               .q_heads = (int32_t)(a->dim / 64),
                               .head_dim = 64,
                               .rotary_dim = 64,
                               .position_T = a->position,
                               .inverse_frequency = a->frequency,
                               .scale = 1.0,
                               .q_THK = a->s};

    bench_rows_call(b, a, "norm+residual", 4, call_norm, &forward);
    bench_rows_call(b, a, "norm_backward", 3, call_norm_backward, &backward);
    bench_rows_call(b, a, "rope", 2, call_rope, &rope);
}

static void bench_pointwise(bench *b, const arrays *a)
{
    const int64_t n = a->rows * a->dim;
    const cs_gated_args gated = {.dtype = a->dtype,
                                 .count = n,
                                 .activation = CS_ACT_SILU,
                                 .gate = a->x,
                                 .up = a->r,
                                 .y = a->y,
                                 .dy = a->s,
                                 .dgate = a->y,
                                 .dup = a->s};
    const cs_activation_args gelu = {.dtype = a->dtype,
                                     .count = n,
                                     .activation = CS_ACT_GELU,
                                     .x = a->x,
                                     .dy = a->r,
                                     .y = a->y};
    const cs_axpby_args add = {.dtype = a->dtype,
                               .count = n,
                               .alpha = 1.0,
                               .beta = 1.0,
                               .a = a->x,
                               .b = a->r,
                               .y = a->y};

    bench_rows_call(b, a, "gated silu", 3, call_gated, &gated);
    bench_rows_call(b, a, "gated_backward silu", 5, call_gated_backward,
                    &gated);
    bench_rows_call(b, a, "activation gelu", 2, call_activation, &gelu);
    bench_rows_call(b, a, "activation_backward gelu", 3,
                    call_activation_backward, &gelu);
    bench_rows_call(b, a, "axpby", 3, call_axpby, &add);
}

static void bench_rows(bench *b, cs_dtype dtype, int64_t rows, int64_t dim)
{
    arrays a = make_arrays(dtype, rows, dim);

    bench_norms(b, &a);
    bench_pointwise(b, &a);
    free_arrays(&a);
}

static void bench_adamw(bench *b, int64_t count)
{
    void *grad = values(CS_F32, count);
    void *master = values(CS_F32, count);
    void *m1 = calloc((size_t)count, sizeof(float));
    void *m2 = calloc((size_t)count, sizeof(float));
    const cs_adamw_item item = {.count = count,
                                .master = master,
                                .m = m1,
                                .v = m2,
                                .grad = grad,
                                .learning_rate = 1e-3,
                                .weight_decay = 0.1};
    const cs_adamw_args args = {.dtype = CS_F32,
                                .n_items = 1,
                                .items = &item,
                                .beta1 = 0.9,
                                .beta2 = 0.95,
                                .eps = 1e-8,
                                .grad_scale = 1.0,
                                .step = 1};
    measured m = {.name = "adamw",
                  .dtype = CS_F32,
                  .work = 7.0 * 4.0 * (double)count,
                  .call = call_adamw,
                  .args = &args};

    (void)snprintf(m.shape, sizeof m.shape, "%lld", (long long)count);
    measure(b, &m);
    free(grad);
    free(master);
    free(m1);
    free(m2);
}

/* ---- head ---- */

static cs_status call_head(cs_backend *b, const void *args)
{
    const cs_head_loss_backward_args *a = args;
    return b->ops.head_loss(b, &a->forward);
}
static cs_status call_head_backward(cs_backend *b, const void *args)
{
    return b->ops.head_loss_backward(b, args);
}

/* Every fourth row has a label, as in captioned data; work counts those. */
static void bench_head(bench *b, cs_dtype dtype, int64_t rows, int64_t in,
                       int64_t vocab)
{
    void *x = values(dtype, rows * in);
    void *w = values(dtype, vocab * in);
    void *dx = values(dtype, rows * in);
    void *dw = values(CS_F32, vocab * in);
    void *nll = values(CS_F32, rows);
    void *lse = values(CS_F32, rows);
    int32_t *label = calloc((size_t)rows, sizeof *label);
    double sum = 0.0;
    const cs_head_loss_backward_args args = {
        .forward = {.dtype = dtype,
                    .rows = rows,
                    .in = in,
                    .vocab = vocab,
                    .x_TI = x,
                    .w_VI = w,
                    .label_T = label,
                    .nll_T = nll,
                    .lse_T = lse,
                    .loss_sum = &sum},
        .scale = 1e-3,
        .dx_TI = dx,
        .dw_VI = dw,
    };
    measured m = {.name = "head_loss",
                  .dtype = dtype,
                  .is_flops = true,
                  .work = 0.5 * (double)rows * (double)in * (double)vocab,
                  .call = call_head,
                  .args = &args};

    for (int64_t t = 0; label != NULL && t < rows; t++) {
        label[t] = t % 4 == 0 ? (int32_t)(t % vocab) : -100;
    }
    (void)snprintf(m.shape, sizeof m.shape, "%lldx%lld->%lld", (long long)rows,
                   (long long)in, (long long)vocab);
    measure(b, &m);
    m.name = "head_loss_backward";
    m.work *= 3.0;
    m.call = call_head_backward;
    measure(b, &m);
    free(x);
    free(w);
    free(dx);
    free(dw);
    free(nll);
    free(lse);
    free(label);
}

static void bench_dtype(bench *b, cs_dtype dtype)
{
    static const int64_t linears[][3] = {
        {256, 192, 192},  {1024, 256, 256},  {1024, 256, 1024},
        {4096, 384, 384}, {1024, 768, 2048}, {2048, 2048, 768},
    };
    static const int64_t rows[][2] = {{1024, 256}, {4096, 768}};

    for (size_t i = 0; i < sizeof linears / sizeof linears[0]; i++) {
        bench_linear(b, dtype, linears[i][0], linears[i][1], linears[i][2]);
    }
    bench_attention(b, dtype, CS_MASK_CAUSAL, 8, 4, 32);
    bench_attention(b, dtype, CS_MASK_CAUSAL, 8, 4, 64);
    bench_attention(b, dtype, CS_MASK_ISLANDS, 8, 4, 32);
    bench_attention(b, dtype, CS_MASK_ISLANDS, 8, 4, 64);
    bench_attention(b, dtype, CS_MASK_BIDIRECTIONAL, 8, 8, 32);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bench_rows(b, dtype, rows[i][0], rows[i][1]);
    }
    bench_head(b, dtype, 2048, 256, 512);
    bench_head(b, dtype, 2048, 256, 32000);
}

int main(int argc, char **argv)
{
    bench b = {0};
    const char *name = argc > 1 ? argv[1] : "auto";
    const int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1;

    b.only = argc > 3 ? argv[3] : NULL;
    if (cs_backend_create(name, threads, &b.backend) != CS_OK) {
        fail("backend");
    }
    printf("{\"cases\": [");
    bench_dtype(&b, CS_F32);
    bench_dtype(&b, CS_BF16);
    bench_adamw(&b, 4000000);
    printf("\n  ],\n  \"summary\": {\"backend\": \"%s: %s\", \"threads\": %d",
           b.backend->name, b.backend->detail, threads);
    if (b.n_sum[0] > 0) {
        printf(", \"mean_gflops\": %.1f",
               exp(b.log_sum[0] / (double)b.n_sum[0]));
    }
    if (b.n_sum[1] > 0) {
        printf(", \"mean_gbs\": %.1f", exp(b.log_sum[1] / (double)b.n_sum[1]));
    }
    printf("}}\n");
    cs_backend_destroy(&b.backend);
    return 0;
}
