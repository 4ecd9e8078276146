/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.html: one file that opens anywhere and fetches nothing.
 */
#include "base/alloc.h"
#include "base/file.h"

#include "internal.h"

static void add_details(csi_str *html, const char *title, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        csi_str_addf(html, "<details><summary>%s</summary><pre>", title);
        csi_str_add_html(html, text);
        csi_str_add(html, "</pre></details>\n");
    }
}

static cs_status add_timeline(csi_str *html, const cs_timeline *timeline)
{
    char *table = NULL;

    CS_TRY(cs_timeline_table(timeline, &table));
    csi_str_add(html, "<h2>Where the time went</h2><pre>");
    csi_str_add_html(html, table);
    csi_str_add(html, "</pre>\n");
    csi_free(table);
    return CS_OK;
}

cs_status cs_report_write(const cs_report_input *input)
{
    csi_str html = {0};
    char *path = NULL;
    cs_status st = CS_OK;

    csi_str_add(&html, "<!DOCTYPE html>\n<html lang=\"en\">\n<meta "
                       "charset=\"utf-8\">\n<title>");
    csi_str_add_html(&html, input->title);
    csi_str_add(&html, "</title>\n<h1>");
    csi_str_add_html(&html, input->title);
    csi_str_add(&html, "</h1>\n");
    if (input->timeline != NULL) {
        CS_TRY_GOTO(done, add_timeline(&html, input->timeline));
    }
    add_details(&html, "Recipe", input->recipe_text);
    add_details(&html, "Model", input->model_text);
    add_details(&html, "Plan", input->plan_text);
    add_details(&html, "Machine", input->machine_text);
    csi_str_add(&html, "</html>\n");
    CS_TRY_GOTO(done, csi_str_check(&html));
    CS_TRY_GOTO(done, csi_path_join(input->run_folder, "report.html", &path));
    CS_TRY_GOTO(done, csi_file_write(path, html.data, html.length));
done:
    csi_free(path);
    csi_str_fini(&html);
    return st;
}
