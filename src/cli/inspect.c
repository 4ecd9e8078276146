/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch inspect: every object that the program makes, printed. */
#include "cornstarch/checkpoint.h"
#include "cornstarch/plan.h"
#include "cornstarch/safetensors.h"
#include "cornstarch/shard.h"
#include "cornstarch/train.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/str.h"
#include "base/thread.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

typedef cs_status (*inspect_fn)(const cli_options *o, char **text);

static cs_status load_file_recipe(const cli_options *o, cs_config **out)
{
    return cs_config_load(o->words[1], o->overrides, o->n_overrides, out);
}

static cs_status inspect_recipe(const cli_options *o, char **text)
{
    cs_config *config = NULL;

    CS_TRY(load_file_recipe(o, &config));
    const cs_status st = cs_config_print(config, text);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_graph(const cli_options *o, char **text)
{
    cs_config *config = NULL;
    cs_graph *graph = NULL;
    cs_status st = CS_OK;

    CS_TRY(load_file_recipe(o, &config));
    CS_TRY_GOTO(done, cs_zoo_build(config, &graph));
    CS_TRY_GOTO(done, cs_graph_print(graph, o->with_params, text));
done:
    cs_graph_destroy(&graph);
    cs_config_destroy(&config);
    return st;
}

/* A recipe's plan for --ranks N, through the same door as training. */
static cs_status plan_of(const cli_options *o, cs_config **config,
                         cs_planned *out)
{
    const char *backend = NULL;

    CS_TRY(load_file_recipe(o, config));
    CS_TRY(cli_backend(o, *config, &backend));
    return cs_train_plan(*config, o->n_ranks, out);
}

static cs_status inspect_plan(const cli_options *o, char **text)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, plan_of(o, &config, &planned));
    CS_TRY_GOTO(done, cs_plan_print(planned.plan, planned.graph, text));
done:
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_shard(const cli_options *o, char **text)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    csi_str all = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, plan_of(o, &config, &planned));
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

static cs_status inspect_schedule(const cli_options *o, char **text)
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

    CS_TRY_GOTO(done, plan_of(o, &config, &planned));
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

/* The mask of the first microbatch of a recipe's first step. */
static cs_status inspect_mask(const cli_options *o, char **text)
{
    cs_config *config = NULL;
    cs_planned planned = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, plan_of(o, &config, &planned));
    const cs_microbatch *mb = &planned.batch->microbatches[0];
    const cs_mask mask = {mb->n_tokens, mb->word, mb->position};
    CS_TRY_GOTO(done, cs_mask_print(&mask, 0, 96, text));
done:
    cs_planned_fini(&planned);
    cs_config_destroy(&config);
    return st;
}

static cs_status inspect_checkpoint(const cli_options *o, char **text)
{
    return cs_checkpoint_print(o->words[1], o->checkpoint, text);
}

static cs_status inspect_safetensors(const cli_options *o, char **text)
{
    cs_safetensors *file = NULL;
    csi_str all = {0};
    cs_status st = CS_OK;
    int64_t n_bytes = 0;
    char human[32];

    CS_TRY(cs_safetensors_open(o->words[1], &file));
    for (int64_t i = 0; i < cs_safetensors_count(file); i++) {
        const cs_safetensor *t = cs_safetensors_at(file, i);
        char shape[CS_SHAPE_TEXT_BYTES];
        csi_str_addf(&all, "%-64s %-5s %s\n", t->name, cs_dtype_name(t->dtype),
                     cs_shape_print(&t->shape, shape));
        n_bytes += (int64_t)t->n_bytes;
    }
    csi_str_addf(&all, "%" PRId64 " tensors, %s\n", cs_safetensors_count(file),
                 csi_human_bytes(human, (double)n_bytes));
    CS_TRY_GOTO(done, csi_str_check(&all));
    *text = all.data;
    all.data = NULL;
done:
    csi_str_fini(&all);
    cs_safetensors_close(&file);
    return st;
}

static const struct {
    const char *kind;
    inspect_fn run;
} KINDS[] = {
    {"recipe", inspect_recipe},
    {"graph", inspect_graph},
    {"plan", inspect_plan},
    {"shard", inspect_shard},
    {"schedule", inspect_schedule},
    {"mask", inspect_mask},
    {"checkpoint", inspect_checkpoint},
    {"safetensors", inspect_safetensors},
};

enum {
    N_KINDS = sizeof KINDS / sizeof KINDS[0]
};

cs_status cli_inspect(const cli_options *o)
{
    char *text = NULL;

    CS_TRY(cli_want_words(o, 2, "KIND FILE"));
    CS_CHECK(!o->is_json, CS_ERR_UNSUPPORTED,
             "unsupported: inspect --format json");
    for (int i = 0; i < N_KINDS; i++) {
        if (strcmp(o->words[0], KINDS[i].kind) == 0) {
            CS_TRY(KINDS[i].run(o, &text));
            printf("%s", text);
            csi_free(text);
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_ARG,
                   "inspect: '%s': wanted recipe, graph, plan, shard, "
                   "schedule, mask, checkpoint or safetensors",
                   o->words[0]);
}
