/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime object: its memory, its schedules, one step. */
#include "base/alloc.h"

#include "internal.h"

#include <string.h>

static int32_t language_layers(const cs_graph *graph)
{
    return graph->modules[cs_graph_language_model(graph)].n_layers;
}

cs_status cs_runtime_create(const cs_runtime_options *options, cs_runtime **out)
{
    cs_status st = CS_OK;
    cs_runtime *rt = csi_calloc(1, sizeof *rt);

    CS_CHECK(rt != NULL, CS_ERR_NOMEM, "runtime");
    rt->o = *options;
    rt->shard = options->shard;
    rt->graph = options->shard->graph;
    rt->n_encoders = rt->graph->n_modules - 1;
    csi_arena_init(&rt->workspace, 0);
    csi_arena_init(&rt->step, 0);
    const cs_stage_graph *g = &rt->shard->stages;
    rt->tape_bytes =
        csi_calloc((size_t)rt->graph->n_modules, sizeof *rt->tape_bytes);
    rt->balance_sums = csi_calloc((size_t)language_layers(rt->graph),
                                  sizeof *rt->balance_sums);
    rt->channels = csi_calloc((size_t)g->n_edges * 2 + 1, sizeof *rt->channels);
    CS_CHECK_GOTO(undo,
                  rt->tape_bytes != NULL && rt->balance_sums != NULL &&
                      rt->channels != NULL,
                  CS_ERR_NOMEM, "runtime");
    for (int32_t i = 0; i < 2 * g->n_edges; i++) {
        rt->channels[i].slots =
            csi_calloc((size_t)g->edges[i / 2].n_slots, sizeof(csi_message));
        CS_CHECK_GOTO(undo, rt->channels[i].slots != NULL, CS_ERR_NOMEM,
                      "slots of edge %d", i / 2);
    }
    *out = rt;
    return CS_OK;

undo:
    cs_runtime_destroy(&rt);
    return st;
}

static void destroy_microbatches(cs_runtime *rt)
{
    const int64_t capacity = rt->capacity_microbatches;
    const int64_t n_works = capacity * rt->shard->stages.n_stages;

    for (int64_t i = 0; i < n_works && rt->works != NULL; i++) {
        csi_free(rt->works[i].features);
    }
    for (int64_t i = 0;
         i < capacity * rt->graph->n_modules && rt->modules != NULL; i++) {
        cs_module_batch_fini(&rt->modules[i].batch);
    }
    csi_free(rt->works);
    csi_free(rt->modules);
    rt->works = NULL;
    rt->modules = NULL;
    rt->capacity_microbatches = 0;
}

static void destroy_channels(cs_runtime *rt)
{
    const cs_stage_graph *g = &rt->shard->stages;

    for (int32_t i = 0; i < 2 * g->n_edges && rt->channels != NULL; i++) {
        csi_message *slots = rt->channels[i].slots;
        for (int32_t s = 0; s < g->edges[i / 2].n_slots && slots != NULL; s++) {
            csi_free(slots[s].data);
        }
        csi_free(slots);
    }
    csi_free(rt->channels);
}

void cs_runtime_destroy(cs_runtime **runtime)
{
    cs_runtime *rt = *runtime;

    if (rt == NULL) {
        return;
    }
    destroy_microbatches(rt);
    for (int32_t i = 0; i < rt->n_tapes; i++) {
        cs_tape_destroy(&rt->tapes[i].tape);
    }
    destroy_channels(rt);
    for (int32_t i = 0; i < rt->n_schedules; i++) {
        cs_schedule_destroy(&rt->schedules[i].schedule);
    }
    csi_free(rt->tapes);
    csi_free(rt->tape_bytes);
    csi_free(rt->balance_sums);
    csi_free(rt->events);
    csi_free(rt->sample_nll);
    csi_free(rt->sample_tokens);
    csi_free(rt->sample_index);
    csi_arena_fini(&rt->workspace);
    csi_arena_fini(&rt->step);
    csi_free(rt);
    *runtime = NULL;
}

static cs_status grow_microbatches(cs_runtime *rt, int32_t n)
{
    if (n <= rt->capacity_microbatches) {
        return CS_OK;
    }
    destroy_microbatches(rt);
    const size_t n_works = (size_t)n * (size_t)rt->shard->stages.n_stages;
    rt->works = csi_calloc(n_works, sizeof *rt->works);
    rt->modules = csi_calloc((size_t)n * (size_t)rt->graph->n_modules,
                             sizeof *rt->modules);
    CS_CHECK(rt->works != NULL && rt->modules != NULL, CS_ERR_NOMEM,
             "%d microbatches", n);
    rt->capacity_microbatches = n;
    for (size_t i = 0; i < n_works; i++) {
        rt->works[i].features = csi_calloc((size_t)rt->n_encoders + 1,
                                           sizeof *rt->works[i].features);
        CS_CHECK(rt->works[i].features != NULL, CS_ERR_NOMEM, "%d microbatches",
                 n);
    }
    return CS_OK;
}

/* Evaluation results per sample: room for every sample of the replica. */
static cs_status grow_samples(cs_runtime *rt, const cs_batch_plan *plan)
{
    if (plan->n_samples < rt->sample_capacity) {
        return CS_OK;
    }
    const size_t n = (size_t)plan->n_samples + 1;
    double *nll = csi_realloc(rt->sample_nll, n * sizeof *nll);

    CS_CHECK(nll != NULL, CS_ERR_NOMEM, "losses of %zu samples", n);
    rt->sample_nll = nll;
    int64_t *tokens = csi_realloc(rt->sample_tokens, n * sizeof *tokens);
    CS_CHECK(tokens != NULL, CS_ERR_NOMEM, "losses of %zu samples", n);
    rt->sample_tokens = tokens;
    int64_t *index = csi_realloc(rt->sample_index, n * sizeof *index);
    CS_CHECK(index != NULL, CS_ERR_NOMEM, "losses of %zu samples", n);
    rt->sample_index = index;
    rt->sample_capacity = (int64_t)n;
    return CS_OK;
}

cs_status cs_runtime_schedule(cs_runtime *rt, int32_t n_microbatches,
                              bool is_training, const cs_schedule **out)
{
    for (int32_t i = 0; i < rt->n_schedules; i++) {
        if (rt->schedules[i].n_microbatches == n_microbatches &&
            rt->schedules[i].is_training == is_training) {
            *out = rt->schedules[i].schedule;
            return CS_OK;
        }
    }
    const cs_stage_graph *g = &rt->shard->stages;
    cs_schedule *schedule = NULL;
    CS_TRY(cs_schedule_create(g, rt->shard->schedule, n_microbatches,
                              is_training, &schedule));
    const cs_status st = cs_schedule_check(g, schedule, is_training);
    if (st != CS_OK) {
        cs_schedule_destroy(&schedule);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    if (rt->n_schedules == CSI_MAX_SCHEDULES) {
        cs_schedule_destroy(&rt->schedules[0].schedule);
        rt->schedules[0] = rt->schedules[--rt->n_schedules];
    }
    rt->schedules[rt->n_schedules++] = (csi_cached_schedule){
        .n_microbatches = n_microbatches,
        .is_training = is_training,
        .schedule = schedule,
    };
    *out = schedule;
    return CS_OK;
}

static cs_status grow_events(cs_runtime *rt, const cs_schedule *schedule)
{
    const int32_t rank = rt->shard->pipeline_rank;
    const int64_t n = schedule->begin[rank + 1] - schedule->begin[rank];

    if (n <= rt->event_capacity) {
        return CS_OK;
    }
    cs_trace_event *events =
        csi_realloc(rt->events, (size_t)n * sizeof *events);
    CS_CHECK(events != NULL, CS_ERR_NOMEM, "trace of %lld actions",
             (long long)n);
    rt->events = events;
    rt->event_capacity = n;
    return CS_OK;
}

static void begin_step(cs_runtime *rt, const cs_step_input *input)
{
    rt->input = input;
    rt->n_microbatches = input->plan->n_microbatches;
    rt->result = (cs_step_result){.balance_sums = rt->balance_sums};
    memset(rt->balance_sums, 0,
           (size_t)language_layers(rt->graph) * sizeof *rt->balance_sums);
    csi_arena_reset(&rt->step);
    memset(rt->tape_bytes, 0,
           (size_t)rt->graph->n_modules * sizeof *rt->tape_bytes);
    for (int32_t i = 0; i < 2 * rt->shard->stages.n_edges; i++) {
        rt->channels[i].n_sent = 0;
    }
    for (int64_t i = 0;
         i < (int64_t)rt->capacity_microbatches * rt->graph->n_modules; i++) {
        rt->modules[i].is_built = false;
    }
}

/* A step cannot go on without one of its ranks, and the others may be reading
 * messages that end with this runtime: all waits end here and now. */
static void give_up(cs_runtime *rt)
{
    if (rt->shard->n_ranks > 1) {
        cs_comm_abort(rt->o.pipeline);
    }
    csi_works_abandon(rt);
}

cs_status cs_runtime_step(cs_runtime *rt, const cs_step_input *input,
                          cs_step_result *result)
{
    const cs_schedule *schedule = NULL;
    const int64_t bytes_before =
        rt->o.pipeline->bytes_sent + rt->o.replicas->bytes_sent;

    CS_TRY(grow_microbatches(rt, input->plan->n_microbatches));
    CS_TRY(cs_runtime_schedule(rt, input->plan->n_microbatches,
                               input->is_training, &schedule));
    if (!input->is_training) {
        CS_TRY(grow_samples(rt, input->plan));
    }
    if (input->trace && schedule != NULL) {
        CS_TRY(grow_events(rt, schedule));
    }
    begin_step(rt, input);
    if (input->is_training) {
        cs_param_set_zero_grads(rt->o.params);
    }
    const cs_status st = csi_execute(rt, schedule);
    if (st != CS_OK) {
        give_up(rt);
        return cs_pass_at(__FILE__, __LINE__, __func__, st);
    }
    rt->result.sample_nll = rt->sample_nll;
    rt->result.sample_tokens = rt->sample_tokens;
    rt->result.sample_index = rt->sample_index;
    rt->result.events = rt->events;
    rt->result.bytes_sent =
        rt->o.pipeline->bytes_sent + rt->o.replicas->bytes_sent - bytes_before;
    *result = rt->result;
    return CS_OK;
}

const cs_step_result *cs_runtime_result(const cs_runtime *runtime)
{
    return &runtime->result;
}

size_t cs_runtime_activation_bytes(const cs_runtime *runtime)
{
    const cs_stage_graph *g = &runtime->shard->stages;
    size_t n_bytes = runtime->workspace.peak_bytes + runtime->step.peak_bytes;

    for (int32_t i = 0; i < runtime->n_tapes; i++) {
        n_bytes += cs_tape_saved_bytes(runtime->tapes[i].tape) +
                   cs_tape_deferred_bytes(runtime->tapes[i].tape);
    }
    for (int32_t i = 0; i < 2 * g->n_edges; i++) {
        for (int32_t s = 0; s < g->edges[i / 2].n_slots; s++) {
            n_bytes += runtime->channels[i].slots[s].capacity;
        }
    }
    return n_bytes;
}

size_t cs_runtime_tape_bytes(const cs_runtime *runtime, int32_t module)
{
    return runtime->tape_bytes[module];
}
