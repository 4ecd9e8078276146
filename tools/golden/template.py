# SPDX-License-Identifier: Apache-2.0
"""Golden data of tests/unit/data/template_jinja_test.c: what transformers' own
rendering makes of chat templates in the style of each family, over several
conversations, and of one-construct snippets.

    python tools/golden/template.py tests/golden/template

families.json   [{name, template, conversations: [{context, text, generations}]}]
snippets.json   [{template, text} or {template, error}]
tokens.json     [{tokenizer, config, template, turns, ids}]: a whole conversation
                as apply_chat_template(tokenize=True) tokenizes it, with the
                vocabularies of tests/golden/tokenizer
generations are [begin, end) in bytes of text.
"""
import json
import os
import sys

import jinja2
import tokenizers
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


PAIRS = [("llama2", "llama2", "<s>", "</s>"), ("llama3", "llama3", "<|begin_of_text|>", "<|eot_id|>"),
         ("qwen2", "qwen2", None, "<|im_end|>"), ("mistral", "mistral", "<s>", "</s>"),
         ("gemma", "gemma", "<bos>", "<eos>"), ("phi3", "phi3", "<s>", "<|endoftext|>"),
         ("metaspace", "vicuna", "<s>", "</s>"), ("llama2_normalized", "internlm2", "<s>", "</s>"),
         ("gpt2", "chatml", None, "<|endoftext|>"), ("qwen2", "generation", None, "<|im_end|>")]
TURNS = [("user", "Hi there, 12 words"), ("assistant", " The cat's 猫 naïve.  "), ("user", "e\u0301  and\n\nnow?"),
         ("assistant", "🙂 ok\n")]


def tokens(folder):
    out = []
    for kind, family, bos, eos in PAIRS:
        tok = tokenizers.Tokenizer.from_file(os.path.join(folder, "..", "tokenizer", kind + ".json"))
        config = {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v is not None}
        messages = [{"role": r, "content": c} for r, c in TURNS]
        text = render(FAMILIES[family], {"messages": messages, "add_generation_prompt": False, **config})[0]
        out.append({"tokenizer": kind, "config": config, "template": FAMILIES[family],
                    "turns": messages, "ids": tok.encode(text, add_special_tokens=False).ids})
    return out


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
    write("tokens.json", tokens(folder))
    write("provenance.json", {
        "script": "tools/golden/template.py", "jinja2": jinja2.__version__,
        "tokenizers": tokenizers.__version__,
        "transformers": transformers.__version__, "python": sys.version.split()[0],
        "note": "templates are written here, with the constructs and formats of the "
                "families' own; contexts hold no dates, so nothing changes with time"})


if __name__ == "__main__":
    main(sys.argv[1])
