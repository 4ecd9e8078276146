/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CONFIG_FIELD_H
#define CS_CONFIG_FIELD_H
/*
 * The field table: what a recipe may say. One entry holds a key's name, type,
 * range, default, unit, help and its place in struct cs_config; the reader,
 * the printer, the hash and `cornstarch explain` all walk this table, so none
 * of them can know a key that the others do not.
 */
#include "cornstarch/config.h"

#include "base/str.h"

#include "node.h"

#include <stddef.h>

typedef enum csi_field_type {
    CSI_FIELD_GROUP, /* mapping with the keys of `group`, same owner */
    CSI_FIELD_MAP,   /* free keys, each value a `group` in an array */
    CSI_FIELD_LIST,  /* list, each entry a `group` in an array */
    CSI_FIELD_BOOL,
    CSI_FIELD_I32,
    CSI_FIELD_I64,
    CSI_FIELD_U64,
    CSI_FIELD_F64,
    CSI_FIELD_TEXT,
    CSI_FIELD_PATH,      /* joined with the recipe's folder */
    CSI_FIELD_WORD,      /* one of `words`, stored as enum */
    CSI_FIELD_WORD_BOOL, /* one of two `words`, stored as bool */
    CSI_FIELD_WORD_TEXT, /* one of `words`, stored as text */
    CSI_FIELD_WORD_SET,  /* list of `words`, stored as consecutive bools */
    CSI_FIELD_I32_LIST,
    CSI_FIELD_I64_LIST,
    CSI_FIELD_F64_PAIR, /* two consecutive doubles */
    CSI_FIELD_FREEZE,   /* true | false | list of patterns */
    CSI_FIELD_JSON,     /* mapping kept as JSON text */
    CSI_FIELD_PLAN,     /* auto | manual | path */
    CSI_FIELD_ABSENT    /* a mapping whose work has not landed: null */
} csi_field_type;

enum {
    CSI_FIELD_UNSTORED = 1, /* no member: one value is offered */
    CSI_FIELD_ONLY = 2,     /* only the default is offered */
    CSI_FIELD_ABOVE = 4,    /* min itself is not allowed */
    CSI_FIELD_BELOW = 8,    /* max itself is not allowed */
    CSI_FIELD_SILENT = 16,  /* not in the hash: cannot change numbers */
    CSI_FIELD_REQUIRED = 32,
    CSI_FIELD_OR_FILE = 64 /* a .jinja file instead of a word */
};

typedef enum csi_key_rule {
    CSI_KEY_NAME,   /* [a-z][a-z0-9_]*, at most 63 bytes */
    CSI_KEY_PATTERN /* any text */
} csi_key_rule;

typedef struct csi_field_group csi_field_group;

typedef struct csi_field {
    const char *name;
    csi_field_type type;
    uint32_t flags;
    size_t offset;            /* in the owner */
    size_t count_offset;      /* of MAP, LIST and the number lists: int32_t */
    const char *fallback;     /* the default as YAML; NULL: none */
    double min, max;          /* of numbers, inclusive unless flagged; of lists:
                             the fewest and most entries */
    const char *empty;        /* the word for "not given": null, auto, ... */
    double empty_value;       /* what it is stored as */
    const char *const *words; /* NULL at the end, in the order of the enum */
    uint32_t offered;         /* bit i: words[i] is offered; 0: all are */
    const char *unit;
    const char *help;
    const csi_field_group *group;
} csi_field;

struct csi_field_group {
    const csi_field *fields;
    int32_t n_fields;
    size_t bytes;          /* of one entry, in a MAP or LIST */
    size_t key_offset;     /* MAP: const char * that gets the key */
    csi_key_rule key_rule; /* MAP */
    const char *key_name;  /* MAP: "<name>" in the manual */
};

/* The whole recipe; the owner is struct cs_config. */
extern const csi_field_group csi_recipe_group;
/* The parts of it that have a file of their own. */
extern const csi_field_group csi_model_group;
extern const csi_field_group csi_data_group;
extern const csi_field_group csi_training_group;
extern const csi_field_group csi_parallel_group;

/* Field of a group, or NULL. */
const csi_field *csi_field_find(const csi_field_group *group, const char *name);
/* The dotted key of the first field anywhere that has this name, or "". */
const char *csi_field_elsewhere(const char *name, char buf[128]);
/* The field of the group whose name is nearest, or NULL. */
const char *csi_field_nearest(const csi_field_group *group, const char *name);
/* What a value must be: "an integer >= 1 or null". Returns buf. */
enum {
    CSI_WANTED_BYTES = 256
};
const char *csi_field_wanted(const csi_field *field,
                             char buf[CSI_WANTED_BYTES]);
/* What is offered of it: "auto and cpu", "null". Returns buf. */
const char *csi_field_offered(const csi_field *field,
                              char buf[CSI_WANTED_BYTES]);
bool csi_field_is_offered(const csi_field *field, int32_t word);
/* Shortest text that reads back as the same number, always with '.' or 'e'.
 * Returns buf. */
const char *csi_number_text(double value, char buf[32]);
/* Appends text in double quotes, valid as YAML and as JSON. */
void csi_quote(csi_str *out, const char *text);

/* The path of a key for errors: model.encoders.vision.pool, data.train[0]. */
typedef struct csi_key {
    const struct csi_key *parent; /* NULL: the recipe itself */
    const char *name;             /* NULL: an entry of a list */
    int32_t index;
} csi_key;
enum {
    CSI_KEY_BYTES = 256
};
const char *csi_key_text(const csi_key *key, char buf[CSI_KEY_BYTES]);

typedef struct csi_reader {
    const char *path;     /* of the recipe, for errors */
    const char *base_dir; /* its folder */
    csi_arena *arena;     /* of the config */
    csi_arena *scratch;   /* of the nodes */
} csi_reader;

/* Fails with "<place>sentence". `of_key`: the place of the key, not value. */
void csi_reader_fail(const csi_reader *reader, const csi_node *node,
                     bool of_key, cs_status code, const char *format, ...)
    CS_PRINTF(5, 6);
/* The same as an expression with the code as value, as CS_FAIL has it. */
#define CSI_READER_FAIL(reader, node, of_key, code, ...) \
    (csi_reader_fail((reader), (node), (of_key), (code), __VA_ARGS__), (code))
/* Reads a mapping into `owner` (zeroed) by the table. */
CS_NODISCARD cs_status csi_read_group(const csi_reader *reader,
                                      const csi_field_group *group,
                                      const csi_node *node, const csi_key *key,
                                      void *owner);
/* Reads a value that is no GROUP, MAP or LIST. */
CS_NODISCARD cs_status csi_read_value(const csi_reader *reader,
                                      const csi_field *field,
                                      const csi_node *node, const csi_key *key,
                                      void *owner);
/* "wanted ..., got ..." for a value of the wrong kind or out of range. */
CS_NODISCARD cs_status csi_read_refuse(const csi_reader *reader,
                                       const csi_field *field,
                                       const csi_node *node,
                                       const csi_key *key);
/* A mapping of any shape as JSON text in the config's arena. */
CS_NODISCARD cs_status csi_read_json(const csi_reader *reader,
                                     const csi_node *node, const csi_key *key,
                                     const char **out);
/* What YAML's plain scalars mean here. */
typedef enum csi_scalar {
    CSI_SCALAR_TEXT,
    CSI_SCALAR_NULL,
    CSI_SCALAR_BOOL,
    CSI_SCALAR_INT,   /* decimal digits, no leading zero */
    CSI_SCALAR_FLOAT, /* with point or exponent */
    CSI_SCALAR_EMPTY  /* nothing at all */
} csi_scalar;
csi_scalar csi_scalar_of(const csi_node *node); /* of a scalar node */
csi_scalar csi_scalar_of_text(const char *plain);

/* Fills what follows from other keys (name, media_root), then checks the
 * rules that span keys; `root` gives their places. */
CS_NODISCARD cs_status csi_check_config(const csi_reader *reader,
                                        const csi_node *root,
                                        cs_config *config);
/* The resolved recipe, or (`for_hash`) only what changes numbers. */
CS_NODISCARD cs_status csi_print_config(const cs_config *config, bool for_hash,
                                        csi_str *out);
#endif
