/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch models, explain, doctor, and what is not offered. */
#include "cornstarch/backend.h"
#include "cornstarch/version.h"
#include "cornstarch/zoo.h"

#include "base/alloc.h"
#include "base/thread.h"

#include "cli.h"

#include <string.h>

cs_status cli_models(const cli_options *o)
{
    cs_zoo_family f;

    CS_TRY(cli_want_words(o, 0, ""));
    if (o->is_json) {
        printf("[");
    } else {
        printf("%-10s %-22s %-8s %s\n", "family", "model_type", "modality",
               "transformers class");
    }
    for (int32_t i = 0; cs_zoo_get(i, &f); i++) {
        const char *modality = f.modality == CS_MODALITY_TEXT     ? "text"
                               : f.modality == CS_MODALITY_VISION ? "vision"
                                                                  : "audio";
        if (o->is_json) {
            printf("%s\n  {\"family\": \"%s\", \"model_type\": \"%s\", "
                   "\"modality\": \"%s\", \"architecture\": \"%s\"}",
                   i > 0 ? "," : "", f.id, f.model_type, modality,
                   f.architecture);
        } else {
            printf("%-10s %-22s %-8s %s\n", f.id, f.model_type, modality,
                   f.architecture);
        }
    }
    if (o->is_json) {
        printf("\n]\n");
    }
    return CS_OK;
}

cs_status cli_explain(const cli_options *o)
{
    char *text = NULL;

    CS_CHECK(o->n_words <= 1, CS_ERR_ARG, "usage: cornstarch explain [KEY]");
    CS_TRY(cs_config_explain(o->n_words == 1 ? o->words[0] : NULL,
                             o->is_markdown, &text));
    printf("%s", text);
    csi_free(text);
    return CS_OK;
}

cs_status cli_doctor(const cli_options *o)
{
    cs_backend *backend = NULL;

    CS_TRY(cli_want_words(o, 0, ""));
    printf("cornstarch %s (%s)\n", CORNSTARCH_VERSION, CORNSTARCH_COMMIT);
    printf("cores      %d\n", csi_cpu_count());
    CS_TRY(cs_backend_create("ref", 1, &backend));
    printf("ref        y  plain C, the truth\n");
    cs_backend_destroy(&backend);
    if (cs_backend_create("cpu", 1, &backend) == CS_OK) {
        printf("cpu        y  %s\n", backend->detail);
        cs_backend_destroy(&backend);
    } else {
        printf("cpu        -  %s\n", cs_error_message());
        cs_error_clear();
    }
    printf("cuda       -  not built\n");
    printf("mpi        -  not built; ranks are threads (--ranks N)\n");
    return CS_OK;
}

cs_status cli_not_offered(const cli_options *o)
{
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: cornstarch %s has not landed yet%s",
                   o->command,
                   strcmp(o->command, "bench") == 0 ? " (make bench runs the "
                                                      "benchmarks)"
                                                    : "");
}
