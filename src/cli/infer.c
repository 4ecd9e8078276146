/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch eval and generate. */
#include "cornstarch/infer.h"

#include "base/alloc.h"
#include "base/str.h"
#include "base/thread.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

static cs_status open_model(const cli_options *o, cs_model **out)
{
    const char *backend = NULL;

    CS_TRY(cli_want_words(o, 1, "RUN"));
    CS_TRY(cli_backend(o, NULL, &backend));
    const cs_model_options options = {
        .run_folder = o->words[0],
        .checkpoint = o->checkpoint,
        .backend = backend,
        .n_threads = o->n_threads > 0 ? o->n_threads : csi_cpu_count(),
    };
    return cs_model_open(&options, out);
}

static void print_row(const cli_options *o, const char *set, const char *media,
                      const cs_evaluation *e, csi_str *json)
{
    if (o->is_json) {
        csi_str_addf(json,
                     "%s\n  {\"set\": \"%s\", \"media\": \"%s\", "
                     "\"eval_loss\": %.9g, \"eval_stderr\": %.9g, "
                     "\"n_samples\": %" PRId64 ", \"label_tokens\": %" PRId64
                     "}",
                     json->length > 1 ? "," : "", set, media, e->loss,
                     e->stderr_, e->n_samples, e->label_tokens);
    } else {
        printf("  %-10s %-26s %8.4f +- %.4f  %6" PRId64 "\n", set, media,
               e->loss, e->stderr_, e->n_samples);
        fflush(stdout);
    }
}

/* Right and somebody else's media of each encoder that the set has. */
static cs_status evaluate_set(const cli_options *o, cs_model *model,
                              const char *name, const cs_dataset_config *files,
                              int32_t n_files, csi_str *json)
{
    cs_dataset *dataset = NULL;
    cs_evaluation e;
    cs_status st = CS_OK;
    const cs_config *c = cs_model_config(model);

    CS_TRY(cs_model_dataset(model, files, n_files, &dataset));
    CS_TRY_GOTO(done,
                cs_model_evaluate(model, dataset, o->max_samples, -1, -1, &e));
    print_row(o, name, "all samples", &e, json);
    for (int32_t m = 0; m < c->model.n_encoders; m++) {
        const cs_index_view *view = cs_dataset_index(dataset);
        char label[80];
        int64_t n = 0;
        for (int64_t r = 0; r < view->n_runs; r++) {
            n += view->runs[r].modality == m;
        }
        if (n < 2) {
            continue;
        }
        CS_TRY_GOTO(done, cs_model_evaluate(model, dataset, o->max_samples, m,
                                            -1, &e));
        (void)snprintf(label, sizeof label, "right %s",
                       c->model.encoders[m].name);
        print_row(o, name, label, &e, json);
        CS_TRY_GOTO(done, cs_model_evaluate(model, dataset, o->max_samples, m,
                                            m, &e));
        (void)snprintf(label, sizeof label, "somebody else's %s",
                       c->model.encoders[m].name);
        print_row(o, name, label, &e, json);
    }
done:
    cs_dataset_destroy(&dataset);
    return st;
}

static cs_status evaluate_sets(const cli_options *o, cs_model *model,
                               csi_str *json)
{
    const cs_config *c = cs_model_config(model);

    if (o->data != NULL) {
        const cs_dataset_config file = {
            .name = "data",
            .path = o->data,
            .format = CS_DATA_LLAVA,
            .media_root =
                c->data.n_train > 0 ? c->data.train[0].media_root : NULL,
            .weight = 1.0,
        };
        return evaluate_set(o, model, "data", &file, 1, json);
    }
    CS_TRY(evaluate_set(o, model, "train", c->data.train, c->data.n_train,
                        json));
    for (int32_t i = 0; i < c->data.n_eval; i++) {
        CS_TRY(evaluate_set(o, model, c->data.eval[i].name, &c->data.eval[i], 1,
                            json));
    }
    return CS_OK;
}

cs_status cli_eval(const cli_options *o)
{
    cs_model *model = NULL;
    csi_str json = {0};
    cs_status st = CS_OK;

    CS_TRY(open_model(o, &model));
    if (o->is_json) {
        csi_str_add(&json, "[");
    } else {
        printf("  %-10s %-26s %8s    %6s  %6s\n", "set", "media", "loss",
               "stderr", "n");
    }
    CS_TRY_GOTO(done, evaluate_sets(o, model, &json));
    if (o->is_json) {
        CS_TRY_GOTO(done, csi_str_check(&json));
        printf("%s\n]\n", json.data);
    }
done:
    csi_str_fini(&json);
    cs_model_close(&model);
    return st;
}

static void show_text(void *context, const char *text)
{
    (void)context;
    printf("%s", text);
    fflush(stdout);
}

/* Gives each file the first encoder of its kind. */
static cs_status find_encoder(const cs_graph *graph, cs_modality modality,
                              const char *path, int32_t *out)
{
    for (int32_t i = 0; i < graph->n_modules - 1; i++) {
        if (graph->modules[i].modality == modality) {
            *out = i;
            return CS_OK;
        }
    }
    return CS_FAIL(CS_ERR_ARG, "%s: the model has no %s encoder", path,
                   modality == CS_MODALITY_VISION ? "vision" : "audio");
}

cs_status cli_generate(const cli_options *o)
{
    cs_model *model = NULL;
    const char *paths[2 * CLI_MAX_WORDS];
    int32_t modalities[2 * CLI_MAX_WORDS];
    int32_t n = 0;
    char *text = NULL;
    csi_str json = {0};
    cs_status st = CS_OK;

    CS_CHECK(o->prompt != NULL, CS_ERR_ARG, "generate wants --prompt TEXT");
    CS_TRY(open_model(o, &model));
    const cs_graph *graph = cs_model_graph(model);
    for (int32_t i = 0; i < o->n_images; i++) {
        paths[n] = o->images[i];
        CS_TRY_GOTO(done, find_encoder(graph, CS_MODALITY_VISION, o->images[i],
                                       &modalities[n++]));
    }
    for (int32_t i = 0; i < o->n_audios; i++) {
        paths[n] = o->audios[i];
        CS_TRY_GOTO(done, find_encoder(graph, CS_MODALITY_AUDIO, o->audios[i],
                                       &modalities[n++]));
    }
    const cs_prompt_input input = {
        .text = o->prompt,
        .n_media = n,
        .media_path = paths,
        .media_modality = modalities,
    };
    const cs_generate_options options = {
        .max_new_tokens =
            (int32_t)(o->max_new_tokens < 1 << 20 ? o->max_new_tokens
                                                  : 1 << 20),
        .temperature = o->temperature,
        .top_p = o->top_p,
        .seed = (uint64_t)o->seed,
        .on_text = o->is_json ? NULL : show_text,
    };
    CS_TRY_GOTO(done, cs_model_generate(model, &input, &options, &text));
    if (o->is_json) {
        csi_str_add(&json, "{\"text\": \"");
        csi_str_add_json(&json, text);
        csi_str_add(&json, "\"}");
        CS_TRY_GOTO(done, csi_str_check(&json));
        printf("%s\n", json.data);
    } else {
        printf("\n");
    }
done:
    csi_free(text);
    csi_str_fini(&json);
    cs_model_close(&model);
    return st;
}
