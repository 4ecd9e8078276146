# SPDX-License-Identifier: Apache-2.0
# The tests of communicators, with processes as ranks.
. "$(dirname "$0")/support/mpi.sh"
tests=$(dirname "$CORNSTARCH")/tests

for name in comm collective; do
    mpi 7 "$tests/unit_comm_$name" >out.txt 2>&1 || {
        cat out.txt
        exit 1
    }
    # All seven ran all of it.
    [ "$(grep -c 'test(s) run' out.txt)" = 7 ]
    grep 'PASSED' out.txt
done
