# SPDX-License-Identifier: Apache-2.0
# A run folder is never emptied by accident; --resume goes on with what was
# begun, bit by bit, and falls back where a checkpoint is damaged.
. "$SOURCE/tests/cli/support/world.sh"
make_world
train() { fails cornstarch train recipe.yaml --quiet "$@"; }
show() { cat out.txt; }

printf -- '--- not empty\n'
train checkpoint.every=1 checkpoint.keep=9
losses runs/tiny >whole.txt
train
fails cornstarch train recipe.yaml --resume --overwrite
mkdir folder
echo mine >folder/letter.txt
train -o folder
train -o folder --overwrite
cat folder/letter.txt
train -o recipe.yaml
train -o recipe.yaml/run
printf -- '--- overwrite keeps the old run when the new one cannot start\n'
train --overwrite 'data.train[0].path=nowhere.json'
train --overwrite 'model.language_model.config=null' \
    'model.language_model.from=runs/tiny/model/language_model'
losses runs/tiny | cmp - whole.txt
printf -- '--- resume\n'
train --resume -o new
train --resume=7
train --resume seed=3
train --resume training.max_steps=5
sed 's/pool: 4/pool: 2/' recipe.yaml >other.yaml
fails cornstarch train other.yaml --resume
grep -c 'seed: 42' runs/tiny/recipe.yaml
train --resume
show
train --resume=1 checkpoint.every=1 checkpoint.keep=9
losses runs/tiny | cmp - whole.txt
train --resume=2 --ranks 3
losses runs/tiny | cmp - whole.txt
printf -- '--- damaged\n'
echo x >>runs/tiny/checkpoints/step-00000003/state.json
train --resume --log warn 2>&1 | sed 's/^[0-9:.]* r.. warn/warn/'
losses runs/tiny | cmp - whole.txt
for step in 1 2 3; do
    truncate -s 99 "runs/tiny/checkpoints/step-0000000$step/optimizer.0.safetensors"
done
train --resume
train --resume=2
fails cornstarch eval runs/tiny --checkpoint 2
printf -- '--- auto\n'
train -o auto checkpoint.resume=auto
train -o auto checkpoint.resume=auto
show
printf -- '--- overwrite\n'
echo mine >runs/tiny/letter.txt
train --overwrite training.max_steps=2
ls runs/tiny runs/tiny/checkpoints
