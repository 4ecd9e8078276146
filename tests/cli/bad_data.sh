# SPDX-License-Identifier: Apache-2.0
# Bad samples are named by file, line and sample; where the recipe skips them
# they are counted.
. "$SOURCE/tests/cli/support/world.sh"
make_world
# between SAMPLE...: a file with the sample between two good ones.
between() {
    {
        printf '[\n'
        conversation good1 '' 'Say yes.' 'yes'
        printf ',\n%s,\n' "$1"
        conversation good2 '' 'Say maybe.' 'maybe'
        printf '\n]\n'
    } >bad.json
}
check() { fails cornstarch train recipe.yaml 'data.train[0].path=bad.json' --dry-run --quiet "$@"; }
counts() { cornstarch index recipe.yaml 'data.train[0].path=bad.json' 'data.eval=[]' --quiet "$@" | head -n 1; }
sample() {
    between "$(conversation s1 "$@")"
    check
}

printf -- '--- placeholders and media\n'
sample '"image": "rgb.png", ' '<image><image>\nWhat?' 'A'
counts data.bad_sample=skip
sample '"image": "rgb.png", ' 'What?' 'A'
sample '' '<image>What?' 'A'
sample '"image": ["rgb.png", "gray.png"], ' '<image>What?' 'A'
sample '"video": "rgb.mp4", ' '<video>What?' 'A'
sample '"image": "nowhere.png", ' '<image>What?' 'A'
sample '"image": "tone.wav", ' '<image>What?' 'A'
sample '"image": 3, ' '<image>What?' 'A'
printf -- '--- length\n'
sample '"image": "rgb.png", ' '<image>What?' ''
counts data.bad_sample=skip
sample '"image": "rgb.png", ' '<image>What?' "$(printf 'A%.0s' {1..500})"
counts data.too_long=skip
counts data.too_long=truncate
sample '"image": "rgb.png", ' "<image>$(printf 'A%.0s' {1..500})" 'B'
counts data.too_long=truncate data.bad_sample=skip
printf -- '--- no labels\n'
printf '[' >bad.json
conversation s1 '' 'Say yes.' '' >>bad.json
printf ']' >>bad.json
check data.bad_sample=skip
echo '[{"conversations": [{"from": "human", "value": "x"}]}]' >bad.json
check
printf -- '--- JSON\n'
echo '[{"conversations": [{"from": "robot", "value": "x"}]}]' >bad.json
check
echo '[{"conversations": [{"from": "human", "value": 3}]}]' >bad.json
check
echo '[{"conversations": []}]' >bad.json
check
echo '{"id": 7}' >bad.json
check
echo '[[3]]' >bad.json
check
echo '[]' >bad.json
check
: >bad.json
check
printf '[{"conversations": [{"from": "human", "value": "\xff"}]}]' >bad.json
check
sed '4s/}/]/' train.json >bad.json
check
check data.bad_sample=skip
head -c 500 train.json >bad.json
check
