#!/usr/bin/env bash
# Times PyTorch and measures its precision on a GPU: see README.md.
#   bench/gpu/run.sh [cuda|cpu] [MODEL]
# The environment variables PYTHON (python3), BATCH (1,8,32) and SECONDS_EACH (3) change the defaults in brackets.
set -euo pipefail
cd "$(dirname "$0")/../.."

device=${1:-cuda} model=${2:-base} python=${PYTHON:-python3} results=bench/results/gpu
types=float32,tf32,bfloat16 variants=eager,compile,reduce-overhead
if [ "$device" = cpu ]; then
	results=$(mktemp -d) types=float32 variants=eager
	echo "a trial run on the CPU; its results go to $results" >&2
fi

"$python" bench/torch_bench.py --device "$device" --model "$model" --batch "${BATCH:-1,8,32}" --mode forward,train \
	--compile "$variants" --dtype "$types" --seconds "${SECONDS_EACH:-3}" --results "$results"
"$python" testdata/torch/dump.py "$model" --device "$device" --dtype "$types" --results "$results"
heads="linear convnext segmenter dpt"
[ "$model" = tiny ] && heads="linear convnext segmenter" # the dpt head needs patches of 16 pixels
for head in $heads; do
	"$python" testdata/torch/dump.py "$model" --head "$head" --device "$device" --dtype "$types" --results "$results"
done
