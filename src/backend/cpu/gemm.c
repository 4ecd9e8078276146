/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops around the register tile. Per super-block of rows and depth step
 * the rows are packed once; then they run over blocks of columns whose packed
 * panels stay in half of an L2 cache. A depth step's sum starts at zero and is
 * added to what the steps before left, so the bits of an element depend on its
 * row, its column and the depth, on nothing else: not on the other rows, the
 * blocking or the threads.
 */
#include "base/checked.h"

#include "cpu.h"

enum {
    SUPER_ROWS = 1024,         /* rows packed at a time */
    BLOCK_FLOATS = 128 * 1024, /* of a packed block of columns */
    MAX_COLUMNS = 1024,        /* of it */
    COLUMN_UNIT = 64,
    ROW_UNIT = 16, /* a multiple of any tile's rows is no larger than this */
    PAGE_FLOATS = 1024,
    LINE = 64
};

/* One operand of a product under way. */
typedef struct side {
    const csi_operand *x;
    int32_t width; /* lanes of a panel */
    int64_t lanes; /* that exist */
    int64_t lane;  /* first of the block */
    float *panels; /* [block / width][words][width] */
    bool in_place; /* whole panels are read where they lie */
} side;

/* One product under way: rows [row, row + rows) and depth [d, d + depth), and
 * within them columns [column, column + columns). */
typedef struct run {
    const csi_product *p;
    const csi_cpu_kernels *kernels;
    const csi_gemm_kernels *gemm;
    csi_epilogue end; /* of this depth step */
    side a, b;
    float *partial; /* [rows][n], NULL when the result itself serves */
    int64_t row, rows;
    int64_t column, columns;
    int64_t d, depth, words; /* words: depth / pair */
    bool is_first, is_last;  /* depth step */
} run;

/* A computed tile whose sums wait to be written. */
typedef struct pending {
    float *sums;
    int64_t row, column; /* of the result */
} pending;

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

static bool needs_partial(const csi_product *p)
{
    return p->k > CSI_CPU_DEPTH && !collects_in_place(p);
}

static int64_t depth_step(const csi_product *p)
{
    return csi_round_up(csi_max_i64(csi_min_i64(p->k, CSI_CPU_DEPTH), 1), 2);
}

static int64_t super_rows(const csi_product *p)
{
    return csi_min_i64(p->m, SUPER_ROWS);
}

static int64_t block_columns(const csi_product *p)
{
    const int64_t fit =
        csi_max_i64(BLOCK_FLOATS / depth_step(p) / COLUMN_UNIT, 1) *
        COLUMN_UNIT;

    return csi_min_i64(csi_min_i64(fit, MAX_COLUMNS),
                       csi_round_up(p->n, COLUMN_UNIT));
}

static int64_t a_floats(const csi_product *p)
{
    return csi_round_up(super_rows(p) + ROW_UNIT, ROW_UNIT) * depth_step(p);
}

static int64_t b_floats(const csi_product *p)
{
    return block_columns(p) * depth_step(p);
}

size_t csi_cpu_gemm_bytes(cs_backend *backend, const csi_product *p)
{
    int64_t floats = a_floats(p) + b_floats(p);

    (void)backend;
    if (needs_partial(p)) {
        floats += super_rows(p) * p->n;
    }
    return (size_t)floats * sizeof(float);
}

/* Whether tile_rows may read the rows of `a` as they are: f32, and not so far
 * apart that all rows of a tile meet in one set of the cache. */
static bool reads_in_place(const csi_gemm_kernels *gemm, const csi_operand *a)
{
    return gemm->tile_rows != NULL && a->depth_inner && !a->is_bf16 &&
           a->ld % PAGE_FLOATS != 0;
}

/* Packs panels [begin, end) of the block, those that need it. */
static void pack_side(const run *r, const side *s, int64_t begin, int64_t end)
{
    const int64_t whole = (s->lanes - s->lane) / s->width;
    const int64_t first = s->in_place ? csi_max_i64(begin, whole) : begin;
    const csi_box box = {.lanes = s->lanes,
                         .lane = s->lane + first * s->width,
                         .panels = end - first,
                         .d = r->d,
                         .n = r->depth};

    if (first < end) {
        r->gemm->pack(s->panels + first * s->width * r->words, s->width, s->x,
                      &box);
    }
}

static void pack_a(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const run *r = arg;

    (void)thread;
    pack_side(r, &r->a, begin, end);
}

static void pack_b(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const run *r = arg;

    (void)thread;
    pack_side(r, &r->b, begin, end);
}

/* Asks for the lines that a tile will be written to. */
static void prefetch_tile(const run *r, const pending *t)
{
    const csi_epilogue *end = &r->p->end;
    const size_t size = csi_cpu_dtype_bytes(end->is_bf16);
    const int64_t rows = csi_min_i64(r->gemm->mr, r->p->m - t->row);
    const size_t width = (size_t)r->gemm->nr * size;
    const char *c =
        (const char *)end->c + (size_t)(t->row * end->ldc + t->column) * size;

    for (int64_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < width; j += LINE) {
            __builtin_prefetch(c + j, 1);
        }
        c += (size_t)end->ldc * size;
    }
}

/* Writes a tile's sums: into the result after the last depth step, else beside
 * it. */
static void end_tile(const run *r, const pending *t)
{
    const int32_t nr = r->gemm->nr;
    const int64_t rows = csi_min_i64(r->gemm->mr, r->p->m - t->row);
    const int64_t columns = csi_min_i64(nr, r->p->n - t->column);

    if (t->sums == NULL) {
        return;
    }
    if (r->partial == NULL) {
        r->kernels->finish(&r->end, t->sums, nr, t->row, t->column, rows,
                           columns);
        return;
    }
    float *partial = r->partial + (t->row - r->row) * r->p->n + t->column;
    const csi_epilogue keep = {.c = partial,
                               .ldc = r->p->n,
                               .accumulate = !r->is_first};

    r->kernels->finish(&keep, t->sums, nr, 0, 0, rows, columns);
    if (r->is_last) {
        r->kernels->finish(&r->end, partial, r->p->n, t->row, t->column, rows,
                           columns);
    }
}

/* The tile of rows i, without column. */
static csi_tile row_tile(const run *r, int64_t i, bool in_place)
{
    const int32_t mr = r->gemm->mr;
    const side *a = &r->a;
    csi_tile tile = {.k = r->words,
                     .a = a->panels + i * mr * r->words,
                     .a_step = mr,
                     .rows = mr};

    if (in_place) {
        tile.a =
            (const float *)a->x->data + (a->lane + i * mr) * a->x->ld + r->d;
        tile.a_step = a->x->ld;
    }
    return tile;
}

/* Sends a whole tile whose sums are the result, or are added to it, straight
 * there; returns false for any other. */
static bool goes_straight(const run *r, const pending *t, csi_tile *tile)
{
    const csi_epilogue *end = &r->end;

    if (r->partial != NULL || !collects_in_place(r->p) ||
        t->row + r->gemm->mr > r->p->m || t->column + r->gemm->nr > r->p->n) {
        return false;
    }
    tile->c = (float *)end->c + t->row * end->ldc + t->column;
    tile->ldc = end->ldc;
    tile->add = end->accumulate;
    return true;
}

/* Tiles [begin, end) of rows over the block of columns. A tile's rows stay in
 * the inner cache while the panels of columns stream by, and the result is
 * written along its rows: down its columns would cost an eighth of the time,
 * in pages and cache sets. A tile with an epilogue is written after the next
 * one is computed: its sums have then left the store queue, and the lines
 * asked for have come. */
static void multiply(void *arg, int64_t begin, int64_t end, int32_t thread)
{
    const run *r = arg;
    const int32_t mr = r->gemm->mr;
    const int32_t nr = r->gemm->nr;
    float sums[2][CSI_CPU_MAX_TILE] __attribute__((aligned(LINE)));
    pending last = {0};
    int turn = 0;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const bool in_place =
            r->a.in_place && r->a.lane + (i + 1) * mr <= r->a.lanes;
        void (*run_tile)(const csi_tile *) =
            in_place ? r->gemm->tile_rows : r->gemm->tile;
        csi_tile tile = row_tile(r, i, in_place);

        for (int64_t j = 0; j < r->columns; j += nr) {
            const pending next = {.sums = sums[turn],
                                  .row = r->row + i * mr,
                                  .column = r->column + j};

            prefetch_tile(r, &next);
            tile.b = r->b.panels + j * r->words;
            if (goes_straight(r, &next, &tile)) {
                run_tile(&tile);
                continue;
            }
            tile.c = next.sums;
            tile.ldc = nr;
            tile.add = false;
            run_tile(&tile);
            end_tile(r, &last);
            last = next;
            turn = 1 - turn;
        }
    }
    end_tile(r, &last);
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

/* One depth step of one super-block of rows. */
static void run_step(const cs_backend *backend, run *r)
{
    const csi_product *p = r->p;
    const int32_t mr = r->gemm->mr;
    const int32_t nr = r->gemm->nr;
    const int64_t tiles = (r->rows + mr - 1) / mr;
    const int64_t block = block_columns(p);

    r->depth = csi_min_i64(CSI_CPU_DEPTH, p->k - r->d);
    r->words = (r->depth + r->gemm->pair - 1) / r->gemm->pair;
    r->is_first = r->d == 0;
    r->is_last = r->d + CSI_CPU_DEPTH >= p->k;
    r->end = step_end(p, r->is_first);
    r->a.lane = r->row;
    csi_cpu_parallel(backend, tiles, mr * r->depth, pack_a, r);
    for (r->column = 0; r->column < p->n; r->column += block) {
        r->columns = csi_min_i64(block, p->n - r->column);
        r->b.lane = r->column;
        csi_cpu_parallel(backend, (r->columns + nr - 1) / nr, nr * r->depth,
                         pack_b, r);
        csi_cpu_parallel(backend, tiles,
                         r->rows * r->columns * r->depth / 16 / tiles, multiply,
                         r);
    }
}

void csi_cpu_gemm(cs_backend *backend, const csi_product *p, void *work)
{
    const csi_cpu_state *state = csi_cpu_state_of(backend);
    run r = {.p = p, .kernels = state->kernels, .gemm = choose(state, p)};

    r.a = (side){.x = &p->a,
                 .width = r.gemm->mr,
                 .lanes = p->m,
                 .in_place = reads_in_place(r.gemm, &p->a)};
    r.b = (side){.x = &p->b, .width = r.gemm->nr, .lanes = p->n};
    r.a.panels = work;
    r.b.panels = r.a.panels + a_floats(p);
    if (needs_partial(p)) {
        r.partial = r.b.panels + b_floats(p);
    }
    /* a whole number of tiles, so that super-blocks never share one */
    const int64_t super = SUPER_ROWS / r.gemm->mr * r.gemm->mr;

    for (r.row = 0; r.row < p->m; r.row += super) {
        r.rows = csi_min_i64(super, p->m - r.row);
        for (r.d = 0; r.d == 0 || r.d < p->k; r.d += CSI_CPU_DEPTH) {
            run_step(backend, &r);
        }
    }
}
