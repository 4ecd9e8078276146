# SPDX-License-Identifier: Apache-2.0
# Pictures and recordings that begin well and end early: an error with file,
# line and sample, after what was trained is saved; or skipped and counted.
# shellcheck disable=SC2154 # golden and pictures come from world.sh
. "$SOURCE/tests/cli/support/world.sh"
make_world
train() { fails cornstarch train recipe.yaml --overwrite --quiet --log warn "$@" 2>&1 | sed 's/^[0-9:.]* r.. warn/warn/; s/^[0-9:.]* warn/warn/'; }
cut_file() { head -c "$2" "$golden/$1" >"media/$3"; }
skipped() { grep -o '"skipped_samples": [0-9]*' runs/tiny/metrics.jsonl; }

printf -- '--- picture\n'
cut_file palette.png 260 palette.png
train
train data.bad_sample=skip data.shuffle=false
tail -n 3 out.txt
skipped
cp runs/tiny/metrics.jsonl one.jsonl
train data.bad_sample=skip data.shuffle=false --ranks 3
diff <(grep -o '"loss": [^,]*' one.jsonl) <(grep -o '"loss": [^,]*' runs/tiny/metrics.jsonl)
fails cornstarch eval runs/tiny --quiet
head -n 3 out.txt
cp "$golden/palette.png" media
printf -- '--- picture without header\n'
cut_file palette.png 20 palette.png
fails cornstarch train recipe.yaml -o new --quiet output_dir=elsewhere
cp "$golden/palette.png" media
printf -- '--- recording\n'
cut_file mono16k.wav 6000 tone.wav
train
train data.bad_sample=skip data.shuffle=false
cut_file mono16k.wav 40 tone.wav
train
cp "$golden/mono16k.wav" media/tone.wav
printf -- '--- evaluation only\n'
cut_file gray16.png 300 gray16.png
train
ls runs/tiny/checkpoints
train data.bad_sample=skip
tail -n 3 out.txt
printf -- '--- everything\n'
for name in "${pictures[@]}"; do
    cut_file "$name.png" 100 "$name.png"
done
{
    printf '[\n'
    conversation a '"image": "rgb.png", ' '<image>What?' 'A.'
    printf ',\n'
    conversation b '"image": "gray.png", ' '<image>What?' 'B.'
    printf '\n]\n'
} >pictures.json
train 'data.train[0].path=pictures.json' data.bad_sample=skip data.shuffle=false
