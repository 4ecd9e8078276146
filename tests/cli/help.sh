# SPDX-License-Identifier: Apache-2.0
# Help is printed by every command; what cannot be understood is refused with
# exit status 2 and the nearest name.
. "$SOURCE/tests/cli/support/world.sh"
"$CORNSTARCH" --help
for command in index train eval generate plan simulate profile inspect models \
    explain doctor forward; do
    printf -- '--- %s\n' "$command"
    "$CORNSTARCH" "$command" --help | sed '/--format/,$d'
done
printf -- '--- everywhere\n'
"$CORNSTARCH" models -h | sed -n '/--format/,$p'
"$CORNSTARCH" --version
printf -- '--- refused\n'
for line in trian wibble '--halp' 'train' 'train a.yaml b.yaml' \
    'train --rank 3 a.yaml' 'train --ranks' 'train --ranks 0 a.yaml' \
    'train --ranks=many a.yaml' 'train --quiet=1 a.yaml' \
    'train --format xml a.yaml' 'train --log loud a.yaml' \
    'train --device gpu a.yaml' 'train --device cuda a.yaml' \
    'train --resume --overwrite a.yaml' 'train --resume=0 a.yaml' \
    'train --image a.png a.yaml' 'eval runs/x data.seed=3' 'models all' \
    'generate runs/x' 'explain a b' 'explain data.to_long' \
    'explain data --format json' 'inspect' 'inspect graph' \
    'inspect grph a.yaml' 'inspect thing' 'inspect safetensors x a.b=1' \
    'inspect mask a.yaml --format json' forward bench; do
    printf '%s: ' "$line"
    # shellcheck disable=SC2086 # the words of a command line
    fails "$CORNSTARCH" $line
done
