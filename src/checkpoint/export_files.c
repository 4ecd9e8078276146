/* SPDX-License-Identifier: Apache-2.0 */
/* What stands beside the weights in RUN/model: texts and the tokenizer. */
#include "base/alloc.h"
#include "base/file.h"

#include "export.h"

#include <string.h>

static const char *const TOKENIZER_FILES[] = {
    "tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",   "vocab.json",
    "merges.txt",        "tokenizer.model",
};

cs_status csi_write_text(const char *folder, const char *name, const char *text)
{
    char *path = NULL;

    if (text == NULL) {
        return CS_OK;
    }
    CS_TRY(csi_path_join(folder, name, &path));
    const cs_status st = csi_file_write(path, text, strlen(text));

    csi_free(path);
    CS_TRY(st);
    return CS_OK;
}

cs_status csi_copy_into(const char *from_folder, const char *to_folder,
                        const char *name)
{
    char *from = NULL;
    char *to = NULL;
    cs_status st = CS_OK;

    CS_TRY_GOTO(done, csi_path_join(from_folder, name, &from));
    if (csi_file_exists(from)) {
        CS_TRY_GOTO(done, csi_path_join(to_folder, name, &to));
        CS_TRY_GOTO(done, csi_file_copy(from, to));
    }
done:
    csi_free(from);
    csi_free(to);
    return st;
}

cs_status csi_export_write_extras(const cs_graph *graph, const csi_part *part,
                                  const cs_export_extras *extras,
                                  const char *folder)
{
    const int32_t language_model = cs_graph_language_model(graph);

    CS_TRY(csi_write_text(folder, "config.json", part->config));
    if (part->is_projector) {
        return CS_OK;
    }
    if (part->module != language_model) {
        return csi_write_text(folder, "preprocessor_config.json",
                              extras->preprocessor_json != NULL
                                  ? extras->preprocessor_json[part->module]
                                  : NULL);
    }
    CS_TRY(csi_write_text(folder, "generation_config.json",
                          extras->generation_config_json));
    for (size_t i = 0; extras->tokenizer_folder != NULL &&
                       i < sizeof TOKENIZER_FILES / sizeof TOKENIZER_FILES[0];
         i++) {
        CS_TRY(csi_copy_into(extras->tokenizer_folder, folder,
                             TOKENIZER_FILES[i]));
    }
    return CS_OK;
}
