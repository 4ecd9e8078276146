/* SPDX-License-Identifier: Apache-2.0 */
/* cornstarch convert: a run's model for other programs. */
#include "cornstarch/infer.h"

#include "cli.h"

#include <stdio.h>

cs_status cli_convert(const cli_options *o, int *exit_status)
{
    csi_str text = {0};

    (void)exit_status;
    CS_TRY(cli_want_words(o, 2, "--to llava|modules RUN OUT"));
    CS_CHECK(o->to != NULL, CS_ERR_ARG, "convert wants --to llava|modules");
    const cs_convert_options options = {
        .run_folder = o->words[0],
        .checkpoint = o->checkpoint,
        .to = o->to,
        .output = o->words[1],
    };
    CS_TRY(cs_convert(&options));
    if (o->is_json) {
        csi_str_add(&text, "{");
        cli_add_text(&text, "output", options.output);
        csi_str_add(&text, "}\n");
    } else {
        csi_str_addf(&text, "%s\n", options.output);
    }
    const cs_status st = cli_print(&text);

    csi_str_fini(&text);
    CS_TRY(st);
    return CS_OK;
}
