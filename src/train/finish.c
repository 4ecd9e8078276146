/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a run: model/ as Hugging Face folders, trace.json, report.html
 * with a few held-out samples and what the model says to them. */
#include "cornstarch/infer.h"
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include "internal.h"

#include <string.h>

enum {
    REPORT_MAX_NEW_TOKENS = 64
};

cs_status csi_export(csi_rank *r)
{
    const csi_run *run = r->run;
    char *folder = NULL;

    CS_TRY(csi_path_join(run->folder, "model", &folder));
    const cs_status st = cs_model_write(run->config, run->tokenizer, r->params,
                                        r->pipeline, folder);

    csi_free(folder);
    CS_TRY(st);
    return CS_OK;
}

/* ---- samples of the report ---- */

typedef struct report_samples {
    int32_t n;
    cs_report_sample *samples; /* strings owned */
} report_samples;

static void sample_fini(cs_report_sample *x)
{
    const char *const texts[] = {x->id,     x->image_path, x->audio_path,
                                 x->prompt, x->answer,     x->generated};

    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        csi_free((void *)(uintptr_t)texts[k]);
    }
    *x = (cs_report_sample){0};
}

static void samples_fini(report_samples *s)
{
    for (int32_t i = 0; i < s->n; i++) {
        sample_fini(&s->samples[i]);
    }
    csi_free(s->samples);
    *s = (report_samples){0};
}

/* Media of sample `index`, in the order of its runs. */
static cs_status collect_media(const csi_run *run, const cs_dataset *dataset,
                               int64_t index, cs_report_sample *x,
                               const char **paths, int32_t *modalities,
                               int32_t *n)
{
    const cs_index_view *view = cs_dataset_index(dataset);
    const cs_index_sample *s = &view->samples[index];

    for (int32_t k = 0; k < s->n_runs && *n < 8; k++) {
        const cs_index_run *media = &view->runs[s->first_run + k];
        char *path = NULL;
        if (media->modality < 0) {
            continue;
        }
        CS_TRY(cs_dataset_media_path(dataset, index,
                                     (int32_t)(s->first_run + k), &path));
        paths[*n] = path;
        modalities[(*n)++] = media->modality;
        const cs_modality kind = run->graph->modules[media->modality].modality;
        const char **slot =
            kind == CS_MODALITY_VISION ? &x->image_path : &x->audio_path;
        if (*slot == NULL) {
            *slot = path;
        } else {
            csi_free(path);
            (*n)--;
        }
    }
    return CS_OK;
}

static cs_status describe_sample(const csi_run *run, cs_model *model,
                                 const cs_dataset *dataset, int64_t index,
                                 cs_report_sample *x)
{
    const char *paths[8];
    int32_t modalities[8];
    int32_t n = 0;
    char *id = NULL;
    char *prompt = NULL;
    char *answer = NULL;
    char *generated = NULL;

    CS_TRY(cs_dataset_describe(dataset, index, &id, &prompt, &answer));
    x->id = id;
    x->prompt = prompt;
    x->answer = answer;
    CS_TRY(collect_media(run, dataset, index, x, paths, modalities, &n));
    const cs_prompt_input input = {
        .text = prompt,
        .n_media = n,
        .media_path = paths,
        .media_modality = modalities,
    };
    const cs_generate_options options = {
        .max_new_tokens = REPORT_MAX_NEW_TOKENS,
        .top_p = 1.0,
    };
    CS_TRY(cs_model_generate(model, &input, &options, &generated));
    x->generated = generated;
    return CS_OK;
}

/* evaluation.generate held-out samples, evenly spread over the first set. */
static cs_status make_samples(const csi_run *run, report_samples *out)
{
    const cs_config *c = run->config;
    cs_model *model = NULL;
    cs_status st = CS_OK;
    const cs_dataset *dataset = c->data.n_eval > 0 ? run->eval[0] : run->train;
    const int64_t n_all = cs_dataset_index(dataset)->n_samples;
    const int32_t n = c->evaluation.generate < n_all ? c->evaluation.generate
                                                     : (int32_t)n_all;
    const cs_model_options options = {
        .run_folder = run->folder,
        .backend = run->options->backend,
        .n_threads = run->n_cores,
    };

    if (n == 0) {
        return CS_OK;
    }
    out->samples = csi_calloc((size_t)n, sizeof *out->samples);
    CS_CHECK(out->samples != NULL, CS_ERR_NOMEM, "report samples");
    CS_TRY_GOTO(done, cs_model_open(&options, &model));
    for (int32_t i = 0; i < n; i++) {
        cs_report_sample *x = &out->samples[out->n++];
        st = describe_sample(run, model, dataset, (int64_t)i * n_all / n, x);
        if (st == CS_ERR_FORMAT && c->data.bad_sample == CS_BAD_SAMPLE_SKIP) {
            cs_log(CS_LOG_WARN, "train", "the report leaves out a sample: %s",
                   cs_error_message());
            sample_fini(x);
            out->n--;
            st = CS_OK;
        }
        CS_TRY_GOTO(done, st);
    }
done:
    cs_model_close(&model);
    return st;
}

static cs_status save_traces(csi_run *run, cs_stage_graph *stages, char **names,
                             const int32_t *from, const int32_t *to)
{
    cs_status st = CS_OK;
    char *path = NULL;
    cs_timeline *timelines =
        csi_calloc((size_t)run->n_traces + 1, sizeof *timelines);

    CS_CHECK(timelines != NULL, CS_ERR_NOMEM, "trace");
    for (int32_t i = 0; i < run->n_traces; i++) {
        cs_timeline *t = &run->traces[i].timeline;
        t->n_stages = stages->n_stages;
        t->stage_name = (const char *const *)names;
        t->n_edges = stages->n_edges;
        t->edge_from = from;
        t->edge_to = to;
        timelines[i] = *t;
    }
    CS_TRY_GOTO(done, csi_path_join(run->folder, "trace.json", &path));
    if (run->n_traces > 0) {
        CS_TRY_GOTO(done, cs_trace_save(timelines, run->n_traces, path));
    }
done:
    csi_free(path);
    csi_free(timelines);
    return st;
}

static cs_status write_html(csi_run *run, const report_samples *samples)
{
    cs_status st = CS_OK;
    const cs_config *c = run->config;
    char *recipe = NULL;
    char *model = NULL;
    char *plan = NULL;
    cs_report_row *rows = csi_calloc((size_t)c->data.n_eval + 1, sizeof *rows);
    int32_t n_rows = 0;

    CS_CHECK(rows != NULL, CS_ERR_NOMEM, "report");
    for (int32_t i = 0; i < c->data.n_eval && run->has_evaluations; i++) {
        rows[n_rows++] = (cs_report_row){
            .group = c->data.eval[i].name,
            .name = "as recorded",
            .loss = run->evaluations[i].loss,
            .stderr_ = run->evaluations[i].stderr_,
            .n_samples = run->evaluations[i].n_samples,
        };
    }
    CS_TRY_GOTO(done, cs_config_print(c, &recipe));
    CS_TRY_GOTO(done, cs_graph_print(run->graph, false, &model));
    CS_TRY_GOTO(done, cs_plan_print(run->plan, run->graph, &plan));
    const cs_report_input input = {
        .run_folder = run->folder,
        .title = c->name,
        .recipe_text = recipe,
        .model_text = model,
        .plan_text = plan,
        .machine_text = run->costs->source,
        .timeline =
            run->n_traces > 0 ? &run->traces[run->n_traces - 1].timeline : NULL,
        .n_samples = samples->n,
        .samples = samples->samples,
        .n_rows = n_rows,
        .rows = rows,
    };
    CS_TRY_GOTO(done, cs_report_write(&input));
done:
    csi_free(recipe);
    csi_free(model);
    csi_free(plan);
    csi_free(rows);
    return st;
}

cs_status csi_write_report(csi_run *run)
{
    cs_status st = CS_OK;
    cs_stage_graph stages = {0};
    int32_t *ranges = NULL;
    report_samples samples = {0};
    const size_t n_max = (size_t)run->graph->n_modules * 1024;
    char **names = csi_calloc(n_max, sizeof *names);
    int32_t *from = csi_calloc(n_max, sizeof *from);
    int32_t *to = csi_calloc(n_max, sizeof *to);

    CS_CHECK_GOTO(done, names != NULL && from != NULL && to != NULL,
                  CS_ERR_NOMEM, "report");
    CS_TRY_GOTO(done,
                cs_plan_stage_graph(run->plan, run->graph, &stages, &ranges));
    for (int32_t i = 0; i < stages.n_stages; i++) {
        csi_str name = {0};
        csi_str_addf(&name, "%s %d",
                     run->graph->modules[stages.stages[i].module].name,
                     stages.stages[i].position);
        names[i] = name.data;
        CS_TRY_GOTO(done, csi_str_check(&name));
    }
    for (int32_t i = 0; i < stages.n_edges; i++) {
        from[i] = stages.edges[i].from;
        to[i] = stages.edges[i].to;
    }
    CS_TRY_GOTO(done, save_traces(run, &stages, names, from, to));
    if (run->config->logging.report && run->config->export_.at_end &&
        run->result.stopped_by_signal == 0) {
        CS_TRY_GOTO(done, make_samples(run, &samples));
    }
    if (run->config->logging.report) {
        CS_TRY_GOTO(done, write_html(run, &samples));
    }
done:
    for (int32_t i = 0; names != NULL && i < stages.n_stages; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
    csi_free(from);
    csi_free(to);
    csi_free(ranges);
    samples_fini(&samples);
    cs_stage_graph_fini(&stages);
    return st;
}
