/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cs_convert. `modules` is the export that ends a training, of any of the
 * run's checkpoints; every other form is made from that, file to file.
 */
#include "convert.h"

#include "cornstarch/comm.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include <string.h>

/* All parameters on one rank, as an export wants them. */
static cs_status write_modules(const csi_convert_job *j, const char *folder)
{
    const cs_graph *graph = j->graph;
    const cs_language_model_config *lm =
        &j->source.config->model.language_model;
    cs_tokenizer *tokenizer = NULL;
    cs_param_set *set = NULL;
    cs_comm *comm = NULL;
    cs_status st = CS_OK;
    bool *held = csi_calloc((size_t)graph->n_params, sizeof *held);

    CS_CHECK(held != NULL, CS_ERR_NOMEM, "convert");
    for (int32_t i = 0; i < graph->n_params; i++) {
        held[i] = true;
    }
    CS_TRY_GOTO(done, cs_tokenizer_load(lm->tokenizer != NULL ? lm->tokenizer
                                                              : lm->from,
                                        &tokenizer));
    CS_TRY_GOTO(done, cs_comm_local_create(1, 600.0, &comm));
    CS_TRY_GOTO(done, cs_param_set_create(graph, held, CS_F32, false, &set));
    CS_TRY_GOTO(done, csi_source_load(&j->source, set));
    CS_TRY_GOTO(done,
                cs_model_write(j->source.config, tokenizer, set, comm, folder));
done:
    csi_free(held);
    cs_param_set_destroy(&set);
    cs_comm_destroy(&comm);
    cs_tokenizer_destroy(&tokenizer);
    return st;
}

/* OUT with an ending, for what is not ready yet. */
static cs_status beside(const char *folder, const char *suffix, char **out)
{
    csi_str text = {0};

    csi_str_addf(&text, "%s%s", folder, suffix);
    const cs_status st = csi_str_check(&text);

    if (st != CS_OK) {
        csi_str_fini(&text);
        return st;
    }
    *out = text.data;
    return CS_OK;
}

static cs_status write_llava(csi_convert_job *j)
{
    const bool has_model = j->source.checkpoint == 0;
    char *modules = NULL;
    char *temporary = NULL;
    cs_status st = CS_OK;

    CS_TRY(csi_llava_check(j));
    CS_TRY_GOTO(done, has_model
                          ? csi_path_join(j->o->run_folder, "model", &modules)
                          : beside(j->o->output, ".modules", &modules));
    CS_TRY_GOTO(done, beside(j->o->output, ".tmp", &temporary));
    if (!has_model) {
        CS_TRY_GOTO(done, write_modules(j, modules));
    }
    j->modules = modules;
    CS_TRY_GOTO(done, csi_dir_remove(temporary));
    CS_TRY_GOTO(done, csi_dir_create(temporary));
    CS_TRY_GOTO(done, csi_llava_write(j, temporary));
    CS_TRY_GOTO(done, csi_dir_replace(temporary, j->o->output));
done:
    if (st != CS_OK || !has_model) {
        cs_error error;
        cs_error_get(&error);
        const cs_status kept =
            temporary != NULL ? csi_dir_remove(temporary) : CS_OK;
        const cs_status more =
            modules != NULL && !has_model ? csi_dir_remove(modules) : CS_OK;
        if (st != CS_OK) {
            cs_error_set(&error);
        } else {
            st = kept != CS_OK ? kept : more;
        }
    }
    csi_free(modules);
    csi_free(temporary);
    return st;
}

static cs_status convert(csi_convert_job *j)
{
    const cs_convert_options *o = j->o;
    const bool is_llava = strcmp(o->to, "llava") == 0;
    bool is_empty = true;

    CS_CHECK(is_llava || strcmp(o->to, "modules") == 0, CS_ERR_ARG,
             "convert --to: wanted llava or modules, got '%s'", o->to);
    CS_TRY(csi_dir_is_empty(o->output, &is_empty));
    CS_CHECK(is_empty, CS_ERR_ARG, "%s: is not empty", o->output);
    CS_TRY(csi_source_open_run(o->run_folder, o->checkpoint, (csi_overrides){0},
                               &j->source));
    CS_TRY(cs_zoo_build(j->source.config, &j->graph));
    return is_llava ? write_llava(j) : write_modules(j, o->output);
}

cs_status cs_convert(const cs_convert_options *options)
{
    csi_convert_job j = {.o = options};
    const cs_status st = convert(&j);

    cs_graph_destroy(&j.graph);
    csi_source_close(&j.source);
    CS_TRY(st);
    return CS_OK;
}
