# SPDX-License-Identifier: Apache-2.0
"""Golden data of tests/unit/data/template_jinja_test.c: what transformers' own
rendering makes of chat templates in the style of each family, over several
conversations, and of one-construct snippets.

    python tools/golden/template.py tests/golden/template

families.json   [{name, template, conversations: [{context, text, generations}]}]
snippets.json   [{template, text} or {template, error}]
generations are [begin, end) in bytes of text.
"""
import json
import os
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

from template_families import CONVERSATIONS, FAMILIES
from template_snippets import CONTEXT, SNIPPETS


def render(template, context):
    """As PreTrainedTokenizerBase.apply_chat_template does."""
    compiled = chat_template_utils._compile_jinja_template(template)
    context = json.loads(json.dumps(context))
    if "{% generation" in template.replace("{%-", "{%"):
        text, spans = chat_template_utils._render_with_assistant_indices(
            compiled_template=compiled, messages=context.pop("messages"),
            tools=context.pop("tools", None), documents=None,
            add_generation_prompt=context.pop("add_generation_prompt", False), **context)
    else:
        text, spans = compiled.render(**context), []
    place = lambda i: len(text[:i].encode())
    return text, [[place(a), place(b)] for a, b in spans]


def main(folder):
    families = []
    for name, template in FAMILIES.items():
        conversations = []
        for context in CONVERSATIONS:
            entry = {"context": context}
            try:
                entry["text"], entry["generations"] = render(template, context)
            except (jinja2.TemplateError, TypeError, KeyError) as error:
                entry["error"] = str(error)[:80]
            conversations.append(entry)
        families.append({"name": name, "template": template, "conversations": conversations})
    snippets = []
    for template in SNIPPETS:
        try:
            snippets.append({"template": template, "text": render(template, CONTEXT)[0]})
        except Exception as error:  # whatever Python raises is a refusal
            snippets.append({"template": template, "error": type(error).__name__})
    write = lambda name, data: open(os.path.join(folder, name), "w").write(
        json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    write("families.json", families)
    write("snippets.json", {"context": CONTEXT, "snippets": snippets})
    write("provenance.json", {
        "script": "tools/golden/template.py", "jinja2": jinja2.__version__,
        "transformers": transformers.__version__, "python": sys.version.split()[0],
        "note": "templates are written here, with the constructs and formats of the "
                "families' own; contexts hold no dates, so nothing changes with time"})


if __name__ == "__main__":
    main(sys.argv[1])
