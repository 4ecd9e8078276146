# SPDX-License-Identifier: Apache-2.0
# SIGINT, SIGTERM and SIGHUP end a run after a clean save with 128 + n; going
# on gives the bits of the run that was not stopped. SIGUSR1 saves and goes on.
. "$SOURCE/tests/cli/support/world.sh"
make_world
steps=(training.max_steps=60 training.global_batch_size=1 training.microbatches=1 evaluation.every=1000 'logging.trace_steps=[]')

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

# interrupt SIGNAL RUN [OPTION...]: sends it when the first step is done.
interrupt() {
    local status=0 signal=$1 run=$2
    shift 2
    run_into_fifo env "--default-signal=$signal" "$CORNSTARCH" train recipe.yaml -o "$run" \
        --threads 1 "${steps[@]}" "$@"
    wait_for_step
    kill "-$signal" "$pid"
    sed -n '/^stopped\|^go on\|^done/p' <&4
    wait "$pid" || status=$?
    echo "exit $status"
}
# go_on RUN [OPTION...]: ends as the run that was not stopped.
go_on() {
    local run=$1
    shift
    ls "$run/model" 2>/dev/null || echo 'no model yet'
    cornstarch train recipe.yaml -o "$run" --resume "${steps[@]}" "$@" | grep '^done'
    losses "$run" | cmp - whole.txt
    cmp {whole,"$run"}/model/language_model/model.safetensors
}

cornstarch train recipe.yaml -o whole --quiet "${steps[@]}"
losses whole >whole.txt
printf -- '--- INT\n'
interrupt INT int --ranks 3
go_on int --ranks 3
printf -- '--- TERM\n'
interrupt TERM term
go_on term
printf -- '--- HUP\n'
interrupt HUP hup
printf -- '--- USR1\n'
interrupt USR1 usr1
losses usr1 | cmp - whole.txt
ls usr1/checkpoints | wc -l
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
