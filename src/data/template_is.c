/* SPDX-License-Identifier: Apache-2.0 */
/* Jinja's tests ("x is string"), those that chat templates use. */
#include "template_value.h"

#include <string.h>

static bool is_kind(const char *name, const csi_value *v, bool *out)
{
    const csi_value_kind k = v->kind;
    const struct {
        const char *name;
        bool holds;
    } TESTS[] = {
        {"defined", k != CSI_VALUE_UNDEFINED},
        {"undefined", k == CSI_VALUE_UNDEFINED},
        {"none", k == CSI_VALUE_NONE},
        {"boolean", k == CSI_VALUE_BOOL},
        {"true", k == CSI_VALUE_BOOL && v->integer != 0},
        {"false", k == CSI_VALUE_BOOL && v->integer == 0},
        {"integer", k == CSI_VALUE_INT},
        {"float", k == CSI_VALUE_FLOAT},
        {"number", csi_value_is_number(v)},
        {"string", k == CSI_VALUE_STRING},
        {"mapping", k == CSI_VALUE_DICT},
        {"sequence", k == CSI_VALUE_STRING || csi_value_is_sequence(v) ||
                         k == CSI_VALUE_DICT || k == CSI_VALUE_UNDEFINED},
        {"iterable", k == CSI_VALUE_STRING || csi_value_is_sequence(v) ||
                         k == CSI_VALUE_DICT || k == CSI_VALUE_UNDEFINED ||
                         k == CSI_VALUE_LOOP},
        {"callable", k == CSI_VALUE_MACRO || k == CSI_VALUE_FUNCTION ||
                         k == CSI_VALUE_METHOD || k == CSI_VALUE_UNDEFINED},
    };

    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++) {
        if (strcmp(name, TESTS[i].name) == 0) {
            *out = TESTS[i].holds;
            return true;
        }
    }
    return false;
}

/* Tests that compare with an argument, by their comparison. */
static const char *comparison_of(const char *name)
{
    static const char *const NAMES[][2] = {
        {"eq", "=="},      {"equalto", "=="}, {"==", "=="},
        {"ne", "!="},      {"!=", "!="},      {"lt", "<"},
        {"lessthan", "<"}, {"<", "<"},        {"le", "<="},
        {"<=", "<="},      {"gt", ">"},       {"greaterthan", ">"},
        {">", ">"},        {"ge", ">="},      {">=", ">="},
    };

    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(name, NAMES[i][0]) == 0) {
            return NAMES[i][1];
        }
    }
    return NULL;
}

static cs_status test_number(csi_eval *e, const char *name,
                             const csi_value *value, const csi_value *by,
                             bool *out)
{
    int64_t number = 0;
    int64_t divisor = 2;

    CS_TRY(csi_argument_int(e, value, name, &number));
    if (by != NULL) {
        CS_TRY(csi_argument_int(e, by, name, &divisor));
    }
    if (divisor == 0 || divisor == -1) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "divisibleby %d", (int)divisor);
    }
    *out = (number % divisor == 0) != (strcmp(name, "odd") == 0);
    return CS_OK;
}

cs_status csi_eval_test(csi_eval *e, const char *name, const csi_value *value,
                        const csi_arguments *args, bool *out)
{
    const char *const comparison = comparison_of(name);
    const csi_value *const other = csi_argument(args, 0, NULL);
    csi_value result;

    if (is_kind(name, value, out)) {
        return csi_check_arguments(e, args, name, 0, NULL);
    }
    CS_TRY(csi_check_arguments(e, args, name, 1, NULL));
    if (strcmp(name, "even") == 0 || strcmp(name, "odd") == 0) {
        return test_number(e, name, value, NULL, out);
    }
    if (comparison == NULL && strcmp(name, "in") != 0 &&
        strcmp(name, "divisibleby") != 0) {
        return CSI_JINJA_FAIL(e, CS_ERR_UNSUPPORTED,
                              "unsupported: test '%.40s'", name);
    }
    if (other == NULL) {
        return CSI_JINJA_FAIL(e, CS_ERR_ARG, "test %s: wanted an argument",
                              name);
    }
    if (strcmp(name, "divisibleby") == 0) {
        return test_number(e, name, value, other, out);
    }
    if (comparison == NULL) {
        return csi_value_contains(e, other, value, out);
    }
    CS_TRY(csi_eval_binary(e, comparison, value, other, &result));
    *out = csi_value_truth(&result);
    return CS_OK;
}
