# SPDX-License-Identifier: Apache-2.0
# Masks of recipes and of files: picture, counts, leaks, what each distribution
# gives N ranks; files that are no masks.
. "$SOURCE/tests/cli/support/world.sh"

# words FILE DTYPE WORD... [-- POSITION...]: a safetensors file of words.
words() {
    python3 - "$@" <<'END'
import json, struct, sys
path, dtype, *rest = sys.argv[1:]
at = rest.index('--') if '--' in rest else len(rest)
words = [int(w, 0) for w in rest[:at]]
positions = [int(p) for p in rest[at + 1:]]
size = 8 if dtype in ('U64', 'I64') else 4
data = b''.join((w & (1 << 8 * size) - 1).to_bytes(size, 'little') for w in words)
header = {'words': {'dtype': dtype, 'shape': [len(words)], 'data_offsets': [0, len(data)]}}
if positions:
    more = struct.pack(f'<{len(positions)}i', *positions)
    header['positions'] = {'dtype': 'I32', 'shape': [len(positions)],
                           'data_offsets': [len(data), len(data) + len(more)]}
    data += more
text = json.dumps(header).encode()
text += b' ' * (-len(text) % 8)
with open(path, 'wb') as f:
    f.write(struct.pack('<Q', len(text)) + text + data)
END
}

# times N WORD: the word N times.
times() {
    for ((i = 0; i < $1; i++)); do printf '%s ' "$2"; done
}

text=0x0001000000030001
picture=0x0001000100000002
second=0x0002000000030001

printf -- '--- file\n'
# shellcheck disable=SC2046
words m.safetensors U64 $text $(times 3 $picture) $(times 2 $text) $(times 3 $second) 0
cornstarch inspect mask m.safetensors
printf -- '--- signed, permuted\n'
words p.safetensors I64 $text $picture $text -- 2 0 1
cornstarch inspect mask p.safetensors
printf -- '--- ranks\n'
# shellcheck disable=SC2046
words big.safetensors U64 $(times 200 $text) $(times 100 $picture) $(times 100 $text) $(times 112 $second)
cornstarch inspect mask big.safetensors --ranks 4 | tail -n 15
cornstarch inspect mask big.safetensors --ranks 2 --format json | python3 -c '
import json, sys
mask = json.load(sys.stdin)
for key in "format", "n_tokens", "documents", "dead_tokens", "visible_pairs", "tiles", "leaked_pairs", "n_ranks":
    print(key, mask[key])
for d in mask["distributions"]:
    ranks = d["ranks"]
    assert sum(r["n_tokens"] for r in ranks) == mask["n_tokens"]
    assert all(r["needed_tokens"] <= r["gathered_tokens"] for r in ranks)
    print(d["name"], d["imbalance"] >= 1, 0 <= d["needed_bytes_ratio"] <= 1)'
printf -- '--- bad files\n'
words bad.safetensors U64 $text 0x0000000000030001
fails cornstarch inspect mask bad.safetensors
words bad.safetensors U64 $text 0x0001000000030003
fails cornstarch inspect mask bad.safetensors
words bad.safetensors U64 $text $text $text -- 5 1 5
fails cornstarch inspect mask bad.safetensors
words bad.safetensors U64 $text $text $text -- 0 1
fails cornstarch inspect mask bad.safetensors
words bad.safetensors I32 1 2 3
fails cornstarch inspect mask bad.safetensors
words none.safetensors U64
cornstarch inspect mask none.safetensors --ranks 3 | head -n 4
fails cornstarch inspect mask m.safetensors seed=1
# 2^31 tokens, all zero: a sparse file
python3 -c '
import json, struct
text = json.dumps({"words": {"dtype": "U64", "shape": [2**31], "data_offsets": [0, 2**34]}}).encode()
text += b" " * (-len(text) % 8)
with open("huge.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    f.truncate(8 + len(text) + 2**34)'
fails cornstarch inspect mask huge.safetensors
rm huge.safetensors
truncate -s -8 m.safetensors
fails cornstarch inspect mask m.safetensors
printf -- '--- recipe\n'
make_world
cornstarch inspect mask recipe.yaml --ranks 3 data.shuffle=false | grep -v '^[#.+]*$'
