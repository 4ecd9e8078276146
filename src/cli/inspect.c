/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch inspect: every object that the program makes, printed. */
#include "cornstarch/checkpoint.h"
#include "cornstarch/plan.h"
#include "cornstarch/safetensors.h"
#include "cornstarch/shard.h"
#include "cornstarch/train.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/file.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

typedef cs_status (*inspect_fn)(const cli_options *o, const char *path,
                                char **text);

static cs_status load_recipe(const cli_options *o, const char *path,
                             cs_config **out)
{
    return cs_config_load(path, o->overrides, o->n_overrides, out);
}

static cs_status inspect_recipe(const cli_options *o, const char *path,
                                char **text)
{
    cs_config *config = NULL;

    CS_TRY(load_recipe(o, path, &config));
    const cs_status st = cs_config_print(config, text);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_graph(const cli_options *o, const char *path,
                               char **text)
{
    cs_config *config = NULL;
    cs_graph *graph = NULL;
    cs_status st = CS_OK;

    CS_TRY(load_recipe(o, path, &config));
    CS_TRY_GOTO(done, cs_zoo_build(config, &graph));
    CS_TRY_GOTO(done, cs_graph_print(graph, o->with_params, text));
done:
    cs_graph_destroy(&graph);
    cs_config_destroy(&config);
    return st;
}

/* A recipe's plan for --ranks N, through the same door as training. */
static cs_status plan_of(const cli_options *o, const char *path,
                         cs_config **config, cs_planned *out)
{
    CS_TRY(load_recipe(o, path, config));
    return cs_train_plan(*config, o->n_ranks, out);
}

static cs_status print_plan(const cli_options *o, const cs_plan *plan,
                            const cs_graph *graph, char **text)
{
    return o->is_json ? cs_plan_print_json(plan, text)
                      : cs_plan_print(plan, graph, text);
}

/* A plan says nothing without its model, so the recipe that a run keeps beside
 * it is read too. */
static cs_status inspect_plan_file(const cli_options *o, const char *path,
                                   char **text)
{
    char *folder = NULL;
    char *recipe = NULL;
    cs_config *config = NULL;
    cs_graph *graph = NULL;
    cs_plan *plan = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_dir(path, &folder));
    CS_TRY_GOTO(done, csi_path_join(folder, "recipe.yaml", &recipe));
    CS_CHECK_GOTO(done, csi_file_exists(recipe), CS_ERR_ARG,
                  "%s: a plan is read with its recipe, and there is no %s; "
                  "'cornstarch inspect plan RECIPE parallel.plan=%s' names one",
                  path, recipe, path);
    CS_TRY_GOTO(done, load_recipe(o, recipe, &config));
    CS_TRY_GOTO(done, cs_zoo_build(config, &graph));
    CS_TRY_GOTO(done, cs_plan_load(path, graph, &plan));
    CS_TRY_GOTO(done, print_plan(o, plan, graph, text));
done:
    csi_free(folder);
    csi_free(recipe);
    cs_plan_destroy(&plan);
    cs_graph_destroy(&graph);
    cs_config_destroy(&config);
    return st;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t n_end = strlen(end);

    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static cs_status inspect_plan(const cli_options *o, const char *path,
                              char **text)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_status st = CS_OK;

    if (ends_with(path, ".json")) {
        return inspect_plan_file(o, path, text);
    }
    CS_TRY_GOTO(done, plan_of(o, path, &config, &planned));
    CS_TRY_GOTO(done, print_plan(o, planned.plan, planned.graph, text));
done:
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_shard(const cli_options *o, const char *path,
                               char **text)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    csi_str all = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, plan_of(o, path, &config, &planned));
    for (int32_t r = 0; r < planned.plan->n_ranks; r++) {
        cs_shard *shard = NULL;
        char *one = NULL;
        CS_TRY_GOTO(done,
                    cs_shard_create(planned.graph, planned.plan, r, &shard));
        st = cs_shard_print(shard, &one);
        cs_shard_destroy(&shard);
        if (st != CS_OK) {
            goto done;
        }
        csi_str_add(&all, one);
        csi_free(one);
    }
    CS_TRY_GOTO(done, csi_str_check(&all));
    *text = all.data;
    all.data = NULL;
done:
    csi_str_fini(&all);
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_schedule(const cli_options *o, const char *path,
                                  char **text)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_stage_graph stages = {0};
    int32_t *ranges = NULL;
    cs_schedule *schedule = NULL;
    char *draw = NULL;
    char *list = NULL;
    csi_str all = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, plan_of(o, path, &config, &planned));
    CS_TRY_GOTO(done, cs_plan_stage_graph(planned.plan, planned.graph, &stages,
                                          &ranges));
    CS_TRY_GOTO(done, cs_schedule_create(&stages, planned.plan->schedule,
                                         planned.plan->n_microbatches, true,
                                         &schedule));
    CS_TRY_GOTO(done, cs_schedule_draw(&stages, schedule, &draw));
    CS_TRY_GOTO(done, cs_schedule_print(&stages, schedule, &list));
    csi_str_addf(&all, "%s\n%s", draw, list);
    CS_TRY_GOTO(done, csi_str_check(&all));
    *text = all.data;
    all.data = NULL;
done:
    csi_free(draw);
    csi_free(list);
    csi_free(ranges);
    csi_str_fini(&all);
    cs_schedule_destroy(&schedule);
    cs_stage_graph_fini(&stages);
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_checkpoint(const cli_options *o, const char *path,
                                    char **text)
{
    return cs_checkpoint_print(path, o->checkpoint, text);
}

static void add_tensor(const cli_options *o, const cs_safetensor *t,
                       bool is_first, csi_str *all)
{
    char shape[CS_SHAPE_TEXT_BYTES];

    (void)cs_shape_print(&t->shape, shape);
    if (!o->is_json) {
        csi_str_addf(all, "%-64s %-5s %s\n", t->name, t->dtype_name, shape);
        return;
    }
    csi_str_add(all, is_first ? "[\n  {" : ",\n  {");
    cli_add_text(all, "name", t->name);
    cli_add_text(all, "dtype", t->dtype_name);
    csi_str_add(all, ", \"shape\": [");
    for (int32_t i = 0; i < t->shape.n_dims; i++) {
        csi_str_addf(all, "%s%" PRId64, i > 0 ? ", " : "", t->shape.dim[i]);
    }
    csi_str_add(all, "]}");
}

/* A file, or a folder with model.safetensors or its parts. */
static cs_status inspect_safetensors(const cli_options *o, const char *path,
                                     char **text)
{
    cs_safetensors *file = NULL;
    csi_str all = {0};
    cs_status st = CS_OK;
    int64_t n_bytes = 0;
    char human[32];

    CS_TRY(csi_dir_exists(path) ? cs_safetensors_open_folder(path, &file)
                                : cs_safetensors_open(path, &file));
    const int64_t n = cs_safetensors_count(file);
    for (int64_t i = 0; i < n; i++) {
        const cs_safetensor *t = cs_safetensors_at(file, i);
        add_tensor(o, t, i == 0, &all);
        n_bytes += (int64_t)t->n_bytes;
    }
    if (o->is_json) {
        csi_str_add(&all, n > 0 ? "\n]\n" : "[]\n");
    } else {
        csi_str_addf(&all, "%" PRId64 " tensors, %s\n", n,
                     csi_human_bytes(human, (double)n_bytes));
    }
    CS_TRY_GOTO(done, csi_str_check(&all));
    *text = all.data;
    all.data = NULL;
done:
    csi_str_fini(&all);
    cs_safetensors_close(&file);
    return st;
}

static const struct kind_row {
    const char *name;
    bool reads_recipe, has_json;
    inspect_fn run;
} KINDS[] = {
    {"recipe", true, false, inspect_recipe},
    {"graph", true, false, inspect_graph},
    {"plan", true, true, inspect_plan},
    {"shard", true, false, inspect_shard},
    {"schedule", true, false, inspect_schedule},
    {"mask", true, true, cli_inspect_mask},
    {"checkpoint", false, false, inspect_checkpoint},
    {"safetensors", false, true, inspect_safetensors},
};

enum {
    N_KINDS = sizeof KINDS / sizeof KINDS[0]
};

static const struct kind_row *find_kind(const char *name)
{
    for (int i = 0; i < N_KINDS; i++) {
        if (strcmp(KINDS[i].name, name) == 0) {
            return &KINDS[i];
        }
    }
    return NULL;
}

/* By name alone: what a file claims to be is checked when it is read. */
static cs_status guess_kind(const char *path, const struct kind_row **out)
{
    char *recipe = NULL;
    const char *name = NULL;

    CS_TRY(csi_path_join(path, "recipe.yaml", &recipe));
    if (ends_with(path, ".yaml") || ends_with(path, ".yml")) {
        name = "recipe";
    } else if (ends_with(path, "plan.json")) {
        name = "plan";
    } else if (ends_with(path, ".safetensors")) {
        name = "safetensors";
    } else if (csi_dir_exists(path)) {
        name = csi_file_exists(recipe) ? "checkpoint" : "safetensors";
    }
    csi_free(recipe);
    CS_CHECK(name != NULL, CS_ERR_ARG,
             "%s: neither .yaml, plan.json, .safetensors nor a folder: say "
             "what it is: cornstarch inspect KIND %s",
             path, path);
    *out = find_kind(name);
    return CS_OK;
}

static cs_status choose_kind(const cli_options *o, const struct kind_row **out,
                             const char **path)
{
    const char *names[N_KINDS];
    const struct kind_row *kind =
        o->n_words > 0 ? find_kind(o->words[0]) : NULL;

    for (int i = 0; i < N_KINDS; i++) {
        names[i] = KINDS[i].name;
    }
    if (o->n_words == 1 && kind == NULL) {
        *path = o->words[0];
        return guess_kind(o->words[0], out);
    }
    CS_TRY(cli_want_words(o, 2, "[KIND] FILE"));
    const char *nearest = csi_str_nearest(o->words[0], names, N_KINDS);
    CS_CHECK(kind != NULL, CS_ERR_ARG,
             "inspect: wanted recipe, graph, plan, shard, schedule, mask, "
             "checkpoint or safetensors, got '%s'%s%s%s",
             o->words[0], nearest != NULL ? "; did you mean '" : "",
             nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    *out = kind;
    *path = o->words[1];
    return CS_OK;
}

cs_status cli_inspect(const cli_options *o, int *exit_status)
{
    const struct kind_row *kind = NULL;
    const char *path = NULL;
    char *text = NULL;

    (void)exit_status;
    CS_TRY(choose_kind(o, &kind, &path));
    CS_CHECK(!o->is_json || kind->has_json, CS_ERR_UNSUPPORTED,
             "unsupported: inspect %s --format json", kind->name);
    CS_CHECK(o->n_overrides == 0 || kind->reads_recipe, CS_ERR_ARG,
             "inspect %s reads no recipe, so there is nothing to override: "
             "'%s'",
             kind->name, o->overrides[0]);
    CS_TRY(kind->run(o, path, &text));
    printf("%s", text);
    csi_free(text);
    return CS_OK;
}
