# SPDX-License-Identifier: Apache-2.0
# A rank that dies or stops is noticed, though mpirun does not see it: the
# others end with one sentence and exit status 4, nobody stays; what was saved
# goes on to the bits of a run that nobody disturbed.
. "$(dirname "$0")/support/mpi.sh"
. "$SOURCE/tests/cli/support/world.sh"
make_world
train=("$CORNSTARCH" train recipe.yaml --threads 1 training.max_steps=800 checkpoint.every=40
    checkpoint.keep=3 'logging.trace_steps=[]' evaluation.every=1000000 evaluation.at_end=false)

# One rank, whose end is hidden from mpirun.
cat >rank.sh <<'END'
"$@" &
echo $! >pid$OMPI_COMM_WORLD_RANK
wait $! 2>/dev/null
echo $? >status$OMPI_COMM_WORLD_RANK
sleep 100
END

# lose RANK SIGNAL TEXT SECONDS [OPTION...]
lose() {
    local rank=$1 signal=$2 text=$3 seconds=$4 job begin status=0 speaker
    shift 4
    rm -rf lost pid? status?
    mpi 3 bash rank.sh "${train[@]}" -o lost "$@" >out.txt 2>err.txt &
    job=$!
    while ! [ -e lost/checkpoints/latest ]; do
        kill -0 $job
        sleep 0.05
    done
    begin=$(date +%s%N)
    kill "-$signal" "$(cat "pid$rank")"
    wait $job || status=$?
    echo "rank $rank $signal: noticed and ended in $((($(date +%s%N) - begin) / 1000000)) ms, mpirun ends with $status"
    speaker=$((rank == 0 ? 1 : 0))
    grep "cornstarch: r0$speaker error PEER: rank $rank is lost: $text" err.txt
    [ "$(grep -c 'cornstarch: ' err.txt)" = 1 ]
    [ "$status" != 0 ]
    [ $((($(date +%s%N) - begin) / 1000000000)) -le "$seconds" ]
    [ "$(cat status$speaker 2>/dev/null || echo 4)" = 4 ]
    for _ in $(seq 100); do # mpirun ends a little before the others
        kill -0 "$(cat pid0)" "$(cat pid1)" "$(cat pid2)" 2>/dev/null || break
        sleep 0.1
    done
    for r in 0 1 2; do
        ! kill -0 "$(cat pid$r)" 2>/dev/null || { echo "rank $r stayed"; exit 1; }
    done
}

"${train[@]}" -o whole --ranks 3 --quiet >/dev/null
for rank in 0 1 2; do
    lose $rank KILL 'its process [0-9]* ended' 20
    mpi 3 "${train[@]}" -o lost --resume --quiet >/dev/null
    diff <(losses whole) <(losses lost)
    cmp {whole,lost}/model/language_model/model.safetensors
done
lose 1 STOP 'no sign of life for 2 s' 25 parallel.peer_timeout_s=2
