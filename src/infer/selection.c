/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swapping builds a second index view in which every run of the modality takes
 * the sizes of its donor's run (recordings differ in length), and lays the
 * sample's tokens and labels out anew around it:
 *
 *     right    [text][item of s, 5 rows][text + labels]
 *     swapped  [text][item of d, 7 rows ][text + labels]
 */
#include "selection.h"

#include "base/alloc.h"

void csi_selection_fini(csi_selection *s)
{
    csi_free(s->sample);
    csi_free(s->samples);
    csi_free(s->runs);
    csi_free(s->run_sample);
    csi_free(s->run_index);
}

static int32_t find_run(const cs_index_view *view, int64_t sample,
                        int32_t modality)
{
    const cs_index_sample *s = &view->samples[sample];

    for (int32_t k = 0; k < s->n_runs; k++) {
        if (view->runs[s->first_run + k].modality == modality) {
            return (int32_t)(s->first_run + k);
        }
    }
    return -1;
}

static cs_status select_samples(const cs_dataset *dataset, int64_t max_samples,
                                int32_t only, csi_selection *s)
{
    const cs_index_view *view = cs_dataset_index(dataset);

    s->dataset = dataset;
    s->sample = csi_calloc((size_t)view->n_samples + 1, sizeof *s->sample);
    CS_CHECK(s->sample != NULL, CS_ERR_NOMEM, "evaluation");
    for (int64_t i = 0; i < view->n_samples; i++) {
        if ((max_samples <= 0 || s->n < max_samples) &&
            (only < 0 || find_run(view, i, only) >= 0)) {
            s->sample[s->n] = i;
            s->n_runs += view->samples[i].n_runs;
            s->n++;
        }
    }
    return CS_OK;
}

static cs_status copy_view(csi_selection *s)
{
    const cs_index_view *view = cs_dataset_index(s->dataset);
    const size_t n_runs = (size_t)s->n_runs + 1;
    int64_t at = 0;

    s->samples = csi_calloc((size_t)s->n + 1, sizeof *s->samples);
    s->runs = csi_calloc(n_runs, sizeof *s->runs);
    s->run_sample = csi_calloc(n_runs, sizeof *s->run_sample);
    s->run_index = csi_calloc(n_runs, sizeof *s->run_index);
    CS_CHECK(s->samples != NULL && s->runs != NULL && s->run_sample != NULL &&
                 s->run_index != NULL,
             CS_ERR_NOMEM, "evaluation");
    for (int64_t i = 0; i < s->n; i++) {
        s->samples[i] = view->samples[s->sample[i]];
        for (int32_t k = 0; k < s->samples[i].n_runs; k++, at++) {
            const int64_t from = s->samples[i].first_run + k;
            s->runs[at] = view->runs[from];
            s->run_sample[at] = s->sample[i];
            s->run_index[at] = (int32_t)from;
        }
        s->samples[i].first_run = at - s->samples[i].n_runs;
    }
    s->view = (cs_index_view){
        .n_samples = s->n,
        .n_runs = s->n_runs,
        .samples = s->samples,
        .runs = s->runs,
        .n_modalities = view->n_modalities,
    };
    return CS_OK;
}

/* Sample i takes the item of the sample half a list away, or of the next one
 * with other content. */
static void swap_items(csi_selection *s, int32_t modality)
{
    const cs_index_view *view = cs_dataset_index(s->dataset);

    for (int64_t i = 0; i < s->n; i++) {
        cs_index_sample *sample = &s->samples[i];
        for (int32_t k = 0; k < sample->n_runs; k++) {
            cs_index_run *run = &s->runs[sample->first_run + k];
            if (run->modality != modality) {
                continue;
            }
            for (int64_t step = 0; step < s->n; step++) {
                const int64_t donor = s->sample[(i + s->n / 2 + step) % s->n];
                const int32_t from = find_run(view, donor, modality);
                if (view->runs[from].content_hash == run->content_hash) {
                    continue;
                }
                sample->n_tokens += view->runs[from].llm_rows - run->llm_rows;
                run->llm_rows = view->runs[from].llm_rows;
                run->encoder_rows = view->runs[from].encoder_rows;
                run->input_rows = view->runs[from].input_rows;
                run->grid_rows = view->runs[from].grid_rows;
                run->grid_columns = view->runs[from].grid_columns;
                run->tile_rows = view->runs[from].tile_rows;
                run->tile_columns = view->runs[from].tile_columns;
                s->run_sample[sample->first_run + k] = donor;
                s->run_index[sample->first_run + k] = from;
                break;
            }
        }
    }
}

cs_status csi_selection_init(const cs_dataset *dataset, int64_t max_samples,
                             int32_t only_modality, int32_t swap_modality,
                             csi_selection *out)
{
    const int32_t only = swap_modality >= 0 ? swap_modality : only_modality;
    csi_selection s = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(undo, select_samples(dataset, max_samples, only, &s));
    CS_CHECK_GOTO(undo, s.n > 0, CS_ERR_ARG,
                  "evaluation: no sample has an item of that modality");
    CS_CHECK_GOTO(undo, swap_modality < 0 || s.n > 1, CS_ERR_ARG,
                  "evaluation: one sample has nobody to swap with");
    CS_TRY_GOTO(undo, copy_view(&s));
    if (swap_modality >= 0) {
        swap_items(&s, swap_modality);
    }
    *out = s;
    return CS_OK;

undo:
    csi_selection_fini(&s);
    return st;
}

/* Lays one sample's ids and labels out for the view's run sizes. Labels are
 * shifted, so they are moved as "what the next token must be". */
cs_status csi_selection_tokens(const csi_selection *s, int64_t i, int32_t *ids,
                               int32_t *labels)
{
    const cs_index_view *view = cs_dataset_index(s->dataset);
    const cs_index_sample *from = &view->samples[s->sample[i]];
    const cs_index_sample *to = &s->samples[i];
    cs_status st = CS_OK;
    int32_t *old_ids = csi_calloc((size_t)from->n_tokens + 1, sizeof *old_ids);
    int32_t *old_labels =
        csi_calloc((size_t)from->n_tokens + 1, sizeof *old_labels);
    int64_t a = 0;
    int64_t b = 0;

    CS_CHECK_GOTO(done, old_ids != NULL && old_labels != NULL, CS_ERR_NOMEM,
                  "evaluation");
    CS_TRY_GOTO(done, cs_dataset_tokens(s->dataset, s->sample[i], old_ids,
                                        old_labels));
    for (int64_t t = 0; t < to->n_tokens; t++) {
        labels[t] = -100;
    }
    for (int32_t k = 0; k < to->n_runs; k++) {
        const int32_t n_old = view->runs[from->first_run + k].llm_rows;
        const int32_t n_new = s->runs[to->first_run + k].llm_rows;
        for (int32_t t = 0; t < n_new; t++) {
            const bool is_text = s->runs[to->first_run + k].modality < 0;
            ids[b + t] = is_text ? old_ids[a + t] : -1;
            if (is_text && a + t > 0 && b + t > 0) {
                labels[b + t - 1] = old_labels[a + t - 1];
            }
        }
        a += n_old;
        b += n_new;
    }
done:
    csi_free(old_ids);
    csi_free(old_labels);
    return st;
}

cs_status csi_selection_media(const csi_selection *s, int32_t run, float *rows)
{
    CS_TRY(cs_dataset_media(s->dataset, s->run_sample[run], s->run_index[run],
                            rows));
    return CS_OK;
}
