/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes LLaVA-style files from the stamps of Tux Paint, which Debian installs
 * as tuxpaint-stamps-default: pictures with a written English description and
 * with spoken ones in other languages. Pictures and sounds stay where they
 * are; the files written here name them relative to the stamps' folder. The
 * same package gives the same files.
 *
 * A picture and its mirrored variant, and all pictures whose descriptions
 * are the same words, form a group; a group is in the training files or in
 * the held-out files, never in both.
 */
#include "cornstarch/status.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"

#include "stamps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    HELDOUT_ONE_IN = 10
};

/* One for all: in minutes a model would learn which stamp is asked for in
 * which words, and little of what words mean. */
static const char QUESTION[] = "What is it?";

typedef enum kind {
    KIND_BOTH,
    KIND_SPEECH,
    KIND_TEXT,
    KIND_COUNT
} kind;

typedef enum part {
    PART_TRAIN,
    PART_HELDOUT,
    PART_COUNT
} part;

typedef struct preparation {
    const char *folder;  /* borrowed: of the stamps */
    const char *out_dir; /* borrowed */
    int32_t n_languages; /* at most, of a training stamp */
    stamp_list list;
    csi_str captions[PART_COUNT];
    csi_str listens[PART_COUNT];
    int64_t n_captions[PART_COUNT];
    int64_t n_listens[PART_COUNT][KIND_COUNT];
    int64_t n_groups[PART_COUNT];
    int64_t n_broken, n_too_long;
    double seconds;
} preparation;

typedef struct sample {
    const char *id;
    const char *image, *audio; /* NULL = none */
    const char *before;        /* foreign words in front of the question */
    const char *question, *answer;
} sample;

static void add_member(csi_str *out, const char *key, const char *value,
                       const char *end)
{
    csi_str_addf(out, "\"%s\": \"", key);
    csi_str_add_json(out, value);
    csi_str_addf(out, "\"%s", end);
}

static void add_sample(csi_str *out, const sample *s)
{
    csi_str human = {0};

    csi_str_addf(&human, "%s%s%s\n%s", s->image != NULL ? "<image>" : "",
                 s->audio != NULL ? "<audio>" : "",
                 s->before != NULL ? s->before : "", s->question);
    csi_str_add(out, out->length == 0 ? "[\n  {" : ",\n  {");
    add_member(out, "id", s->id, ", ");
    if (s->image != NULL) {
        add_member(out, "image", s->image, ", ");
    }
    if (s->audio != NULL) {
        add_member(out, "audio", s->audio, ", ");
    }
    csi_str_add(out, "\"conversations\": [{\"from\": \"human\", ");
    add_member(out, "value", csi_str_get(&human), "}, {\"from\": \"gpt\", ");
    add_member(out, "value", s->answer, "}]}");
    out->failed = out->failed || human.failed;
    csi_str_fini(&human);
}

static part part_of(const stamp *s)
{
    return s->group % HELDOUT_ONE_IN == 0 ? PART_HELDOUT : PART_TRAIN;
}

static cs_status add_caption(preparation *p, const stamp *s)
{
    const part where = part_of(s);
    csi_str image = {0};

    csi_str_addf(&image, "%s.png", s->stem);
    add_sample(&p->captions[where], &(sample){.id = s->stem,
                                              .image = csi_str_get(&image),
                                              .question = QUESTION,
                                              .answer = s->caption});
    p->n_captions[where]++;
    const cs_status st = csi_str_check(&image);
    csi_str_fini(&image);
    CS_TRY(st);
    return CS_OK;
}

/* Each recording serves in one kind of sample: 13 of 20 are heard alone, 6
 * with their picture, 1 is replaced by its words. */
static kind kind_of(const char *id, bool has_words)
{
    const uint64_t draw = (csi_hash64(id) >> 16) % 20;

    if (draw == 0 && has_words) {
        return KIND_TEXT;
    }
    return draw < 7 ? KIND_BOTH : KIND_SPEECH;
}

static cs_status add_listen(preparation *p, const stamp *s,
                            const char *language, csi_str scratch[3])
{
    csi_str *const id = &scratch[0];
    csi_str *const image = &scratch[1];
    csi_str *const audio = &scratch[2];
    const char *const words = stamps_translation(s, language);
    char *before = NULL;

    csi_str_addf(id, "%s.%s", s->base, language);
    csi_str_addf(image, "%s.png", s->stem);
    csi_str_addf(audio, "%s_desc_%s.ogg", s->base, language);
    for (size_t i = 0; i < 3; i++) {
        CS_TRY(csi_str_check(&scratch[i]));
    }
    const part where = part_of(s);
    const kind what = kind_of(csi_str_get(id), words != NULL);
    if (what == KIND_TEXT) {
        before = stamps_copy_line(words);
        CS_CHECK(before != NULL, CS_ERR_NOMEM, "no memory");
    }
    add_sample(&p->listens[where],
               &(sample){.id = csi_str_get(id),
                         .image = what == KIND_BOTH ? csi_str_get(image) : NULL,
                         .audio = what != KIND_TEXT ? csi_str_get(audio) : NULL,
                         .before = before,
                         .question = QUESTION,
                         .answer = s->caption});
    p->n_listens[where][what]++;
    csi_free(before);
    return CS_OK;
}

static uint64_t draw_of(const stamp *s, size_t language)
{
    char text[64];

    (void)snprintf(text, sizeof text, "%s %016" PRIx64,
                   STAMPS_LANGUAGE[language], csi_hash64(s->base));
    return csi_hash64(text);
}

/* Whether a training stamp is heard in this language: those with the lowest
 * draws are, so that all languages come about equally often. */
static bool is_chosen(const preparation *p, const stamp *s, size_t language)
{
    const uint64_t draw = draw_of(s, language);
    int32_t n_before = 0;

    for (size_t l = 0; l < STAMPS_LANGUAGES; l++) {
        n_before += s->heard[l] == GOOD && draw_of(s, l) < draw;
    }
    return part_of(s) == PART_HELDOUT || n_before < p->n_languages;
}

static cs_status add_languages(preparation *p, const stamp *s)
{
    csi_str scratch[3] = {0};
    cs_status st = CS_OK;

    for (size_t l = 0; l < STAMPS_LANGUAGES && st == CS_OK; l++) {
        for (size_t i = 0; i < 3; i++) {
            csi_str_clear(&scratch[i]);
        }
        if (s->heard[l] == GOOD && is_chosen(p, s, l)) {
            st = add_listen(p, s, STAMPS_LANGUAGE[l], scratch);
        }
        p->n_broken += s->heard[l] == BROKEN;
        p->n_too_long += s->heard[l] == TOO_LONG;
    }
    p->seconds += s->seconds;
    for (size_t i = 0; i < 3; i++) {
        csi_str_fini(&scratch[i]);
    }
    CS_TRY(st);
    return CS_OK;
}

static void count_group(preparation *p, int64_t index)
{
    const stamp *const stamps = p->list.stamps;

    for (int64_t i = 0; i < index; i++) {
        if (stamps[i].group == stamps[index].group) {
            return;
        }
    }
    p->n_groups[part_of(&stamps[index])]++;
}

static cs_status save(const preparation *p, const char *name, csi_str *json)
{
    csi_str path = {0};

    csi_str_add(json, json->length == 0 ? "[]\n" : "\n]\n");
    csi_str_addf(&path, "%s/%s", p->out_dir, name);
    cs_status st = CS_OK;
    CS_TRY_GOTO(undo, csi_str_check(json));
    CS_TRY_GOTO(undo, csi_str_check(&path));
    CS_TRY_GOTO(undo,
                csi_file_write(csi_str_get(&path), json->data, json->length));
undo:
    csi_str_fini(&path);
    return st;
}

static cs_status prepare(preparation *p)
{
    CS_TRY(stamps_read(p->folder, &p->list));
    CS_TRY(stamps_listen(&p->list));
    for (int64_t i = 0; i < p->list.n_stamps; i++) {
        const stamp *const s = &p->list.stamps[i];

        count_group(p, i);
        CS_TRY(add_caption(p, s));
        CS_TRY(add_languages(p, s));
    }
    CS_TRY(csi_dir_create(p->out_dir));
    CS_TRY(save(p, "caption-train.json", &p->captions[PART_TRAIN]));
    CS_TRY(save(p, "caption-heldout.json", &p->captions[PART_HELDOUT]));
    CS_TRY(save(p, "listen-train.json", &p->listens[PART_TRAIN]));
    CS_TRY(save(p, "listen-heldout.json", &p->listens[PART_HELDOUT]));
    return CS_OK;
}

static void preparation_fini(preparation *p)
{
    stamps_fini(&p->list);
    for (size_t i = 0; i < PART_COUNT; i++) {
        csi_str_fini(&p->captions[i]);
        csi_str_fini(&p->listens[i]);
    }
}

static void report(const preparation *p)
{
    static const char *const NAMES[] = {"train", "heldout"};

    printf("stamps of %s, read in place (Tux Paint stamps, (c) Bill Kendrick "
           "and others, GPL-2)\n",
           p->folder);
    for (size_t i = 0; i < PART_COUNT; i++) {
        const int64_t *const n = p->n_listens[i];

        printf("  %s/caption-%s.json  %" PRId64 " pictures in %" PRId64
               " groups\n",
               p->out_dir, NAMES[i], p->n_captions[i], p->n_groups[i]);
        printf("  %s/listen-%s.json  %" PRId64 " samples: %" PRId64
               " speech, %" PRId64 " picture and speech, %" PRId64 " text\n",
               p->out_dir, NAMES[i],
               n[KIND_SPEECH] + n[KIND_BOTH] + n[KIND_TEXT], n[KIND_SPEECH],
               n[KIND_BOTH], n[KIND_TEXT]);
    }
    printf("  %.1f minutes of speech in %d languages; left out: %" PRId64
           " pictures without English words, %" PRId64 " broken and %" PRId64
           " too long recordings (over %d s)\n",
           p->seconds / 60.0, STAMPS_LANGUAGES, p->list.n_no_caption,
           p->n_broken, p->n_too_long, STAMPS_MAX_SECONDS);
}

static const char USAGE[] =
    "Usage: prepare_stamps [-o DIR] [-s DIR] [-n N]\n"
    "Makes LLaVA-style files from the stamps of Tux Paint.\n\n"
    "  -o DIR  where files go (data/stamps)\n"
    "  -s DIR  the stamps (/usr/share/tuxpaint/stamps)\n"
    "  -n N    languages in which a training stamp is heard, 1 to 6 (6)\n"
    "  -h      this help\n";

int main(int argc, char **argv)
{
    preparation p = {.folder = "/usr/share/tuxpaint/stamps",
                     .out_dir = "data/stamps",
                     .n_languages = STAMPS_LANGUAGES};
    int option = 0;

    while ((option = getopt(argc, argv, "o:s:n:h")) != -1) {
        if (option == 'o') {
            p.out_dir = optarg;
        } else if (option == 's') {
            p.folder = optarg;
        } else if (option == 'n' && strlen(optarg) == 1 && optarg[0] >= '1' &&
                   optarg[0] <= '0' + STAMPS_LANGUAGES) {
            p.n_languages = optarg[0] - '0';
        } else {
            (void)fputs(USAGE, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (optind != argc) {
        (void)fputs(USAGE, stderr);
        return 2;
    }
    const cs_status st = prepare(&p);
    if (st == CS_OK) {
        report(&p);
    } else {
        cs_error_print(stderr, false);
    }
    preparation_fini(&p);
    return cs_status_exit_code(st);
}
