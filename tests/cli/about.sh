# SPDX-License-Identifier: Apache-2.0
# models, explain and doctor, as text and as JSON.
"$CORNSTARCH" models | grep -E '^(family|llama|siglip|whisper) '
"$CORNSTARCH" models |
    grep -E '^(preset|llama-3.2-1b|siglip-so400m-patch14-384|whisper-tiny) '
"$CORNSTARCH" models --format json | python3 -c '
import json, sys
models = json.load(sys.stdin)
print(sorted(models), models["families"][0])
families = {f["family"] for f in models["families"]}
print({p["family"] for p in models["presets"]} == families)
print(next(p for p in models["presets"] if p["preset"] == "qwen3-0.6b"))'
"$CORNSTARCH" explain data.too_long
"$CORNSTARCH" explain data.train
"$CORNSTARCH" doctor
"$CORNSTARCH" doctor --format json | python3 -c '
import json, sys
doctor = json.load(sys.stdin)
print(sorted(doctor), doctor["ref"])'
