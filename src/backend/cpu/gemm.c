/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops around the register tile: columns in blocks whose packed panels
 * stay in the outer cache, depth in steps of CSI_CPU_DEPTH, rows in blocks
 * whose panels stay in the inner one. A depth step's sum starts at zero and is
 * added to what the steps before left, so the bits of an element depend on
 * its row, its column and the depth, on nothing else: not on the other rows,
 * the blocking or the threads.
 */
#include "base/checked.h"

#include "cpu.h"

enum {
    COLUMNS = 512, /* of a packed block of b */
    ROWS = 96      /* of a packed block of a */
};

/* One product under way. */
typedef struct run {
    const csi_product *p;
    const csi_cpu_kernels *kernels;
    const csi_gemm_kernels *gemm;
    csi_epilogue end; /* of this depth step */
    float *b_panels;  /* [COLUMNS / nr][depth][nr] */
    float *a_panels;  /* one block per thread */
    float *partial;   /* [m][COLUMNS], NULL when the result itself serves */
    int64_t column, columns; /* block of b */
    int64_t d, depth;        /* depth step */
    bool is_first, is_last;  /* depth step */
} run;

static const csi_gemm_kernels *choose(const csi_cpu_state *state,
                                      const csi_product *p)
{
    return state->bf16_gemm != NULL && p->a.is_bf16 && p->b.is_bf16
               ? state->bf16_gemm
               : &state->kernels->gemm;
}

/* Whether the sums of the depth steps may be collected in c itself. */
static bool collects_in_place(const csi_product *p)
{
    return !p->end.is_bf16 && p->end.bias == NULL && p->end.pre == NULL &&
           p->end.activation == CS_ACT_NONE;
}

static size_t a_block_floats(void)
{
    return (size_t)(ROWS + 16) * CSI_CPU_DEPTH;
}

static size_t b_block_floats(void)
{
    return (size_t)COLUMNS * CSI_CPU_DEPTH;
}

static bool needs_partial(const csi_product *p)
{
    return p->k > CSI_CPU_DEPTH && !collects_in_place(p);
}

size_t csi_cpu_gemm_bytes(cs_backend *backend, const csi_product *p)
{
    size_t floats =
        b_block_floats() + (size_t)backend->n_threads * a_block_floats();

    if (needs_partial(p)) {
        floats += (size_t)p->m * COLUMNS;
    }
    return floats * sizeof(float);
}

static void pack_b(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const run *r = arg;
    const int32_t nr = r->gemm->nr;
    const int64_t words = (r->depth + r->gemm->pair - 1) / r->gemm->pair;

    (void)thread;
    for (int64_t j = begin; j < end; j++) {
        r->gemm->pack(r->b_panels + j * nr * words, nr, &r->p->b, r->p->n,
                      r->column + j * nr, r->d, r->depth);
    }
}

/* Ends the tile of rows x columns at (row, column): into the result after the
 * last depth step, else beside it. */
static void end_tile(const run *r, float *sums, int64_t row, int64_t column,
                     int64_t rows, int64_t columns)
{
    const int32_t nr = r->gemm->nr;

    if (r->partial == NULL) {
        r->kernels->finish(&r->end, sums, nr, row, column, rows, columns);
        return;
    }
    float *partial = r->partial + row * COLUMNS + (column - r->column);
    const csi_epilogue keep = {.c = partial,
                               .ldc = COLUMNS,
                               .accumulate = !r->is_first};

    r->kernels->finish(&keep, sums, nr, 0, 0, rows, columns);
    if (r->is_last) {
        r->kernels->finish(&r->end, partial, COLUMNS, row, column, rows,
                           columns);
    }
}

/* Rows [begin, end) of the current block of columns and depth step; the unit
 * is a tile. */
static void multiply_rows(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const run *r = arg;
    const int32_t mr = r->gemm->mr;
    const int32_t nr = r->gemm->nr;
    const int64_t words = (r->depth + r->gemm->pair - 1) / r->gemm->pair;
    const int64_t block = ROWS / mr;
    float *a_panels = r->a_panels + (size_t)thread * a_block_floats();
    float sums[CSI_CPU_MAX_TILE] __attribute__((aligned(64)));

    for (int64_t first = begin; first < end; first += block) {
        const int64_t n = csi_min_i64(block, end - first);

        for (int64_t i = 0; i < n; i++) {
            r->gemm->pack(a_panels + i * mr * words, mr, &r->p->a, r->p->m,
                          (first + i) * mr, r->d, r->depth);
        }
        for (int64_t j = 0; j < r->columns; j += nr) {
            for (int64_t i = 0; i < n; i++) {
                const int64_t row = (first + i) * mr;

                const csi_tile t = {.k = words,
                                    .a = a_panels + i * mr * words,
                                    .a_step = mr,
                                    .b = r->b_panels + j * words,
                                    .c = sums,
                                    .ldc = nr,
                                    .rows = mr};

                r->gemm->tile(&t);
                end_tile(r, sums, row, r->column + j,
                         csi_min_i64(mr, r->p->m - row),
                         csi_min_i64(nr, r->columns - j));
            }
        }
    }
}

/* The epilogue of one depth step when c itself collects the sums. */
static csi_epilogue step_end(const csi_product *p, bool is_first)
{
    csi_epilogue end = p->end;

    if (p->k > CSI_CPU_DEPTH && collects_in_place(p)) {
        end.accumulate = p->end.accumulate || !is_first;
    }
    return end;
}

void csi_cpu_gemm(cs_backend *backend, const csi_product *p, void *work)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    run r = {.p = p,
             .kernels = state->kernels,
             .gemm = choose(state, p),
             .b_panels = work};

    r.a_panels = r.b_panels + b_block_floats();
    if (needs_partial(p)) {
        r.partial = r.a_panels + (size_t)backend->n_threads * a_block_floats();
    }
    const int64_t tiles = (p->m + r.gemm->mr - 1) / r.gemm->mr;

    for (r.column = 0; r.column < p->n; r.column += COLUMNS) {
        r.columns = csi_min_i64(COLUMNS, p->n - r.column);
        for (r.d = 0; r.d == 0 || r.d < p->k; r.d += CSI_CPU_DEPTH) {
            r.depth = csi_min_i64(CSI_CPU_DEPTH, p->k - r.d);
            r.is_first = r.d == 0;
            r.is_last = r.d + CSI_CPU_DEPTH >= p->k;
            r.end = step_end(p, r.is_first);
            csi_cpu_parallel(backend, (r.columns + r.gemm->nr - 1) / r.gemm->nr,
                             pack_b, &r);
            csi_cpu_parallel(backend, tiles, multiply_rows, &r);
        }
    }
}
