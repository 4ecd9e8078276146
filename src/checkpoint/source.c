/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A foreign folder against what the model wants of it. Everything wrong is
 * said in one error, because a wrong folder is wrong in many tensors at once.
 */
#include "source.h"

#include "cornstarch/log.h"

#include "base/hash_map.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_NAMES_SHOWN = 8
};

/* Ends of the names of buffers that transformers computes anew, whatever the
 * family; older versions stored them. */
static const char *const BUFFERS[] = {"rotary_emb.inv_freq", "position_ids"};

/* Collects "'name' is missing" up to a limit and counts the rest. */
typedef struct complaints {
    csi_str text;
    int64_t count;
} complaints;

/* The last part of a path. */
static const char *base_name(const char *path)
{
    const char *const slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static void complain(complaints *c, const csi_file_tensor *t)
{
    char wanted_text[CS_SHAPE_TEXT_BYTES];
    char got_text[CS_SHAPE_TEXT_BYTES];

    if (c->count++ >= MAX_NAMES_SHOWN) {
        return;
    }
    csi_str_add(&c->text, c->count > 1 ? "; " : "");
    if (t->found == NULL) {
        csi_str_addf(&c->text, "'%s' is missing", t->name);
        return;
    }
    csi_str_addf(&c->text, "'%s' in %s is ", t->found->name,
                 base_name(t->found->path));
    if (!cs_shape_equal(&t->found->shape, &t->shape)) {
        csi_str_addf(&c->text, "%s, wanted %s",
                     cs_shape_print(&t->found->shape, got_text),
                     cs_shape_print(&t->shape, wanted_text));
    } else {
        csi_str_addf(&c->text, "%s, wanted f32, f64, bf16 or f16",
                     t->found->dtype_name);
    }
}

/* Whether the parameter takes its initial value although its part has a
 * source: fixed positions are often not stored. */
static bool may_be_missing(const cs_param *spec)
{
    return spec->init == CS_INIT_SINUSOID;
}

static bool fits(const cs_param *spec, const csi_file_tensor *t)
{
    if (t->found == NULL) {
        return may_be_missing(spec);
    }
    return cs_shape_equal(&t->found->shape, &t->shape) &&
           cs_dtype_is_float(t->found->dtype);
}

/* Whether parameter i is read from the part's source on this rank. */
static bool is_wanted(const cs_graph *graph, const int32_t *item_of,
                      const csi_part *part, int32_t i)
{
    return (item_of == NULL || item_of[i] >= 0) && csi_part_has(graph, part, i);
}

static cs_status check_param(const cs_graph *graph, const csi_part *part,
                             const cs_safetensors *source, int32_t i,
                             complaints *c)
{
    const cs_param *spec = &graph->params[i];

    for (int32_t k = 0; k < cs_param_file_count(spec); k++) {
        csi_file_tensor t;
        CS_TRY(csi_part_find(graph, part, source, i, k, &t));
        if (!fits(spec, &t)) {
            complain(c, &t);
        }
    }
    return CS_OK;
}

cs_status csi_source_check(const cs_graph *graph, const int32_t *item_of,
                           const csi_part *part, const cs_safetensors *source)
{
    complaints c = {0};
    cs_status st = CS_OK;

    for (int32_t i = 0; i < graph->n_params; i++) {
        const int32_t twin = graph->params[i].tied_to;
        if (!is_wanted(graph, item_of, part, i) ||
            (twin >= 0 && is_wanted(graph, item_of, part, twin))) {
            continue;
        }
        CS_TRY_GOTO(done,
                    check_param(graph, part, source, twin >= 0 ? twin : i, &c));
    }
    if (c.count > 0) {
        if (c.count > MAX_NAMES_SHOWN) {
            csi_str_addf(&c.text, "; and %" PRId64 " more",
                         c.count - MAX_NAMES_SHOWN);
        }
        st = CS_FAIL(CS_ERR_FORMAT,
                     "%s: %" PRId64 " of the tensors of %s do not fit: %s",
                     cs_safetensors_path(source), c.count,
                     graph->modules[part->module].name, csi_str_get(&c.text));
    }
done:
    csi_str_fini(&c.text);
    return st;
}

cs_status csi_source_check_tied(const cs_graph *graph, const int32_t *item_of,
                                const csi_part *part,
                                const cs_safetensors *source)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const int32_t twin = graph->params[i].tied_to;
        csi_file_tensor own;
        csi_file_tensor other;
        if (twin < 0 || !is_wanted(graph, item_of, part, i)) {
            continue;
        }
        CS_TRY(csi_part_find(graph, part, source, i, 0, &own));
        CS_TRY(csi_part_find(graph, part, source, twin, 0, &other));
        if (own.found == NULL || other.found == NULL) {
            continue;
        }
        CS_CHECK(own.found->dtype == other.found->dtype &&
                     own.found->n_bytes == other.found->n_bytes &&
                     memcmp(own.found->data, other.found->data,
                            (size_t)own.found->n_bytes) == 0,
                 CS_ERR_FORMAT,
                 "%s: '%s' differs from '%s', but config.json ties the two "
                 "(tie_word_embeddings): wanted equal bytes",
                 cs_safetensors_path(source), own.found->name,
                 other.found->name);
    }
    return CS_OK;
}

static cs_status collect_names(const cs_graph *graph, const csi_part *part,
                               const cs_safetensors *source,
                               csi_hash_map *names)
{
    for (int32_t i = 0; i < graph->n_params; i++) {
        const int32_t n = csi_part_has(graph, part, i)
                              ? cs_param_file_count(&graph->params[i])
                              : 0;
        for (int32_t k = 0; k < n; k++) {
            csi_file_tensor t;
            CS_TRY(csi_part_find(graph, part, source, i, k, &t));
            if (t.found != NULL) {
                CS_TRY(csi_hash_map_put(names, t.found->name,
                                        strlen(t.found->name), i));
            }
        }
    }
    return CS_OK;
}

static bool begins_with_any(const char *name, const char *const *beginnings)
{
    for (int k = 0; beginnings != NULL && beginnings[k] != NULL; k++) {
        if (strncmp(name, beginnings[k], strlen(beginnings[k])) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the part's family knows the tensor and does without it. */
static bool is_ignored(const cs_module *m, const char *name)
{
    if (begins_with_any(name, m->ignored_names)) {
        return true;
    }
    for (int k = 0; m->name_prefixes != NULL && m->name_prefixes[k] != NULL;
         k++) {
        const size_t n = strlen(m->name_prefixes[k]);
        if (strncmp(name, m->name_prefixes[k], n) == 0 &&
            begins_with_any(name + n, m->ignored_names)) {
            return true;
        }
    }
    return false;
}

static bool is_buffer(const char *name)
{
    const size_t n = strlen(name);

    for (size_t i = 0; i < sizeof BUFFERS / sizeof BUFFERS[0]; i++) {
        const size_t n_end = strlen(BUFFERS[i]);
        if (n >= n_end && strcmp(name + n - n_end, BUFFERS[i]) == 0) {
            return true;
        }
    }
    return false;
}

cs_status csi_source_warn(const cs_graph *graph, const csi_part *part,
                          const cs_safetensors *source)
{
    cs_status st = CS_OK;
    csi_str text = {0};
    csi_hash_map *names = NULL;
    int64_t count = 0;
    const char *const beside = graph->modules[part->module].source;

    if (part->is_projector && beside != NULL &&
        strcmp(beside, part->source) == 0) {
        return CS_OK; /* a merger in its encoder's folder: that part warns */
    }
    CS_TRY(csi_hash_map_create(&names));
    CS_TRY_GOTO(done, collect_names(graph, part, source, names));
    for (int64_t i = 0; i < cs_safetensors_count(source); i++) {
        const char *name = cs_safetensors_at(source, i)->name;
        int64_t param = 0;
        if (is_buffer(name) ||
            is_ignored(&graph->modules[part->module], name) ||
            csi_hash_map_get(names, name, strlen(name), &param)) {
            continue;
        }
        if (count++ < MAX_NAMES_SHOWN) {
            csi_str_addf(&text, "%s%s", count > 1 ? ", " : "", name);
        }
    }
    CS_TRY_GOTO(done, csi_str_check(&text));
    if (count > 0) {
        cs_log(CS_LOG_WARN, "checkpoint",
               "%s: %" PRId64 " tensors that %s does not use: %s%s",
               cs_safetensors_path(source), count,
               graph->modules[part->module].name, csi_str_get(&text),
               count > MAX_NAMES_SHOWN ? ", ..." : "");
    }
done:
    csi_str_fini(&text);
    csi_hash_map_destroy(&names);
    return st;
}
