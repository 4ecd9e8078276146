/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as metrics.jsonl: ordered steps, and charts without "nan". */
#include "base/str.h"

#include "report/chart.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check_table(const csi_table *table, int32_t y)
{
    const csi_series series = {"fuzz", table, 0, y, -1, CSI_MARK_LINE, 0};
    const csi_chart chart = {.x_label = "step",
                             .y_label = "loss",
                             .width = 400,
                             .height = 200,
                             .n_series = 1,
                             .series = &series,
                             .may_be_log = true};
    csi_str svg = {0};

    for (int64_t i = 1; i < table->n; i++) {
        if (table->values[i * table->n_columns] <=
            table->values[(i - 1) * table->n_columns]) {
            __builtin_trap();
        }
    }
    csi_chart_add(&svg, &chart);
    if (strstr(csi_str_get(&svg), "nan") != NULL ||
        strstr(csi_str_get(&svg), "inf") != NULL) {
        __builtin_trap();
    }
    csi_str_fini(&svg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    csi_metrics metrics = {0};

    if (csi_metrics_parse((const char *)data, n_bytes, "fuzz", &metrics) ==
        CS_OK) {
        check_table(&metrics.steps, CSI_METRIC_LOSS);
        for (int32_t i = 0; i < metrics.n_sets; i++) {
            check_table(&metrics.sets[i].table, CSI_EVAL_LOSS);
        }
        csi_metrics_fini(&metrics);
    }
    return 0;
}
