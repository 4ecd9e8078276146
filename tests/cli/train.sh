# SPDX-License-Identifier: Apache-2.0
# The main job on tiny data: index, dry run, training on one and on several
# ranks with bitwise equal losses, evaluation, generation.
. "$SOURCE/tests/cli/support/world.sh"
make_world

printf -- '--- index\n'
cornstarch index recipe.yaml
cornstarch index recipe.yaml
cornstarch index recipe.yaml --format json
printf -- '--- dry run\n'
cornstarch train recipe.yaml --dry-run
cornstarch train recipe.yaml --dry-run --format json
ls -A runs
printf -- '--- train\n'
cornstarch train recipe.yaml
find runs/tiny -type f ! -path '*/tensorboard/*' | LC_ALL=C sort
printf -- '--- ranks\n'
cornstarch train recipe.yaml --ranks 3 -o three --quiet
diff <(losses runs/tiny) <(losses three)
cornstarch train recipe.yaml --ranks 4 -o four --format json parallel.schedule=gpipe |
    python3 -c 'import json, sys; print(sorted(json.load(sys.stdin)))'
diff <(losses runs/tiny) <(losses four)
losses runs/tiny | wc -l
for file in $(cd runs/tiny/model && find . -name '*.safetensors'); do
    cmp "runs/tiny/model/$file" "three/model/$file"
done
printf -- '--- resolved recipe\n'
cornstarch train runs/tiny/recipe.yaml -o again --quiet
diff <(losses runs/tiny) <(losses again)
printf -- '--- eval\n'
cornstarch eval runs/tiny
cornstarch eval runs/tiny --format json --data heldout.json --max-samples 1 |
    python3 -c 'import json, sys; print([sorted(x) for x in json.load(sys.stdin)])'
cornstarch eval runs/tiny --format json --data heldout.json |
    python3 -c '
import json, sys
for row in json.load(sys.stdin):
    print(row["media"], sorted(k for k in row if k.startswith("gain")))
    if "gain_n_samples" in row:
        gain = row["eval_loss"] - right
        print(abs(gain - row["gain_nats_per_token"]) < 1e-7, row["gain_n_samples"])
    right = row["eval_loss"]'
cornstarch eval runs/tiny --checkpoint 3 >checkpoint.txt
cornstarch eval three >three.txt
cmp checkpoint.txt three.txt
# OpenMP is loaded after its environment is set: waiting threads do not spin.
OMP_DISPLAY_ENV=verbose cornstarch eval three 2>&1 | grep SPINCOUNT |
    grep -v "'1000'" || true
fails cornstarch eval nowhere
fails cornstarch eval runs/tiny --data nowhere.json
fails cornstarch eval runs/tiny --checkpoint 2
printf -- '--- generate\n'
generate() { cornstarch generate runs/tiny --max-new-tokens 8 "$@"; }
generate --prompt 'What is it?' --image media/rgb.png --temperature 0 >first.txt
generate --prompt 'What is it?' --image media/rgb.png --temperature 0 >second.txt
cmp second.txt first.txt
generate --prompt 'Hm' --temperature 1 --seed 3 --top-p 0.9 >sampled.txt
generate --prompt 'Hm' --temperature 1 --seed 3 --top-p 0.9 >again.txt
cmp again.txt sampled.txt
generate --prompt 'Hm' --audio media/tone.wav --format json |
    python3 -c 'import json, sys; print(list(json.load(sys.stdin)))'
fails generate --prompt '<image> and <image>' --image media/rgb.png
fails generate --prompt 'Hm' --image nowhere.png
fails generate --prompt 'Hm' --audio media/rgb.png
fails generate --prompt 'Hm' --top-p 0
printf -- '--- inspect\n'
cornstarch inspect runs/tiny
cornstarch inspect runs/tiny --checkpoint 3 | sed -n '/^[0-9]* tensors/,$p' | head -n 3
fails cornstarch inspect checkpoint runs/tiny --checkpoint 2
fails cornstarch inspect checkpoint media
cornstarch inspect runs/tiny/model/audio/projector
cornstarch inspect runs/tiny/model/audio/projector/model.safetensors --format json
