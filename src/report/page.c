/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of report.html. The style lives here and nowhere else; colours are
 * variables, so that the dark page differs in this one place only.
 */
#include "page.h"

#include <string.h>

static const char STYLE[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c2128;--muted:#5d6875;"
    "--line:#d8dee6;--card:#f5f7fa;--c0:#2563b0;--c1:#c8501a;--c2:#1d8348;"
    "--c3:#8538a8;--c4:#b8326c;--c5:#0e7c86;--c6:#8a6d0b;"
    "--f:62%;--b:40%;--w:76%;--ink:#10151b;"
    "--wait:#e1e5ea;--comm:#94a0ad;--opt:#3d4652}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#12161b;--fg:#e3e8ee;"
    "--muted:#97a3b0;--line:#303843;--card:#1a2027;--c0:#6fa8ec;--c1:#f2935f;"
    "--c2:#62c48a;--c3:#c58be3;--c4:#ee83ae;--c5:#56c3cd;--c6:#d9b84a;"
    "--f:60%;--b:38%;--w:76%;"
    "--wait:#2b323b;--comm:#5f6b78;--opt:#b4bfcb}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:24px 20px 60px;max-width:1080px;"
    "background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}"
    "\n"
    "h1{margin:0 0 4px;font-size:26px}"
    "h2{margin:38px 0 10px;font-size:19px}"
    "h3{margin:20px 0 6px;font-size:15px}\n"
    ".note,.sub{color:var(--muted)}.note{font-size:13px;margin:6px 0}"
    ".sub{margin:0 0 18px}\n"
    ".tiles{display:grid;gap:10px;"
    "grid-template-columns:repeat(auto-fit,minmax(176px,1fr))}\n"
    ".tile{background:var(--card);border:1px solid var(--line);"
    "border-radius:8px;padding:10px 14px}"
    ".tile b{display:block;font-size:18px;font-weight:600;"
    "font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".tile span{color:var(--muted);font-size:12.5px}\n"
    ".grid3{display:grid;gap:14px;"
    "grid-template-columns:repeat(auto-fit,minmax(300px,1fr))}\n"
    "svg{display:block;max-width:100%;height:auto}svg.chart{width:100%}"
    "svg text{fill:var(--fg);font-family:inherit}"
    ".tick{font-size:11px;fill:var(--muted)!important}"
    ".label{font-size:12px;fill:var(--muted)!important}"
    ".grid{stroke:var(--line);stroke-width:1;fill:none}"
    ".axis{stroke:var(--muted);stroke-width:1;fill:none}\n"
    ".line,.faint{fill:none;stroke:var(--c);stroke-width:2;"
    "stroke-linejoin:round}.faint{stroke-width:1;opacity:.4}"
    ".bar{stroke:var(--c);stroke-width:1.5;opacity:.7}"
    "circle{fill:var(--c)}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}"
    ".c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:4px 16px;margin:6px 0;"
    "font-size:13px;color:var(--muted)}"
    ".key span{display:inline-flex;align-items:center;gap:6px}"
    ".key i{width:14px;height:12px;border-radius:2px;background:var(--c)}"
    ".key i.thin{height:3px}.key i.dot{width:9px;height:9px;"
    "border-radius:50%}\n"
    ".m0{--h:212}.m1{--h:26}.m2{--h:146}.m3{--h:284}.m4{--h:338}.m5{--h:186}"
    ".m6{--h:52}.m7{--h:250}\n"
    ".F{--c:hsl(var(--h) 66% var(--f))}.B{--c:hsl(var(--h) 62% var(--b))}"
    ".W{--c:hsl(var(--h) 52% var(--w))}"
    ".R{--c:var(--wait)}.S{--c:var(--comm)}.O{--c:var(--opt)}"
    "rect{fill:var(--c)}"
    "svg .n{font-size:10px;fill:var(--ink);pointer-events:none}"
    "svg .n.B{fill:#fff}\n"
    ".scroll{overflow-x:auto}.scroll svg{max-width:none}.scroll "
    "svg.chart{min-width:700px}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;"
    "font-size:14px}th,td{padding:4px 12px;text-align:right;"
    "border-bottom:1px solid var(--line)}"
    "th{color:var(--muted);font-weight:500;font-size:13px}"
    "th:first-child,td:first-child{text-align:left;padding-left:2px}"
    "td.name,th.name{text-align:left}tr.all td{font-weight:600;"
    "border-bottom:0}\n"
    ".samples{display:grid;gap:14px;"
    "grid-template-columns:repeat(auto-fill,minmax(310px,1fr))}"
    ".sample{background:var(--card);border:1px solid var(--line);"
    "border-radius:8px;padding:12px 14px;overflow-wrap:anywhere}"
    ".sample img{display:block;max-width:100%;max-height:260px;margin:0 auto "
    "8px;background:#fff;border-radius:4px}.sample audio{width:100%}"
    ".sample dl{margin:8px 0 0}.sample dt{color:var(--muted);font-size:12px;"
    "margin-top:6px}.sample dd{margin:0;white-space:pre-wrap}"
    ".sample h3{margin:0 0 8px;color:var(--muted);font-weight:500;"
    "font-size:12.5px}\n"
    "details{border:1px solid var(--line);border-radius:8px;margin:8px 0;"
    "background:var(--card)}summary{cursor:pointer;padding:8px 14px;"
    "font-weight:500}pre{margin:0;padding:10px 14px;overflow-x:auto;"
    "font:12.5px/1.45 ui-monospace,'DejaVu Sans Mono',monospace}\n";

void csi_page_begin(csi_str *html, const char *title)
{
    csi_str_add(html,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
                "<meta charset=\"utf-8\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" "
                "content=\"default-src 'none'; img-src data:; "
                "media-src data:; style-src 'unsafe-inline'\">\n"
                "<meta name=\"viewport\" "
                "content=\"width=device-width, initial-scale=1\">\n<title>");
    csi_page_text(html, title, 256);
    csi_str_add(html, "</title>\n<style>\n");
    csi_str_add(html, STYLE);
    csi_str_add(html, "</style>\n</head>\n<body>\n<h1 dir=\"auto\">");
    csi_page_text(html, title, 256);
    csi_str_add(html, "</h1>\n");
}

void csi_page_end(csi_str *html)
{
    csi_str_add(html, "</body>\n</html>\n");
}

/* Bytes of the character at text, 0 where there is none that can be shown. */
static size_t character_bytes(const char *text, size_t n_bytes)
{
    const unsigned char first = (unsigned char)text[0];
    size_t n = 1;

    if (first >= 0xf0) {
        n = 4;
    } else if (first >= 0xe0) {
        n = 3;
    } else if (first >= 0x80) {
        n = 2;
    }
    if (n > n_bytes || first == 0x7f ||
        (first < 0x20 && first != '\n' && first != '\t' && first != '\r')) {
        return 0;
    }
    return csi_utf8_valid(text, n) ? n : 0;
}

void csi_page_text(csi_str *html, const char *text, size_t max_bytes)
{
    const size_t n_all = text != NULL ? strlen(text) : 0;
    const size_t n_bytes = n_all < max_bytes ? n_all : max_bytes;

    for (size_t at = 0; at < n_bytes;) {
        const size_t n = character_bytes(text + at, n_all - at);
        char one[8] = {0};
        if (n == 0) {
            csi_str_add(html, "\xef\xbf\xbd");
            at++;
            continue;
        }
        memcpy(one, text + at, n);
        csi_str_add_html(html, one);
        at += n;
    }
    if (n_bytes < n_all) {
        csi_str_addf(html, "\u2026 [%zu bytes more]", n_all - n_bytes);
    }
}
