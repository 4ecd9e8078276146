/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch eval and generate. */
#include "cornstarch/infer.h"

#include "base/alloc.h"
#include "base/thread.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

static cs_status open_model(const cli_options *o, cs_model **out)
{
    CS_TRY(cli_want_words(o, 1, "RUN"));
    const cs_model_options options = {
        .run_folder = o->words[0],
        .checkpoint = o->checkpoint,
        .backend = CLI_BACKEND,
        .n_threads = o->n_threads > 0 ? o->n_threads : csi_cpu_count(),
    };
    return cs_model_open(&options, out);
}

/* Rows appear as they are computed, except in JSON, which is whole or not at
 * all; the heading waits for the first row. `gain` may be NULL. */
static void print_row(const cli_options *o, const char *set, const char *media,
                      const cs_sample_losses *losses, const cs_gain *gain,
                      csi_str *json)
{
    const bool is_first = json->length == 0;
    const cs_evaluation e = cs_evaluation_summarise(losses);

    csi_str_add(json, is_first ? "[\n  {" : ",\n  {");
    cli_add_text(json, "set", set);
    cli_add_text(json, "media", media);
    cli_add_number(json, "eval_loss", e.loss);
    cli_add_number(json, "eval_stderr", e.stderr_);
    cli_add_int(json, "n_samples", e.n_samples);
    cli_add_int(json, "label_tokens", e.label_tokens);
    if (gain != NULL) {
        cli_add_number(json, "gain_nats_per_token", gain->gain);
        cli_add_number(json, "gain_stderr_nats_per_token", gain->stderr_);
        cli_add_int(json, "gain_n_samples", gain->n_samples);
    }
    csi_str_add(json, "}");
    if (o->is_json) {
        return;
    }
    if (is_first) {
        printf("  %-10s %-26s %8s    %6s  %6s\n", "set", "media", "loss",
               "stderr", "n");
    }
    printf("  %-10s %-26s %8.4f +- %.4f  %6" PRId64, set, media, e.loss,
           e.stderr_, e.n_samples);
    if (gain != NULL) {
        printf("  gain %.4f +- %.4f", gain->gain, gain->stderr_);
    }
    printf("\n");
    (void)fflush(stdout);
}

/* Samples with an item of the modality, up to --max-samples. */
static int64_t count_samples(const cli_options *o, const cs_index_view *view,
                             int32_t modality)
{
    int64_t n = 0;

    for (int64_t i = 0; i < view->n_samples; i++) {
        const cs_index_sample *sample = &view->samples[i];
        bool has = false;
        for (int32_t k = 0; k < sample->n_runs; k++) {
            has |= view->runs[sample->first_run + k].modality == modality;
        }
        n += has;
    }
    return o->max_samples > 0 && n > o->max_samples ? o->max_samples : n;
}

/* The samples with an item of the modality: with their own, and then, where
 * there are `n` > 1 of them, with somebody else's. */
static cs_status evaluate_media(const cli_options *o, cs_model *model,
                                const char *set, const cs_dataset *dataset,
                                int32_t modality, int64_t n, csi_str *json)
{
    const char *encoder = cs_model_config(model)->model.encoders[modality].name;
    cs_sample_losses right = {0};
    cs_sample_losses swapped = {0};
    cs_gain gain;
    char label[80];
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, cs_model_evaluate(model, dataset, o->max_samples,
                                        modality, -1, &right));
    (void)snprintf(label, sizeof label, "right %s", encoder);
    print_row(o, set, label, &right, NULL, json);
    if (n > 1) {
        CS_TRY_GOTO(done, cs_model_evaluate(model, dataset, o->max_samples,
                                            modality, modality, &swapped));
        CS_TRY_GOTO(done, cs_evaluation_compare(&right, &swapped, &gain));
        (void)snprintf(label, sizeof label, "somebody else's %s", encoder);
        print_row(o, set, label, &swapped, &gain, json);
    }
done:
    cs_sample_losses_fini(&right);
    cs_sample_losses_fini(&swapped);
    return st;
}

/* All samples, then those of each encoder that the set has media for; one
 * sample alone has nobody to swap with. */
static cs_status evaluate_set(const cli_options *o, cs_model *model,
                              const char *name, const cs_dataset_config *files,
                              int32_t n_files, csi_str *json)
{
    cs_dataset *dataset = NULL;
    cs_sample_losses all = {0};
    cs_status st = CS_OK;
    const int32_t n_encoders = cs_model_config(model)->model.n_encoders;

    CS_TRY(cs_model_dataset(model, files, n_files, &dataset));
    CS_TRY_GOTO(done, cs_model_evaluate(model, dataset, o->max_samples, -1, -1,
                                        &all));
    print_row(o, name, "all samples", &all, NULL, json);
    for (int32_t m = 0; m < n_encoders; m++) {
        const int64_t n = count_samples(o, cs_dataset_index(dataset), m);
        if (n > 0) {
            CS_TRY_GOTO(done,
                        evaluate_media(o, model, name, dataset, m, n, json));
        }
    }
done:
    cs_sample_losses_fini(&all);
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

cs_status cli_eval(const cli_options *o, int *exit_status)
{
    cs_model *model = NULL;
    csi_str json = {0};
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(open_model(o, &model));
    CS_TRY_GOTO(done, evaluate_sets(o, model, &json));
    csi_str_add(&json, "\n]\n");
    if (o->is_json) {
        CS_TRY_GOTO(done, cli_print(&json));
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
    (void)fflush(stdout);
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

cs_status cli_generate(const cli_options *o, int *exit_status)
{
    cs_model *model = NULL;
    const char *paths[2 * CLI_MAX_WORDS];
    int32_t modalities[2 * CLI_MAX_WORDS];
    int32_t n = 0;
    char *text = NULL;
    csi_str json = {0};
    cs_status st = CS_OK;

    (void)exit_status;
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
        csi_str_add(&json, "{");
        cli_add_text(&json, "text", text);
        csi_str_add(&json, "}\n");
        CS_TRY_GOTO(done, cli_print(&json));
    } else {
        printf("\n");
    }
done:
    csi_free(text);
    csi_str_fini(&json);
    cs_model_close(&model);
    return st;
}
