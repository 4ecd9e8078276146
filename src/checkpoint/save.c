/* SPDX-License-Identifier: Apache-2.0 */
/* The job that save.h draws: this rank's files, and rank 0's commit. */
#include "save.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

#include "folders.h"
#include "state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RECORD_FORMAT "cornstarch.checkpoint_rank"

enum {
    RECORD_NAME_BYTES = 32,
    MAX_RECORD_BYTES = 1024 * 1024,
    POLL_MIN_NS = 1000 * 1000,
    POLL_MAX_NS = 50 * 1000 * 1000
};

/* For ranks that end with this one; a lost one's record never comes. */
static const int64_t LAST_CALL_NS = 3000000000;

typedef struct file_list {
    csi_stored_file *files; /* owned */
    int32_t n;
} file_list;

static cs_status append(file_list *list, const csi_stored_file *files,
                        int32_t n)
{
    csi_stored_file *larger =
        csi_realloc(list->files,
                    (size_t)(list->n + n + 1) * sizeof *list->files);

    CS_CHECK(larger != NULL, CS_ERR_NOMEM, "list of %d files", list->n + n);
    list->files = larger;
    memcpy(list->files + list->n, files, (size_t)n * sizeof *files);
    list->n += n;
    return CS_OK;
}

/* ---- records: how ranks tell rank 0 that their files are there ---- */

static cs_status record_path(const csi_save_job *job, int32_t rank,
                             const char *suffix, char **out)
{
    char name[RECORD_NAME_BYTES];

    CS_TRY(csi_format(name, sizeof name, "rank-%d.json%s", rank, suffix));
    CS_TRY(csi_path_join(job->temporary, name, out));
    return CS_OK;
}

/* The rename is the last thing that this rank does in the folder: as soon as
 * the record is there, rank 0 may rename the folder itself. */
static cs_status write_record(const csi_save_job *job,
                              const csi_stored_file *files, int32_t n)
{
    cs_status st = CS_OK;
    csi_str text = {0};
    char *path = NULL;
    char *hidden = NULL;

    csi_str_add(&text, "{\n  \"format\": \"" RECORD_FORMAT "\",\n"
                       "  \"version\": 1,\n  \"files\": [");
    for (int32_t i = 0; i < n; i++) {
        csi_str_add(&text, i > 0 ? ",\n    " : "\n    ");
        csi_stored_file_print(&files[i], &text);
    }
    csi_str_add(&text, "\n  ]\n}\n");
    CS_TRY_GOTO(done, csi_str_check(&text));
    CS_TRY_GOTO(done, record_path(job, job->rank, "", &path));
    CS_TRY_GOTO(done, record_path(job, job->rank, ".new", &hidden));
    CS_TRY_GOTO(done, csi_file_write(hidden, text.data, text.length));
    CS_CHECK_GOTO(done, rename(hidden, path) == 0, CS_ERR_IO,
                  "%s: cannot put it in place", path);
done:
    csi_str_fini(&text);
    csi_free(path);
    csi_free(hidden);
    return st;
}

static cs_status parse_record(const json_t *json, const char *path,
                              file_list *list)
{
    json_t *files = NULL;

    CS_TRY(csi_json_check_format(json, RECORD_FORMAT, path));
    CS_TRY(csi_json_array(json, "files", path, &files));
    for (size_t i = 0; i < json_array_size(files); i++) {
        csi_stored_file file;
        CS_TRY(csi_stored_file_parse(json_array_get(files, i), path, &file));
        CS_TRY(append(list, &file, 1));
    }
    return CS_OK;
}

/* Reads the record and removes it: the manifest takes its place. */
static cs_status take_record(const char *path, file_list *list)
{
    json_t *json = NULL;

    CS_TRY(csi_json_load(path, MAX_RECORD_BYTES, &json));
    const cs_status st = parse_record(json, path, list);

    json_decref(json);
    CS_TRY(st);
    CS_CHECK(remove(path) == 0, CS_ERR_IO, "%s: cannot remove it", path);
    return CS_OK;
}

/* Waits for a file that another rank puts in place. */
static cs_status wait_for(const csi_save_job *job, const char *path)
{
    const int64_t deadline = csi_clock_ns() + (int64_t)(job->timeout_s * 1e9);
    int64_t pause = POLL_MIN_NS;
    int64_t left_ns = 0;

    while (!csi_file_exists(path)) {
        CS_CHECK(csi_dir_exists(job->temporary), CS_ERR_PEER,
                 "checkpoint of step %" PRId64 ": another rank failed",
                 job->state.step);
        CS_CHECK(csi_clock_ns() < deadline, CS_ERR_PEER,
                 "%s: did not appear within %g s", path, job->timeout_s);
        CS_CHECK(left_ns == 0 || csi_clock_ns() < left_ns + LAST_CALL_NS,
                 CS_ERR_PEER, "%s: its rank is gone", path);
        if (left_ns == 0 && atomic_load(&job->is_left)) {
            left_ns = csi_clock_ns();
        }
        csi_sleep_ns(pause);
        pause = pause < POLL_MAX_NS ? pause * 2 : POLL_MAX_NS;
    }
    return CS_OK;
}

static bool rank_writes(const csi_save_job *job, int32_t rank)
{
    for (int32_t i = 0; i < job->set->graph->n_params; i++) {
        if (job->owner[i] == rank && csi_save_writes(job, i)) {
            return true;
        }
    }
    return false;
}

static cs_status collect_records(const csi_save_job *job, file_list *list)
{
    for (int32_t rank = 1; rank < job->n_ranks; rank++) {
        char *path = NULL;
        if (!rank_writes(job, rank)) {
            continue;
        }
        CS_TRY(record_path(job, rank, "", &path));
        cs_status st = wait_for(job, path);
        if (st == CS_OK) {
            st = take_record(path, list);
        }
        csi_free(path);
        CS_TRY(st);
    }
    return CS_OK;
}

/* ---- rank 0 ---- */

static cs_status write_text(const csi_save_job *job, const char *name,
                            const csi_str *text)
{
    char *path = NULL;

    CS_TRY(csi_str_check(text));
    CS_TRY(csi_path_join(job->temporary, name, &path));
    const cs_status st = csi_file_write(path, text->data, text->length);

    csi_free(path);
    CS_TRY(st);
    return CS_OK;
}

static cs_status write_state(const csi_save_job *job, file_list *list)
{
    csi_str text = {0};
    csi_stored_file file;

    csi_state_print(&job->state, &text);
    const cs_status st = write_text(job, CSI_STATE_FILE, &text);

    csi_str_fini(&text);
    CS_TRY(st);
    CS_TRY(csi_stored_file_measure(job->temporary, CSI_STATE_FILE, &file));
    CS_TRY(append(list, &file, 1));
    return CS_OK;
}

static cs_status write_manifest(const csi_save_job *job, const file_list *list)
{
    csi_str text = {0};
    csi_manifest manifest;

    CS_TRY(csi_save_describe(job, list->files, list->n, &manifest));
    csi_manifest_print(&manifest, &text);
    const cs_status st = write_text(job, CSI_MANIFEST_FILE, &text);

    csi_manifest_fini(&manifest);
    csi_str_fini(&text);
    CS_TRY(st);
    return CS_OK;
}

/* From here on the checkpoint counts. */
static cs_status publish(const csi_save_job *job)
{
    char name[CSI_STEP_NAME_BYTES];
    char line[CSI_STEP_NAME_BYTES + 1];
    char *latest = NULL;

    CS_TRY(csi_dir_replace(job->temporary, job->final));
    csi_step_name(job->state.step, name);
    CS_TRY(csi_format(line, sizeof line, "%s\n", name));
    CS_TRY(csi_path_join(job->checkpoints, "latest", &latest));
    const cs_status st = csi_file_write(latest, line, strlen(line));

    csi_free(latest);
    CS_TRY(st);
    CS_TRY(csi_steps_rotate(job->checkpoints, job->state.step, job->keep,
                            job->keep_step));
    return CS_OK;
}

void csi_save_give_up(const csi_save_job *job)
{
    (void)rename(job->temporary, job->failed);
}

/* Up to the point where nobody but rank 0 has anything to do. */
static cs_status write_all(const csi_save_job *job, file_list *list)
{
    csi_stored_file *files = NULL;
    int32_t n = 0;

    CS_TRY(csi_save_write_files(job, &files, &n));
    cs_status st = CS_OK;

    if (job->rank == 0) {
        st = append(list, files, n);
    } else if (n > 0) {
        st = write_record(job, files, n);
    }
    csi_free(files);
    CS_TRY(st);
    if (job->rank == 0) {
        CS_TRY(collect_records(job, list));
    }
    return CS_OK;
}

static cs_status commit(const csi_save_job *job, file_list *list)
{
    CS_TRY(write_state(job, list));
    CS_TRY(write_manifest(job, list));
    CS_TRY(publish(job));
    return CS_OK;
}

cs_status csi_save_run(const csi_save_job *job)
{
    file_list list = {0};
    cs_status st = write_all(job, &list);

    if (st != CS_OK && !csi_dir_exists(job->temporary)) {
        /* Whatever failed here failed because the folder is gone. */
        st = CS_FAIL(CS_ERR_PEER,
                     "checkpoint of step %" PRId64 ": another rank failed",
                     job->state.step);
    }
    if (st == CS_OK && job->rank == 0) {
        st = commit(job, &list);
    }
    if (st != CS_OK) {
        csi_save_give_up(job);
    }
    csi_free(list.files);
    CS_TRY(st);
    return CS_OK;
}
