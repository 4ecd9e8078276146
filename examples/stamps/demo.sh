#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole story, from installed stamps to a model that hears and sees:
# prepares the data, trains both recipes on four ranks, shows that what was
# frozen is bitwise what it was, evaluates, writes captions. `make demo` calls
# it after the build. RANKS=1 examples/stamps/demo.sh takes one rank.
set -euo pipefail

cd "$(dirname "$0")/../.."
here=examples/stamps
build=${BUILD:-build/release}
cornstarch=$build/cornstarch
stamps=/usr/share/tuxpaint/stamps
data=data/stamps
ranks=${RANKS:-4}
started=$SECONDS

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n== %s\n' "$*"; }

if [ ! -d "$stamps" ]; then
    echo "demo: $stamps is missing; 'tools/install-deps data' installs it" >&2
    exit 1
fi

# value KEY LINE: the text of a key in a sample (each sample is one line).
value() { sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" <<<"$2"; }
# answer LINE: what the sample's answer says.
answer() {
    local text=${1##*\"gpt\", \"value\": \"}
    printf '%s\n' "${text%%\"\}]\}*}"
}

# train_recipe FILE: measures the layers (so that plan and predicted timeline
# know this machine), trains, says how long it took.
train_recipe() {
    local before=$SECONDS
    "$cornstarch" profile "$1" >/dev/null
    "$cornstarch" train "$1" --ranks "$ranks" --overwrite
    echo "took $((SECONDS - before)) s"
}

# same_weights FOLDER: runs/caption and runs/listen hold the same bytes.
same_weights() {
    local file=model/$1/model.safetensors
    if ! cmp "runs/caption/$file" "runs/listen/$file"; then
        echo "demo: $1 was frozen, but its weights changed" >&2
        exit 1
    fi
    echo "$1: frozen, bitwise unchanged ($(stat -c %s "runs/listen/$file") bytes)"
}

# describe FILE COUNT: captions for pictures spread over the file.
describe() {
    local line lines n
    n=$(grep -c '"id"' "$1")
    mapfile -t lines < <(awk -v step=$((n / $2)) \
        '/"id"/ && ++i % step == 0' "$1" | head -n "$2")
    for line in "${lines[@]}"; do
        printf '%s\n  wanted: %s\n  got:    ' "$(value image "$line")" \
            "$(answer "$line")"
        "$cornstarch" generate runs/caption --quiet --temperature 0 \
            --max-new-tokens 64 --image "$stamps/$(value image "$line")" \
            --prompt "What is it?"
    done
}

# listen FILE COUNT: what is said in recordings spread over the file.
listen() {
    local line lines n
    n=$(grep -c '"audio"' "$1")
    mapfile -t lines < <(awk -v step=$((n / $2)) \
        '/"audio"/ && !/"image"/ && ++i % step == 1' "$1" | head -n "$2")
    for line in "${lines[@]}"; do
        printf '%s\n  wanted: %s\n  got:    ' "$(value audio "$line")" \
            "$(answer "$line")"
        "$cornstarch" generate runs/listen --quiet --temperature 0 \
            --max-new-tokens 64 --audio "$stamps/$(value audio "$line")" \
            --prompt "What is it?"
    done
}

say "1 of 6: data"
"$build/prepare_stamps" -o "$data" -s "$stamps" -n 2

say "2 of 6: learn to describe pictures ($here/1-caption.yaml, $ranks ranks)"
train_recipe "$here/1-caption.yaml"

say "3 of 6: learn to listen, the rest frozen ($here/2-listen.yaml)"
train_recipe "$here/2-listen.yaml"
same_weights vision
same_weights language_model

say "4 of 6: does it look? the right picture against somebody else's"
"$cornstarch" eval runs/caption

say "5 of 6: does it listen? the right speech against somebody else's"
"$cornstarch" eval runs/listen

say "6 of 6: in its own words"
echo "pictures it was trained on:"
describe "$data/caption-train.json" 3
echo "pictures it has never seen:"
describe "$data/caption-heldout.json" 2
echo "speech it was trained on:"
listen "$data/listen-train.json" 3

say "done in $((SECONDS - started)) s; reports to open in a browser"
for run in caption listen; do
    echo "$PWD/runs/$run/report.html"
done
