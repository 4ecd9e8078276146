# SPDX-License-Identifier: Apache-2.0
"""Hard strings for tokenizers: all scripts, emoji, marks, controls, runs, bytes
that are no UTF-8, special tokens inside of text. Deterministic: the same seed
gives the same list on every machine (letters are picked from Unicode 3.2, which
never changes)."""
import random
import unicodedata

SPECIALS = [
    "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>",
    "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<|user|>",
    "<|assistant|>", "<|system|>", "<|end|>", "[INST]", "[/INST]", "<mask>",
    "<tool_call>", "</tool_call>", "<think>", "</think>", "<h1>", "<0x0A>",
    "\u2581\u2581", "\u2581", "wordy", "Straße",
]

HAND = [
    "", " ", "  ", "\n", "\n\n", "\t", "\r\n", "a", " a", "a ", "A cat sat.",
    "Hello, world!", "I'm, you'LL, we'Ve, he'D, it'S 'twas 'S'T", "'ſ 'ſT",
    "don't can't won't they're I've 'll 're'", "x = 3;\n\ty += 4.5e-10  # done",
    "def f(a, b):\n    return a**b\n\n\n", "http://example.org/a?b=c&d=%20#e",
    "1234567890", "1,234,567.89", "3.14159", "12 345", "0x1F", "½ ⅔ ² ³ Ⅷ ①",
    "٠١٢٣٤٥٦٧٨٩", "０１２３", "१२३ ๑๒๓", "naïve café", "nai\u0308ve cafe\u0301",
    "e\u0301\u0327", "e\u0327\u0301", "\u0301a", "\u1e9b\u0323", "\u212b A\u030a Å",
    "\u1100\u1161\u11a8 \uac01 \uac00\u11a8", "한국어 텍스트", "日本語テキスト",
    "中文文本，没有空格。", "العربية نص", "עברית טקסט", "हिन्दी पाठ", "ภาษาไทย",
    "Ελληνικά", "Русский текст", "İstanbul ıI", "ǅ ǈ ß ﬁ", "🙂", "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 1️⃣ ☃️",
    "🏳️‍🌈🏴‍☠️", "a🙂b", "\ufeffBOM", "zero\u200bwidth\u200c\u200d\u2060",
    "\u180e mongolian \u180e\u180e", "\u2028line\u2029para", "\u00a0nbsp\u00a0",
    "\u0085nel\u0085", "\x00nul\x00", "\x01\x02\x7f", "a\u3000b", "tab\tend\t ",
    "trailing   ", "   leading", "a  b   c    d", "a\n\nb\n \nc\r\n\r\n d",
    "\u2581under\u2581line \u2581", "<0x41><0x0A><0xFF>", "\ufffd", "￿", "\U0010ffff",
    "\U0001d54f\U0001d550 math", "𐍈𐌰 gothic", "ZWJ क्‍ष", "💩" * 5, "Z̷̙̔ä̸l̴̗͐g̶͎̈́o̵̡͝",
]

BLOCKS = [
    (0x21, 0x7e), (0xa1, 0xff), (0x100, 0x24f), (0x250, 0x2af), (0x370, 0x3ff),
    (0x400, 0x4ff), (0x531, 0x587), (0x591, 0x5f4), (0x60c, 0x6f9), (0x710, 0x74a),
    (0x901, 0x970), (0x981, 0x9fa), (0xa02, 0xa74), (0xb82, 0xbf2), (0xc01, 0xc6f),
    (0xd02, 0xd6f), (0xe01, 0xe5b), (0xe81, 0xedd), (0xf00, 0xfcf), (0x1000, 0x1059),
    (0x10a0, 0x10fb), (0x1100, 0x11f9), (0x1200, 0x137c), (0x13a0, 0x13f4),
    (0x1780, 0x17e9), (0x1810, 0x18a9), (0x1e00, 0x1eff), (0x1f00, 0x1ffe),
    (0x2010, 0x205f), (0x2070, 0x209f), (0x2100, 0x218f), (0x2190, 0x22ff),
    (0x2460, 0x24ff), (0x2500, 0x27bf), (0x3041, 0x30ff), (0x3105, 0x312c),
    (0x3400, 0x4db5), (0x4e00, 0x9fa5), (0xac00, 0xd7a3), (0xf900, 0xfa2d),
    (0xfb00, 0xfb4f), (0xff01, 0xffee), (0x1d400, 0x1d7ff), (0x20000, 0x2a6d6),
]
EMOJI = ("😀 😂 🙃 🥰 🤖 👻 👍 👎 🙏 💪 🧠 👀 👶 👩 👨 🧑 🐈 🐕 🦄 🌍 🔥 ⭐ ❤ ☀ ⚡ ☕ 🍕 ⚽ 🎉 "
         "🚀 🚗 ✈ ⌚ 💻 📱 🔒 ♻ ✅ ❌ ❓ ‼ © ®").split(" ")
WORDS = ("the of and to in is that for it as with was on be at by this have from or one had "
         "word tokens model language picture sound Straße wordy x foo_bar HTTPServer2 "
         "naïve größer über Señor été ça où кот дом год время человек η και το του "
         "और है का में في من على إلى של את на не что").split(" ")
SPACE = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000",
         "\u2003", "\u2028", "\x0b", "\x0c", "\u0085", "\u200b", "\u180e", "\u1680", ""]


def letters():
    old = unicodedata.ucd_3_2_0
    return [[c for c in map(chr, range(a, b + 1)) if old.category(c)[0] != "C"]
            for a, b in BLOCKS]


def word(rng, blocks):
    block = rng.choice(blocks)
    return "".join(rng.choice(block) for _ in range(rng.randint(1, 7)))


def marked(rng, blocks, marks):
    base = rng.choice("aeouAEncs한가क่" + "\u1100\u09c7\u0b92")
    return base + "".join(rng.choice(marks) for _ in range(rng.randint(1, 4)))


def emoji(rng):
    one = rng.choice(EMOJI)
    kind = rng.randrange(5)
    if kind == 0:
        return one + chr(0x1f3fb + rng.randrange(5))
    if kind == 1:
        return one + "\u200d" + rng.choice(EMOJI)
    if kind == 2:
        return one + "\ufe0f"
    if kind == 3:
        return chr(0x1f1e6 + rng.randrange(26)) + chr(0x1f1e6 + rng.randrange(26))
    return one


def digits(rng):
    zero = rng.choice([0x30, 0x30, 0x30, 0x660, 0x966, 0xff10, 0x1d7ce])
    text = "".join(chr(zero + rng.randrange(10)) for _ in range(rng.randint(1, 12)))
    return text[:3] + rng.choice(["", ".", ",", " ", "'"]) + text[3:]


def mixed(rng, blocks, marks, specials):
    out = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.randrange(12)
        if kind < 4:
            out.append(rng.choice(WORDS))
        elif kind < 6:
            out.append(word(rng, blocks))
        elif kind == 6:
            out.append(marked(rng, blocks, marks))
        elif kind == 7:
            out.append(emoji(rng))
        elif kind == 8:
            out.append(digits(rng))
        elif kind == 9:
            out.append(rng.choice([",", ".", "!?", "...", "--", "'s", "'LL", "(", ")",
                                   "\"", "#", "/", "\\n", "{}", "=>", "\u2019s", "\u2014"]))
        elif kind == 10 and specials:
            special = rng.choice(SPECIALS)
            out.append(special if rng.randrange(6) else special[:-1])
        else:
            out.append(chr(rng.choice([0, 1, 7, 8, 0x1b, 0x1f, 0x7f, 0x80, 0x9f, 0xad,
                                       0x200e, 0x202e, 0x2066, 0xfeff, 0xe000, 0xfffd])))
        out.append(rng.choice(SPACE))
    return "".join(out)


def broken(rng, text):
    """Bytes that are no UTF-8: cut, changed, overlong, surrogates, too large."""
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del data[at:at + 1]
        elif kind == 1:
            data[at:at] = bytes([rng.randrange(128, 256)])
        elif kind == 2:
            data[at:at] = rng.choice([b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80",
                                      b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
                                      b"\xff\xfe", b"\xe2\x82", b"\xf0\x9f\x99"])
        elif kind == 3:
            data[at:at + 1] = bytes([rng.randrange(256)])
        else:
            data = data[:at] or bytearray(b"\x80")
    return bytes(data)


def strings(seed):
    rng = random.Random(seed)
    blocks = letters()
    marks = [chr(c) for c in list(range(0x300, 0x34f)) + list(range(0x591, 0x5a2)) +
             [0x93c, 0x94d, 0xe48, 0x1161, 0x1175, 0x11a8, 0x11c2, 0x3099, 0x309a, 0x20d0]]
    out = [text.encode("utf-8", "surrogatepass") for text in HAND + SPECIALS]
    for c in ["a", "A", " ", "\n", "\t", "\r\n", "0", "'", "=", "é", "猫", "🙂", "\u0301",
              "\u2581", "<", "-", " a", "ab ", "\x00", "\u200d"]:
        out.append((c * 17).encode())
        out.append((c * 150).encode())
    for special in SPECIALS:
        for around in (" {} ", "a{}b", "{}{}", "  {}\n\n{} x", "\u3000{}\u00a0", "e\u0301{}n\u0303",
                       " {}. "):
            out.append(around.replace("{}", special).encode())
    while len(out) < 1650:
        out.append(mixed(rng, blocks, marks, len(out) % 3 == 0).encode())
    while len(out) < 1850:
        out.append("".join(marked(rng, blocks, marks) for _ in range(4)).encode())
    while len(out) < 2100:
        out.append(broken(rng, mixed(rng, blocks, marks, False) or "é"))
    return out


def corpus(seed):
    """What vocabularies are trained on: words of many scripts."""
    rng = random.Random(seed)
    blocks = letters()
    lines = []
    for _ in range(3000):
        words = [rng.choice(WORDS) for _ in range(8)] + [rng.choice(EMOJI)]
        words.append("".join(rng.choice(rng.choice(blocks[:6])) for _ in range(3)))
        words += [str(rng.randrange(10000)), "café", "it's", "they'll", "日本語", "한국어"]
        rng.shuffle(words)
        lines.append(" ".join(words) + rng.choice(["\n", "\n\n", ".  ", "   \t", "!"]))
    return lines
