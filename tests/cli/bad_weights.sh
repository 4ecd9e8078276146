# SPDX-License-Identifier: Apache-2.0
# Folders that a recipe takes weights from: cut, hostile, of another shape,
# not a number. The dry run sees what headers tell.
. "$SOURCE/tests/cli/support/world.sh"
make_world
cornstarch train recipe.yaml -o base --quiet >/dev/null
weights=base/model/vision/model.safetensors
# from [WORD...]: trains on the vision encoder in folder source.
from() {
    fails cornstarch train recipe.yaml -o run --quiet 'model.encoders.vision.config=null' \
        'model.encoders.vision.from=source' "$@"
}
fresh() {
    rm -rf source run
    cp -r base/model/vision source
}

printf -- '--- good\n'
fresh
from --dry-run
printf -- '--- cut\n'
for n in 0 3 30 3000; do
    head -c "$n" "$weights" >source/model.safetensors
    from --dry-run
done
from --ranks 3
printf -- '--- hostile\n'
printf '\xff\xff\xff\xff\xff\xff\xff\x7f{}' >source/model.safetensors
from
printf '\x20\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[9]}}' >source/model.safetensors
from
rm source/model.safetensors
from
printf -- '--- config\n'
fresh
echo '{"model_type": "siglip_vision_model", "hidden_size":' >source/config.json
from
echo '{"model_type": "resnet"}' >source/config.json
from
fresh
sed -i 's/"num_hidden_layers": 1/"num_hidden_layers": 2/' source/config.json
from --dry-run
ls -d run 2>/dev/null || echo 'no run folder'
printf -- '--- not a number\n'
fresh
python3 - source/model.safetensors <<'END'
import struct, sys
data = open(sys.argv[1], 'rb').read()
begin = 8 + struct.unpack('<Q', data[:8])[0]
nan = struct.pack('<f', float('nan'))
open(sys.argv[1], 'wb').write(data[:begin] + nan * ((len(data) - begin) // 4))
END
from
from --ranks 3 --overwrite
printf -- '--- diverged\n'
fails cornstarch train recipe.yaml -o wild --quiet training.optimizer.learning_rate=1000 \
    training.max_grad_norm=null training.optimizer.weight_decay=1000 checkpoint.every=1 \
    training.max_steps=50 evaluation.every=1000
cornstarch inspect wild | wc -l
