/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dataset: the files of one list of a recipe behind a mapped index. Tokens
 * and media paths come out of the index without touching JSON; the data files
 * stay mapped for the few who ask what a sample says (reports, generate).
 */
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"

#include "index.h"
#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>

typedef struct data_file {
    const char *path, *media_root; /* in the arena */
    csi_file_map map;              /* owned */
} data_file;

struct cs_dataset {
    csi_arena arena;
    csi_index index;               /* owned */
    const cs_tokenizer *tokenizer; /* borrowed: must outlive the dataset */
    data_file *files;              /* in the arena */
    int32_t n_files;
    int32_t n_modalities;
    cs_processor processors[CSI_MAX_MODALITIES];
    bool was_stale;
};

static cs_status check_file(const cs_dataset_config *file, cs_mixing mixing,
                            int32_t n_files)
{
    static const char *const FORMATS[] = {"llava", "sharegpt", "webdataset"};

    CS_CHECK(file->path != NULL, CS_ERR_ARG, "a data file has no path");
    CS_CHECK(file->format == CS_DATA_LLAVA, CS_ERR_UNSUPPORTED,
             "%s: unsupported: format %s (offered: llava)", file->path,
             FORMATS[file->format]);
    CS_CHECK(file->weight == 0.0 || file->weight == 1.0, CS_ERR_UNSUPPORTED,
             "%s: unsupported: weight %g (offered: 1, data.mixing concat)",
             file->path, file->weight);
    CS_CHECK(n_files == 1 || mixing == CS_MIXING_CONCAT, CS_ERR_UNSUPPORTED,
             "%s: unsupported: data.mixing weighted (offered: concat)",
             file->path);
    return CS_OK;
}

static cs_status make_job(const cs_dataset_options *options, csi_index_job *job)
{
    const cs_config *const config = options->config;

    CS_CHECK(options->n_files > 0, CS_ERR_ARG, "a dataset of no files");
    for (int32_t i = 0; i < options->n_files; i++) {
        CS_TRY(check_file(&options->files[i], config->data.mixing,
                          options->n_files));
    }
    *job = (csi_index_job){
        .files = options->files,
        .n_files = options->n_files,
        .max_length = config->data.max_length,
        .too_long = config->data.too_long,
        .bad_sample = config->data.bad_sample,
        .n_threads = config->data.num_workers,
        .is_quiet = options->quiet,
    };
    CS_TRY(csi_chat_format_init(config, options->graph, options->tokenizer,
                                &job->format));
    job->key = csi_index_key(job);
    return CS_OK;
}

/* "<folder>/<name of the first file>-<hash of all paths>.index": one list of
 * files has one index, which is replaced when it is stale. */
static cs_status name_index(const cs_dataset_options *options,
                            char out[CSI_MEDIA_PATH_BYTES])
{
    const char *const first = options->files[0].path;
    const char *const slash = strrchr(first, '/');
    const char *const base = slash != NULL ? slash + 1 : first;
    const char *const dot = strrchr(base, '.');
    uint64_t hash = 0;

    for (int32_t i = 0; i < options->n_files; i++) {
        const char *const path = options->files[i].path;

        hash = csi_index_chain(hash, path, strlen(path) + 1);
    }
    return csi_format(out, CSI_MEDIA_PATH_BYTES, "%s/%.*s-%016" PRIx64 ".index",
                      options->index_folder,
                      (int)(dot != NULL ? (size_t)(dot - base) : strlen(base)),
                      base, hash);
}

/* Whether the index of an earlier time can be used; opens it if so. */
static cs_status open_old(const char *path, const csi_index_job *job,
                          csi_index *index, bool *is_usable)
{
    bool is_fresh = false;

    *is_usable = false;
    if (!csi_file_exists(path)) {
        return CS_OK;
    }
    const cs_status st = csi_index_open(path, job, index);

    if (st == CS_ERR_FORMAT) {
        cs_log(CS_LOG_DEBUG, "data", "index made anew: %s", cs_error_message());
        cs_error_clear();
        return CS_OK;
    }
    CS_TRY(st);
    const cs_status checked = csi_index_is_fresh(index, job, &is_fresh);

    if (checked != CS_OK || !is_fresh) {
        csi_index_close(index);
    }
    CS_TRY(checked);
    *is_usable = is_fresh;
    return CS_OK;
}

static void tell_result(const cs_dataset *dataset, const char *path,
                        double seconds)
{
    const csi_index_footer *const f = dataset->index.footer;

    cs_log(CS_LOG_INFO, "data",
           "indexed %s samples %" PRId64 " skipped %" PRId64
           " too_long %" PRId64 " truncated %" PRId64 " items %" PRId64
           " tokens %" PRId64 " label_tokens %" PRId64 " seconds %.2f",
           path, f->n_samples, f->n_skipped, f->n_too_long, f->n_truncated,
           f->n_items, f->n_tokens, f->label_tokens, seconds);
}

static cs_status open_index(const cs_dataset_options *options,
                            const csi_index_job *job, cs_dataset *dataset)
{
    char path[CSI_MEDIA_PATH_BYTES];
    bool is_usable = false;

    CS_TRY(name_index(options, path));
    CS_TRY(open_old(path, job, &dataset->index, &is_usable));
    if (is_usable) {
        return CS_OK;
    }
    const double begin_s = csi_clock_s();

    CS_TRY(csi_dir_create(options->index_folder));
    CS_TRY(csi_index_build(job, path));
    CS_TRY(csi_index_open(path, job, &dataset->index));
    dataset->was_stale = true;
    if (!options->quiet) {
        tell_result(dataset, options->files[0].path, csi_clock_s() - begin_s);
    }
    return CS_OK;
}

static cs_status keep_text(cs_dataset *dataset, const char *text,
                           const char **out)
{
    *out = csi_arena_strdup(&dataset->arena, text);
    CS_CHECK(*out != NULL, CS_ERR_NOMEM, "no memory for a dataset's paths");
    return CS_OK;
}

static cs_status open_files(const cs_dataset_options *options,
                            cs_dataset *dataset)
{
    dataset->files =
        csi_arena_calloc(&dataset->arena,
                         (size_t)options->n_files * sizeof *dataset->files);
    CS_CHECK(dataset->files != NULL, CS_ERR_NOMEM, "no memory for a dataset");
    for (int32_t i = 0; i < options->n_files; i++) {
        const cs_dataset_config *const from = &options->files[i];
        data_file *const file = &dataset->files[i];

        dataset->n_files = i + 1;
        CS_TRY(keep_text(dataset, from->path, &file->path));
        CS_TRY(keep_text(dataset,
                         from->media_root != NULL ? from->media_root : "",
                         &file->media_root));
        CS_TRY(csi_file_map_open(from->path, &file->map));
    }
    return CS_OK;
}

cs_status cs_dataset_open(const cs_dataset_options *options, cs_dataset **out)
{
    cs_status st = CS_OK;
    csi_index_job job = {0};
    cs_dataset *dataset = NULL;

    CS_TRY(make_job(options, &job));
    dataset = csi_calloc(1, sizeof *dataset);
    CS_CHECK_GOTO(done, dataset != NULL, CS_ERR_NOMEM, "dataset object");
    csi_arena_init(&dataset->arena, 0);
    dataset->tokenizer = options->tokenizer;
    dataset->n_modalities = job.format.n_modalities;
    for (int32_t m = 0; m < job.format.n_modalities; m++) {
        dataset->processors[m] = job.format.modality[m].processor;
    }
    CS_TRY_GOTO(done, open_index(options, &job, dataset));
    CS_TRY_GOTO(done, open_files(options, dataset));
    *out = dataset;
    dataset = NULL;
done:
    cs_dataset_destroy(&dataset);
    csi_chat_format_fini(&job.format);
    return st;
}

void cs_dataset_destroy(cs_dataset **dataset)
{
    cs_dataset *const d = *dataset;

    if (d == NULL) {
        return;
    }
    for (int32_t i = 0; i < d->n_files; i++) {
        csi_file_map_close(&d->files[i].map);
    }
    csi_index_close(&d->index);
    csi_arena_fini(&d->arena);
    csi_free(d);
    *dataset = NULL;
}

const cs_index_view *cs_dataset_index(const cs_dataset *dataset)
{
    return &dataset->index.view;
}

cs_dataset_counts cs_dataset_counts_get(const cs_dataset *dataset)
{
    const csi_index_footer *const f = dataset->index.footer;

    return (cs_dataset_counts){
        .n_samples = f->n_samples,
        .n_skipped = f->n_skipped,
        .n_too_long = f->n_too_long,
        .n_truncated = f->n_truncated,
        .n_items = f->n_items,
        .n_tokens = f->n_tokens,
        .label_tokens = f->label_tokens,
        .was_stale = dataset->was_stale,
    };
}

const cs_processor *cs_dataset_processor(const cs_dataset *dataset,
                                         int32_t modality)
{
    return modality >= 0 && modality < dataset->n_modalities
               ? &dataset->processors[modality]
               : NULL;
}

static cs_status check_sample(const cs_dataset *dataset, int64_t sample)
{
    CS_CHECK(sample >= 0 && sample < dataset->index.view.n_samples, CS_ERR_ARG,
             "sample %" PRId64 " of a dataset of %" PRId64, sample,
             dataset->index.view.n_samples);
    return CS_OK;
}

cs_status cs_dataset_tokens(const cs_dataset *dataset, int64_t sample,
                            int32_t *ids, int32_t *labels)
{
    CS_TRY(check_sample(dataset, sample));
    const cs_index_view *const view = &dataset->index.view;
    const cs_index_sample *const s = &view->samples[sample];
    const int32_t *stored = (const void *)(dataset->index.map.data +
                                           dataset->index.token_at[sample]);
    int64_t at = 0;

    for (int64_t r = s->first_run; r < s->first_run + s->n_runs; r++) {
        const cs_index_run *const run = &view->runs[r];

        for (int32_t i = 0; i < run->llm_rows; i++, at++) {
            const int32_t token = run->modality < 0 ? *stored++ : -1;
            const bool is_label =
                run->modality < 0 && (token & CSI_TOKEN_IS_LABEL) != 0;

            ids[at] = token < 0 ? -1 : token & ~CSI_TOKEN_IS_LABEL;
            CS_CHECK(ids[at] < dataset->tokenizer->size, CS_ERR_FORMAT,
                     "index: sample %" PRId64 " holds token %" PRId32
                     " of %" PRId32,
                     sample, ids[at], dataset->tokenizer->size);
            if (at > 0) {
                labels[at - 1] = is_label ? ids[at] : -100;
            }
        }
    }
    labels[at - 1] = -100;
    return CS_OK;
}

static cs_status find_media(const cs_dataset *dataset, int64_t sample,
                            int32_t run, char path[CSI_MEDIA_PATH_BYTES])
{
    CS_TRY(check_sample(dataset, sample));
    const csi_index *const index = &dataset->index;
    const cs_index_sample *const s = &index->view.samples[sample];

    CS_CHECK(run >= s->first_run && run < s->first_run + s->n_runs &&
                 index->view.runs[run].modality >= 0,
             CS_ERR_ARG,
             "run %" PRId32 " is no picture or recording of sample %" PRId64,
             run, sample);
    return csi_media_path(dataset->files[s->dataset].media_root,
                          (const char *)index->map.data + index->path_at[run],
                          path);
}

cs_status cs_dataset_media_path(const cs_dataset *dataset, int64_t sample,
                                int32_t run, char **path)
{
    char found[CSI_MEDIA_PATH_BYTES];

    CS_TRY(find_media(dataset, sample, run, found));
    char *const copy = csi_strdup(found);

    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "no memory for a media path");
    *path = copy;
    return CS_OK;
}

/* What users say before the first answer, and that answer. */
static cs_status print_turns(const csi_llava_sample *parsed, csi_str *prompt,
                             csi_str *answer)
{
    for (int32_t i = 0; i < parsed->n_turns; i++) {
        const csi_turn *const turn = &parsed->turns[i];

        if (turn->role == CSI_ROLE_ASSISTANT) {
            csi_str_add_bytes(answer, turn->text, turn->n_bytes);
            break;
        }
        if (turn->role == CSI_ROLE_USER) {
            csi_str_add(prompt, prompt->length > 0 ? "\n" : "");
            csi_str_add_bytes(prompt, turn->text, turn->n_bytes);
        }
    }
    CS_TRY(csi_str_check(prompt));
    return csi_str_check(answer);
}

static cs_status copy_all(const csi_llava_element *element,
                          const csi_str *prompt, const csi_str *answer,
                          char *out[3])
{
    CS_TRY(csi_llava_id(element, &out[0]));
    out[1] = csi_strdup(csi_str_get(prompt));
    out[2] = csi_strdup(csi_str_get(answer));
    CS_CHECK(out[1] != NULL && out[2] != NULL, CS_ERR_NOMEM,
             "no memory to describe a sample");
    return CS_OK;
}

static int64_t line_at(const data_file *file, int64_t offset)
{
    const char *at = (const char *)file->map.data;
    const char *const end = at + offset;
    int64_t line = 1;

    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        line++;
    }
    return line;
}

/* Both are the caller's to free, also after a failure. */
static cs_status read_again(const cs_dataset *dataset, int64_t sample,
                            csi_llava_element *element,
                            csi_llava_sample *parsed)
{
    const cs_index_sample *const s = &dataset->index.view.samples[sample];
    const data_file *const file = &dataset->files[s->dataset];

    CS_CHECK(s->offset <= (int64_t)file->map.n_bytes - s->n_bytes,
             CS_ERR_FORMAT, "%s: changed since it was indexed", file->path);
    CS_TRY(csi_json_parse((const char *)file->map.data + s->offset,
                          (size_t)s->n_bytes, file->path, &element->json));
    element->offset = s->offset;
    element->line = line_at(file, s->offset);
    return csi_llava_read(NULL, file->path, element, parsed);
}

/* Puts file, line and id before the sentence of the last error. */
static void name_sample(const cs_dataset *dataset, int64_t sample)
{
    csi_llava_element element = {.number = -1};
    csi_llava_sample parsed = {0};
    cs_error error;
    char message[CS_ERROR_MESSAGE_BYTES];

    cs_error_get(&error);
    if (read_again(dataset, sample, &element, &parsed) == CS_OK) {
        (void)snprintf(message, sizeof message, "%s: ", parsed.where);
        const size_t n = strlen(message);
        (void)snprintf(message + n, sizeof message - n, "%s", error.message);
        memcpy(error.message, message, sizeof message);
    }
    cs_error_set(&error);
    csi_llava_sample_fini(&parsed);
    json_decref(element.json);
}

cs_status cs_dataset_media(const cs_dataset *dataset, int64_t sample,
                           int32_t run, float *rows)
{
    char path[CSI_MEDIA_PATH_BYTES];

    CS_TRY(find_media(dataset, sample, run, path));
    const cs_index_run *const r = &dataset->index.view.runs[run];

    const cs_status st = cs_media_read(&dataset->processors[r->modality], path,
                                       r->input_rows, rows);
    if (st != CS_OK) {
        name_sample(dataset, sample);
    }
    CS_TRY(st);
    return CS_OK;
}

cs_status cs_dataset_describe(const cs_dataset *dataset, int64_t sample,
                              char **id, char **prompt, char **answer)
{
    CS_TRY(check_sample(dataset, sample));
    csi_llava_element element = {.number = sample};
    csi_llava_sample parsed = {0};
    csi_str asked = {0};
    csi_str said = {0};
    char *copies[3] = {NULL, NULL, NULL};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, read_again(dataset, sample, &element, &parsed));
    CS_TRY_GOTO(done, print_turns(&parsed, &asked, &said));
    CS_TRY_GOTO(done, copy_all(&element, &asked, &said, copies));
    *id = copies[0];
    *prompt = copies[1];
    *answer = copies[2];
done:
    for (int i = 0; i < 3 && st != CS_OK; i++) {
        csi_free(copies[i]);
    }
    csi_str_fini(&asked);
    csi_str_fini(&said);
    csi_llava_sample_fini(&parsed);
    json_decref(element.json);
    return st;
}
