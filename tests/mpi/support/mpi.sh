# SPDX-License-Identifier: Apache-2.0
# Sourced by tests of ranks as processes. Skips loudly where there is no
# mpirun, or where this program was built without its module of MPI.
export SOURCE
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
if ! command -v mpirun >/dev/null; then
    echo 'skipped: there is no mpirun on this machine' >&2
    exit 77
fi
if [ ! -e "$CORNSTARCH_MODULES/libcornstarch_mpi.so" ]; then
    echo 'skipped: this program was built without its module of MPI' >&2
    exit 77
fi

# Threads of several ranks on few cores wait for each other for ages; ranks of
# one machine need no network.
export OMP_NUM_THREADS=1 OMPI_MCA_btl=self,vader
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# mpi N COMMAND...: N processes of it.
mpi() {
    local n=$1
    shift
    timeout -k 5 150 mpirun --quiet --oversubscribe --bind-to none -n "$n" "$@"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit
