/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cornstarch inspect mask: the words of a recipe's first microbatch or of a
 * safetensors file, as a picture with counts; whether a document sees another
 * one; and, for --ranks N, what each distribution would give N ranks that
 * share these tokens.
 */
#include "cornstarch/distribute.h"
#include "cornstarch/safetensors.h"
#include "cornstarch/train.h"

#include "base/alloc.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

enum {
    PICTURE_SIDE = 96,
    TILE = 64,            /* of the counts, where tokens are not dealt */
    MAX_RANKS_SHOWN = 16, /* with a line each */
    CAP_OF_MEAN = 2       /* tokens of a rank, balanced: times the mean */
};

/* What is looked at, wherever it came from. */
typedef struct subject {
    cs_mask mask;
    uint64_t *word;    /* owned, or NULL */
    int32_t *position; /* owned, or NULL */
    cs_config *config;
    cs_planned planned;
    cs_distribute_costs costs;
    const char *cost_source;
    cs_tile_map map;
    cs_mask_leak leak;
    int64_t visible;
} subject;

/* One method's result. */
typedef struct outcome {
    cs_distribution_method method;
    cs_rank_load *loads; /* owned, [n_ranks] */
} outcome;

static void subject_fini(subject *s)
{
    csi_free(s->word);
    csi_free(s->position);
    cs_planned_fini(&s->planned);
    cs_config_destroy(&s->config);
    cs_tile_map_fini(&s->map);
}

static bool has_suffix(const char *path, const char *suffix)
{
    const size_t n = strlen(path);
    const size_t n_suffix = strlen(suffix);

    return n >= n_suffix && strcmp(path + n - n_suffix, suffix) == 0;
}

/* ---- from a file of words ---- */

static cs_status read_positions(const cs_safetensors *file, int64_t n,
                                int32_t *position)
{
    const cs_shape shape = {.n_dims = 1, .dim = {n}};
    const cs_safetensor *tensor = cs_safetensors_find(file, "positions");

    if (tensor == NULL) {
        for (int64_t t = 0; t < n; t++) {
            position[t] = (int32_t)t;
        }
        return CS_OK;
    }
    CS_TRY(cs_safetensors_require(file, "positions", &shape, &tensor));
    CS_CHECK(tensor->dtype == CS_I32, CS_ERR_DTYPE,
             "%s: tensor 'positions': wanted i32, got %s", tensor->path,
             cs_dtype_name(tensor->dtype));
    memcpy(position, tensor->data, (size_t)n * sizeof *position);
    return CS_OK;
}

static cs_status read_words(const cs_safetensors *file, subject *s)
{
    const cs_safetensor *tensor = NULL;

    CS_TRY(cs_safetensors_require(file, "words", NULL, &tensor));
    CS_CHECK(tensor->dtype == CS_U64 || tensor->dtype == CS_I64, CS_ERR_DTYPE,
             "%s: tensor 'words': wanted u64 or i64, got %s", tensor->path,
             cs_dtype_name(tensor->dtype));
    CS_CHECK(tensor->shape.n_dims == 1, CS_ERR_SHAPE,
             "%s: tensor 'words': wanted one dimension, got %d", tensor->path,
             (int)tensor->shape.n_dims);
    const int64_t n = tensor->shape.dim[0];
    CS_CHECK(n <= INT32_MAX, CS_ERR_SHAPE,
             "%s: tensor 'words': %" PRId64
             " tokens, at most %d can have a position",
             tensor->path, n, INT32_MAX);
    s->word = csi_malloc((size_t)n * sizeof *s->word + 1);
    s->position = csi_malloc((size_t)n * sizeof *s->position + 1);
    CS_CHECK(s->word != NULL && s->position != NULL, CS_ERR_NOMEM,
             "%s: no memory for %" PRId64 " tokens", tensor->path, n);
    memcpy(s->word, tensor->data, (size_t)n * sizeof *s->word);
    CS_TRY(read_positions(file, n, s->position));
    s->mask = (cs_mask){n, s->word, s->position};
    return cs_mask_check(&s->mask, tensor->path);
}

static cs_status subject_of_file(const cli_options *o, const char *path,
                                 subject *s)
{
    cs_safetensors *file = NULL;

    CS_CHECK(o->n_overrides == 0, CS_ERR_ARG,
             "%s is no recipe, so there is nothing to override: '%s'", path,
             o->overrides[0]);
    CS_TRY(cs_safetensors_open(path, &file));
    const cs_status st = read_words(file, s);
    cs_safetensors_close(&file);
    s->costs = (cs_distribute_costs)CS_DISTRIBUTE_COSTS_DEFAULT;
    s->cost_source = "attention alone, in pairs of tiles";
    return st;
}

/* ---- from a recipe ---- */

static double language_model_s(const cs_planned *p, double rows, double pairs)
{
    const int32_t lm = cs_graph_language_model(p->graph);
    const cs_work work = {.rows = rows, .pairs = pairs, .feature_rows = rows};
    bool trainable = false;

    for (int32_t m = 0; m < lm; m++) {
        trainable = trainable || cs_graph_param_count(p->graph, m, true) > 0;
    }
    const cs_range_cost cost =
        cs_cost_range(p->costs, p->graph, lm, 0, p->costs->n_layers[lm],
                      trainable, work);
    return cost.forward_s + cost.backward_input_s + cost.backward_weight_s;
}

/* The lines of the cost table are straight: two points give a slope. */
static cs_distribute_costs costs_of(const cs_planned *p)
{
    const double many = 1e6;
    const double one = language_model_s(p, many, 0.0);
    const double pair_s = (language_model_s(p, many, many) - one) / many;
    const double token_s = (language_model_s(p, 2.0 * many, 0.0) - one) / many;

    return (cs_distribute_costs){
        .full_pair = pair_s > 0.0 ? pair_s : 0.0,
        .partial_pair = pair_s > 0.0 ? pair_s : 0.0,
        .token = token_s > 0.0 ? token_s : 0.0,
    };
}

/* --ranks says among how many the tokens are dealt; the batch is the same for
 * any plan, so one rank plans it. */
static cs_status subject_of_recipe(const cli_options *o, const char *path,
                                   subject *s)
{
    CS_TRY(cs_config_load(path, o->overrides, o->n_overrides, &s->config));
    CS_TRY(cs_train_plan(s->config, 1, &s->planned));
    const cs_microbatch *mb = &s->planned.batch->microbatches[0];
    s->mask = (cs_mask){mb->n_tokens, mb->word, mb->position};
    s->costs = costs_of(&s->planned);
    s->cost_source = s->planned.costs->source;
    return CS_OK;
}

/* ---- text ---- */

static void add_leak(const subject *s, csi_str *all)
{
    const uint64_t *word = s->mask.word;

    if (s->leak.n_pairs == 0) {
        csi_str_add(all, "leaks: none, no document sees another\n");
        return;
    }
    csi_str_addf(all,
                 "leaks: %" PRId64 " pairs; document %d (token %" PRId64
                 ") sees document %d (token %" PRId64 ")\n",
                 s->leak.n_pairs, (int)(word[s->leak.q] >> 48), s->leak.q,
                 (int)(word[s->leak.k] >> 48), s->leak.k);
}

static void add_summary_line(const outcome *out, int32_t n_ranks, csi_str *all)
{
    int64_t least = INT64_MAX;
    int64_t most = 0;
    int64_t needed = 0;
    int64_t gathered = 0;

    for (int32_t r = 0; r < n_ranks; r++) {
        const cs_rank_load *load = &out->loads[r];

        least = load->n_tokens < least ? load->n_tokens : least;
        most = load->n_tokens > most ? load->n_tokens : most;
        needed += load->needed_tokens;
        gathered += load->gathered_tokens;
    }
    csi_str_addf(all,
                 "%-10s  %8.4f  %10" PRId64 "  %10" PRId64 "  %12" PRId64
                 "  %6.1f %%\n",
                 cs_distribution_method_name(out->method),
                 cs_rank_load_imbalance(out->loads, n_ranks), least, most,
                 needed,
                 gathered > 0 ? 100.0 * (double)needed / (double)gathered
                              : 0.0);
}

static void add_ranks(const outcome *outs, int32_t n_outs, int32_t n_ranks,
                      csi_str *all)
{
    double sum = 0.0;

    csi_str_add(all, "\nwork of each rank, 100 = mean\nrank");
    for (int32_t i = 0; i < n_outs; i++) {
        csi_str_addf(all, "  %8s", cs_distribution_method_name(outs[i].method));
    }
    for (int32_t r = 0; r < n_ranks; r++) {
        sum += outs[0].loads[r].work;
    }
    for (int32_t r = 0; r < n_ranks; r++) {
        csi_str_addf(all, "\n%4d", (int)r);
        for (int32_t i = 0; i < n_outs; i++) {
            csi_str_addf(all, "  %8.1f",
                         sum > 0.0
                             ? 100.0 * outs[i].loads[r].work * n_ranks / sum
                             : 100.0);
        }
    }
    csi_str_add(all, "\n");
}

static cs_status add_text(const cli_options *o, const subject *s,
                          const outcome *outs, int32_t n_outs, csi_str *all)
{
    char *picture = NULL;

    CS_TRY(cs_mask_print(&s->mask, 0, PICTURE_SIDE, &picture));
    csi_str_add(all, picture);
    csi_free(picture);
    add_leak(s, all);
    if (n_outs == 0) {
        return CS_OK;
    }
    csi_str_addf(all,
                 "\n%d ranks, blocks of %d tokens; costs: %s\n"
                 "             max/mean  tokens from          to   keys "
                 "needed  of all_gather\n",
                 (int)o->n_ranks, (int)s->map.q_block, s->cost_source);
    for (int32_t i = 0; i < n_outs; i++) {
        add_summary_line(&outs[i], o->n_ranks, all);
    }
    if (o->n_ranks <= MAX_RANKS_SHOWN) {
        add_ranks(outs, n_outs, o->n_ranks, all);
    }
    return CS_OK;
}

/* ---- JSON ---- */

static void add_outcome_json(const outcome *out, int32_t n_ranks, csi_str *all)
{
    int64_t needed = 0;
    int64_t gathered = 0;

    csi_str_add(all, "{");
    cli_add_text(all, "name", cs_distribution_method_name(out->method));
    cli_add_number(all, "imbalance",
                   cs_rank_load_imbalance(out->loads, n_ranks));
    for (int32_t r = 0; r < n_ranks; r++) {
        needed += out->loads[r].needed_tokens;
        gathered += out->loads[r].gathered_tokens;
    }
    cli_add_number(all, "needed_bytes_ratio",
                   gathered > 0 ? (double)needed / (double)gathered : 0.0);
    csi_str_add(all, ", \"ranks\": [");
    for (int32_t r = 0; r < n_ranks; r++) {
        const cs_rank_load *load = &out->loads[r];

        csi_str_add(all, r > 0 ? ",\n      {" : "\n      {");
        cli_add_int(all, "n_tokens", load->n_tokens);
        cli_add_number(all, "work", load->work);
        cli_add_int(all, "needed_tokens", load->needed_tokens);
        cli_add_int(all, "gathered_tokens", load->gathered_tokens);
        csi_str_add(all, "}");
    }
    csi_str_add(all, "]}");
}

static void add_json(const cli_options *o, const subject *s,
                     const outcome *outs, int32_t n_outs, csi_str *all)
{
    const cs_mask_counts counts = cs_mask_count(&s->mask);

    csi_str_add(all, "{");
    cli_add_text(all, "format", "cornstarch.mask");
    cli_add_int(all, "version", 1);
    cli_add_int(all, "n_tokens", s->mask.n_tokens);
    cli_add_int(all, "documents", counts.n_documents);
    cli_add_int(all, "dead_tokens", counts.n_dead);
    cli_add_int(all, "visible_pairs", s->visible);
    csi_str_add(all, ", \"tiles\": {");
    cli_add_int(all, "block_tokens", s->map.q_block);
    cli_add_int(all, "full", s->map.n_full);
    cli_add_int(all, "partial", s->map.n_partial);
    cli_add_int(all, "empty", s->map.n_empty);
    csi_str_add(all, "}");
    cli_add_int(all, "leaked_pairs", s->leak.n_pairs);
    cli_add_text(all, "costs", s->cost_source);
    cli_add_int(all, "n_ranks", o->n_ranks);
    csi_str_add(all, ", \"distributions\": [");
    for (int32_t i = 0; i < n_outs; i++) {
        csi_str_add(all, i > 0 ? ",\n    " : "\n    ");
        add_outcome_json(&outs[i], o->n_ranks, all);
    }
    csi_str_add(all, "]}\n");
}

/* ---- the whole ---- */

/* All methods; optimal only where it is offered. */
static cs_status deal(const subject *s, int32_t n_ranks, outcome *outs,
                      int32_t *n_outs)
{
    const int64_t blocks = s->map.n_q_blocks;
    const int64_t per_rank =
        (CAP_OF_MEAN * blocks + n_ranks - 1) / n_ranks * s->map.q_block;
    cs_distribution *d = NULL;
    cs_status st = CS_OK;

    CS_TRY(cs_distribution_create(&d));
    for (int m = 0; m < CS_DISTRIBUTE_OPTIMAL; m++) {
        const cs_distribute_settings settings = {
            .method = (cs_distribution_method)m,
            .n_ranks = n_ranks,
            .max_tokens = m == CS_DISTRIBUTE_BALANCED ? per_rank : 0,
            .costs = s->costs,
        };
        outcome *out = &outs[*n_outs];

        CS_TRY_GOTO(done, cs_distribution_build(d, &s->map, &settings));
        out->method = settings.method;
        out->loads = csi_calloc((size_t)n_ranks, sizeof *out->loads);
        CS_CHECK_GOTO(done, out->loads != NULL, CS_ERR_NOMEM,
                      "inspect mask: out of memory");
        (*n_outs)++;
        CS_TRY_GOTO(done,
                    cs_distribution_measure(d, &s->map, &s->costs, out->loads));
    }
done:
    cs_distribution_destroy(&d);
    return st;
}

cs_status cli_inspect_mask(const cli_options *o, const char *path, char **text)
{
    subject s = {0};
    outcome outs[CS_DISTRIBUTE_METHOD_COUNT] = {0};
    int32_t n_outs = 0;
    csi_str all = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, has_suffix(path, ".safetensors")
                          ? subject_of_file(o, path, &s)
                          : subject_of_recipe(o, path, &s));
    const int32_t block = o->n_ranks > 1
                              ? cs_distribute_block(s.mask.n_tokens, o->n_ranks)
                              : TILE;
    CS_TRY_GOTO(done,
                cs_tile_map_build(&s.map, &s.mask, &s.mask, 0, block, block));
    CS_TRY_GOTO(done, cs_mask_find_leaks(&s.mask, &s.map, 0, &s.leak));
    s.visible = cs_mask_visible_pairs(&s.mask, &s.mask, 0);
    if (o->n_ranks > 1) {
        CS_TRY_GOTO(done, deal(&s, o->n_ranks, outs, &n_outs));
    }
    if (o->is_json) {
        add_json(o, &s, outs, n_outs, &all);
    } else {
        CS_TRY_GOTO(done, add_text(o, &s, outs, n_outs, &all));
    }
    CS_TRY_GOTO(done, csi_str_check(&all));
    *text = all.data;
    all.data = NULL;
done:
    for (int32_t i = 0; i < n_outs; i++) {
        csi_free(outs[i].loads);
    }
    csi_str_fini(&all);
    subject_fini(&s);
    return st;
}
