/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast weights come in: a folder of a few hundred MB through the importer,
 * beside a plain read of the same bytes (map, copy into memory that is there
 * already, unmap), interleaved in one process, medians of the rounds. The files
 * are in the page cache on both sides, so this is what the importer costs, not
 * what the disk does. `share` = plain seconds / importer's seconds, header,
 * checks and conversion included. One JSON object goes to stdout.
 *
 *     load_bench FOLDER    (which is made, and must not exist)
 */
#include "cornstarch/checkpoint.h"
#include "cornstarch/safetensors.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_ROUNDS = 7,
    CHUNK = 1 << 20
};

static const char RECIPE[] =
    "version: 1\nmodel:\n  attention: causal\n  language_model:\n"
    "    from: \"%s\"\n    freeze: true\n"
    "data: {train: [{path: none.json}]}\ntraining: {max_steps: 1}\n";

static const char CONFIG[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 1024, \"intermediate_size\": "
    "2816, \"num_hidden_layers\": 6, \"num_attention_heads\": 16, "
    "\"vocab_size\": 16384, \"max_position_embeddings\": 2048}\n";

typedef struct load_case {
    cs_dtype stored, held;
    int64_t max_shard_bytes; /* 0 = one file */
} load_case;

static const load_case CASES[] = {
    {CS_F32, CS_F32, 0},  {CS_BF16, CS_BF16, 0}, {CS_BF16, CS_F32, 0},
    {CS_F32, CS_BF16, 0}, {CS_F16, CS_F32, 0},   {CS_BF16, CS_BF16, 1 << 26},
};

enum {
    N_CASES = sizeof CASES / sizeof CASES[0]
};

typedef struct bench {
    const char *folder;
    cs_config *config;
    cs_graph *graph;
    cs_param_set *set;
    uint8_t *copy; /* [n_bytes] */
    int64_t n_bytes;
} bench;

/* ---- the folder ---- */

static cs_status write_config(const char *folder)
{
    char *path = NULL;

    CS_TRY(csi_dir_create(folder));
    CS_TRY(csi_path_join(folder, "config.json", &path));
    const cs_status st = csi_file_write(path, CONFIG, sizeof CONFIG - 1);

    csi_free(path);
    CS_TRY(st);
    return CS_OK;
}

/* Small numbers of any float type: random bits, exponents kept near 0. */
static void fill(uint8_t *bytes, int64_t n, cs_dtype dtype, uint64_t *state)
{
    const int64_t each = (int64_t)cs_dtype_bytes(dtype);

    for (int64_t i = 0; i < n; i++) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        bytes[i] = (uint8_t)(*state >> 56);
        if (i % each == each - 1) {
            bytes[i] = (uint8_t)((bytes[i] & 0x80U) | 0x3cU);
        }
    }
}

/* Tensors [*next, ...) that fit one file. */
static cs_status write_file(const bench *b, const load_case *c,
                            const char *path, int32_t *next)
{
    static uint8_t chunk[CHUNK];
    cs_safetensors_writer *w = NULL;
    int64_t n_bytes = 0;
    int32_t last = *next;
    uint64_t state = 1;
    cs_status st = CS_OK;

    fill(chunk, CHUNK, c->stored, &state);
    CS_TRY(cs_safetensors_writer_create(path, NULL, 0, &w));
    for (; last < b->graph->n_params; last++) {
        const cs_param *p = &b->graph->params[last];
        const int64_t size =
            cs_shape_count(&p->shape) * (int64_t)cs_dtype_bytes(c->stored);
        if (n_bytes > 0 && c->max_shard_bytes > 0 &&
            n_bytes + size > c->max_shard_bytes) {
            break;
        }
        n_bytes += size;
        CS_TRY_GOTO(done, cs_safetensors_writer_add(w, p->name, c->stored,
                                                    &p->shape));
    }
    for (; *next < last; (*next)++) {
        const cs_param *p = &b->graph->params[*next];
        int64_t left =
            cs_shape_count(&p->shape) * (int64_t)cs_dtype_bytes(c->stored);
        while (left > 0) {
            const int64_t n = left < CHUNK ? left : CHUNK;
            CS_TRY_GOTO(done,
                        cs_safetensors_writer_write(w, p->name, chunk, n));
            left -= n;
        }
    }
    CS_TRY_GOTO(done, cs_safetensors_writer_commit(w));
done:
    cs_safetensors_writer_destroy(&w);
    return st;
}

static cs_status write_shards(const bench *b, const load_case *c)
{
    csi_str index = {0};
    cs_status st = CS_OK;
    char path[600];
    int32_t next = 0;

    csi_str_add(&index, "{\"weight_map\": {");
    for (int32_t k = 0; next < b->graph->n_params; k++) {
        const int32_t first = next;
        CS_TRY_GOTO(done, csi_format(path, sizeof path, "%s/s%d.safetensors",
                                     b->folder, k));
        CS_TRY_GOTO(done, write_file(b, c, path, &next));
        for (int32_t i = first; i < next; i++) {
            csi_str_addf(&index, "%s\"%s\": \"s%d.safetensors\"",
                         i > 0 ? ", " : "", b->graph->params[i].name, k);
        }
    }
    csi_str_add(&index, "}}\n");
    CS_TRY_GOTO(done, csi_str_check(&index));
    CS_TRY_GOTO(done, csi_format(path, sizeof path,
                                 "%s/model.safetensors.index.json", b->folder));
    CS_TRY_GOTO(done, csi_file_write(path, index.data, index.length));
done:
    csi_str_fini(&index);
    return st;
}

static cs_status write_folder(const bench *b, const load_case *c)
{
    char path[600];
    int32_t next = 0;

    CS_TRY(csi_dir_remove(b->folder));
    CS_TRY(write_config(b->folder));
    if (c->max_shard_bytes > 0) {
        return write_shards(b, c);
    }
    CS_TRY(csi_format(path, sizeof path, "%s/model.safetensors", b->folder));
    return write_file(b, c, path, &next);
}

/* ---- the two readers ---- */

/* Maps every file of the folder and copies it. */
static cs_status read_plain(bench *b, double *seconds)
{
    const int64_t start = csi_clock_ns();
    char **names = NULL;
    int64_t n = 0;
    int64_t at = 0;
    cs_status st = CS_OK;

    CS_TRY(csi_dir_list(b->folder, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        csi_file_map map;
        char *path = NULL;
        if (strstr(names[i], ".safetensors") != NULL &&
            strstr(names[i], ".json") == NULL && st == CS_OK) {
            st = csi_path_join(b->folder, names[i], &path);
            st = st == CS_OK ? csi_file_map_open(path, &map) : st;
            if (st == CS_OK) {
                memcpy(b->copy + at, map.data, map.n_bytes);
                at += (int64_t)map.n_bytes;
                csi_file_map_close(&map);
            }
            csi_free(path);
        }
        csi_free(names[i]);
    }
    csi_free(names);
    *seconds = (double)(csi_clock_ns() - start) * 1e-9;
    return st;
}

static cs_status read_imported(bench *b, double *seconds)
{
    const int64_t start = csi_clock_ns();

    CS_TRY(cs_weights_load(b->set, 1));
    *seconds = (double)(csi_clock_ns() - start) * 1e-9;
    return CS_OK;
}

/* ---- cases ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, N_ROUNDS, sizeof *values, compare_doubles);
    return values[N_ROUNDS / 2];
}

static cs_status run_case(bench *b, const load_case *c, double *share)
{
    double plain[N_ROUNDS];
    double imported[N_ROUNDS];
    cs_status st = CS_OK;
    const int64_t count = cs_graph_param_count(b->graph, -1, false);
    bool *held = csi_calloc((size_t)b->graph->n_params, sizeof *held);

    CS_CHECK(held != NULL, CS_ERR_NOMEM, "bench");
    for (int32_t i = 0; i < b->graph->n_params; i++) {
        held[i] = true;
    }
    b->n_bytes = count * (int64_t)cs_dtype_bytes(c->stored) + (1 << 20);
    b->copy = csi_aligned((size_t)b->n_bytes);
    CS_CHECK_GOTO(done, b->copy != NULL, CS_ERR_NOMEM, "bench");
    memset(b->copy, 0, (size_t)b->n_bytes);
    CS_TRY_GOTO(done,
                cs_param_set_create(b->graph, held, c->held, false, &b->set));
    CS_TRY_GOTO(done, write_folder(b, c));
    for (int k = 0; k < N_ROUNDS; k++) {
        CS_TRY_GOTO(done, read_plain(b, &plain[k]));
        CS_TRY_GOTO(done, read_imported(b, &imported[k]));
    }
    const double plain_s = median(plain);
    const double load_s = median(imported);
    *share = plain_s / load_s;
    printf("  {\"stored\": \"%s\", \"held\": \"%s\", \"files\": \"%s\", "
           "\"bytes\": %" PRId64 ", \"plain_s\": %.4f, \"load_s\": %.4f, "
           "\"load_bytes_per_s\": %.3e, \"share\": %.3f}",
           cs_dtype_name(c->stored), cs_dtype_name(c->held),
           c->max_shard_bytes > 0 ? "shards" : "one",
           count * (int64_t)cs_dtype_bytes(c->stored), plain_s, load_s,
           (double)count * (double)cs_dtype_bytes(c->stored) / load_s, *share);
done:
    csi_free(held);
    csi_free(b->copy);
    b->copy = NULL;
    cs_param_set_destroy(&b->set);
    return st;
}

static cs_status run(bench *b)
{
    char recipe[1200];
    double worst_same = 1e9;
    double worst = 1e9;

    CS_CHECK(!csi_dir_exists(b->folder), CS_ERR_ARG, "%s: exists", b->folder);
    CS_TRY(write_config(b->folder));
    CS_TRY(csi_format(recipe, sizeof recipe, RECIPE, b->folder));
    CS_TRY(cs_config_parse(recipe, strlen(recipe), ".", NULL, 0, &b->config));
    CS_TRY(cs_zoo_build(b->config, &b->graph));
    printf("{\"cases\": [\n");
    for (int i = 0; i < N_CASES; i++) {
        double share = 0.0;
        CS_TRY(run_case(b, &CASES[i], &share));
        printf("%s\n", i + 1 < N_CASES ? "," : "");
        worst = share < worst ? share : worst;
        if (CASES[i].stored == CASES[i].held) {
            worst_same = share < worst_same ? share : worst_same;
        }
    }
    printf("], \"summary\": {\"worst_share_same_type\": %.3f, "
           "\"worst_share_converted\": %.3f}}\n",
           worst_same, worst);
    return CS_OK;
}

int main(int argc, char **argv)
{
    bench b = {.folder = argc == 2 ? argv[1] : NULL};

    if (b.folder == NULL) {
        (void)fprintf(stderr, "usage: load_bench FOLDER\n");
        return 2;
    }
    cs_status st = run(&b);

    if (st != CS_OK) {
        cs_error_print(stderr, false);
    }
    const cs_status removed = csi_dir_remove(b.folder);

    st = st != CS_OK ? st : removed;
    cs_graph_destroy(&b.graph);
    cs_config_destroy(&b.config);
    return cs_status_exit_code(st);
}
