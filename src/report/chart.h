/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_REPORT_CHART_H
#define CS_REPORT_CHART_H
/* A chart of lines and points over steps, as SVG inside a page. */
#include "base/str.h"

#include "metrics.h"

typedef enum csi_mark {
    CSI_MARK_LINE,
    CSI_MARK_FAINT, /* a thin, pale line: the raw values */
    CSI_MARK_POINTS /* joined points with bars of one standard error */
} csi_mark;

typedef struct csi_series {
    const char *name;
    const csi_table *table;
    int32_t x, y, error; /* columns; error < 0 = none */
    csi_mark mark;
    int32_t color; /* CSS class c0, c1, ... */
} csi_series;

typedef struct csi_chart {
    const char *x_label, *y_label; /* with units */
    int32_t width, height;         /* in pixels */
    int32_t n_series;
    const csi_series *series;
    bool may_be_log;  /* logarithmic where values span more than a decade */
    bool starts_at_0; /* the linear axis begins at 0 */
} csi_chart;

/* Adds an <svg>; a sentence when no value is finite. */
void csi_chart_add(csi_str *html, const csi_chart *chart);
/* "12.5k", "0.002": a number in few characters. */
void csi_add_short(csi_str *text, double value);
/* A step of 1, 2 or 5 times a power of ten, at least range / n_steps. */
double csi_nice_step(double range, int32_t n_steps);
#endif
