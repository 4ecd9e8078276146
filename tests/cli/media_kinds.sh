# SPDX-License-Identifier: Apache-2.0
# Encoders from folders that transformers saved: pictures of any size, in
# squares, in tiles with lines, sound padded to all positions. Each is trained
# on one and on three ranks with bitwise equal losses, evaluated and asked.
. "$SOURCE/tests/cli/support/world.sh"
make_world
zoo=$SOURCE/tests/golden/zoo/encoder

# with FOLDER KEYS: the recipe with its vision (or sound) encoder from FOLDER.
with() {
    python3 - "$1" "$zoo/$1" "$2" <<'END'
import re
import sys
name, folder, keys = sys.argv[1:]
kind = "audio" if "whisper" in name or "audio" in name else "vision"
text = open("recipe.yaml").read()
entry = f"    {kind}:\n      from: {folder}\n      placeholder: \"<" + \
    {"vision": "image", "audio": "audio"}[kind] + f">\"\n{keys}"
text = re.sub(rf"    {kind}:\n(      .*\n)+", entry, text)
open(f"{name}.yaml", "w").write(text.replace("name: tiny", f"name: {name}"))
END
}

run() {
    printf -- '--- %s\n' "$1"
    with "$1" "$2"
    cornstarch train "$1.yaml" --quiet >train.txt
    cornstarch train "$1.yaml" --ranks 3 -o "$1-three" --quiet >train.txt
    diff <(losses "runs/$1") <(losses "$1-three") && losses "runs/$1" | wc -l
    cornstarch eval "runs/$1" --format json |
        python3 -c 'import json, sys; print(len(json.load(sys.stdin)) > 0)'
    cornstarch generate "runs/$1" --image media/rgb.png --audio media/tone.wav \
        --prompt 'What is it?' --max-new-tokens 2 >answer.txt && echo answered
    grep -o '"image_processor_type": "[A-Za-z0-9]*"\|"padding": [a-z]*' \
        "runs/$1"/model/{vision,audio}/preprocessor_config.json | sed 's/^.*json://'
}

run pixtral '      processor: {image_size: 24}
'
run qwen2_vl '      stack: 4
      processor: {min_pixels: 64, max_pixels: 1024}
'
run llava_next '      feature_select: default
      feature_layer: -2
      projector: {type: linear}
'
run dinov2_larger '      processor: {image_size: 20}
'
run whisper_padded ''
run qwen2_audio_padded ''
