/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step folder is complete when it has a manifest, because the folder is
 * renamed into its name after the manifest was written. It is renamed away
 * before it is removed, so that a crash leaves no half of it behind under its
 * name.
 */
#include "folders.h"

#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#include "manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_STEP_DIGITS = 8,
    MAX_STEP_DIGITS = 18,
    MAX_LATEST_BYTES = 64
};

static const char PREFIX[] = "step-";
/* Endings of names that only an interrupted save or removal leaves. */
static const char *const LEFTOVERS[] = {".tmp", ".failed", ".old"};

void csi_step_name(int64_t step, char out[CSI_STEP_NAME_BYTES])
{
    (void)snprintf(out, CSI_STEP_NAME_BYTES, "%s%08" PRId64, PREFIX, step);
}

int64_t csi_step_of_name(const char *name)
{
    char again[CSI_STEP_NAME_BYTES];
    int64_t step = 0;

    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) {
        return 0;
    }
    const char *digits = name + sizeof PREFIX - 1;
    const size_t n = strlen(digits);

    if (n < MIN_STEP_DIGITS || n > MAX_STEP_DIGITS ||
        strspn(digits, "0123456789") != n) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        step = step * 10 + (digits[i] - '0');
    }
    csi_step_name(step, again);
    return strcmp(name, again) == 0 ? step : 0;
}

cs_status csi_checkpoints_folder(const char *run_folder, char **out)
{
    CS_TRY(csi_path_join(run_folder, "checkpoints", out));
    return CS_OK;
}

cs_status csi_step_folder(const char *checkpoints, int64_t step,
                          const char *suffix, char **out)
{
    char name[CSI_STEP_NAME_BYTES];
    char with_suffix[2 * CSI_STEP_NAME_BYTES];

    csi_step_name(step, name);
    CS_TRY(csi_format(with_suffix, sizeof with_suffix, "%s%s", name, suffix));
    CS_TRY(csi_path_join(checkpoints, with_suffix, out));
    return CS_OK;
}

static cs_status has_manifest(const char *checkpoints, const char *name,
                              bool *out)
{
    char *folder = NULL;
    char *path = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(checkpoints, name, &folder));
    CS_TRY_GOTO(done, csi_path_join(folder, CSI_MANIFEST_FILE, &path));
    *out = csi_file_exists(path);
done:
    csi_free(folder);
    csi_free(path);
    return st;
}

static void free_names(char **names, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        csi_free(names[i]);
    }
    csi_free(names);
}

static int compare_steps(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

cs_status csi_steps_list(const char *checkpoints, int64_t **steps,
                         int64_t *count)
{
    cs_status st = CS_OK;
    char **names = NULL;
    int64_t n_names = 0;
    int64_t *list = NULL;
    int64_t n = 0;

    if (csi_dir_exists(checkpoints)) {
        CS_TRY(csi_dir_list(checkpoints, &names, &n_names));
    }
    list = csi_calloc((size_t)n_names + 1, sizeof *list);
    CS_CHECK_GOTO(done, list != NULL, CS_ERR_NOMEM, "%s: out of memory",
                  checkpoints);
    for (int64_t i = 0; i < n_names; i++) {
        bool complete = false;
        const int64_t step = csi_step_of_name(names[i]);
        if (step > 0) {
            CS_TRY_GOTO(done, has_manifest(checkpoints, names[i], &complete));
        }
        if (complete) {
            list[n++] = step;
        }
    }
    qsort(list, (size_t)n, sizeof *list, compare_steps);
    *steps = list;
    *count = n;
    list = NULL;
done:
    free_names(names, n_names);
    csi_free(list);
    return st;
}

/* Step that `latest` names, 0 when it is missing or names none. */
static int64_t read_latest(const char *checkpoints)
{
    char *path = NULL;
    char *text = NULL;
    size_t n_bytes = 0;
    int64_t step = 0;

    if (csi_path_join(checkpoints, "latest", &path) == CS_OK &&
        csi_file_exists(path) &&
        csi_file_read(path, MAX_LATEST_BYTES, &text, &n_bytes) == CS_OK) {
        text[strcspn(text, "\n")] = '\0';
        step = csi_step_of_name(text);
    }
    csi_free(path);
    csi_free(text);
    return step;
}

cs_status csi_steps_fail(const char *checkpoints, int64_t step,
                         const int64_t *steps, int64_t count)
{
    csi_str list = {0};

    for (int64_t i = 0; i < count; i++) {
        csi_str_addf(&list, "%s%" PRId64, i > 0 ? ", " : "", steps[i]);
    }
    const cs_status st =
        count == 0 ? CS_FAIL(CS_ERR_ARG, "%s: there is no complete checkpoint",
                             checkpoints)
                   : CS_FAIL(CS_ERR_ARG,
                             "%s: there is no checkpoint of step %" PRId64
                             ", only of %s",
                             checkpoints, step, csi_str_get(&list));

    csi_str_fini(&list);
    return st;
}

int64_t csi_steps_latest(const char *checkpoints, const int64_t *steps,
                         int64_t count)
{
    const int64_t latest = read_latest(checkpoints);

    for (int64_t i = 0; i < count; i++) {
        if (steps[i] == latest) {
            return latest;
        }
    }
    return count > 0 ? steps[count - 1] : 0;
}

static bool is_leftover(const char *name)
{
    const size_t n = strlen(name);

    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof LEFTOVERS / sizeof LEFTOVERS[0]; i++) {
        const size_t n_end = strlen(LEFTOVERS[i]);
        if (n > n_end && strcmp(name + n - n_end, LEFTOVERS[i]) == 0) {
            return true;
        }
    }
    return false;
}

static cs_status remove_named(const char *checkpoints, const char *name)
{
    char *path = NULL;

    CS_TRY(csi_path_join(checkpoints, name, &path));
    const cs_status st = csi_dir_remove(path);

    csi_free(path);
    CS_TRY(st);
    return CS_OK;
}

cs_status csi_steps_sweep(const char *checkpoints)
{
    cs_status st = CS_OK;
    char **names = NULL;
    int64_t n_names = 0;

    CS_TRY(csi_dir_list(checkpoints, &names, &n_names));
    for (int64_t i = 0; i < n_names; i++) {
        if (is_leftover(names[i])) {
            CS_TRY_GOTO(done, remove_named(checkpoints, names[i]));
        }
    }
done:
    free_names(names, n_names);
    return st;
}

static cs_status remove_step(const char *checkpoints, int64_t step)
{
    cs_status st = CS_OK;
    char *folder = NULL;
    char *old = NULL;

    CS_TRY_GOTO(done, csi_step_folder(checkpoints, step, "", &folder));
    CS_TRY_GOTO(done, csi_step_folder(checkpoints, step, ".old", &old));
    CS_TRY_GOTO(done, csi_dir_replace(folder, old));
    CS_TRY_GOTO(done, csi_dir_remove(old));
done:
    csi_free(folder);
    csi_free(old);
    return st;
}

/* Marks the steps that the manifest of steps[i] refers to. A manifest that
 * cannot be read refers to nothing: that checkpoint is lost anyway. */
static cs_status keep_referenced(const char *checkpoints, const int64_t *steps,
                                 int64_t count, int64_t i, bool *is_kept)
{
    char *folder = NULL;
    csi_manifest manifest;

    CS_TRY(csi_step_folder(checkpoints, steps[i], "", &folder));
    csi_manifest_init(&manifest);
    cs_status st = csi_manifest_read(folder, &manifest);

    if (st == CS_ERR_FORMAT) {
        cs_log(CS_LOG_WARN, "checkpoint", "%s", cs_error_message());
        st = CS_OK;
    }
    for (int64_t t = 0; t < manifest.tensors.n; t++) {
        for (int64_t k = 0; k < count; k++) {
            is_kept[k] =
                is_kept[k] || manifest.tensors.tensors[t].ref_step == steps[k];
        }
    }
    csi_manifest_fini(&manifest);
    csi_free(folder);
    CS_TRY(st);
    return CS_OK;
}

static cs_status rotate(const char *checkpoints, const int64_t *steps,
                        int64_t count, bool *is_kept)
{
    for (int64_t i = count - 1; i >= 0; i--) {
        if (is_kept[i]) {
            CS_TRY(keep_referenced(checkpoints, steps, count, i, is_kept));
        }
    }
    for (int64_t i = 0; i < count; i++) {
        if (!is_kept[i]) {
            CS_TRY(remove_step(checkpoints, steps[i]));
        }
    }
    return CS_OK;
}

cs_status csi_steps_rotate(const char *checkpoints, int64_t step, int32_t keep,
                           int64_t keep_step)
{
    cs_status st = CS_OK;
    int64_t *steps = NULL;
    int64_t count = 0;
    int64_t n_newest = 0;
    bool *is_kept = NULL;

    CS_TRY(csi_steps_list(checkpoints, &steps, &count));
    is_kept = csi_calloc((size_t)count + 1, sizeof *is_kept);
    CS_CHECK_GOTO(done, is_kept != NULL, CS_ERR_NOMEM, "%s: out of memory",
                  checkpoints);
    for (int64_t i = count - 1; i >= 0; i--) {
        if (steps[i] <= step) {
            is_kept[i] = keep == 0 || n_newest < keep || steps[i] == keep_step;
            n_newest++;
        }
    }
    CS_TRY_GOTO(done, rotate(checkpoints, steps, count, is_kept));
done:
    csi_free(steps);
    csi_free(is_kept);
    return st;
}
