# SPDX-License-Identifier: Apache-2.0
# Processes as ranks train what threads as ranks train, bit for bit; one of them
# talks and writes; those that do not belong together are refused.
. "$(dirname "$0")/support/mpi.sh"
. "$SOURCE/tests/cli/support/world.sh"
make_world
train=("$CORNSTARCH" train recipe.yaml --threads 1)

# says STATUS TEXT COMMAND...: ends with STATUS and with TEXT in its one
# sentence.
says() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$@" >out.txt 2>err.txt || status=$?
    if [ "$status" != "$wanted" ] || ! grep -q "$text" err.txt ||
        [ "$(grep -c 'cornstarch:' err.txt)" != 1 ]; then
        echo "wanted exit $wanted and '$text', got exit $status and:" >&2
        cat err.txt >&2
        exit 1
    fi
}

echo '--- the same bits'
for n in 2 3 4; do
    options=()
    [ "$n" != 2 ] || options=(parallel.placement=single parallel.dp=2 parallel.zero=0)
    "${train[@]}" -o "threads$n" --ranks "$n" --quiet "${options[@]}" >/dev/null
    mpi "$n" "${train[@]}" -o "processes$n" "${options[@]}" >"out$n.txt"
    diff <(losses "threads$n") <(losses "processes$n")
    for file in $(cd "threads$n/model" && find . -name '*.safetensors'); do
        cmp "threads$n/model/$file" "processes$n/model/$file"
    done
    diff <(cd "threads$n" && find . -type f | grep -v tensorboard | sort) \
        <(cd "processes$n" && find . -type f | grep -v tensorboard | sort)
    # One process talks: each line is there once.
    [ "$(grep -c '^step ' "out$n.txt")" = "$(grep -c '^step ' <(sort -u "out$n.txt"))" ]
    [ "$(grep -c '^done' "out$n.txt")" = 1 ]
done

echo '--- resumed by threads, by processes'
"${train[@]}" -o whole --ranks 3 --quiet training.max_steps=4 checkpoint.every=2
mpi 3 "${train[@]}" -o half --quiet training.max_steps=4 checkpoint.every=2
rm -rf half/checkpoints/step-00000004 half/checkpoints/latest
mpi 3 "${train[@]}" -o half --quiet training.max_steps=4 checkpoint.every=2 --resume
diff <(losses whole) <(losses half)
cmp {whole,half}/model/language_model/model.safetensors

echo '--- refused, in one sentence'
says 2 'asks for 2, but 3 processes' mpi 3 "${train[@]}" -o no --ranks 2
says 2 'wanted 3 to 12 ranks' mpi 2 "${train[@]}" -o no parallel.placement=modality_parallel
says 2 'not empty' mpi 3 "${train[@]}" -o half
says 2 'process 1 has another recipe than process 0' mpi 3 bash -c \
    '"$@" "training.max_steps=$((3 + OMPI_COMM_WORLD_RANK))"' _ "${train[@]}" -o no
cp "$CORNSTARCH" other && printf x >>other
says 2 'process 2 has another program than process 0' mpi 3 bash -c \
    'exe=$1; shift; [ $OMPI_COMM_WORLD_RANK != 2 ] || exe=./other; exec $exe "$@"' _ "${train[@]}" -o no
says 1 'nowhere.yaml' mpi 3 "$CORNSTARCH" train nowhere.yaml
says 2 'index runs in one process, and mpirun started 2' mpi 2 "$CORNSTARCH" index recipe.yaml
[ ! -e no ]

echo '--- stopped by a signal to one of them'
status=0
mpi 3 bash -c '[ $OMPI_COMM_WORLD_RANK != 1 ] || echo $$ >pid; exec "$@"' _ \
    "${train[@]}" -o stopped training.max_steps=100000 'logging.trace_steps=[]' evaluation.every=1000000 >out.txt &
while ! grep -q '^step ' out.txt; do
    kill -0 $!
    sleep 0.1
done
kill -TERM "$(cat pid)"
wait $! || status=$?
[ "$status" = 143 ]
grep '^stopped by a signal' out.txt
grep -o 'go on with: mpirun -n 3' out.txt
ls stopped/checkpoints/latest
