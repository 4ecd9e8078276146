/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about whole tokenizers: on thousands of hard strings, ids, offsets and
 * decoded texts are those of Hugging Face's tokenizers, for each family's
 * configuration (tools/golden/tokenizer.py). */
#include "base/alloc.h"
#include "base/str.h"

#include "support/test.h"
#include "tokenizer.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_TOKENS = 8192
};

typedef struct reader {
    char *data; /* owned */
    size_t n_bytes, at;
} reader;

static void open_file(reader *r, const char *name, const char *end)
{
    char path[CST_PATH_BYTES];

    assert_ok(csi_format(path, sizeof path, "tests/golden/tokenizer/%s%s", name,
                         end));
    r->data = cst_read(cst_source_path(path), &r->n_bytes);
    r->at = 0;
}

static size_t get_varint(reader *r)
{
    size_t value = 0;

    for (int shift = 0; shift < 35; shift += 7) {
        assert_true(r->at < r->n_bytes);
        const unsigned char byte = (unsigned char)r->data[r->at++];

        value |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return value;
}

static const char *get_bytes(reader *r, size_t n)
{
    const char *const bytes = r->data + r->at;

    assert_true(n <= r->n_bytes - r->at);
    r->at += n;
    return bytes;
}

/* A text that is written as what differs from another. */
static void get_text(reader *r, const csi_str *like, csi_str *out)
{
    const size_t n = get_varint(r);

    csi_str_clear(out);
    if (n == 0) {
        csi_str_add_bytes(out, csi_str_get(like), like->length);
        return;
    }
    const size_t begin = get_varint(r);
    const size_t end = get_varint(r);

    assert_true(begin + end <= n - 1 && begin + end <= like->length);
    csi_str_add_bytes(out, csi_str_get(like), begin);
    csi_str_add_bytes(out, get_bytes(r, n - 1 - begin - end),
                      n - 1 - begin - end);
    csi_str_add_bytes(out, csi_str_get(like) + like->length - end, end);
}

static void get_tokens(reader *r, cs_token *tokens, int64_t *count)
{
    int32_t end = 0;

    *count = (int64_t)get_varint(r);
    assert_true(*count <= MAX_TOKENS);
    for (int64_t i = 0; i < *count; i++) {
        tokens[i].id = (int32_t)get_varint(r);
        size_t place = get_varint(r);

        if (place % 2 == 1) {
            const int32_t gap = (int32_t)(place / 4);

            end += place / 2 % 2 == 1 ? -gap - 1 : gap;
            place = 2 * get_varint(r);
        }
        tokens[i].begin = end;
        tokens[i].end = end + (int32_t)(place / 2);
        end = tokens[i].end;
    }
}

static void show(const char *what, const cs_token *tokens, int64_t count)
{
    print_error("%s:", what);
    for (int64_t i = 0; i < count; i++) {
        print_error(" %" PRId32 "[%" PRId32 ",%" PRId32 ")", tokens[i].id,
                    tokens[i].begin, tokens[i].end);
    }
    print_error("\n");
}

static void show_bytes(const char *what, const char *bytes, size_t n)
{
    print_error("%s: ", what);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)bytes[i];

        print_error(c >= 0x20 && c < 0x7f && c != '\\' ? "%c" : "\\x%02x", c);
    }
    print_error("\n");
}

typedef struct text_case {
    const char *kind;
    int32_t index;
    const char *bytes;
    size_t n_bytes;
} text_case;

static bool check_tokens(const cs_tokenizer *t, const text_case *c,
                         const cs_token *wanted, int64_t n_wanted)
{
    static cs_token got[MAX_TOKENS];
    static int32_t ids[MAX_TOKENS];
    int64_t count = 0;
    bool equal = true;

    assert_ok(cs_tokenizer_locate(t, c->bytes, c->n_bytes, true, got,
                                  MAX_TOKENS, &count));
    equal = count == n_wanted &&
            memcmp(got, wanted, (size_t)count * sizeof *got) == 0;
    if (!equal) {
        print_error("%s, string %" PRId32 "\n", c->kind, c->index);
        show_bytes("text", c->bytes, c->n_bytes);
        show("got", got, count);
        show("wanted", wanted, n_wanted);
    }
    assert_ok(cs_tokenizer_encode(t, c->bytes, c->n_bytes, true, ids,
                                  MAX_TOKENS, &count));
    for (int64_t i = 0; equal && i < count; i++) {
        assert_int_equal(ids[i], got[i].id);
    }
    return equal;
}

static bool check_text(const cs_tokenizer *t, const text_case *c,
                       const cs_token *tokens, int64_t count, bool skip_special,
                       const csi_str *wanted)
{
    static int32_t ids[MAX_TOKENS];
    char *text = NULL;
    size_t n_bytes = 0;

    for (int64_t i = 0; i < count; i++) {
        ids[i] = tokens[i].id;
    }
    assert_ok(csi_tokenizer_decode(t, ids, count, skip_special, &text,
                                   &n_bytes));
    const bool equal = n_bytes == wanted->length &&
                       memcmp(text, csi_str_get(wanted), n_bytes) == 0;

    if (!equal) {
        print_error("%s, string %" PRId32 " decoded%s\n", c->kind, c->index,
                    skip_special ? " without special tokens" : "");
        show_bytes("got", text, n_bytes);
        show_bytes("wanted", csi_str_get(wanted), wanted->length);
    }
    csi_free(text);
    return equal;
}

static void check_kind(const char *kind)
{
    static cs_token tokens[MAX_TOKENS];
    reader strings, golden, json;
    cs_tokenizer *t = NULL;
    csi_str repaired = {0}, plain = {0}, short_text = {0};
    int32_t n_wrong = 0;
    text_case c = {.kind = kind};

    open_file(&strings, "strings", ".bin");
    open_file(&golden, kind, ".bin");
    open_file(&json, kind, ".json");
    assert_ok(csi_tokenizer_parse(json.data, json.n_bytes, kind, NULL, 0, NULL,
                                  &t));
    for (c.index = 0; strings.at < strings.n_bytes && n_wrong < 8; c.index++) {
        int64_t count = 0;

        c.n_bytes = get_varint(&strings);
        c.bytes = get_bytes(&strings, c.n_bytes);
        csi_str_clear(&repaired);
        csi_utf8_repair(&repaired, c.bytes, c.n_bytes);
        get_tokens(&golden, tokens, &count);
        get_text(&golden, &repaired, &plain);
        get_text(&golden, &plain, &short_text);
        if (!check_tokens(t, &c, tokens, count) ||
            !check_text(t, &c, tokens, count, false, &plain) ||
            !check_text(t, &c, tokens, count, true, &short_text)) {
            n_wrong++;
        }
    }
    assert_int_equal(n_wrong, 0);
    assert_true(c.index >= 2000);
    assert_int_equal(golden.at, golden.n_bytes);
    csi_str_fini(&repaired);
    csi_str_fini(&plain);
    csi_str_fini(&short_text);
    cs_tokenizer_destroy(&t);
    cst_free(strings.data);
    cst_free(golden.data);
    cst_free(json.data);
}

#define KIND_TEST(kind)                                      \
    static void kind##_is_that_of_hugging_face(void **state) \
    {                                                        \
        (void)state;                                         \
        check_kind(#kind);                                   \
    }
KIND_TEST(gpt2)
KIND_TEST(gpt2_prefix)
KIND_TEST(llama3)
KIND_TEST(qwen2)
KIND_TEST(tekken)
KIND_TEST(llama2)
KIND_TEST(llama2_normalized)
KIND_TEST(mistral)
KIND_TEST(metaspace)
KIND_TEST(gemma)
KIND_TEST(phi3)
KIND_TEST(unknown)
KIND_TEST(unknown_fused)

static void check_frame(const json_t *frames, const char *kind)
{
    reader json;
    cs_tokenizer *t = NULL;
    const json_t *const frame = json_object_get(frames, kind);

    open_file(&json, kind, ".json");
    assert_ok(csi_tokenizer_parse(json.data, json.n_bytes, kind, NULL, 0, NULL,
                                  &t));
    const cs_token_frame got = cs_tokenizer_frame(t);
    const int32_t *const ids[] = {got.before, got.after};
    const int32_t n_ids[] = {got.n_before, got.n_after};

    for (size_t side = 0; side < 2; side++) {
        const json_t *const wanted = json_array_get(frame, side);

        assert_int_equal(n_ids[side], json_array_size(wanted));
        for (size_t i = 0; i < json_array_size(wanted); i++) {
            assert_int_equal(ids[side][i],
                             json_integer_value(json_array_get(wanted, i)));
        }
    }
    cs_tokenizer_destroy(&t);
    cst_free(json.data);
}

static void frames_are_what_the_post_processor_adds(void **state)
{
    json_t *provenance = NULL;
    const char *kind = NULL;
    json_t *frame = NULL;

    (void)state;
    assert_ok(csi_json_load(cst_source_path("tests/golden/tokenizer/"
                                            "provenance.json"),
                            1 << 20, &provenance));
    json_t *const frames = json_object_get(provenance, "frames");

    assert_true(json_object_size(frames) >= 13);
    json_object_foreach(frames, kind, frame)
    {
        check_frame(frames, kind);
    }
    json_decref(provenance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(gpt2_is_that_of_hugging_face),
        CST_TEST(gpt2_prefix_is_that_of_hugging_face),
        CST_TEST(llama3_is_that_of_hugging_face),
        CST_TEST(qwen2_is_that_of_hugging_face),
        CST_TEST(tekken_is_that_of_hugging_face),
        CST_TEST(llama2_is_that_of_hugging_face),
        CST_TEST(llama2_normalized_is_that_of_hugging_face),
        CST_TEST(mistral_is_that_of_hugging_face),
        CST_TEST(metaspace_is_that_of_hugging_face),
        CST_TEST(gemma_is_that_of_hugging_face),
        CST_TEST(phi3_is_that_of_hugging_face),
        CST_TEST(unknown_is_that_of_hugging_face),
        CST_TEST(unknown_fused_is_that_of_hugging_face),
        CST_TEST(frames_are_what_the_post_processor_adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
