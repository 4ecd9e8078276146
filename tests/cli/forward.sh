# SPDX-License-Identifier: Apache-2.0
# A trained run's numbers, alone and on ranks; its model as other folders; what
# is wrong with a command line.
. "$SOURCE/tests/cli/support/world.sh"
make_world
cornstarch train recipe.yaml -o run --quiet >/dev/null
# tensors FILE NAME=v,v,v...: one row of i64 each.
tensors() {
    python3 - "$@" <<'END'
import json, struct, sys
header, data = {}, b''
for word in sys.argv[2:]:
    name, values = word.split('=')
    values = [int(v) for v in values.split(',')]
    raw = struct.pack(f'<{len(values)}q', *values)
    header[name] = {'dtype': 'I64', 'shape': [1, len(values)],
                    'data_offsets': [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
open(sys.argv[1], 'wb').write(struct.pack('<Q', len(text)) + text + data)
END
}
tensors in.safetensors input_ids=1,2,3,4,5 labels=-100,2,3,4,5
tensors cut.safetensors input_ids=1,2,3 labels=1

printf -- '--- run\n'
cornstarch forward run --input in.safetensors --output one.safetensors --grad
cornstarch forward run --input in.safetensors --output three.safetensors --grad --ranks 3 \
    parallel.plan=auto parallel.placement=modality_parallel --quiet
cmp one.safetensors three.safetensors && echo 'the same bytes on three ranks'
cornstarch forward run --input in.safetensors --output json.safetensors --format json
cornstarch inspect one.safetensors | grep -c grad.language_model
printf -- '--- folder\n'
cornstarch forward run/model/language_model --input in.safetensors --output lm.safetensors
printf -- '--- convert\n'
cornstarch convert --to modules run modules
cmp run/model/language_model/model.safetensors modules/language_model/model.safetensors
cmp run/model/vision/model.safetensors modules/vision/model.safetensors
cmp run/model/cornstarch.json modules/cornstarch.json
fails cornstarch convert --to modules run modules
fails cornstarch convert --to llava run llava
fails cornstarch convert run llava
fails cornstarch convert --to gguf run llava
printf -- '--- refused\n'
fails cornstarch forward run --input in.safetensors
fails cornstarch forward run --input cut.safetensors --output x.safetensors
fails cornstarch forward run --input none.safetensors --output x.safetensors
fails cornstarch forward nowhere --input in.safetensors --output x.safetensors
fails cornstarch forward media --input in.safetensors --output x.safetensors
ls x.safetensors 2>/dev/null || echo 'nothing written'
