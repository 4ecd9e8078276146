/* SPDX-License-Identifier: Apache-2.0 */
/* Results as JSON: members are added one by one, so that their order is that
 * of the documentation. */
#include "cli.h"

#include <inttypes.h>
#include <math.h>

static void add_key(csi_str *json, const char *key)
{
    const bool is_first =
        json->length == 0 || json->data[json->length - 1] == '{';

    csi_str_addf(json, "%s\"%s\": ", is_first ? "" : ", ", key);
}

void cli_add_text(csi_str *json, const char *key, const char *text)
{
    add_key(json, key);
    csi_str_add(json, "\"");
    csi_str_add_json(json, text);
    csi_str_add(json, "\"");
}

void cli_add_number(csi_str *json, const char *key, double value)
{
    add_key(json, key);
    if (isfinite(value)) {
        csi_str_addf(json, "%.9g", value);
    } else {
        csi_str_add(json, "null");
    }
}

void cli_add_int(csi_str *json, const char *key, int64_t value)
{
    add_key(json, key);
    csi_str_addf(json, "%" PRId64, value);
}

void cli_add_bool(csi_str *json, const char *key, bool value)
{
    add_key(json, key);
    csi_str_add(json, value ? "true" : "false");
}

cs_status cli_print(const csi_str *text)
{
    CS_TRY(csi_str_check(text));
    printf("%s", csi_str_get(text));
    return CS_OK;
}
