# SPDX-License-Identifier: Apache-2.0
# Every object on the way from a recipe to a run is printed; what a file is
# follows from its name.
. "$SOURCE/tests/cli/support/world.sh"
make_world
for kind in graph plan shard schedule; do
    printf -- '--- %s\n' "$kind"
    cornstarch inspect "$kind" recipe.yaml --ranks 3
done
printf -- '--- mask\n'
cornstarch inspect mask recipe.yaml data.shuffle=false training.global_batch_size=1 \
    training.microbatches=1 | head -n 8
printf -- '--- recipe\n'
cornstarch inspect recipe.yaml training.max_steps=7 >resolved.yaml
grep -n 'max_steps\|media_root' resolved.yaml
cornstarch inspect resolved.yaml >again.yaml
cmp again.yaml resolved.yaml
printf -- '--- simulate\n'
cornstarch simulate recipe.yaml --ranks 3
cornstarch simulate recipe.yaml --ranks 3 --format json
printf -- '--- plan.json\n'
cornstarch plan recipe.yaml --ranks 3 -o plan.json --quiet >table
cornstarch inspect plan.json >printed
cmp printed table
cornstarch inspect plan.json --format json >printed
cmp printed plan.json
cornstarch plan recipe.yaml --ranks 3 parallel.plan=plan.json | head -n 1
mkdir alone
mv plan.json alone
fails cornstarch inspect alone/plan.json
printf -- '--- profile\n'
cornstarch profile recipe.yaml | head -n 3
cornstarch plan recipe.yaml | grep -o 'costs: tiny.profile.json'
cornstarch profile recipe.yaml --format json -o p.json >printed
cmp printed p.json
