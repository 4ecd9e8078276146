/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one key cannot know alone: rules between keys, and values that follow
 * from others. The tree is at hand, so these errors have a place too: that of
 * the named key, or of the nearest mapping around it.
 */
#include "field.h"

#include <string.h>

typedef struct checker {
    const csi_reader *reader;
    const csi_node *root;
    cs_config *config;
} checker;

/* The deepest node on the dotted way that exists. */
static const csi_node *locate(const csi_node *root, const char *dotted)
{
    const csi_node *node = root;
    const char *at = dotted;

    while (*at != '\0') {
        char name[CSI_NODE_MAX_KEY + 1];
        const size_t n_bytes = strcspn(at, ".[");
        const csi_node *child = NULL;

        if (*at == '[') {
            int32_t index = 0;

            for (at++; *at != ']'; at++) {
                index = index * 10 + (*at - '0');
            }
            at++;
            child = csi_node_entry(node, index);
        } else {
            (void)snprintf(name, sizeof name, "%.*s", (int)n_bytes, at);
            at += n_bytes;
            child = csi_node_find(node, name);
        }
        at += *at == '.';
        if (child == NULL) {
            break;
        }
        node = child;
    }
    return node;
}

static cs_status fail(const checker *c, const char *dotted, const char *format,
                      ...) CS_PRINTF(3, 4);

static cs_status fail(const checker *c, const char *dotted, const char *format,
                      ...)
{
    char sentence[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return CSI_READER_FAIL(c->reader, locate(c->root, dotted), true, CS_ERR_ARG,
                           "%s: %s", dotted, sentence);
}

/* Exactly one of from, preset and config; config names its model_type. */
static cs_status check_source(const checker *c, const char *dotted,
                              const char *const given[3])
{
    static const char *const NAMES[] = {"from", "preset", "config"};
    char got[64] = "none";
    char type_key[CSI_KEY_BYTES];
    int n = 0;

    for (int i = 0; i < 3; i++) {
        if (given[i] != NULL) {
            const size_t used = n > 0 ? strlen(got) : 0;

            (void)snprintf(got + used, sizeof got - used, "%s%s",
                           n > 0 ? " and " : "", NAMES[i]);
            n++;
        }
    }
    if (n != 1) {
        return fail(c, dotted,
                    "wanted exactly one of from, preset and config, got %s",
                    got);
    }
    if (given[2] == NULL) {
        return CS_OK;
    }
    (void)snprintf(type_key, sizeof type_key, "%s.config.model_type", dotted);

    const csi_node *const type = locate(c->root, type_key);

    if (type->kind == CSI_NODE_MAP || type->kind == CSI_NODE_LIST ||
        csi_scalar_of(type) != CSI_SCALAR_TEXT) {
        return fail(c, type_key, "wanted a text such as siglip_vision_model");
    }
    return CS_OK;
}

/* No placeholder may be found inside another, or equal it. */
static cs_status check_placeholders(const checker *c, int32_t encoder)
{
    const cs_encoder_config *const all = c->config->model.encoders;
    char dotted[CSI_KEY_BYTES];

    (void)snprintf(dotted, sizeof dotted, "model.encoders.%s.placeholder",
                   all[encoder].name);
    for (int32_t other = 0; other < encoder; other++) {
        const char *const mine = all[encoder].placeholder;
        const char *const theirs = all[other].placeholder;

        if (strstr(mine, theirs) != NULL || strstr(theirs, mine) != NULL) {
            return fail(c, dotted,
                        "'%.60s' and '%.60s' of '%s' cannot be told apart",
                        mine, theirs, all[other].name);
        }
    }
    return CS_OK;
}

static cs_status check_encoder(const checker *c, int32_t index)
{
    const cs_encoder_config *const e = &c->config->model.encoders[index];
    const char *const given[] = {e->from, e->preset, e->hf_config_json};
    char dotted[CSI_KEY_BYTES];

    (void)snprintf(dotted, sizeof dotted, "model.encoders.%s", e->name);
    if (strcmp(e->name, "language_model") == 0) {
        return fail(c, dotted, "the name is taken");
    }
    CS_TRY(check_source(c, dotted, given));
    CS_TRY(check_placeholders(c, index));
    if (e->processor.min_pixels > e->processor.max_pixels &&
        e->processor.max_pixels > 0) {
        (void)snprintf(dotted, sizeof dotted,
                       "model.encoders.%s.processor.min_pixels", e->name);
        return fail(c, dotted, "%lld is more than max_pixels, %lld",
                    (long long)e->processor.min_pixels,
                    (long long)e->processor.max_pixels);
    }
    if (e->projector.type != CS_PROJECTOR_MLP && e->projector.hidden_size > 0) {
        (void)snprintf(dotted, sizeof dotted,
                       "model.encoders.%s.projector.hidden_size", e->name);
        return fail(c, dotted, "wanted null, because a %s has %s",
                    e->projector.type == CS_PROJECTOR_LINEAR
                        ? "linear projector"
                        : "merger",
                    e->projector.type == CS_PROJECTOR_LINEAR
                        ? "no inner width"
                        : "the inner width of its stacked rows");
    }
    return CS_OK;
}

static cs_status check_model(const checker *c)
{
    const cs_language_model_config *const lm = &c->config->model.language_model;
    const char *const given[] = {lm->from, lm->preset, lm->hf_config_json};

    for (int32_t i = 0; i < c->config->model.n_encoders; i++) {
        CS_TRY(check_encoder(c, i));
    }
    return check_source(c, "model.language_model", given);
}

static cs_status check_data(const checker *c)
{
    const cs_config *const config = c->config;
    char dotted[CSI_KEY_BYTES];

    for (int32_t i = 0; i < config->data.n_eval; i++) {
        const char *const name = config->data.eval[i].name;
        const size_t n_good =
            strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                         "0123456789_-");

        (void)snprintf(dotted, sizeof dotted, "data.eval[%d].name", i);
        if (name[n_good] != '\0') {
            return fail(c, dotted,
                        "wanted letters, digits, _ and -, got '%.60s'", name);
        }
        for (int32_t other = 0; other < i; other++) {
            if (strcmp(config->data.eval[other].name, name) == 0) {
                return fail(c, dotted, "'%.60s' is the name of another set",
                            name);
            }
        }
    }
    if (config->data.packing &&
        config->data.max_length > config->data.max_tokens_per_microbatch) {
        return fail(c, "data.max_length",
                    "%lld tokens do not fit in a microbatch of "
                    "data.max_tokens_per_microbatch, %lld",
                    (long long)config->data.max_length,
                    (long long)config->data.max_tokens_per_microbatch);
    }
    return CS_OK;
}

/* Of two keys that exclude each other, the one to show: an override's. */
static const char *pick(const checker *c, const char *first, const char *second)
{
    return locate(c->root, first)->origin != NULL ? first : second;
}

static cs_status check_training(const checker *c)
{
    const bool has_steps = c->config->training.max_steps > 0;
    const bool has_epochs = c->config->training.num_train_epochs > 0;

    if (!has_steps && !has_epochs) {
        return fail(c, "training",
                    "wanted one of max_steps and num_train_epochs, got none");
    }
    if (has_steps && has_epochs) {
        return fail(c,
                    pick(c, "training.max_steps", "training.num_train_epochs"),
                    "wanted exactly one of max_steps and num_train_epochs, "
                    "got both");
    }
    if (c->config->training.warmup_steps > 0 &&
        c->config->training.warmup_ratio >= 0) {
        return fail(c,
                    pick(c, "training.lr_scheduler.warmup_steps",
                         "training.lr_scheduler.warmup_ratio"),
                    "wanted at most one of warmup_steps and warmup_ratio, got "
                    "both");
    }
    return CS_OK;
}

/* "<name of an eval set>.eval_loss" */
static cs_status check_metric(const checker *c, const char *dotted,
                              const char *metric)
{
    const cs_config *const config = c->config;

    for (int32_t i = 0; i < config->data.n_eval; i++) {
        const char *const name = config->data.eval[i].name;
        const size_t n_bytes = strlen(name);

        if (strncmp(metric, name, n_bytes) == 0 &&
            strcmp(metric + n_bytes, ".eval_loss") == 0) {
            return CS_OK;
        }
    }
    return fail(c, dotted,
                "wanted <name of a set of data.eval>.eval_loss, got '%.60s'",
                metric);
}

static cs_status check_stopping(const checker *c)
{
    const cs_config *const config = c->config;

    if (config->early_stop.metric != NULL) {
        CS_TRY(check_metric(c, "early_stop.metric", config->early_stop.metric));
    }
    if (config->early_stop.patience > 0 && config->early_stop.metric == NULL) {
        return fail(c, "early_stop.metric", "missing; patience needs it");
    }
    if (config->early_stop.patience > 0 &&
        config->checkpoint.keep_best != NULL &&
        strcmp(config->early_stop.metric, config->checkpoint.keep_best) != 0) {
        return fail(c, "early_stop.metric",
                    "wanted the metric of checkpoint.keep_best");
    }
    if (config->early_stop.patience > 0 && config->evaluation.every == 0) {
        return fail(c, "early_stop.patience",
                    "wanted null, because evaluation.every is null");
    }
    if (config->checkpoint.keep_best != NULL) {
        CS_TRY(check_metric(c, "checkpoint.keep_best",
                            config->checkpoint.keep_best));
    }
    if (config->export_.best && config->checkpoint.keep_best == NULL) {
        return fail(c, "export.what",
                    "best needs a metric in checkpoint.keep_best, got null");
    }
    return CS_OK;
}

static cs_status check_cuts(const checker *c, const cs_module_parallel *m)
{
    char dotted[CSI_KEY_BYTES];

    (void)snprintf(dotted, sizeof dotted, "parallel.modules.%s.cuts", m->name);
    if (m->n_cuts > 0 && m->n_cuts != m->pp) {
        return fail(c, dotted, "wanted the first layers of %d stages, got %d",
                    m->pp, m->n_cuts);
    }
    for (int32_t i = 0; i < m->n_cuts; i++) {
        if (i == 0 ? m->cuts[0] != 0 : m->cuts[i] <= m->cuts[i - 1]) {
            return fail(c, dotted,
                        "wanted 0 and then rising layers, got %d at index %d",
                        m->cuts[i], i);
        }
    }
    return CS_OK;
}

static cs_status check_parallel(const checker *c)
{
    const cs_config *const config = c->config;
    char dotted[CSI_KEY_BYTES];

    if (config->parallel.n_modules > 0 &&
        config->parallel.plan != CS_PLAN_MANUAL) {
        return fail(c, "parallel.modules", "only with parallel.plan: manual");
    }
    for (int32_t i = 0; i < config->parallel.n_modules; i++) {
        const cs_module_parallel *const m = &config->parallel.modules[i];
        bool is_known = strcmp(m->name, "language_model") == 0;

        for (int32_t e = 0; e < config->model.n_encoders; e++) {
            is_known |= strcmp(m->name, config->model.encoders[e].name) == 0;
        }
        if (!is_known) {
            (void)snprintf(dotted, sizeof dotted, "parallel.modules.%s",
                           m->name);
            return fail(c, dotted,
                        "wanted language_model or the name of an encoder");
        }
        CS_TRY(check_cuts(c, m));
    }
    return CS_OK;
}

static cs_status copy_bytes(const checker *c, const char *text, size_t n_bytes,
                            const char **out)
{
    char *const copy = csi_arena_alloc(c->reader->arena, n_bytes + 1);

    CS_CHECK(copy != NULL, CS_ERR_NOMEM, "out of memory for a recipe text");
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = '\0';
    *out = copy;
    return CS_OK;
}

static cs_status fill_name(const checker *c)
{
    const char *const path = c->reader->path;
    const char *const slash = strrchr(path, '/');
    const char *const file = slash != NULL ? slash + 1 : path;
    const char *const dot = strrchr(file, '.');
    const char **const name = &c->config->name;

    if (*name == NULL && file[0] != '<') {
        CS_TRY(copy_bytes(c, file,
                          dot != NULL && dot != file ? (size_t)(dot - file)
                                                     : strlen(file),
                          name));
    } else if (*name == NULL) {
        CS_TRY(copy_bytes(c, "run", strlen("run"), name));
    }
    if (strchr(*name, '/') != NULL || strcmp(*name, ".") == 0 ||
        strcmp(*name, "..") == 0 || strlen(*name) > 200) {
        return fail(c, "name", "wanted the name of a folder, got '%.60s'",
                    *name);
    }
    return CS_OK;
}

/* The folder of the file, where no media_root is given. */
static cs_status fill_media_root(const checker *c, cs_dataset_config *set)
{
    const char *const slash = strrchr(set->path, '/');

    if (set->media_root != NULL) {
        return CS_OK;
    }
    if (slash == NULL) {
        return copy_bytes(c, ".", 1, &set->media_root);
    }
    return copy_bytes(c, set->path,
                      slash == set->path ? 1 : (size_t)(slash - set->path),
                      &set->media_root);
}

static cs_status fill_media_roots(const checker *c, cs_dataset_config *sets,
                                  int32_t n_sets)
{
    for (int32_t i = 0; i < n_sets; i++) {
        CS_TRY(fill_media_root(c, &sets[i]));
    }
    return CS_OK;
}

cs_status csi_check_config(const csi_reader *reader, const csi_node *root,
                           cs_config *config)
{
    const checker c = {.reader = reader, .root = root, .config = config};

    CS_TRY(fill_name(&c));
    CS_TRY(fill_media_roots(&c, config->data.train, config->data.n_train));
    CS_TRY(fill_media_roots(&c, config->data.eval, config->data.n_eval));
    CS_TRY(check_model(&c));
    CS_TRY(check_data(&c));
    CS_TRY(check_training(&c));
    CS_TRY(check_stopping(&c));
    return check_parallel(&c);
}
