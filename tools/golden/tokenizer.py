# SPDX-License-Identifier: Apache-2.0
"""Golden data of tests/unit/data/tokenizer_golden_test.c: small BPE vocabularies
with each family's normalizer, pre-tokenizer, decoder, post-processor and added
tokens, and for every hard string the ids, offsets and decoded texts that Hugging
Face's tokenizers gives.

    python tools/golden/tokenizer.py tests/golden/tokenizer

strings.bin      per string: varint bytes, bytes
<kind>.json      tokenizer.json
<kind>.bin       per string: varint tokens; per token: varint id, then the place
                 in bytes: varint 2 * length if it begins where the one before
                 ended, else varint 2 * zigzag(gap) + 1, varint length; then the
                 decoded text: varint 0 = the string itself (repaired), else
                 varint 1 + bytes, varint bytes of it at the begin and varint
                 bytes at the end that are the string's, the bytes between; then
                 the same without special tokens, against the decoded text
"""
import json
import os
import sys

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenizer_strings import corpus, strings

SEED = 20
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
        "use_regex": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
         "use_regex": False}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
          r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UNDER = "\u2581"
PREPEND = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": UNDER},
    {"type": "Replace", "pattern": {"String": " "}, "content": UNDER}]}
REPLACE = {"type": "Replace", "pattern": {"String": UNDER}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
FALLBACK = {"type": "Sequence", "decoders": [
    REPLACE, {"type": "ByteFallback"}, {"type": "Fuse"}]}
FALLBACK_STRIP = {"type": "Sequence", "decoders": FALLBACK["decoders"] + [STRIP]}


def added(content, special=True, normalized=False, **flags):
    return {"content": content, "special": special, "normalized": normalized,
            "single_word": False, "lstrip": False, "rstrip": False, **flags}


def split(regex):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated",
         "invert": False}, BYTES]}


def template(before, after=()):
    part = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    return {"before": list(before), "after": list(after), "make": lambda ids: {
        "type": "TemplateProcessing",
        "single": [part(t) for t in before] + [{"Sequence": {"id": "A", "type_id": 0}}] +
                  [part(t) for t in after],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]}
                           for t in list(before) + list(after)}}}


def metaspace(scheme, splits):
    return {"type": "Metaspace", "replacement": UNDER, "prepend_scheme": scheme,
            "split": splits}


def trim(prefix):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True,
            "use_regex": True}


SENTENCE = ["<unk>", "<s>", "</s>"]
KINDS = {
    "gpt2": dict(bytes=True, pre=GPT2, post=dict(GPT2, add_prefix_space=True,
                                                 trim_offsets=False),
                 words=True, added=[added("<|endoftext|>", normalized=True)]),
    "gpt2_prefix": dict(bytes=True, pre=dict(GPT2, add_prefix_space=True),
                        post=trim(True), words=True,
                        added=[added("<|endoftext|>"), added("<mask>", lstrip=True)]),
    "llama3": dict(bytes=True, pre=split(LLAMA3), ignore_merges=True,
                   post=[trim(True), template(["<|begin_of_text|>"])],
                   added=[added(t) for t in (
                       "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                       "<|eot_id|>")]),
    "qwen2": dict(bytes=True, normalizer={"type": "NFC"}, pre=split(QWEN2),
                  post=BYTES,
                  added=[added(t) for t in ("<|endoftext|>", "<|im_start|>",
                                            "<|im_end|>")] +
                        [added(t, special=False) for t in (
                            "<tool_call>", "</tool_call>", "<think>", "</think>")] +
                        [added("Straße", special=False, normalized=True)]),
    "tekken": dict(bytes=True, pre=split(TEKKEN), ignore_merges=True,
                   post=template(["<s>"], ["</s>"]),
                   added=[added(t) for t in ("<unk>", "<s>", "</s>", "[INST]",
                                             "[/INST]")]),
    "llama2": dict(normalizer=PREPEND, decoder=FALLBACK_STRIP, words=True,
                   first=SENTENCE, post=template(["<s>"]),
                   added=[added(t) for t in SENTENCE]),
    "llama2_normalized": dict(normalizer=PREPEND, decoder=FALLBACK_STRIP,
                              first=SENTENCE, post=template(["<s>"], ["</s>"]),
                              added=[added(t, normalized=True) for t in SENTENCE] +
                                    [added("wordy", special=False, single_word=True),
                                     added("<mask>", lstrip=True)]),
    "mistral": dict(pre=metaspace("first", False), decoder=FALLBACK_STRIP,
                    first=SENTENCE, post=template(["<s>"]),
                    added=[added(t) for t in SENTENCE + ["[INST]", "[/INST]"]]),
    "metaspace": dict(pre=metaspace("always", True),
                      decoder={"type": "Sequence", "decoders": [
                          {"type": "ByteFallback"}, metaspace("always", True)]},
                      first=SENTENCE,
                      post=template(["<s>"], ["</s>"]),
                      added=[added(t) for t in SENTENCE] +
                            [added("wordy", special=False, single_word=True,
                                   lstrip=True, rstrip=True)]),
    "gemma": dict(normalizer={"type": "Replace", "pattern": {"String": " "},
                              "content": UNDER},
                  pre={"type": "Split", "pattern": {"String": " "},
                       "behavior": "MergedWithPrevious", "invert": False},
                  decoder=FALLBACK, post=template(["<bos>"]),
                  first=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"],
                  added=[added(t) for t in ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>",
                                            "<start_of_turn>", "<end_of_turn>")] +
                        [added(t, special=False) for t in (
                            "\n\n", "\n\n\n", UNDER * 2, UNDER * 3, "<h1>")]),
    "phi3": dict(normalizer=PREPEND, decoder=FALLBACK_STRIP, words=True,
                 first=SENTENCE, post=template(["<s>"]),
                 added=[added("<unk>"), added("<s>"),
                        added("</s>", special=False, rstrip=True),
                        added("<|endoftext|>")] +
                       [added(t, rstrip=True) for t in (
                           "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")]),
    "unknown": dict(pre=metaspace("never", True), decoder=metaspace("never", True),
                    first=SENTENCE, fallback=False, fuse=False, post=None,
                    added=[added(t) for t in SENTENCE]),
    "unknown_fused": dict(pre={"type": "Sequence", "pretokenizers": [
                              {"type": "Split", "pattern": {"Regex": r"\d+"},
                               "behavior": "Contiguous", "invert": True},
                              {"type": "Split", "pattern": {"Regex": r"[\s]+"},
                               "behavior": "Removed", "invert": False},
                              {"type": "Split", "pattern": {"String": "."},
                               "behavior": "MergedWithNext", "invert": False}]},
                          decoder={"type": "Fuse"}, first=SENTENCE, fallback=False,
                          post=None, added=[added(t) for t in SENTENCE]),
}


def train(is_bytes, lines):
    tok = Tokenizer(models.BPE())
    if is_bytes:
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=1300, show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    else:
        tok.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=1100, limit_alphabet=260,
                                      show_progress=False,
                                      initial_alphabet=[UNDER, "\n"])
    tok.train_from_iterator(lines, trainer)
    return json.loads(tok.to_str())["model"]


def sentence_vocab(model, first, fallback):
    """As sentencepiece's: specials, bytes, merged tokens, letters; and merges that
    cross words, which its vocabularies have for blanks."""
    tokens = list(first)
    if fallback:
        tokens += ["<0x%02X>" % b for b in range(256)]
    tokens += [t for t, _ in sorted(model["vocab"].items(), key=lambda e: e[1])]
    merges = [tuple(m) for m in model["merges"]]
    for n in (1, 2, 4):
        merges.insert(5 * n, (UNDER * n, UNDER * n))
        tokens.append(UNDER * 2 * n)
    merges.append(("e", UNDER + "t"))
    tokens.append("e" + UNDER + "t")
    return {t: i for i, t in enumerate(dict.fromkeys(tokens))}, merges


def make(kind, spec, models_by_kind):
    model = models_by_kind[bool(spec.get("bytes"))]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    if not spec.get("bytes"):
        vocab, merges = sentence_vocab(model, spec["first"], spec.get("fallback", True))
    ids = dict(vocab)
    items = []
    for token in spec["added"]:
        ids.setdefault(token["content"], len(ids))
        items.append({"id": ids[token["content"]], **token})
    posts = spec["post"] if isinstance(spec["post"], list) else [spec["post"]]
    posts = [p["make"](ids) if p is not None and "make" in p else p for p in posts]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": sorted(items, key=lambda t: t["id"]),
        "normalizer": spec.get("normalizer"), "pre_tokenizer": spec.get("pre"),
        "post_processor": posts[0] if len(posts) == 1 else
                          {"type": "Sequence", "processors": posts},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                    "trim_offsets": True, "use_regex": True}
                   if spec.get("bytes") else spec["decoder"],
        "model": {"type": "BPE", "dropout": None,
                  "unk_token": None if spec.get("bytes") else "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": spec.get("fuse", not spec.get("bytes")),
                  "byte_fallback": not spec.get("bytes") and spec.get("fallback", True),
                  "ignore_merges": bool(spec.get("ignore_merges")), "vocab": vocab,
                  "merges": [" ".join(m) if spec.get("words") else list(m)
                             for m in merges]},
    }


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def byte_places(data):
    """Byte at which each letter of the repaired text begins in the given bytes."""
    places, at = [], 0
    while at < len(data):
        places.append(at)
        for n in (1, 2, 3, 4):
            try:
                data[at:at + n].decode("utf-8")
                break
            except UnicodeDecodeError as error:
                if "unexpected end" not in error.reason or at + n >= len(data):
                    n = max(error.end - error.start, 1)
                    break
        at += n
    return places + [len(data)]


def write_text(text, like):
    data, like = text.encode(), like.encode()
    if data == like:
        return varint(0)
    most = min(len(data), len(like))
    begin = next((i for i in range(most) if data[i] != like[i]), most)
    end = next((i for i in range(most - begin) if data[-1 - i] != like[-1 - i]),
               most - begin)
    return (varint(len(data) + 1) + varint(begin) + varint(end) +
            data[begin:len(data) - end])


def expect(tok, data):
    text = data.decode("utf-8", "replace")
    places = byte_places(data)
    assert len(places) == len(text) + 1, (data, places, text)
    encoding = tok.encode(text, add_special_tokens=False)
    out = bytearray(varint(len(encoding.ids)))
    end = 0
    for token, (first, last) in zip(encoding.ids, encoding.offsets):
        first, last = places[first], places[last]
        gap = first - end
        out += varint(token)
        if gap == 0:
            out += varint(2 * (last - first))
        else:
            out += varint(2 * (2 * gap if gap > 0 else -2 * gap - 1) + 1)
            out += varint(last - first)
        end = last
    plain = tok.decode(encoding.ids, skip_special_tokens=False)
    out += write_text(plain, text)
    out += write_text(tok.decode(encoding.ids, skip_special_tokens=True), plain)
    return bytes(out)


def main(folder):
    texts = strings(SEED)
    lines = corpus(SEED)
    models_by_kind = {is_bytes: train(is_bytes, lines) for is_bytes in (False, True)}
    with open(os.path.join(folder, "strings.bin"), "wb") as f:
        f.write(b"".join(varint(len(t)) + t for t in texts))
    frames = {}
    for kind, spec in KINDS.items():
        document = make(kind, spec, models_by_kind)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        tok = Tokenizer.from_str(text)
        with open(os.path.join(folder, kind + ".json"), "w") as f:
            f.write(text + "\n")
        with open(os.path.join(folder, kind + ".bin"), "wb") as f:
            f.write(b"".join(expect(tok, data) for data in texts))
        around = tok.encode("a", add_special_tokens=True).ids
        inner = tok.encode("a", add_special_tokens=False).ids
        at = next(i for i in range(len(around)) if around[i:i + len(inner)] == inner)
        frames[kind] = [around[:at], around[at + len(inner):]]
    provenance = {
        "script": "tools/golden/tokenizer.py", "seed": SEED,
        "tokenizers": tokenizers.__version__, "python": sys.version.split()[0],
        "strings": len(texts), "kinds": list(KINDS), "frames": frames,
        "note": "vocabularies are trained here, on words made by the script; the "
                "configurations are those that the families publish",
    }
    with open(os.path.join(folder, "provenance.json"), "w") as f:
        json.dump(provenance, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
