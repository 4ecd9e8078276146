/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch models: families, and published sizes with the parameters that
 * the builder counts in them. */
#include "cornstarch/zoo.h"

#include "cli.h"

#include <inttypes.h>

static const char *modality_name(cs_modality modality)
{
    return modality == CS_MODALITY_TEXT     ? "text"
           : modality == CS_MODALITY_VISION ? "vision"
                                            : "audio";
}

static void add_families(const cli_options *o, csi_str *text)
{
    cs_zoo_family f;

    if (!o->is_json) {
        csi_str_addf(text, "%-12s %-22s %-8s %s\n", "family", "model_type",
                     "modality", "transformers class");
    }
    for (int32_t i = 0; cs_zoo_get(i, &f); i++) {
        const char *modality = modality_name(f.modality);
        if (!o->is_json) {
            csi_str_addf(text, "%-12s %-22s %-8s %s\n", f.id, f.model_type,
                         modality, f.architecture);
            continue;
        }
        csi_str_add(text, i > 0 ? ",\n    {" : "\n    {");
        cli_add_text(text, "family", f.id);
        cli_add_text(text, "model_type", f.model_type);
        cli_add_text(text, "modality", modality);
        cli_add_text(text, "architecture", f.architecture);
        csi_str_add(text, "}");
    }
}

/* In JSON with the config.json that makes it. */
static void add_preset(const cli_options *o, csi_str *text,
                       const cs_zoo_preset *p, const cs_zoo_size *size,
                       bool is_first)
{
    const char *modality = modality_name(size->modality);

    if (!o->is_json) {
        csi_str_addf(text, "%-30s %-12s %-8s %15" PRId64 "  %s\n", p->name,
                     size->family, modality, size->n_params, p->source);
        return;
    }
    csi_str_add(text, is_first ? "\n    {" : ",\n    {");
    cli_add_text(text, "preset", p->name);
    cli_add_text(text, "family", size->family);
    cli_add_text(text, "modality", modality);
    cli_add_int(text, "parameters", size->n_params);
    cli_add_int(text, "published_parameters", p->n_published);
    cli_add_int(text, "left_out_parameters", p->n_left_out);
    cli_add_text(text, "source", p->source);
    csi_str_addf(text, ", \"config\": %s}", p->config);
}

static cs_status add_presets(const cli_options *o, csi_str *text)
{
    cs_zoo_preset p;
    cs_zoo_size size;

    if (!o->is_json) {
        csi_str_addf(text, "\n%-30s %-12s %-8s %15s  %s\n", "preset", "family",
                     "modality", "parameters", "source of the figures");
    }
    for (int32_t i = 0; cs_zoo_preset_get(i, &p); i++) {
        CS_TRY(cs_zoo_preset_size(&p, &size));
        add_preset(o, text, &p, &size, i == 0);
    }
    return CS_OK;
}

cs_status cli_models(const cli_options *o, int *exit_status)
{
    csi_str text = {0};
    cs_status st = CS_OK;

    (void)exit_status;
    CS_TRY(cli_want_words(o, 0, ""));
    csi_str_add(&text, o->is_json ? "{\"families\": [" : "");
    add_families(o, &text);
    csi_str_add(&text, o->is_json ? "],\n\"presets\": [" : "");
    CS_TRY_GOTO(done, add_presets(o, &text));
    csi_str_add(&text, o->is_json ? "]}\n" : "");
    CS_TRY_GOTO(done, cli_print(&text));
done:
    csi_str_fini(&text);
    return st;
}
