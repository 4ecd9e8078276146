# SPDX-License-Identifier: Apache-2.0
# SIGINT, SIGTERM and SIGHUP end a run after a clean save with 128 + n; going
# on gives the bits of the run that was not stopped. SIGUSR1 saves and goes on.
. "$SOURCE/tests/cli/support/world.sh"
make_world
steps=(training.max_steps=60 evaluation.every=1000 'logging.trace_steps=[]')

# run_into FIFO COMMAND...: starts it in the background with its output in a
# pipe of one page, so that it cannot run ahead of who reads: 60 steps print
# more than that. Sets pid; the output is read from 4.
mkfifo fifo
run_into_fifo() {
    exec 3<>fifo
    python3 -c 'import fcntl; fcntl.fcntl(3, fcntl.F_SETPIPE_SZ, 4096)' <&3 3<&3
    exec 4<fifo
    "$@" >fifo 3>&- 4>&- &
    pid=$!
    exec 3>&-
}

wait_for_step() {
    local line
    while read -r line <&4; do
        case $line in step*) return ;; esac
    done
}

# interrupt SIGNAL RUN: sends it when the first step is done.
interrupt() {
    local status=0
    run_into_fifo env "--default-signal=$1" "$CORNSTARCH" train recipe.yaml -o "$2" \
        --ranks 3 --threads 1 "${steps[@]}"
    wait_for_step
    kill "-$1" "$pid"
    sed -n '/^stopped\|^go on\|^done/p' <&4
    wait "$pid" || status=$?
    echo "exit $status"
}
resume() { cornstarch train recipe.yaml -o "$1" --ranks 3 --resume "${steps[@]}" | grep '^done'; }

cornstarch train recipe.yaml -o whole --quiet "${steps[@]}"
losses whole >whole.txt
for signal in INT TERM HUP; do
    printf -- '--- %s\n' "$signal"
    interrupt "$signal" "$signal"
    ls "$signal/model" 2>/dev/null || echo 'no model yet'
    resume "$signal"
    losses "$signal" | cmp - whole.txt
    cmp {whole,"$signal"}/model/language_model/model.safetensors
done
printf -- '--- USR1\n'
interrupt USR1 USR1
losses USR1 | cmp - whole.txt
ls USR1/checkpoints | wc -l
printf -- '--- ignored by the parent\n'
trap '' INT
run_into_fifo "$CORNSTARCH" train recipe.yaml -o ignored --threads 1 "${steps[@]}"
wait_for_step
kill -INT "$pid"
grep '^done' <&4
wait "$pid"
printf -- '--- nobody reads\n'
cornstarch train recipe.yaml -o pipe "${steps[@]}" | head -n 1
losses pipe | cmp - whole.txt
