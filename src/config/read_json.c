/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A free mapping (`config:` of a module) as JSON text. The text is written so
 * that it is YAML too: the printed recipe holds it as it is. Written without
 * a JSON library, because the tree is already checked and nothing can fail
 * but numbers and memory. The recursion is bounded by CSI_NODE_MAX_DEPTH.
 */
#include "field.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static cs_status refuse_value(const csi_reader *reader, const csi_node *node,
                              const csi_key *key, const char *wanted)
{
    char name[CSI_KEY_BYTES];
    char got[CSI_GOT_BYTES];

    return CSI_READER_FAIL(reader, node, false, CS_ERR_ARG,
                           "%s: wanted %s, got %s", csi_key_text(key, name),
                           wanted, csi_node_got(node, got));
}

static cs_status add_scalar(const csi_reader *reader, const csi_node *node,
                            const csi_key *key, csi_str *out)
{
    char number[32];
    double real = 0;
    int64_t integer = 0;

    switch (csi_scalar_of(node)) {
    case CSI_SCALAR_NULL:
    case CSI_SCALAR_BOOL:
        csi_str_add(out, node->text);
        return CS_OK;
    case CSI_SCALAR_INT:
        errno = 0;
        integer = strtoll(node->text, NULL, 10);
        if (errno != 0) {
            return refuse_value(reader, node, key,
                                "an integer of at most 64 bits");
        }
        csi_str_addf(out, "%" PRId64, integer);
        return CS_OK;
    case CSI_SCALAR_FLOAT:
        real = strtod(node->text, NULL);
        if (!isfinite(real)) {
            return refuse_value(reader, node, key, "a number below 1.8e308");
        }
        csi_str_add(out, csi_number_text(real, number));
        return CS_OK;
    case CSI_SCALAR_EMPTY:
        return refuse_value(reader, node, key,
                            "a value (nothing is written null)");
    case CSI_SCALAR_TEXT:
        break;
    }
    csi_quote(out, node->text);
    return CS_OK;
}

static cs_status add_value(const csi_reader *reader, const csi_node *node,
                           const csi_key *key, csi_str *out)
{
    const bool is_map = node->kind == CSI_NODE_MAP;
    int32_t index = 0;

    if (!is_map && node->kind != CSI_NODE_LIST) {
        return add_scalar(reader, node, key, out);
    }
    csi_str_add(out, is_map ? "{" : "[");
    for (const csi_node *c = node->first; c != NULL; c = c->next, index++) {
        const csi_key here = {.parent = key, .name = c->key, .index = index};

        csi_str_add(out, index > 0 ? ", " : "");
        if (is_map) {
            csi_quote(out, c->key);
            csi_str_add(out, ": ");
        }
        CS_TRY(add_value(reader, c, &here, out));
    }
    csi_str_add(out, is_map ? "}" : "]");
    return CS_OK;
}

cs_status csi_read_json(const csi_reader *reader, const csi_node *node,
                        const csi_key *key, const char **out)
{
    csi_str json = {0};
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, add_value(reader, node, key, &json));
    CS_TRY_GOTO(done, csi_str_check(&json));
    *out = csi_arena_strdup(reader->arena, csi_str_get(&json));
    CS_CHECK_GOTO(done, *out != NULL, CS_ERR_NOMEM,
                  "out of memory for a recipe text");
done:
    csi_str_fini(&json);
    return st;
}
