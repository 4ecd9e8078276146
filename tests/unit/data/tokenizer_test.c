/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about tokenizers: the ids are Hugging Face's, text comes back, what
 * is not offered is named, hostile files are one sentence. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"

#include "support/test.h"
#include "tokenizer.h"

#include <string.h>

enum {
    MAX_IDS = 1024
};

static cs_tokenizer *load_golden(const char *name)
{
    char path[256];
    size_t n_bytes = 0;
    cs_tokenizer *t = NULL;

    assert_ok(csi_format(path, sizeof path, "tests/unit/data/golden/%s.json",
                         name));
    char *const json = cst_read(cst_source_path(path), &n_bytes);

    assert_ok(csi_tokenizer_parse(json, n_bytes, path, NULL, 0, NULL, &t));
    cst_free(json);
    return t;
}

static cs_tokenizer *load_stamps(void)
{
    cs_tokenizer *t = NULL;

    assert_ok(cs_tokenizer_load(cst_source_path("examples/stamps/tokenizer"),
                                &t));
    return t;
}

static void check_ids(const cs_tokenizer *t, const char *text,
                      const json_t *wanted, const char *wanted_back)
{
    int32_t ids[MAX_IDS];
    int64_t count = 0;
    char *back = NULL;

    assert_ok(cs_tokenizer_encode(t, text, strlen(text), true, ids, MAX_IDS,
                                  &count));
    if (count != (int64_t)json_array_size(wanted)) {
        print_error("in '%s'\n", text);
    }
    assert_int_equal(count, json_array_size(wanted));
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(ids[i],
                         json_integer_value(json_array_get(wanted, (size_t)i)));
    }
    assert_ok(cs_tokenizer_decode(t, ids, count, false, &back));
    assert_string_equal(back, wanted_back);
    csi_free(back);
}

static void ids_are_those_of_hugging_face(void **state)
{
    static const char *const NAMES[] = {"gpt2_style", "llama3_style",
                                        "qwen2_style"};
    json_t *golden = NULL;

    (void)state;
    assert_ok(csi_json_load(cst_source_path("tests/unit/data/golden/"
                                            "tokenizer_ids.json"),
                            1 << 20, &golden));
    const json_t *const texts = json_object_get(golden, "texts");
    const json_t *const normal = json_object_get(golden, "texts_nfc");

    assert_true(json_array_size(texts) > 20);
    for (size_t n = 0; n < 3; n++) {
        cs_tokenizer *t = load_golden(NAMES[n]);
        const json_t *const ids =
            json_object_get(json_object_get(golden, "ids"), NAMES[n]);

        for (size_t i = 0; i < json_array_size(texts); i++) {
            check_ids(t, json_string_value(json_array_get(texts, i)),
                      json_array_get(ids, i),
                      json_string_value(json_array_get(t->n_normal > 0 ? normal
                                                                       : texts,
                                                       i)));
        }
        cs_tokenizer_destroy(&t);
    }
    json_decref(golden);
}

static void the_byte_tokenizer_writes_bytes(void **state)
{
    static const int32_t WANTED[] = {72, 195, 169, 10, 256, 120};
    cs_tokenizer *t = load_stamps();
    int32_t ids[16];
    int64_t count = 0;

    (void)state;
    assert_int_equal(cs_tokenizer_size(t), 260);
    assert_int_equal(cs_tokenizer_special(t, "<|endoftext|>"), 256);
    assert_int_equal(cs_tokenizer_special(t, "<|endoftext"), -1);
    assert_int_equal(cs_tokenizer_bos(t), 257);
    assert_int_equal(cs_tokenizer_eos(t), 256);
    assert_ok(cs_tokenizer_encode(t, "H\xc3\xa9\n<|endoftext|>x", 18, true, ids,
                                  16, &count));
    assert_int_equal(count, 6);
    assert_memory_equal(ids, WANTED, sizeof WANTED);
    /* what a user writes stays text */
    assert_ok(cs_tokenizer_encode(t, "<|endoftext|>", 13, false, ids, 16,
                                  &count));
    assert_int_equal(count, 13);
    assert_int_equal(ids[0], '<');
    cs_tokenizer_destroy(&t);
}

static void ids_beyond_the_capacity_are_counted(void **state)
{
    cs_tokenizer *t = load_stamps();
    int32_t ids[3] = {-7, -7, -7};
    int64_t count = 0;

    (void)state;
    assert_ok(cs_tokenizer_encode(t, "abcde", 5, false, ids, 2, &count));
    assert_int_equal(count, 5);
    assert_int_equal(ids[1], 'b');
    assert_int_equal(ids[2], -7);
    assert_ok(cs_tokenizer_encode(t, "abc", 3, false, NULL, 0, &count));
    assert_int_equal(count, 3);
    assert_ok(cs_tokenizer_encode(t, "", 0, false, NULL, 0, &count));
    assert_int_equal(count, 0);
    cs_tokenizer_destroy(&t);
}

static void broken_bytes_decode_to_replacement_characters(void **state)
{
    static const struct {
        const char *bytes, *wanted;
    } CASES[] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xe2\x82", "\xef\xbf\xbd"},
        {"\xe2\x82\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x99", "\xef\xbf\xbd"},
    };
    cs_tokenizer *t = load_stamps();
    int32_t ids[8];
    char *text = NULL;

    (void)state;
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        const size_t n = strlen(CASES[c].bytes);

        for (size_t i = 0; i < n; i++) {
            ids[i] = (unsigned char)CASES[c].bytes[i];
        }
        assert_ok(cs_tokenizer_decode(t, ids, (int64_t)n, false, &text));
        assert_string_equal(text, CASES[c].wanted);
        csi_free(text);
    }
    ids[0] = 'x';
    ids[1] = 256;
    assert_ok(cs_tokenizer_decode(t, ids, 2, true, &text));
    assert_string_equal(text, "x");
    csi_free(text);
    assert_ok(cs_tokenizer_decode(t, ids, 0, true, &text));
    assert_string_equal(text, "");
    csi_free(text);
    ids[1] = 260;
    assert_fails(cs_tokenizer_decode(t, ids, 2, true, &text), CS_ERR_ARG,
                 "id 260 at place 1 is no token");
    cs_tokenizer_destroy(&t);
}

/* Merges picked by trying all pairs again and again: slow and plainly right. */
static int64_t encode_slowly(const cs_tokenizer *t, const char *text,
                             int32_t *ids)
{
    int64_t n = (int64_t)strlen(text);

    for (int64_t i = 0; i < n; i++) {
        ids[i] = t->byte_id[(unsigned char)text[i]];
    }
    for (;;) {
        int64_t best = INT64_MAX;
        int64_t at = -1;

        for (int64_t i = 0; i + 1 < n; i++) {
            int64_t merge = 0;

            if (csi_hash_map_get(t->merges, ids + i, 2 * sizeof *ids, &merge) &&
                merge < best) {
                best = merge;
                at = i;
            }
        }
        if (at < 0) {
            return n;
        }
        ids[at] = (int32_t)(best & INT32_MAX);
        memmove(ids + at + 1, ids + at + 2, (size_t)(n - at - 2) * sizeof *ids);
        n--;
    }
}

static void merges_are_those_of_the_plain_algorithm(void **state)
{
    static const char LETTERS[] = "thecats '";
    cs_tokenizer *t = load_golden("gpt2_style");
    csi_bpe_scratch scratch = {0};
    char text[200];
    int32_t slow[200];
    int32_t fast[200];

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const size_t n = 1 + csi_rng_below(seed, 1, 0, 198);
        csi_id_sink sink = {.ids = fast, .capacity = 200};
        const csi_view piece = {.bytes = text, .n_bytes = n};

        for (size_t i = 0; i < n; i++) {
            text[i] = LETTERS[csi_rng_below(seed, 2, i, sizeof LETTERS - 1)];
        }
        text[n] = '\0';
        assert_ok(csi_bpe_encode(t, &scratch, &piece, &sink));
        assert_int_equal(sink.count, encode_slowly(t, text, slow));
        assert_memory_equal(fast, slow, (size_t)sink.count * sizeof *fast);
    }
    csi_bpe_scratch_fini(&scratch);
    cs_tokenizer_destroy(&t);
}

static void bytes_that_are_no_utf8_count_as_replacement_characters(void **state)
{
    static const char BAD[] = "a\xff \xe2\x82z";
    static const char GOOD[] = "a\xef\xbf\xbd \xef\xbf\xbdz";
    cs_tokenizer *t = load_stamps();
    cs_token bad[16];
    cs_token good[16];
    int64_t n_bad = 0;
    int64_t n_good = 0;

    (void)state;
    assert_ok(cs_tokenizer_locate(t, BAD, sizeof BAD - 1, true, bad, 16,
                                  &n_bad));
    assert_ok(cs_tokenizer_locate(t, GOOD, sizeof GOOD - 1, true, good, 16,
                                  &n_good));
    assert_int_equal(n_bad, n_good);
    for (int64_t i = 0; i < n_bad; i++) {
        assert_int_equal(bad[i].id, good[i].id);
    }
    assert_int_equal(bad[2].begin, 1); /* all three bytes of U+FFFD stand for */
    assert_int_equal(bad[2].end, 2);   /* the one that was bad */
    assert_int_equal(bad[7].begin, 3);
    assert_int_equal(bad[7].end, 5);
    cs_tokenizer_destroy(&t);
}

static const char *golden_folder(const char *kind)
{
    static char path[CST_PATH_BYTES];

    assert_ok(csi_format(path, sizeof path, "tests/golden/tokenizer/%s.json",
                         kind));
    return cst_source_path(path);
}

static cs_tokenizer *load_kind(const char *kind)
{
    size_t n_bytes = 0;
    cs_tokenizer *t = NULL;
    char *const json = cst_read(golden_folder(kind), &n_bytes);

    assert_ok(csi_tokenizer_parse(json, n_bytes, kind, NULL, 0, NULL, &t));
    cst_free(json);
    return t;
}

/* A square of a million steps would take minutes. */
static void a_megabyte_without_a_space_is_quick(void **state)
{
    static const char *const KINDS[] = {"gpt2",   "llama3",  "qwen2",
                                        "llama2", "mistral", "metaspace",
                                        "gemma",  "phi3",    "unknown"};
    static const char *const LETTERS[] =
        {"a", " ", "\n", "0", "\xe7\x8c\xab", "\xcc\x81", "<", "\xff"};
    enum {
        N = 1 << 17
    };
    int64_t count = 0;
    csi_str text = {0};

    (void)state;
    for (size_t letter = 0; letter < sizeof LETTERS / sizeof *LETTERS;
         letter++) {
        csi_str_clear(&text);
        for (int i = 0; i < N; i++) {
            csi_str_add(&text, LETTERS[letter]);
        }
        assert_ok(csi_str_check(&text));
        for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
            cs_tokenizer *t = load_kind(KINDS[k]);

            assert_ok(cs_tokenizer_encode(t, csi_str_get(&text), text.length,
                                          false, NULL, 0, &count));
            assert_true(count > 0);
            cs_tokenizer_destroy(&t);
        }
    }
    csi_str_fini(&text);
}

static void a_saved_tokenizer_is_the_same_files(void **state)
{
    cst_tmpdir dir;
    cs_tokenizer *t = load_stamps();
    cs_tokenizer *again = NULL;
    size_t n_bytes = 0;

    (void)state;
    cst_tmpdir_make(&dir);
    assert_ok(cs_tokenizer_save(t, dir.path));
    char *const saved = cst_read(cst_path(&dir, "tokenizer.json"), &n_bytes);

    assert_int_equal(n_bytes, t->json_bytes);
    assert_memory_equal(saved, t->json, n_bytes);
    cst_free(saved);
    assert_ok(cs_tokenizer_load(dir.path, &again));
    assert_int_equal(cs_tokenizer_bos(again), 257);
    assert_true(again->hash == t->hash);
    cs_tokenizer_destroy(&again);
    /* a template in a file of its own goes before tokenizer_config.json's */
    (void)cst_write_text(&dir, "chat_template.jinja", "{{ 1 }}\n");
    assert_ok(cs_tokenizer_load(dir.path, &again));
    assert_string_equal(again->chat_template, "{{ 1 }}\n");
    assert_false(again->hash == t->hash);
    (void)cst_write_text(&dir, "chat_template.jinja", "other");
    assert_ok(cs_tokenizer_save(again, dir.path));
    char *const kept =
        cst_read(cst_path(&dir, "chat_template.jinja"), &n_bytes);

    assert_string_equal(kept, "{{ 1 }}\n");
    cst_free(kept);
    cs_tokenizer_destroy(&again);
    cs_tokenizer_destroy(&t);
    cst_tmpdir_remove(&dir);
}

/* The stamps tokenizer with one text replaced by another. */
static cs_status parse_changed(const char *from, const char *to)
{
    size_t n_bytes = 0;
    cs_tokenizer *t = NULL;
    char *const json =
        cst_read(cst_source_path("examples/stamps/tokenizer/tokenizer.json"),
                 &n_bytes);
    const char *const at = strstr(json, from);
    csi_str changed = {0};

    assert_non_null(at);
    csi_str_add_bytes(&changed, json, (size_t)(at - json));
    csi_str_add(&changed, to);
    csi_str_add(&changed, at + strlen(from));
    const cs_status st =
        csi_tokenizer_parse(csi_str_get(&changed), changed.length, "t.json",
                            NULL, 0, NULL, &t);

    csi_str_fini(&changed);
    cst_free(json);
    cs_tokenizer_destroy(&t);
    return st;
}

static void the_longest_added_token_wins(void **state)
{
    static const int32_t WANTED[] = {258, 257, 'y'};
    size_t n_bytes = 0;
    cs_tokenizer *t = NULL;
    int32_t ids[8];
    int64_t count = 0;
    csi_str changed = {0};
    char *const json =
        cst_read(cst_source_path("examples/stamps/tokenizer/tokenizer.json"),
                 &n_bytes);
    const char *const user = strstr(json, "<|user|>");

    (void)state;
    assert_non_null(user);
    csi_str_add_bytes(&changed, json, (size_t)(user - json));
    csi_str_add(&changed, "<|begin|>x");
    csi_str_add(&changed, user + strlen("<|user|>"));
    assert_ok(csi_tokenizer_parse(csi_str_get(&changed), changed.length,
                                  "t.json", NULL, 0, NULL, &t));
    assert_ok(cs_tokenizer_encode(t, "<|begin|>x<|begin|>y", 20, true, ids, 8,
                                  &count));
    assert_int_equal(count, 3);
    assert_memory_equal(ids, WANTED, sizeof WANTED);
    csi_str_fini(&changed);
    cst_free(json);
    cs_tokenizer_destroy(&t);
}

static void what_is_not_offered_is_named(void **state)
{
    static const struct {
        const char *from, *to, *part;
    } CASES[] = {
        {"\"BPE\"", "\"Unigram\"", "model type 'Unigram'"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}",
         "normalizer 'NFKC'"},
        {"\"truncation\": null", "\"truncation\": {}", "truncation"},
        {"\"type\": \"ByteLevel\"", "\"type\": \"WhitespaceSplit\"",
         "pre_tokenizer 'WhitespaceSplit'"},
        {"\"post_processor\": null",
         "\"post_processor\": {\"type\": \"BertProcessing\"}",
         "post_processor 'BertProcessing'"},
        {"\"decoder\": {\n  \"type\": \"ByteLevel\"",
         "\"decoder\": {\n  \"type\": \"WordPiece\"", "decoder 'WordPiece'"},
        {"\"dropout\": null", "\"dropout\": 0.1", "dropout 0.1"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"",
         "end_of_word_suffix '</w>'"},
        {"\"version\": \"1.0\"", "\"version\": \"2.0\"", "version '2.0'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_fails(parse_changed(CASES[i].from, CASES[i].to),
                     CS_ERR_UNSUPPORTED, CASES[i].part);
    }
}

static void hostile_files_are_one_sentence(void **state)
{
    static const struct {
        const char *from, *to, *part;
    } CASES[] = {
        {"\"a\": 97", "\"a\": -1", "token 'a': wanted an id from 0"},
        {"\"a\": 97", "\"a\": 99999999", "got 99999999"},
        {"\"a\": 97", "\"a\": 98", "two tokens have id 98"},
        {"\"a\": 97,", "", "no token for byte 0x61"},
        {"\"merges\": []", "\"merges\": [\"a b\"]", "its result"},
        {"\"merges\": []", "\"merges\": [\"aa b\"]", "its left side"},
        {"\"merges\": []", "\"merges\": [\"a bb\"]", "its right side"},
        {"\"merges\": []", "\"merges\": [\"ab\"]", "a merge is neither"},
        {"\"merges\": []", "\"merges\": [[\"a\"]]", "a merge is neither"},
        {"\"merges\": []", "\"merges\": {}", "wanted array"},
        {"\"id\": 256", "\"id\": 257", "two added tokens have id 257"},
        {"\"id\": 256", "\"id\": 97", "two tokens have id 97"},
        {"\"id\": 256", "\"id\": 99999999", "'id'"},
        {"<|endoftext|>", "", "token 256 is empty"},
        {"\"added_tokens\": [", "\"added_tokens\": 3, \"x\": [",
         "'added_tokens': wanted an array"},
        {"\"vocab\": {", "\"vocab\": {\"\": 300, ", "token 300 is empty"},
        {"{\n", "[\n", "t.json:"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_fails(parse_changed(CASES[i].from, CASES[i].to), CS_ERR_FORMAT,
                     CASES[i].part);
    }
    assert_fails(
        parse_changed("\"type\": \"ByteLevel\",\n  \"add_prefix_space\": false",
                      "\"type\": \"Split\", \"behavior\": \"Isolated\", "
                      "\"pattern\": {\"Regex\": \"a(b\"}"),
        CS_ERR_FORMAT, "split pattern 'a(b' is wrong");
}

static void a_pattern_that_explodes_is_an_error(void **state)
{
    cs_tokenizer *t = load_stamps();
    int64_t count = 0;

    (void)state;
    t->n_pre = 1;
    csi_pattern_destroy(&t->pre[0].pattern);
    assert_ok(csi_pattern_create("(?:a+)+(?!\\S)", "t.json",
                                 &t->pre[0].pattern));
    t->pre[0].kind = CSI_PRE_SPLIT;
    assert_fails(cs_tokenizer_encode(t, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac",
                                     37, false, NULL, 0, &count),
                 CS_ERR_FORMAT, "split pattern fails");
    cs_tokenizer_destroy(&t);
}

/* Oniguruma and PCRE2 read these differently. */
static void patterns_of_two_meanings_are_refused(void **state)
{
    static const struct {
        const char *regex, *part;
    } CASES[] = {
        {"a\\w", "\\w at character 1"},
        {"\\bx", "\\b at character 0"},
        {"^a", "an anchor"},
        {"a$", "an anchor"},
        {"[a-z&&[^b]]", "&&"},
        {"[a[b]]", "class inside"},
        {"(?m:a)", "a group of this kind"},
        {"a{,3}", "{,n}"},
        {"a{1,3}+", "repeated repetition"},
        {"[]a]", "an empty class"},
        {"a\\h", "\\h"},
        {"[\\S]", "\\S"},
    };
    csi_pattern *pattern = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_fails(csi_pattern_create(CASES[i].regex, "t.json", &pattern),
                     CS_ERR_UNSUPPORTED, CASES[i].part);
    }
}

static void spaces_in_patterns_are_unicode_white_space(void **state)
{
    static const struct {
        const char *text;
        bool is_space;
    } CASES[] = {{" ", true},
                 {"\xc2\x85", true},
                 {"\xe2\x80\xa8", true},
                 {"\xe3\x80\x80", true},
                 {"\xe1\xa0\x8e", false}, /* U+180E */
                 {"\xe2\x80\x8b", false}, /* U+200B */
                 {"x", false}};
    static const char *const REGEXES[] = {"\\s", "[\\s]", "[^\\S]"};
    csi_pattern *pattern = NULL;
    csi_matcher *matcher = NULL;
    size_t begin = 0;
    size_t end = 0;

    (void)state;
    for (size_t r = 0; r < 2; r++) {
        assert_ok(csi_pattern_create(REGEXES[r], "t", &pattern));
        assert_ok(csi_matcher_create(pattern, &matcher));
        for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
            assert_ok(csi_pattern_find(pattern, matcher, CASES[i].text,
                                       strlen(CASES[i].text), 0, &begin, &end));
            assert_int_equal(end > 0, CASES[i].is_space);
        }
        csi_matcher_destroy(&matcher);
        csi_pattern_destroy(&pattern);
    }
    assert_fails(csi_pattern_create(REGEXES[2], "t", &pattern),
                 CS_ERR_UNSUPPORTED, "\\S");
}

static void names_in_the_config_must_be_tokens(void **state)
{
    static const struct {
        const char *json, *part;
    } CASES[] = {
        {"{\"eos_token\": \"</s>\"}", "eos_token '</s>' is no token"},
        {"{\"bos_token\": 3}", "bos_token"},
        {"{\"bos_token\": {\"content\": 3}}", "content"},
        {"[]", "wanted an object"},
        {"{", "c.json:1:"},
    };
    size_t n_bytes = 0;
    cs_tokenizer *t = NULL;
    char *const json =
        cst_read(cst_source_path("examples/stamps/tokenizer/tokenizer.json"),
                 &n_bytes);

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_fails(csi_tokenizer_parse(json, n_bytes, "t.json", CASES[i].json,
                                         strlen(CASES[i].json), "c.json", &t),
                     CS_ERR_FORMAT, CASES[i].part);
    }
    const char *const good = "{\"eos_token\": {\"content\": \"<|user|>\"}, "
                             "\"chat_template\": \"x\"}";

    assert_ok(csi_tokenizer_parse(json, n_bytes, "t.json", good, strlen(good),
                                  "c.json", &t));
    assert_int_equal(cs_tokenizer_eos(t), 258);
    assert_int_equal(cs_tokenizer_bos(t), -1);
    assert_string_equal(t->chat_template, "x");
    cs_tokenizer_destroy(&t);
    cst_free(json);
}

static void a_missing_file_is_named(void **state)
{
    cst_tmpdir dir;
    cs_tokenizer *t = NULL;

    (void)state;
    cst_tmpdir_make(&dir);
    assert_fails(cs_tokenizer_load(dir.path, &t), CS_ERR_IO, "tokenizer.json");
    cst_tmpdir_remove(&dir);
}

static cs_status load_and_encode(void *arg)
{
    cs_tokenizer *t = NULL;
    int64_t count = 0;
    cs_status st = CS_OK;

    CS_TRY(cs_tokenizer_load(arg, &t));
    CS_TRY_GOTO(done, cs_tokenizer_encode(t, "hello world", 11, true, NULL, 0,
                                          &count));
done:
    cs_tokenizer_destroy(&t);
    return st;
}

/* A tokenizer with a pattern, a merge and an added token, but small letters:
 * all the 256 bytes are needed, so most faults hit the vocabulary. */
static void every_failed_call_is_reported(void **state)
{
    cst_tmpdir dir;
    size_t n_bytes = 0;

    (void)state;
    cst_tmpdir_make(&dir);
    char *const json =
        cst_read(cst_source_path("tests/unit/data/golden/llama3_style.json"),
                 &n_bytes);

    (void)cst_write_bytes(&dir, "tokenizer.json", json, n_bytes);
    (void)cst_write_text(&dir, "tokenizer_config.json",
                         "{\"eos_token\": \"<|endoftext|>\"}");
    cst_free(json);
    assert_true(cst_torture(load_and_encode, dir.path) > 100);
    cst_tmpdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(ids_are_those_of_hugging_face),
        CST_TEST(the_byte_tokenizer_writes_bytes),
        CST_TEST(ids_beyond_the_capacity_are_counted),
        CST_TEST(broken_bytes_decode_to_replacement_characters),
        CST_TEST(merges_are_those_of_the_plain_algorithm),
        CST_TEST(bytes_that_are_no_utf8_count_as_replacement_characters),
        CST_TEST(a_megabyte_without_a_space_is_quick),
        CST_TEST(patterns_of_two_meanings_are_refused),
        CST_TEST(spaces_in_patterns_are_unicode_white_space),
        CST_TEST(a_saved_tokenizer_is_the_same_files),
        CST_TEST(the_longest_added_token_wins),
        CST_TEST(what_is_not_offered_is_named),
        CST_TEST(hostile_files_are_one_sentence),
        CST_TEST(a_pattern_that_explodes_is_an_error),
        CST_TEST(names_in_the_config_must_be_tokens),
        CST_TEST(a_missing_file_is_named),
        CST_TEST(every_failed_call_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
