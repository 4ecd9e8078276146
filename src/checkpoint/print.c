/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints as tables, for `cornstarch inspect checkpoint`. */
#include "cornstarch/checkpoint.h"

#include "base/alloc.h"
#include "base/str.h"

#include "folders.h"
#include "state.h"
#include "stored.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    SIZE_TEXT_BYTES = 32
};

static int64_t total_bytes(const csi_manifest *m)
{
    int64_t total = 0;

    for (int32_t i = 0; i < m->n_files; i++) {
        total += m->files[i].n_bytes;
    }
    return total;
}

/* One line of the table of steps: what the manifest says, unverified. */
static cs_status print_line(const char *checkpoints, int64_t step,
                            bool is_latest, csi_str *text)
{
    char *folder = NULL;
    char size[SIZE_TEXT_BYTES];
    csi_manifest m;

    CS_TRY(csi_step_folder(checkpoints, step, "", &folder));
    csi_manifest_init(&m);
    const cs_status st = csi_manifest_read(folder, &m);

    if (st == CS_OK) {
        csi_str_addf(text, "%10" PRId64 "  %5d  %10s  %7" PRId64 "  %s%s\n",
                     step, m.n_files,
                     csi_human_bytes(size, (double)total_bytes(&m)),
                     m.tensors.n, m.recipe_hash, is_latest ? "  latest" : "");
    } else {
        csi_str_addf(text, "%10" PRId64 "  damaged: %s\n", step,
                     cs_error_message());
    }
    csi_manifest_fini(&m);
    csi_free(folder);
    return st == CS_ERR_NOMEM ? st : CS_OK;
}

static cs_status print_steps(const char *checkpoints, csi_str *text)
{
    cs_status st = CS_OK;
    int64_t *steps = NULL;
    int64_t count = 0;

    CS_TRY(csi_steps_list(checkpoints, &steps, &count));
    const int64_t latest = csi_steps_latest(checkpoints, steps, count);

    CS_CHECK_GOTO(done, count > 0, CS_ERR_ARG,
                  "%s: there is no complete checkpoint", checkpoints);
    csi_str_addf(text, "%10s  %5s  %10s  %7s  %s\n", "step", "files", "size",
                 "tensors", "recipe");
    for (int64_t i = 0; i < count; i++) {
        CS_TRY_GOTO(done, print_line(checkpoints, steps[i], steps[i] == latest,
                                     text));
    }
done:
    csi_free(steps);
    return st;
}

static void print_state(const cs_train_state *s, csi_str *text)
{
    csi_str_addf(text,
                 "update %" PRId64 ", epoch %.4g, %" PRId64
                 " samples skipped, sample hash %016" PRIx64 "\n",
                 s->update, s->epoch, s->skipped_samples, s->sample_hash);
    if (!isnan(s->best_metric)) {
        csi_str_addf(text,
                     "best %.6g at step %" PRId64 ", %" PRId64
                     " evaluations without improvement since\n",
                     s->best_metric, s->best_step, s->n_stale_evaluations);
    }
}

static void print_files(const csi_stored *stored, csi_str *text)
{
    const csi_manifest *m = &stored->manifest;
    char size[SIZE_TEXT_BYTES];

    csi_str_add(text, "\nfiles (all verified)\n");
    for (int32_t i = 0; i < m->n_files; i++) {
        csi_str_addf(text, "  %-40s %10s  %s\n", m->files[i].name,
                     csi_human_bytes(size, (double)m->files[i].n_bytes),
                     m->files[i].xxh3_128);
    }
}

static void print_tensor(const csi_manifest *m, const csi_stored_tensor *t,
                         csi_str *text)
{
    char shape[CS_SHAPE_TEXT_BYTES];

    csi_str_addf(text, "  %-60s %-16s ", t->name,
                 cs_shape_print(&t->shape, shape));
    if (t->source != NULL) {
        csi_str_addf(text, "frozen, from %s\n", t->source);
    } else if (t->ref_step > 0) {
        csi_str_addf(text, "%s frozen, in step %" PRId64 "\n",
                     cs_dtype_name(t->dtype), t->ref_step);
    } else {
        csi_str_add(text, cs_dtype_name(t->dtype));
        for (int32_t i = 0; i < t->n_slices; i++) {
            csi_str_addf(text, " %s", m->files[t->slices[i].file].name);
            if (t->n_slices > 1) {
                csi_str_add(text, cs_slice_print(&t->slices[i].slice, shape));
            }
        }
        csi_str_add(text, csi_stored_find(&m->optimizer, t->name) != NULL
                              ? ", with optimizer state\n"
                              : "\n");
    }
}

static cs_status check_step(const char *checkpoints, int64_t step)
{
    int64_t *steps = NULL;
    int64_t count = 0;
    int64_t at = 0;

    CS_TRY(csi_steps_list(checkpoints, &steps, &count));
    while (at < count && steps[at] != step) {
        at++;
    }
    const cs_status st =
        at < count ? CS_OK : csi_steps_fail(checkpoints, step, steps, count);

    csi_free(steps);
    CS_TRY(st);
    return CS_OK;
}

static cs_status print_step(const char *checkpoints, int64_t step,
                            csi_str *text)
{
    cs_status st = CS_OK;
    csi_stored *stored = NULL;
    cs_train_state state = {0};

    CS_TRY(check_step(checkpoints, step));
    CS_TRY(csi_stored_open(checkpoints, step, &stored));
    CS_TRY_GOTO(done, csi_state_read(stored->folder, &state));
    const csi_manifest *m = &stored->manifest;

    csi_str_addf(text, "step %" PRId64 ", recipe %s, plan %s\n", m->step,
                 m->recipe_hash,
                 m->plan_hash[0] != '\0' ? m->plan_hash : "not recorded");
    print_state(&state, text);
    print_files(stored, text);
    csi_str_addf(text, "\n%" PRId64 " tensors\n", m->tensors.n);
    for (int64_t i = 0; i < m->tensors.n; i++) {
        print_tensor(m, &m->tensors.tensors[i], text);
    }
done:
    csi_free(state.dropped);
    csi_stored_close(&stored);
    return st;
}

cs_status cs_checkpoint_print(const char *run_folder, int64_t step, char **out)
{
    cs_status st = CS_OK;
    char *checkpoints = NULL;
    csi_str text = {0};

    CS_TRY(csi_checkpoints_folder(run_folder, &checkpoints));
    st = step > 0 ? print_step(checkpoints, step, &text)
                  : print_steps(checkpoints, &text);
    CS_TRY_GOTO(done, st);
    CS_TRY_GOTO(done, csi_str_check(&text));
    *out = text.data;
    text.data = NULL;
done:
    csi_str_fini(&text);
    csi_free(checkpoints);
    return st;
}
