/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Charts as hand-written SVG: no library, no script, sharp at any size. A
 * column of pixels shows at most the lowest and the highest of its values, so
 * a page stays small however long the run was.
 */
#include "chart.h"

#include <math.h>

enum {
    LEFT = 58,
    RIGHT = 12,
    TOP = 12,
    BOTTOM = 40,
    MAX_TICKS = 24
};

typedef struct axis {
    double low, high; /* of the axis; logarithms when is_log */
    bool is_log;
} axis;

typedef struct canvas {
    csi_str *html;
    const csi_chart *chart;
    axis x, y;
} canvas;

static double cell(const csi_series *s, int64_t row, int32_t column)
{
    return s->table->values[row * s->table->n_columns + column];
}

double csi_nice_step(double range, int32_t n_steps)
{
    const double least = range / n_steps;
    const double power = pow(10.0, floor(log10(least)));
    const double factor = least / power;

    if (factor <= 1.0) {
        return power;
    }
    if (factor <= 2.0) {
        return 2.0 * power;
    }
    return factor <= 5.0 ? 5.0 * power : 10.0 * power;
}

void csi_add_short(csi_str *text, double value)
{
    static const struct {
        double unit;
        const char *suffix;
    } UNITS[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}};

    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (fabs(value) >= UNITS[i].unit) {
            const double unit = i == 3 ? 1e3 : UNITS[i].unit;
            csi_str_addf(text, "%.4g%s", value / unit, UNITS[i].suffix);
            return;
        }
    }
    csi_str_addf(text, "%.4g", value);
}

/* ---- ranges ---- */

static void widen(double *low, double *high, double value)
{
    if (isfinite(value)) {
        *low = fmin(*low, value);
        *high = fmax(*high, value);
    }
}

/* False when nothing is finite. Error bars may be cut: points decide. */
static bool find_ranges(const csi_chart *chart, canvas *c)
{
    double x_low = INFINITY;
    double x_high = -INFINITY;
    double y_low = INFINITY;
    double y_high = -INFINITY;

    for (int32_t k = 0; k < chart->n_series; k++) {
        const csi_series *s = &chart->series[k];
        for (int64_t i = 0; i < s->table->n; i++) {
            const double y = cell(s, i, s->y);
            if (isfinite(y)) {
                widen(&x_low, &x_high, cell(s, i, s->x));
                widen(&y_low, &y_high, y);
            }
        }
    }
    if (!(x_low <= x_high) || !(y_low <= y_high)) {
        return false;
    }
    c->x = (axis){.low = x_low, .high = x_high};
    c->y = (axis){.low = y_low, .high = y_high};
    c->y.is_log = chart->may_be_log && y_low > 0.0 && y_high / y_low >= 10.0;
    return true;
}

/* Some air around the values; an axis never has length 0. */
static void pad_axes(canvas *c)
{
    axis *y = &c->y;

    if (c->x.high <= c->x.low) {
        const double half = fmax(1.0, fabs(c->x.low) * 1e-3);
        c->x.low -= half;
        c->x.high += half;
    }
    if (y->is_log) {
        y->low = log10(y->low);
        y->high = log10(y->high);
    }
    const bool from_0 = c->chart->starts_at_0 && !y->is_log && y->low >= 0.0;
    y->low = from_0 ? 0.0 : y->low;
    double air = (y->high - y->low) * 0.06;
    if (!(air > 0.0)) {
        air = y->low != 0.0 && !y->is_log ? fabs(y->low) * 0.1 : 1.0;
    }
    y->low -= from_0 ? 0.0 : air;
    y->high += air;
}

static double place_x(const canvas *c, double value)
{
    return LEFT + (value - c->x.low) / (c->x.high - c->x.low) *
                      (c->chart->width - LEFT - RIGHT);
}

/* Logarithms of what is not positive do not exist: such a value is NAN. */
static double place_y(const canvas *c, double value)
{
    const double at = c->y.is_log ? log10(value) : value;

    return c->chart->height - BOTTOM -
           (at - c->y.low) / (c->y.high - c->y.low) *
               (c->chart->height - TOP - BOTTOM);
}

/* ---- axes ---- */

static void add_y_tick(const canvas *c, double value)
{
    const double y = place_y(c, value);

    csi_str_addf(c->html,
                 "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
                 "<text class=\"tick\" x=\"%d\" y=\"%.1f\" "
                 "text-anchor=\"end\">",
                 LEFT, y, c->chart->width - RIGHT, LEFT - 6, y + 4.0);
    csi_add_short(c->html, value);
    csi_str_add(c->html, "</text>\n");
}

static void add_x_tick(const canvas *c, double value)
{
    const double x = place_x(c, value);
    const int32_t bottom = c->chart->height - BOTTOM;

    csi_str_addf(c->html,
                 "<path class=\"axis\" d=\"M%.1f %dv4\"/>"
                 "<text class=\"tick\" x=\"%.1f\" y=\"%d\" "
                 "text-anchor=\"middle\">",
                 x, bottom, x, bottom + 16);
    csi_add_short(c->html, value);
    csi_str_add(c->html, "</text>\n");
}

static void add_log_ticks(const canvas *c)
{
    static const double FACTORS[] = {1.0, 2.0, 5.0};
    const double decades = c->y.high - c->y.low;
    const int n_factors = decades < 2.5 ? 3 : 1;
    const int every = decades > 8.0 ? (int)ceil(decades / 8.0) : 1;
    const int last = (int)floor(c->y.high);

    for (int power = (int)floor(c->y.low); power <= last; power += every) {
        for (int i = 0; i < n_factors; i++) {
            const double value = FACTORS[i] * pow(10.0, power);
            if (log10(value) >= c->y.low && log10(value) <= c->y.high) {
                add_y_tick(c, value);
            }
        }
    }
}

static void add_ticks(const canvas *c, const axis *a, int32_t n_wanted,
                      double least_step, void (*add)(const canvas *, double))
{
    const double step =
        fmax(csi_nice_step(a->high - a->low, n_wanted), least_step);
    double value = ceil(a->low / step) * step;

    for (int i = 0; i < MAX_TICKS && value <= a->high + step * 1e-6; i++) {
        add(c, fabs(value) < step * 1e-6 ? 0.0 : value);
        value += step;
    }
}

static void add_axes(const canvas *c)
{
    const csi_chart *chart = c->chart;
    const int32_t bottom = chart->height - BOTTOM;

    if (c->y.is_log) {
        add_log_ticks(c);
    } else {
        add_ticks(c, &c->y, chart->height / 45, 0.0, add_y_tick);
    }
    add_ticks(c, &c->x, chart->width / 90, 1.0, add_x_tick);
    csi_str_addf(c->html, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT,
                 TOP, bottom, chart->width - RIGHT);
    csi_str_addf(c->html,
                 "<text class=\"label\" x=\"%d\" y=\"%d\" "
                 "text-anchor=\"middle\">",
                 (LEFT + chart->width - RIGHT) / 2, chart->height - 6);
    csi_str_add_html(c->html, chart->x_label);
    csi_str_addf(c->html,
                 "</text><text class=\"label\" text-anchor=\"middle\" "
                 "transform=\"translate(13 %d) rotate(-90)\">",
                 (TOP + bottom) / 2);
    csi_str_add_html(c->html, chart->y_label);
    csi_str_addf(c->html, "%s</text>\n", c->y.is_log ? ", log" : "");
}

/* ---- series ---- */

/* What a column of pixels holds so far. */
typedef struct column {
    int64_t pixel;
    double low, high;
    bool is_low_first, is_empty;
} column;

static void add_place(csi_str *html, bool *pen_is_down, double x, double y)
{
    csi_str_addf(html, "%c%.1f %.1f", *pen_is_down ? 'L' : 'M', x, y);
    *pen_is_down = true;
}

static void flush_column(const canvas *c, column *col, bool *pen_is_down)
{
    if (!col->is_empty) {
        const double x = (double)col->pixel / 2.0;
        add_place(c->html, pen_is_down, x,
                  col->is_low_first ? col->low : col->high);
        if (col->high > col->low) {
            add_place(c->html, pen_is_down, x,
                      col->is_low_first ? col->high : col->low);
        }
    }
    col->is_empty = true;
}

static void take_place(column *col, int64_t pixel, double y)
{
    if (col->is_empty) {
        *col = (column){.pixel = pixel, .low = y, .high = y};
        return;
    }
    if (y < col->low) {
        col->low = y;
        col->is_low_first = false;
    }
    if (y > col->high) {
        col->high = y;
        col->is_low_first = true;
    }
}

static void add_line(const canvas *c, const csi_series *s, const char *class)
{
    column col = {.is_empty = true};
    bool pen_is_down = false;

    csi_str_addf(c->html, "<path class=\"%s c%d\" d=\"", class, s->color);
    for (int64_t i = 0; i < s->table->n; i++) {
        const double y = place_y(c, cell(s, i, s->y));
        if (!isfinite(y)) {
            flush_column(c, &col, &pen_is_down);
            pen_is_down = false;
            continue;
        }
        const int64_t pixel =
            (int64_t)lround(place_x(c, cell(s, i, s->x)) * 2.0);
        if (!col.is_empty && col.pixel != pixel) {
            flush_column(c, &col, &pen_is_down);
        }
        take_place(&col, pixel, y);
    }
    flush_column(c, &col, &pen_is_down);
    csi_str_add(c->html, "\"/>\n");
}

static void add_point(const canvas *c, const csi_series *s, int64_t row)
{
    const double value = cell(s, row, s->y);
    const double x = place_x(c, cell(s, row, s->x));
    const double y = place_y(c, value);
    const double error = s->error >= 0 ? cell(s, row, s->error) : NAN;

    if (!isfinite(y)) {
        return;
    }
    const double up = place_y(c, value + error);
    const double down = place_y(c, value - error);
    if (isfinite(up) && isfinite(down)) {
        csi_str_addf(c->html, "<path class=\"bar c%d\" d=\"M%.1f %.1fV%.1f\"/>",
                     s->color, x, fmax(up, TOP),
                     fmin(down, c->chart->height - BOTTOM));
    }
    csi_str_addf(c->html,
                 "<circle class=\"c%d\" cx=\"%.1f\" cy=\"%.1f\" "
                 "r=\"3.5\"><title>",
                 s->color, x, y);
    csi_str_add_html(c->html, s->name);
    csi_str_addf(c->html, ", step %.0f: %.4f", cell(s, row, s->x), value);
    if (isfinite(error)) {
        csi_str_addf(c->html, " \u00b1 %.4f", error);
    }
    csi_str_add(c->html, "</title></circle>\n");
}

static void add_series(const canvas *c, const csi_series *s)
{
    enum {
        MAX_POINTS = 400
    };

    add_line(c, s, s->mark == CSI_MARK_LINE ? "line" : "faint");
    if (s->mark == CSI_MARK_POINTS || s->table->n == 1) {
        const int64_t every = s->table->n / MAX_POINTS + 1;
        for (int64_t i = (s->table->n - 1) % every; i < s->table->n;
             i += every) {
            add_point(c, s, i);
        }
    }
}

void csi_chart_add(csi_str *html, const csi_chart *chart)
{
    canvas c = {.html = html, .chart = chart};

    if (!find_ranges(chart, &c)) {
        csi_str_add(html, "<p class=\"note\">No values of ");
        csi_str_add_html(html, chart->y_label);
        csi_str_add(html, ".</p>\n");
        return;
    }
    pad_axes(&c);
    csi_str_addf(html,
                 "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
                 "aria-label=\"",
                 chart->width, chart->height);
    csi_str_add_html(html, chart->y_label);
    csi_str_add(html, " over steps\">\n");
    add_axes(&c);
    for (int32_t i = 0; i < chart->n_series; i++) {
        add_series(&c, &chart->series[i]);
    }
    csi_str_add(html, "</svg>\n");
}
