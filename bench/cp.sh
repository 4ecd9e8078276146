# SPDX-License-Identifier: Apache-2.0
# Balance and bytes of context parallelism, as predicted; see cp_bench.c.
exec "$(dirname "$CORNSTARCH")/bench/cp_bench"
