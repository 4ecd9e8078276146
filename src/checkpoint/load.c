/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resuming. Every rank verifies the whole checkpoint, not only what it holds:
 * so all come to the same verdict about damage, and fall back to the same
 * older step, without a word between them.
 */
#include "cornstarch/checkpoint.h"

#include "base/alloc.h"
#include "base/str.h"

#include "folders.h"
#include "parts.h"
#include "state.h"
#include "stored.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MOMENT_NAME_BYTES = 512,
    FALLBACK_BYTES = 512
};

/* Whether the sentence is about what lies on the disk. */
static bool is_damage(cs_status st)
{
    return st == CS_ERR_FORMAT || st == CS_ERR_IO;
}

/* ---- tensors ---- */

static cs_status find_tensor(const csi_stored *s, const csi_stored_table *table,
                             const cs_param *spec,
                             const csi_stored_tensor **out)
{
    char got[CS_SHAPE_TEXT_BYTES];
    char wanted[CS_SHAPE_TEXT_BYTES];
    const csi_stored_tensor *t = csi_stored_find(table, spec->global_name);

    CS_CHECK(t != NULL, CS_ERR_FORMAT, "%s: has no %s of %s", s->folder,
             table == &s->manifest.tensors ? "values" : "optimizer state",
             spec->global_name);
    CS_CHECK(cs_shape_equal(&t->shape, &spec->shape), CS_ERR_FORMAT,
             "%s: %s is %s, wanted %s", s->folder, spec->global_name,
             cs_shape_print(&t->shape, got),
             cs_shape_print(&spec->shape, wanted));
    *out = t;
    return CS_OK;
}

/* The parameter whose tensors an item reads: its own, or of one that is tied
 * those of its twin. */
static const cs_param *stored_spec(const cs_param_set *set, int32_t item)
{
    const cs_param *spec = set->items[item].spec;

    return spec->tied_to >= 0 ? &set->graph->params[spec->tied_to] : spec;
}

static cs_status load_values(csi_stored *s, cs_param_set *set, int32_t item,
                             void *buffer)
{
    const cs_param *spec = stored_spec(set, item);
    const csi_stored_tensor *t = NULL;
    csi_stored *where = NULL;

    CS_TRY(find_tensor(s, &s->manifest.tensors, spec, &t));
    if (t->source != NULL) {
        const int32_t i = (int32_t)(spec - set->graph->params);
        const csi_part part =
            csi_part_at(set->graph, csi_part_of(set->graph, i));
        CS_CHECK(part.source != NULL && !spec->is_trainable, CS_ERR_FORMAT,
                 "%s: %s is frozen with the values of %s, but the model has "
                 "%s",
                 s->folder, spec->global_name, t->source,
                 part.source == NULL ? "no source for it" : "it trainable");
        return CS_OK; /* cs_weights_load() has read it */
    }
    CS_TRY(csi_stored_resolve(s, t, &where, &t));
    /* In the stored type, so that nothing is rounded twice. */
    CS_TRY(csi_stored_read(where, t, t->name, t->dtype, buffer));
    CS_TRY(cs_param_store(set, item, t->dtype, buffer));
    return CS_OK;
}

static cs_status load_moments(csi_stored *s, cs_param_set *set, int32_t item)
{
    const cs_param_state *p = &set->items[item];
    const csi_stored_tensor *t = NULL;
    char name[MOMENT_NAME_BYTES];

    if (p->m == NULL) {
        return CS_OK;
    }
    CS_TRY(find_tensor(s, &s->manifest.optimizer, stored_spec(set, item), &t));
    CS_CHECK(t->n_slices > 0, CS_ERR_FORMAT,
             "%s: the optimizer state of %s has no slices", s->folder, t->name);
    CS_TRY(csi_format(name, sizeof name, "m/%s", t->name));
    CS_TRY(csi_stored_read(s, t, name, set->real, p->m));
    CS_TRY(csi_format(name, sizeof name, "v/%s", t->name));
    CS_TRY(csi_stored_read(s, t, name, set->real, p->v));
    return CS_OK;
}

static cs_status load_tensors(csi_stored *s, cs_param_set *set)
{
    int64_t largest = 1;
    void *buffer = NULL;
    cs_status st = CS_OK;

    for (int32_t k = 0; k < set->n; k++) {
        largest = set->items[k].count > largest ? set->items[k].count : largest;
    }
    buffer = csi_aligned((size_t)largest * sizeof(double));
    CS_CHECK(buffer != NULL, CS_ERR_NOMEM, "%s: %" PRId64 " values", s->folder,
             largest);
    for (int32_t k = 0; k < set->n; k++) {
        if (!set->items[k].is_alias) {
            CS_TRY_GOTO(done, load_values(s, set, k, buffer));
            CS_TRY_GOTO(done, load_moments(s, set, k));
        }
    }
done:
    csi_free(buffer);
    return st;
}

/* ---- which step ---- */

/* Opens and verifies a step, and reads its state. */
static cs_status open_step(const char *checkpoints, int64_t step,
                           csi_stored **stored, cs_train_state *state)
{
    CS_TRY(csi_stored_open(checkpoints, step, stored));
    const cs_status st = csi_state_read((*stored)->folder, state);

    if (st != CS_OK) {
        csi_stored_close(stored);
    }
    CS_TRY(st);
    return CS_OK;
}

/* The newest step up to `last` that is whole; says which damage it passed. */
static cs_status open_newest(const char *checkpoints, const int64_t *steps,
                             int64_t last, csi_stored **stored,
                             cs_train_state *state,
                             char fallback[FALLBACK_BYTES])
{
    cs_error first;
    int64_t at = last;
    cs_status st = open_step(checkpoints, steps[at], stored, state);

    fallback[0] = '\0';
    if (st == CS_OK || !is_damage(st)) {
        return st;
    }
    const cs_status cause = st;

    cs_error_get(&first);
    while (st != CS_OK && is_damage(st) && at > 0) {
        st = open_step(checkpoints, steps[--at], stored, state);
    }
    if (st != CS_OK) {
        cs_error_set(&first); /* nothing to fall back to */
        return cause;
    }
    (void)snprintf(fallback, FALLBACK_BYTES,
                   "checkpoint of step %" PRId64
                   " is damaged, going on from step %" PRId64 ": %.380s",
                   steps[last], steps[at], first.message);
    return CS_OK;
}

static cs_status choose(const char *checkpoints, int64_t step,
                        csi_stored **stored, cs_train_state *state,
                        char fallback[FALLBACK_BYTES])
{
    cs_status st = CS_OK;
    int64_t *steps = NULL;
    int64_t count = 0;
    int64_t at = 0;

    CS_TRY(csi_steps_list(checkpoints, &steps, &count));
    const int64_t wanted =
        step > 0 ? step : csi_steps_latest(checkpoints, steps, count);

    while (at < count && steps[at] != wanted) {
        at++;
    }
    if (at == count) {
        st = csi_steps_fail(checkpoints, step, steps, count);
    } else if (step > 0) {
        fallback[0] = '\0';
        st = open_step(checkpoints, step, stored, state);
    } else {
        st = open_newest(checkpoints, steps, at, stored, state, fallback);
    }
    csi_free(steps);
    return st;
}

cs_status cs_checkpoint_load(const char *run_folder, int64_t step,
                             const char *recipe_hash, cs_param_set *set,
                             cs_train_state *state, char fallback[512])
{
    cs_status st = CS_OK;
    char *checkpoints = NULL;
    csi_stored *stored = NULL;
    cs_train_state loaded = {0};
    char said[FALLBACK_BYTES] = "";

    CS_TRY(csi_checkpoints_folder(run_folder, &checkpoints));
    CS_TRY_GOTO(done, choose(checkpoints, step, &stored, &loaded, said));
    CS_CHECK_GOTO(done, stored != NULL, CS_ERR_INTERNAL,
                  "%s: chosen, but not open", checkpoints);
    CS_CHECK_GOTO(done,
                  recipe_hash == NULL ||
                      strcmp(recipe_hash, stored->manifest.recipe_hash) == 0,
                  CS_ERR_FORMAT,
                  "%s: was saved by recipe %s, this is recipe %s",
                  stored->folder, stored->manifest.recipe_hash, recipe_hash);
    CS_TRY_GOTO(done, load_tensors(stored, set));
    memcpy(fallback, said, sizeof said);
    *state = loaded;
    loaded.dropped = NULL;
done:
    csi_free(loaded.dropped);
    csi_stored_close(&stored);
    csi_free(checkpoints);
    return st;
}

int64_t cs_checkpoint_latest(const char *run_folder)
{
    char *checkpoints = NULL;
    int64_t *steps = NULL;
    int64_t count = 0;
    int64_t latest = 0;

    if (csi_checkpoints_folder(run_folder, &checkpoints) == CS_OK &&
        csi_steps_list(checkpoints, &steps, &count) == CS_OK) {
        latest = csi_steps_latest(checkpoints, steps, count);
    }
    csi_free(steps);
    csi_free(checkpoints);
    return latest;
}
