/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about index files: they are made anew exactly when something that
 * they depend on has changed, and a damaged one is never believed. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"

#include "index.h"
#include "tokenizer.h"
#include "world.h"

#include <utime.h>

static const char DATA[] =
    "[{\"id\": \"x\", \"image\": \"a.png\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\\nWhat?\"},"
    "{\"from\": \"gpt\", \"value\": \"ok\"}]},\n"
    "{\"audio\": \"b.wav\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<audio>\"},"
    "{\"from\": \"gpt\", \"value\": \"yes\"}]}]\n";

static bool is_made_anew(world *w)
{
    cs_dataset *dataset = NULL;

    assert_ok(cs_dataset_open(&w->options, &dataset));
    const bool was_stale = cs_dataset_counts_get(dataset).was_stale;

    cs_dataset_destroy(&dataset);
    return was_stale;
}

static void what_the_index_depends_on_makes_it_stale(void **state)
{
    world w;
    cs_tokenizer *other = NULL;
    size_t n_bytes = 0;

    (void)state;
    world_open(&w);
    (void)cst_write_text(&w.dir, "train.json", DATA);
    assert_true(is_made_anew(&w));
    assert_false(is_made_anew(&w));

    w.config.data.max_length = 999;
    assert_true(is_made_anew(&w));
    w.config.data.too_long = CS_TOO_LONG_SKIP;
    assert_true(is_made_anew(&w));
    w.config.data.bad_sample = CS_BAD_SAMPLE_SKIP;
    assert_true(is_made_anew(&w));
    w.config.data.train_on_prompt = true;
    assert_true(is_made_anew(&w));
    w.config.data.template_name = "vicuna";
    assert_true(is_made_anew(&w));
    w.file.max_samples = 1;
    assert_true(is_made_anew(&w));
    w.modules[0].patch_size = 4;
    assert_true(is_made_anew(&w));
    w.modules[1].pool = 2;
    assert_true(is_made_anew(&w));
    w.graph.attention = CS_MASK_BRANCHES;
    assert_true(is_made_anew(&w));
    char *const json =
        cst_read(cst_source_path("examples/stamps/tokenizer/tokenizer.json"),
                 &n_bytes);

    assert_ok(csi_tokenizer_parse(json, n_bytes, "t",
                                  "{\"eos_token\": "
                                  "\"<|user|>\"}",
                                  25, "c", &other));
    cst_free(json);
    w.options.tokenizer = other;
    assert_true(is_made_anew(&w));

    /* what it does not depend on */
    w.config.data.num_workers = 1;
    w.config.seed = 77;
    w.config.data.shuffle = true;
    assert_false(is_made_anew(&w));
    cs_tokenizer_destroy(&other);
    world_close(&w);
}

static void changed_data_make_it_stale_but_a_touch_does_not(void **state)
{
    world w;
    char changed[sizeof DATA];
    const struct utimbuf past = {.actime = 1000, .modtime = 1000};

    (void)state;
    world_open(&w);
    (void)cst_write_text(&w.dir, "train.json", DATA);
    assert_true(is_made_anew(&w));
    assert_int_equal(utime(w.train, &past), 0);
    assert_false(is_made_anew(&w));
    memcpy(changed, DATA, sizeof DATA);
    memcpy(strstr(changed, "ok"), "no", 2);
    (void)cst_write_text(&w.dir, "train.json", changed);
    assert_true(is_made_anew(&w));
    assert_false(is_made_anew(&w));
    world_close(&w);
}

static void the_file_is_the_same_for_any_number_of_threads(void **state)
{
    world w;
    char *first = NULL;
    char **names = NULL;
    int64_t count = 0;
    size_t n_first = 0;
    char path[CST_PATH_BYTES];

    (void)state;
    world_open(&w);
    (void)cst_write_text(&w.dir, "train.json", DATA);
    for (int32_t n = 1; n <= 4; n++) {
        size_t n_bytes = 0;

        w.config.data.num_workers = n;
        assert_ok(csi_dir_remove(w.index));
        assert_true(is_made_anew(&w));
        assert_ok(csi_dir_list(w.index, &names, &count));
        assert_int_equal(count, 1);
        assert_ok(csi_format(path, sizeof path, "%s/%s", w.index, names[0]));
        csi_free(names[0]);
        csi_free(names);
        char *const bytes = cst_read(path, &n_bytes);

        if (first == NULL) {
            first = bytes;
            n_first = n_bytes;
            continue;
        }
        assert_int_equal(n_bytes, n_first);
        assert_memory_equal(bytes, first, n_bytes);
        cst_free(bytes);
    }
    cst_free(first);
    world_close(&w);
}

/* A job like the one that cs_dataset_open makes, and its index file. */
static void build_index(world *w, csi_index_job *job, const char *path)
{
    *job = (csi_index_job){.files = &w->file,
                           .n_files = 1,
                           .max_length = 1000,
                           .n_threads = 1,
                           .is_quiet = true};
    (void)cst_write_text(&w->dir, "train.json", DATA);
    assert_ok(csi_chat_format_init(&w->config, &w->graph, w->tokenizer,
                                   &job->format));
    job->key = csi_index_key(job);
    assert_ok(csi_index_build(job, path));
}

static void every_cut_and_every_flipped_byte_is_noticed(void **state)
{
    world w;
    csi_index_job job;
    csi_index index;
    size_t n_bytes = 0;
    char path[CST_PATH_BYTES];

    (void)state;
    world_open(&w);
    name_part(path, cst_path(&w.dir, "a.index"));
    build_index(&w, &job, path);
    assert_ok(csi_index_open(path, &job, &index));
    csi_index_close(&index);
    char *const bytes = cst_read(path, &n_bytes);

    for (size_t n = 0; n < n_bytes; n += 1 + n_bytes / 97) {
        (void)cst_write_bytes(&w.dir, "a.index", bytes, n);
        assert_int_equal(csi_index_open(path, &job, &index), CS_ERR_FORMAT);
        assert_contains(cs_error_message(), "a.index");
    }
    for (size_t at = 0; at < n_bytes; at++) {
        bytes[at] ^= 0x10;
        (void)cst_write_bytes(&w.dir, "a.index", bytes, n_bytes);
        assert_int_equal(csi_index_open(path, &job, &index), CS_ERR_FORMAT);
        bytes[at] ^= 0x10;
    }
    cst_free(bytes);
    world_close(&w);
}

/* Signs a forged file, so that only the checks of content are left. */
static void sign(char *bytes, size_t n_bytes)
{
    csi_index_footer footer;
    const size_t end = n_bytes - sizeof footer;

    memcpy(&footer, bytes + end, sizeof footer);
    footer.checksum = 0;
    for (size_t at = 0; at < end; at += CSI_INDEX_BLOCK_BYTES) {
        const size_t left = end - at;

        footer.checksum = csi_index_chain(footer.checksum, bytes + at,
                                          left < CSI_INDEX_BLOCK_BYTES
                                              ? left
                                              : CSI_INDEX_BLOCK_BYTES);
    }
    footer.footer_hash =
        csi_index_chain(0, &footer, offsetof(csi_index_footer, footer_hash));
    memcpy(bytes + end, &footer, sizeof footer);
}

/* Reads all that an accepted index holds: the sanitizers watch. */
static void read_all(const csi_index *index)
{
    int64_t sum = 0;

    for (int64_t s = 0; s < index->view.n_samples; s++) {
        const cs_index_sample *const sample = &index->view.samples[s];
        const int32_t *const tokens =
            (const void *)(index->map.data + index->token_at[s]);
        int64_t n_text = 0;

        for (int64_t r = 0; r < sample->n_runs; r++) {
            const cs_index_run *const run =
                &index->view.runs[sample->first_run + r];

            n_text += run->modality < 0 ? run->llm_rows : 0;
            if (run->modality >= 0) {
                sum += (int64_t)strlen((const char *)index->map.data +
                                       index->path_at[sample->first_run + r]);
            }
        }
        for (int64_t t = 0; t < n_text; t++) {
            sum += tokens[t];
        }
    }
    assert_true(sum != 0);
}

static void a_forged_index_leads_nowhere(void **state)
{
    world w;
    csi_index_job job;
    csi_index index;
    size_t n_bytes = 0;
    char path[CST_PATH_BYTES];
    int64_t n_refused = 0;

    (void)state;
    world_open(&w);
    name_part(path, cst_path(&w.dir, "a.index"));
    build_index(&w, &job, path);
    char *const good = cst_read(path, &n_bytes);
    char *const forged = csi_malloc(n_bytes);

    for (uint64_t i = 0; i < 2000; i++) {
        memcpy(forged, good, n_bytes);
        /* an 8-byte word anywhere becomes small, huge or another place */
        const size_t at = 8 * csi_rng_below(9, 1, i, n_bytes / 8);
        const int64_t words[] = {0,  -1, INT64_MAX, (int64_t)n_bytes,
                                 64, 3,  1 << 30,   (int64_t)n_bytes - 8};

        memcpy(forged + at, &words[i % 8], 8);
        sign(forged, n_bytes);
        (void)cst_write_bytes(&w.dir, "a.index", forged, n_bytes);
        const cs_status st = csi_index_open(path, &job, &index);

        if (st == CS_OK) {
            read_all(&index);
            csi_index_close(&index);
        } else {
            assert_int_equal(st, CS_ERR_FORMAT);
            n_refused++;
        }
    }
    assert_true(n_refused > 100);
    csi_free(forged);
    cst_free(good);
    world_close(&w);
}

static void a_damaged_index_is_made_anew(void **state)
{
    world w;
    char **names = NULL;
    int64_t count = 0;
    char path[CST_PATH_BYTES];

    (void)state;
    world_open(&w);
    (void)cst_write_text(&w.dir, "train.json", DATA);
    assert_true(is_made_anew(&w));
    assert_ok(csi_dir_list(w.index, &names, &count));
    assert_ok(csi_format(path, sizeof path, "%s/%s", w.index, names[0]));
    csi_free(names[0]);
    csi_free(names);
    assert_ok(csi_file_truncate(path, 100));
    assert_true(is_made_anew(&w));
    assert_ok(csi_file_truncate(path, 0));
    assert_true(is_made_anew(&w));
    assert_false(is_made_anew(&w));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(what_the_index_depends_on_makes_it_stale),
        CST_TEST(changed_data_make_it_stale_but_a_touch_does_not),
        CST_TEST(the_file_is_the_same_for_any_number_of_threads),
        CST_TEST(every_cut_and_every_flipped_byte_is_noticed),
        CST_TEST(a_forged_index_leads_nowhere),
        CST_TEST(a_damaged_index_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
