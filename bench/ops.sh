# SPDX-License-Identifier: Apache-2.0
# Kernels one by one; see op_bench.c.
exec "$(dirname "$CORNSTARCH")/bench/op_bench" auto 1
