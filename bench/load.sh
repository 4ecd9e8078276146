# SPDX-License-Identifier: Apache-2.0
# Weights of a folder through the importer beside a plain read; see load_bench.c.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$(dirname "$CORNSTARCH")/bench/load_bench" "$out/folder"
