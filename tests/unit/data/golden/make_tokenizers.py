#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden tokenizers and the ids that Hugging Face's `tokenizers`
gives for texts chosen to hurt. Run by hand in a virtual environment:

    pip install tokenizers && python make_tokenizers.py

The two tokenizers are trained on the texts themselves, so that nothing here
comes from anybody's model.
"""
import hashlib
import json
import pathlib
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers import normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXTS = [
    "", " ", "a", "\n", "A green pepper.",
    "the cat sat on the mat, the cat's mat; they're the cats that sat there",
    "  leading and   inner   and trailing spaces   ",
    "tabs\tand\r\nlines\n\n\nand more\n",
    "numbers 1 12 123 1234 12345 3.14159 1e-4",
    "Ein Kätzchen, größer als Ärger; été où ça; naïve façade",
    "Кошка сидит на коврике. Η γάτα κάθεται.",
    "猫がマットの上に座っている。中文没有空格",
    "emoji 🙂🙃 family 👨‍👩‍👧‍👦 flag 🇫🇷 €",
    "I'LL we'll I'D they'D can't won't it's IT'S",
    "<|endoftext|>", "before<|endoftext|>after", "<|endoftext|", "<|end|>x<|en",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa the the the",
    "e\u0301 \u00e9 \u00a0nbsp\u2003em\u200bzero", "\u0001\u007f",
    "\u1100\u1161\u11a8 \u0958 \U0001d160 A\u030a\u0323 \u212b",
    "thethethethe catcatcat satsatsat", "!!!??? -- ... ,,, (((a)))",
]


def build(name, pre, ignore_merges, normalizer=None):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tok.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=420, show_progress=False, special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(TEXTS * 3, trainer)
    tok.add_special_tokens(["<|endoftext|>", "<|end|>"])
    tok.add_tokens([AddedToken("<image>", normalized=False)])
    tok.save(str(HERE / f"{name}.json"), pretty=False)
    return tok


def main():
    made = {
        "gpt2_style": build(
            "gpt2_style",
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            False),
        "llama3_style": build(
            "llama3_style",
            pre_tokenizers.Sequence([
                pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False,
                                         use_regex=False)]),
            True),
        "qwen2_style": build(
            "qwen2_style",
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            False, normalizers.NFC()),
    }
    texts = TEXTS + ["see <image> here"]
    ids = {name: [tok.encode(t).ids for t in texts]
           for name, tok in made.items()}
    for name, tok in made.items():
        for text, got in zip(texts, ids[name]):
            assert tok.decode(got, skip_special_tokens=False) == (
                unicodedata.normalize("NFC", text) if tok.normalizer else text)
    golden = {
        "provenance": {
            "script": "make_tokenizers.py",
            "tokenizers": tokenizers.__version__,
            "sha256": {name: hashlib.sha256(
                (HERE / f"{name}.json").read_bytes()).hexdigest()
                for name in made},
        },
        "texts": texts,
        "texts_nfc": [unicodedata.normalize("NFC", t) for t in texts],
        "ids": ids,
    }
    (HERE / "tokenizer_ids.json").write_text(
        json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
