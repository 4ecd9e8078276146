/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run in several processes, one rank each: each reads the recipe, the data's
 * index and makes the plan by itself, so all must come to the same; process 0
 * alone writes what is shared. A process that fails alone returns; whoever
 * runs the processes then ends every wait of the others. Alone, or with ranks
 * as threads, nothing of this has anything to do.
 */
#include "cornstarch/version.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"

#include "internal.h"

#include <inttypes.h>

static bool is_alone(const csi_run *run)
{
    return run->processes == NULL || run->processes->n_ranks == 1;
}

bool csi_is_first_process(const csi_run *run)
{
    return is_alone(run) || run->processes->rank == 0;
}

/* All return the error of the lowest that differs from process 0. */
static cs_status check_same(cs_comm *processes, const char *what, uint64_t mine)
{
    uint64_t theirs = mine;
    cs_status st = CS_OK;

    CS_TRY(cs_comm_broadcast(processes, &theirs, sizeof theirs, 0));
    if (mine != theirs) {
        st = CS_FAIL(CS_ERR_ARG,
                     "process %d has another %s than process 0 (%016" PRIx64
                     ", %016" PRIx64 "): all that train together need the same",
                     processes->rank, what, mine, theirs);
    }
    return cs_comm_agree(processes, st);
}

/* Everything that says what to do, as one text. */
static cs_status hash_recipe(const csi_run *run, uint64_t *hash)
{
    const cs_train_options *o = run->options;
    char *recipe = NULL;
    csi_str text = {0};
    cs_status st = CS_OK;

    CS_TRY(cs_config_print(o->config, &recipe));
    csi_str_add(&text, recipe);
    csi_str_addf(&text, "%s %s %d %" PRId64 " %d %d", o->run_folder, o->backend,
                 o->resume, o->resume_step, o->overwrite, o->is_dry_run);
    CS_TRY_GOTO(done, csi_str_check(&text));
    *hash = csi_hash64_bytes(text.data, text.length);
done:
    csi_free(recipe);
    csi_str_fini(&text);
    return st;
}

static cs_status hash_program(uint64_t *hash)
{
    csi_file_map map = {0};

    CS_TRY(csi_file_map_open("/proc/self/exe", &map));
    *hash = csi_hash64_bytes(map.data, map.n_bytes);
    csi_file_map_close(&map);
    return CS_OK;
}

cs_status csi_processes_check_start(const csi_run *run)
{
    uint64_t hash = 0;

    if (is_alone(run)) {
        return CS_OK;
    }
    CS_CHECK(run->options->n_ranks == run->processes->n_ranks, CS_ERR_ARG,
             "--ranks asks for %d, but %d processes were started: each of them "
             "is one rank",
             run->options->n_ranks, run->processes->n_ranks);
    CS_TRY(hash_program(&hash));
    CS_TRY(check_same(run->processes, "program", hash));
    CS_TRY(hash_recipe(run, &hash));
    return check_same(run->processes, "recipe", hash);
}

static uint64_t hash_index(uint64_t before, const cs_dataset *dataset)
{
    const cs_index_view *view = cs_dataset_index(dataset);
    const uint64_t hashes[] = {
        before,
        csi_hash64_bytes(view->samples,
                         (uint64_t)view->n_samples * sizeof *view->samples),
        csi_hash64_bytes(view->runs,
                         (uint64_t)view->n_runs * sizeof *view->runs),
    };

    return csi_hash64_bytes(hashes, sizeof hashes);
}

cs_status csi_processes_check_data(const csi_run *run)
{
    if (is_alone(run)) {
        return CS_OK;
    }
    uint64_t hash = hash_index(0, run->train);

    for (int32_t i = 0; i < run->config->data.n_eval; i++) {
        hash = hash_index(hash, run->eval[i]);
    }
    return check_same(run->processes, "index of the data", hash);
}

cs_status csi_processes_check_plan(const csi_run *run)
{
    char *plan = NULL;

    if (is_alone(run)) {
        return CS_OK;
    }
    CS_TRY(cs_plan_print(run->plan, run->graph, &plan));
    const uint64_t hash = csi_hash64(plan);

    csi_free(plan);
    return check_same(run->processes, "plan", hash);
}

cs_status csi_processes_in_turn(csi_run *run, cs_status (*work)(csi_run *run))
{
    if (csi_is_first_process(run)) {
        CS_TRY(work(run));
    }
    if (is_alone(run)) {
        return CS_OK;
    }
    CS_TRY(cs_comm_barrier(run->processes));
    return csi_is_first_process(run) ? CS_OK : work(run);
}

/* One process's machine. */
typedef struct machine {
    uint64_t name;
    int32_t n_cores;  /* that the process may use */
    int32_t n_online; /* that there are */
} machine;

/* Processes of one machine may be bound to the same cores or to others: they
 * have at most what there is. */
static int32_t count_cores(const machine *all, int32_t n)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < n; i++) {
        int32_t here = 0;
        bool is_new = true;

        for (int32_t k = 0; k < n; k++) {
            if (all[k].name == all[i].name) {
                is_new = is_new && k >= i;
                here += all[k].n_cores;
            }
        }
        if (is_new) {
            sum += here < all[i].n_online ? here : all[i].n_online;
        }
    }
    return sum;
}

cs_status csi_processes_count_cores(csi_run *run)
{
    char name[CSI_MACHINE_NAME_BYTES];
    cs_status st = CS_OK;

    run->n_cores = csi_cpu_count();
    if (is_alone(run)) {
        return CS_OK;
    }
    const int32_t n = run->processes->n_ranks;
    machine *all = csi_calloc((size_t)n, sizeof *all);
    CS_CHECK(all != NULL, CS_ERR_NOMEM, "machines of %d processes", n);
    csi_machine_name(name);
    const machine mine = {
        .name = csi_hash64(name),
        .n_cores = run->n_cores,
        .n_online = csi_cpu_online(),
    };
    CS_TRY_GOTO(done,
                cs_comm_all_gather(run->processes, &mine, sizeof mine, all));
    run->n_cores = count_cores(all, n);
done:
    csi_free(all);
    return st;
}

cs_status csi_processes_share_result(csi_run *run)
{
    cs_train_result *result = &run->result;
    double rss = (double)result->peak_rss_bytes;

    if (is_alone(run)) {
        return CS_OK;
    }
    CS_TRY(cs_comm_all_reduce(run->processes, &rss, 1, CS_F64));
    result->peak_rss_bytes = (int64_t)rss;
    return cs_comm_broadcast(run->processes, result, sizeof *result, 0);
}
