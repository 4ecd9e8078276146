# SPDX-License-Identifier: Apache-2.0
# A full disk, a file over its size limit, a folder that cannot be written:
# one sentence, and the checkpoint before stays whole.
. "$SOURCE/tests/cli/support/world.sh"
make_world
train() {
    fails cornstarch train recipe.yaml --quiet "$@" checkpoint.every=1 checkpoint.async=false \
        checkpoint.keep=9
}
cornstarch train recipe.yaml -o whole --quiet >/dev/null
losses whole >whole.txt

printf -- '--- limit\n'
(
    ulimit -f 16
    train -o limited
)
find limited -name '*.tmp*'
printf -- '--- stdout\n'
status=0
{ cornstarch explain >/dev/full; } 2>&1 || status=$?
echo "exit $status"
export -f train fails cornstarch losses
printf -- '--- full\n'
cat >full.sh <<'END'
set -eu
mount -t tmpfs -o size=700k none disk || exit 77
train -o disk/run
find disk -name '*.tmp*'
ls disk/run/checkpoints
mount -o remount,size=4M disk
train -o disk/run --resume
losses disk/run | cmp - whole.txt
mount -o remount,ro disk
train -o disk/new
train -o disk/run --overwrite
train output_dir=disk
losses disk/run | cmp - whole.txt
END
mkdir disk
status=0
unshare --map-root-user --mount bash full.sh || status=$?
if [ "$status" != 0 ]; then
    echo "skipped: no mount namespaces here (exit $status)" >&2
    exit 77
fi
