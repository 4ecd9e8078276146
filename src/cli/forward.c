/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch forward: a model's numbers for tensors from a file. */
#include "cornstarch/infer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/thread.h"

#include "cli.h"

#include <inttypes.h>
#include <unistd.h>

static const int64_t PROGRESS_EVERY_NS = 500000000;

/* One line on a terminal, written over and over. Ranks report at once. */
typedef struct progress {
    csi_mutex lock;
    bool is_shown;
    int64_t n_done, told_ns;
} progress;

static void on_progress(void *context, int64_t n_done)
{
    progress *p = context;
    const int64_t now = csi_clock_ns();

    csi_mutex_lock(&p->lock);
    p->n_done += n_done;
    if (now - p->told_ns > PROGRESS_EVERY_NS) {
        (void)fprintf(stderr, "\r%" PRId64 " done", p->n_done);
        p->told_ns = now;
        p->is_shown = true;
    }
    csi_mutex_unlock(&p->lock);
}

static void add_result(const cli_options *o, const cs_forward_result *r,
                       csi_str *text)
{
    if (o->is_json) {
        csi_str_add(text, "{");
        cli_add_text(text, "output", o->output);
        if (r->has_loss) {
            cli_add_number(text, "loss", r->loss);
        }
        cli_add_int(text, "documents", r->n_documents);
        cli_add_int(text, "tokens", r->n_tokens);
        cli_add_int(text, "label_tokens", r->label_tokens);
        cli_add_int(text, "items", r->n_items);
        cli_add_int(text, "tensors", r->n_tensors);
        csi_str_add(text, "}\n");
        return;
    }
    if (r->n_documents > 0) {
        csi_str_addf(text, "%" PRId64 " documents, %" PRId64 " tokens",
                     r->n_documents, r->n_tokens);
    }
    if (r->n_items > 0) {
        csi_str_addf(text, "%s%" PRId64 " items",
                     r->n_documents > 0 ? ", " : "", r->n_items);
    }
    if (r->has_loss) {
        csi_str_addf(text, ", loss %.9g over %" PRId64 " label tokens", r->loss,
                     r->label_tokens);
    }
    csi_str_addf(text, "\n%s: %" PRId64 " tensors\n", o->output, r->n_tensors);
}

cs_status cli_forward(const cli_options *o, int *exit_status)
{
    csi_str text = {0};
    cs_forward_result result;
    progress p = {.told_ns = csi_clock_ns()};
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(cli_want_words(o, 1, "RECIPE|RUN|FOLDER --input F --output F"));
    CS_CHECK(o->input != NULL && o->output != NULL, CS_ERR_ARG,
             "forward wants --input FILE and --output FILE");
    const cs_forward_options options = {
        .model = o->words[0],
        .checkpoint = o->checkpoint,
        .overrides = o->overrides,
        .n_overrides = o->n_overrides,
        .precision = o->precision,
        .input = o->input,
        .output = o->output,
        .with_gradients = o->with_gradients,
        .n_ranks = o->n_ranks,
        .backend = CLI_BACKEND,
        .n_threads = o->n_threads > 0 ? o->n_threads
                     : o->n_ranks > 1 ? 1
                                      : csi_cpu_count(),
        .on_progress =
            o->is_quiet || isatty(STDERR_FILENO) == 0 ? NULL : on_progress,
        .context = &p,
    };
    csi_mutex_init(&p.lock);
    CS_TRY_GOTO(done, cs_forward(&options, &result));
    add_result(o, &result, &text);
    CS_TRY_GOTO(done, cli_print(&text));
done:
    if (p.is_shown) {
        (void)fprintf(stderr, "\r                        \r");
    }
    csi_mutex_fini(&p.lock);
    csi_str_fini(&text);
    return st;
}
