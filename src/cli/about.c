/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch explain, doctor: what needs no recipe. */
#include "cornstarch/backend.h"
#include "cornstarch/comm.h"
#include "cornstarch/version.h"

#include "base/alloc.h"
#include "base/thread.h"

#include "cli.h"

cs_status cli_explain(const cli_options *o, int *exit_status)
{
    char *text = NULL;

    (void)exit_status;
    CS_TRY(cli_want_text(o));
    if (o->n_words != 0) {
        CS_TRY(cli_want_words(o, 1, "[KEY]"));
    }
    CS_TRY(cs_config_explain(o->n_words == 1 ? o->words[0] : NULL,
                             o->is_markdown, &text));
    printf("%s", text);
    csi_free(text);
    return CS_OK;
}

static void add_row(const cli_options *o, csi_str *text, const char *name,
                    bool has, const char *detail)
{
    if (o->is_json) {
        csi_str_addf(text, ", \"%s\": {\"has\": %s, \"detail\": \"", name,
                     has ? "true" : "false");
        csi_str_add_json(text, detail);
        csi_str_add(text, "\"}");
    } else {
        csi_str_addf(text, "%-10s %-4s %s\n", name, has ? "yes" : "no", detail);
    }
}

static void add_backend(const cli_options *o, csi_str *text, const char *name)
{
    cs_backend *backend = NULL;

    if (cs_backend_create(name, 1, &backend) == CS_OK) {
        add_row(o, text, name, true, backend->detail);
        cs_backend_destroy(&backend);
    } else {
        add_row(o, text, name, false, cs_error_message());
        cs_error_clear();
    }
}

static void add_parts(const cli_options *o, csi_str *text)
{
    add_row(o, text, "png", CS_HAVE_PNG, "pictures (libpng)");
    add_row(o, text, "jpeg", CS_HAVE_JPEG, "pictures (libjpeg-turbo)");
    add_row(o, text, "webp", CS_HAVE_WEBP, "pictures (libwebp)");
    add_row(o, text, "sound", CS_HAVE_SNDFILE,
            "WAV, FLAC, Ogg, Opus, MP3 (libsndfile, soxr)");
    add_row(o, text, "mel", CS_HAVE_KISSFFT,
            "log-mel rows of an audio encoder (kissfft)");
    add_row(o, text, "cuda", false, "not offered");
    const bool has_mpi = cs_comm_processes_check() == CS_OK;
    add_row(o, text, "mpi", has_mpi,
            has_mpi ? "ranks as processes: mpirun -n N cornstarch train ..."
                    : cs_error_message());
    cs_error_clear();
}

cs_status cli_doctor(const cli_options *o, int *exit_status)
{
    csi_str text = {0};

    (void)exit_status;
    CS_TRY(cli_want_words(o, 0, ""));
    if (o->is_json) {
        csi_str_add(&text, "{");
        cli_add_text(&text, "version", CORNSTARCH_VERSION);
        cli_add_text(&text, "commit", CORNSTARCH_COMMIT);
        cli_add_int(&text, "cores", csi_cpu_count());
    } else {
        csi_str_addf(&text, "cornstarch %s (%s), %d cores\n",
                     CORNSTARCH_VERSION, CORNSTARCH_COMMIT, csi_cpu_count());
    }
    add_backend(o, &text, "ref");
    add_backend(o, &text, "cpu");
    add_parts(o, &text);
    csi_str_add(&text, o->is_json ? "}\n" : "");
    const cs_status st = cli_print(&text);
    csi_str_fini(&text);
    return st;
}
