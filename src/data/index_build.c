/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes an index file: reads the data once, in order, a chunk of samples at a
 * time. One thread parses JSON, all prepare the samples of the chunk, then
 * they are written in order, so that the file is the same for any number of
 * threads. Tokens go to disk at once; what stays in memory is 100 to 200 bytes
 * per sample.
 */
#include "cornstarch/log.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"

#include "index.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

enum {
    CHUNK_SAMPLES = 64,
    MAX_THREADS = 16,
    MAX_WARNINGS = 5
};

static const double PROGRESS_EVERY_S = 2.0;

/* Growing array of one element type. */
typedef struct list {
    char *data; /* owned */
    int64_t count, capacity;
    size_t item_bytes;
} list;

typedef struct builder {
    const csi_index_job *job;
    csi_file_writer *writer; /* owned */
    uint8_t *block;          /* owned: not yet written */
    size_t block_used;
    uint64_t checksum;
    int64_t at; /* bytes handed over so far */
    list stamps, samples, token_at, runs, path_at;
    csi_index_footer footer;
    csi_index_slot *slots; /* owned: [CHUNK_SAMPLES] */
    double begin_s, told_s;
    int64_t n_warnings;
} builder;

static cs_status add_item(list *l, const void *item)
{
    if (l->count == l->capacity) {
        const int64_t capacity = 2 * l->capacity + 256;
        char *const grown =
            csi_realloc(l->data, (size_t)capacity * l->item_bytes);

        CS_CHECK(grown != NULL, CS_ERR_NOMEM,
                 "index: no memory for %" PRId64 " entries", capacity);
        l->data = grown;
        l->capacity = capacity;
    }
    memcpy(l->data + (size_t)l->count * l->item_bytes, item, l->item_bytes);
    l->count++;
    return CS_OK;
}

static cs_status flush_block(builder *b)
{
    if (b->block_used == 0) {
        return CS_OK;
    }
    b->checksum = csi_index_chain(b->checksum, b->block, b->block_used);
    CS_TRY(csi_file_writer_write(b->writer, b->block, b->block_used));
    b->block_used = 0;
    return CS_OK;
}

static cs_status put(builder *b, const void *data, size_t n_bytes)
{
    const uint8_t *from = data;

    b->at += (int64_t)n_bytes;
    while (n_bytes > 0) {
        const size_t room = CSI_INDEX_BLOCK_BYTES - b->block_used;
        const size_t n = n_bytes < room ? n_bytes : room;

        memcpy(b->block + b->block_used, from, n);
        b->block_used += n;
        from += n;
        n_bytes -= n;
        if (b->block_used == CSI_INDEX_BLOCK_BYTES) {
            CS_TRY(flush_block(b));
        }
    }
    return CS_OK;
}

static cs_status align(builder *b)
{
    static const char ZEROS[8] = {0};

    return put(b, ZEROS, (size_t)(-b->at & 7));
}

static cs_status put_list(builder *b, const list *l, int64_t *at)
{
    CS_TRY(align(b));
    *at = b->at;
    return put(b, l->data, (size_t)l->count * l->item_bytes);
}

static cs_status write_sample(builder *b, csi_index_slot *slot)
{
    const csi_draft *const d = &slot->draft;

    slot->sample.first_run = b->runs.count;
    CS_TRY(align(b));
    CS_TRY(add_item(&b->token_at, &b->at));
    CS_TRY(add_item(&b->samples, &slot->sample));
    CS_TRY(put(b, d->ids, (size_t)d->n_ids * sizeof *d->ids));
    for (int32_t r = 0; r < d->n_runs; r++) {
        const int64_t at = d->run_path[r] != NULL ? b->at : 0;

        CS_TRY(add_item(&b->runs, &d->runs[r]));
        CS_TRY(add_item(&b->path_at, &at));
        if (d->run_path[r] != NULL) {
            CS_TRY(put(b, d->run_path[r], strlen(d->run_path[r]) + 1));
            b->footer.n_items++;
        }
    }
    b->footer.n_tokens += slot->sample.n_tokens;
    b->footer.label_tokens += slot->sample.label_tokens;
    return CS_OK;
}

static void warn(builder *b, const char *sentence)
{
    if (b->n_warnings < MAX_WARNINGS) {
        cs_log(CS_LOG_WARN, "data", "skipped: %s", sentence);
    } else if (b->n_warnings == MAX_WARNINGS) {
        cs_log(CS_LOG_WARN, "data", "further skipped samples are only counted");
    }
    b->n_warnings++;
}

/* Keeps, skips or refuses a prepared sample. */
static cs_status settle(builder *b, csi_index_slot *slot)
{
    const bool is_too_long = slot->fate == CSI_SAMPLE_TOO_LONG;

    if (slot->status == CS_OK) {
        b->footer.n_truncated += slot->fate == CSI_SAMPLE_TRUNCATED;
        return write_sample(b, slot);
    }
    if (slot->status != CS_ERR_NOMEM &&
        (is_too_long ? b->job->too_long == CS_TOO_LONG_SKIP
                     : b->job->bad_sample == CS_BAD_SAMPLE_SKIP)) {
        b->footer.n_too_long += is_too_long;
        b->footer.n_skipped += !is_too_long;
        warn(b, slot->error.message);
        return CS_OK;
    }
    cs_error_set(&slot->error);
    return slot->status;
}

typedef struct crew {
    const csi_index_job *job;
    csi_index_slot *slots;
    int32_t file, n_slots;
    atomic_int next;
} crew;

static cs_status work(void *arg)
{
    crew *const c = arg;

    for (;;) {
        const int slot = atomic_fetch_add(&c->next, 1);

        if (slot >= c->n_slots) {
            return CS_OK;
        }
        csi_index_prepare(c->job, c->file, &c->slots[slot]);
    }
}

/* This thread works too, so that one thread starts none. */
static cs_status prepare_all(builder *b, int32_t file, int32_t n_slots)
{
    const int32_t wanted = b->job->n_threads - 1;
    const int32_t n_helpers = wanted < MAX_THREADS ? wanted : MAX_THREADS;
    csi_thread helpers[MAX_THREADS] = {{.started = false}};
    crew c = {.job = b->job,
              .slots = b->slots,
              .file = file,
              .n_slots = n_slots};
    cs_status st = CS_OK;

    for (int32_t i = 0; i < n_helpers && st == CS_OK; i++) {
        st = csi_thread_start(&helpers[i], work, &c);
    }
    const cs_status own = work(&c);

    for (int32_t i = 0; i < n_helpers; i++) {
        const cs_status joined = csi_thread_join(&helpers[i]);

        st = st == CS_OK ? joined : st;
    }
    CS_TRY(st == CS_OK ? own : st);
    return CS_OK;
}

static void tell_progress(builder *b, const csi_llava_reader *reader)
{
    const double now_s = csi_clock_s();
    const double passed_s = now_s - b->begin_s;
    const double share = (double)reader->at / (double)reader->n_bytes;

    if (b->job->is_quiet || now_s - b->told_s < PROGRESS_EVERY_S) {
        return;
    }
    char left[32];

    b->told_s = now_s;
    cs_log(CS_LOG_INFO, "data",
           "index %s samples %" PRId64 " (%.0f %%) samples_per_s %.0f left %s",
           reader->path, reader->n_read, 100.0 * share,
           (double)reader->n_read / passed_s,
           csi_human_seconds(left, passed_s / share - passed_s));
}

/* Reads the next samples into the slots; *n_slots 0 = no more. */
static cs_status fill_chunk(builder *b, csi_llava_reader *reader,
                            int64_t max_samples, int32_t *n_slots)
{
    *n_slots = 0;
    while (*n_slots < CHUNK_SAMPLES &&
           (max_samples == 0 || reader->n_read < max_samples)) {
        csi_index_slot *const slot = &b->slots[*n_slots];

        CS_TRY(csi_llava_next(reader, &slot->element));
        if (slot->element.json == NULL) {
            return CS_OK;
        }
        slot->sample.hash = XXH3_64bits(reader->data + slot->element.offset,
                                        (size_t)slot->element.n_bytes);
        ++*n_slots;
    }
    return CS_OK;
}

static cs_status read_samples(builder *b, int32_t file,
                              csi_llava_reader *reader)
{
    int32_t n_slots = 0;

    b->begin_s = b->told_s = csi_clock_s();
    do {
        CS_TRY(fill_chunk(b, reader, b->job->files[file].max_samples,
                          &n_slots));
        CS_TRY(prepare_all(b, file, n_slots));
        for (int32_t i = 0; i < n_slots; i++) {
            CS_TRY(settle(b, &b->slots[i]));
            csi_index_slot_clear(&b->slots[i]);
        }
        tell_progress(b, reader);
    } while (n_slots > 0);
    return CS_OK;
}

static cs_status read_file(builder *b, int32_t file)
{
    const char *const path = b->job->files[file].path;
    csi_index_stamp stamp = {0};
    csi_file_map map = {0};
    cs_status st = CS_OK;

    CS_TRY(csi_file_mtime_ns(path, &stamp.mtime_ns));
    CS_TRY(csi_file_map_open(path, &map));
    const char *const data =
        map.data != NULL ? (const char *)map.data : (const char *)"";

    stamp.n_bytes = (int64_t)map.n_bytes;
    stamp.hash = XXH3_64bits(data, map.n_bytes);
    CS_TRY_GOTO(done, add_item(&b->stamps, &stamp));
    csi_llava_reader reader = {.path = path,
                               .data = data,
                               .n_bytes = map.n_bytes};

    CS_TRY_GOTO(done, read_samples(b, file, &reader));
done:
    csi_file_map_close(&map);
    return st;
}

static cs_status write_end(builder *b)
{
    csi_index_footer *const f = &b->footer;

    f->n_files = b->stamps.count;
    f->n_samples = b->samples.count;
    f->n_runs = b->runs.count;
    CS_TRY(put_list(b, &b->stamps, &f->stamps_at));
    CS_TRY(put_list(b, &b->samples, &f->samples_at));
    CS_TRY(put_list(b, &b->token_at, &f->token_at));
    CS_TRY(put_list(b, &b->runs, &f->runs_at));
    CS_TRY(put_list(b, &b->path_at, &f->path_at));
    CS_TRY(flush_block(b));
    memcpy(f->magic, csi_index_magic, sizeof f->magic);
    f->version = CSI_INDEX_VERSION;
    f->n_modalities = b->job->format.n_modalities;
    f->key = b->job->key;
    f->checksum = b->checksum;
    f->footer_hash =
        csi_index_chain(0, f, offsetof(csi_index_footer, footer_hash));
    CS_TRY(csi_file_writer_write(b->writer, f, sizeof *f));
    return csi_file_writer_commit(b->writer);
}

static cs_status build_all(builder *b)
{
    const csi_index_job *const job = b->job;
    char head[CSI_INDEX_HEAD_BYTES] = {0};

    memcpy(head, csi_index_magic, sizeof csi_index_magic);
    CS_TRY(put(b, head, sizeof head));
    for (int32_t i = 0; i < job->n_files; i++) {
        CS_TRY(read_file(b, i));
    }
    CS_CHECK(b->samples.count > 0, CS_ERR_FORMAT,
             "%s: no samples to train on (%" PRId64 " skipped, %" PRId64
             " too long)",
             job->files[0].path, b->footer.n_skipped, b->footer.n_too_long);
    return write_end(b);
}

static void fini(builder *b)
{
    list *const lists[] = {&b->stamps, &b->samples, &b->token_at, &b->runs,
                           &b->path_at};

    csi_file_writer_destroy(&b->writer);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        csi_free(lists[i]->data);
    }
    for (int32_t i = 0; b->slots != NULL && i < CHUNK_SAMPLES; i++) {
        csi_index_slot_fini(&b->slots[i]);
    }
    csi_free(b->slots);
    csi_free(b->block);
}

cs_status csi_index_build(const csi_index_job *job, const char *path)
{
    cs_status st = CS_OK;
    builder b = {
        .job = job,
        .stamps = {.item_bytes = sizeof(csi_index_stamp)},
        .samples = {.item_bytes = sizeof(cs_index_sample)},
        .token_at = {.item_bytes = sizeof(int64_t)},
        .runs = {.item_bytes = sizeof(cs_index_run)},
        .path_at = {.item_bytes = sizeof(int64_t)},
    };

    b.block = csi_malloc(CSI_INDEX_BLOCK_BYTES);
    b.slots = csi_calloc(CHUNK_SAMPLES, sizeof *b.slots);
    CS_CHECK_GOTO(done, b.block != NULL && b.slots != NULL, CS_ERR_NOMEM,
                  "%s: no memory to make the index", path);
    CS_TRY_GOTO(done, csi_file_writer_create(path, &b.writer));
    CS_TRY_GOTO(done, build_all(&b));
done:
    fini(&b);
    return st;
}
