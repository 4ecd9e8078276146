# SPDX-License-Identifier: Apache-2.0
# The training step of the demo's first recipe: median step time, share of
# matrix products and attention in the ranks' time, start-up, peak memory; f32
# and bf16, one rank with one thread and four ranks. Needs the prepared stamps
# (make demo prepares them). Interleaved rounds; medians of the rounds' medians.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
recipe=$SOURCE/examples/stamps/1-caption.yaml
if [ ! -f "$SOURCE/data/stamps/caption-train.json" ]; then
    echo "step.sh: no data/stamps; run 'make demo' first" >&2
    exit 77
fi
for round in 1 2 3; do
    for precision in f32 bf16; do
        for ranks in 1 4; do
            "$CORNSTARCH" train "$recipe" --format json --ranks $ranks --threads 1 \
                --overwrite -o "$out/run" "training.precision=$precision" \
                training.max_steps=20 evaluation.at_end=false evaluation.every=null \
                checkpoint.every=1000 export.at_end=false logging.report=false \
                > "$out/$precision-$ranks-$round.json"
        done
    done
done
help_s=$(python3 - "$CORNSTARCH" <<'PY'
import subprocess, sys, time
times = []
for _ in range(21):
    start = time.perf_counter()
    subprocess.run([sys.argv[1], "--help"], stdout=subprocess.DEVNULL, check=True)
    times.append(time.perf_counter() - start)
print(sorted(times)[10])
PY
)
python3 - "$out" "$help_s" <<'PY'
import json, pathlib, statistics, sys
folder, cases = pathlib.Path(sys.argv[1]), []
for precision in ("f32", "bf16"):
    for ranks in (1, 4):
        rounds = [json.loads(p.read_text()) for p in folder.glob(f"{precision}-{ranks}-*.json")]
        middle = lambda key: statistics.median(r[key] for r in rounds)
        cases.append({
            "precision": precision, "ranks": ranks,
            "median_step_s": middle("median_step_s"),
            "start_s": middle("start_s"),
            "product_share": statistics.median(r["product_s"] / r["train_s"] / ranks for r in rounds),
            "attention_share": statistics.median(r["attention_s"] / r["train_s"] / ranks for r in rounds),
            "peak_rss_bytes": int(middle("peak_rss_bytes")),
        })
print(json.dumps({"cases": cases, "summary": {"help_s": float(sys.argv[2])}}, indent=1))
PY
