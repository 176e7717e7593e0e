#!/usr/bin/env bash
# Does the order of Glow's figure 3 hold on Fashion-MNIST? Equal steps for each variant; a table and a plot.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../stages.sh"

usage() {
  cat <<EOF
usage: recipes/celeba/ablate.sh [--data DIR] [--run-dir DIR] [--seeds N] [KEY=VALUE ...]

Train Glow with {reverse, shuffle, conv} × {additive, affine}, N times each, for the same steps in one thread; then write
ablation.md and ablation.svg: bits per dimension of the test images, and seconds a step. What is done is not done again.
Needs \`waveglow image prepare --dataset fashion-mnist --size 28 SOURCE DIR\`.

  --data DIR      prepared pictures (data/fashion-mnist)
  --run-dir DIR   where the runs live (runs/figure3)
  --seeds N       runs of each variant (2)
  KEY=VALUE       settings of all runs over conf/ablation.yaml, such as train.steps=5000
EOF
}

data=data/fashion-mnist runs=runs/figure3 seeds=2 settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --data | --run-dir | --seeds)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --data) data="$2" ;;
        --run-dir) runs="$2" ;;
        --seeds) seeds="$2" ;;
      esac
      shift 2 ;;
    *=*) settings+=("$1"); shift ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
done
[[ "$seeds" =~ ^[1-9][0-9]*$ ]] || fail "--seeds is $seeds; it must be a whole number above 0"
[ -f "$data/images.json" ] || fail "no $data/images.json; prepare pictures first, see --help"
require_waveglow
export OMP_NUM_THREADS=1

for ((seed = 0; seed < seeds; seed++)); do
  for permutation in reverse shuffle conv; do
    for coupling in additive affine; do
      run="$runs/$permutation-$coupling-$seed"
      [ -f "$run/evaluation/evaluation.json" ] && continue
      waveglow image train --config "$here/conf/ablation.yaml" --data "$data" --run-dir "$run" --threads 1 \
        "model.permutation=$permutation" "model.coupling=$coupling" "train.seed=$seed" \
        "${settings[@]+"${settings[@]}"}"
      waveglow image evaluate -c "$run" --data "$data" "$run/evaluation" || refused $?
    done
  done
done
python "$here/tabulate.py" "$runs"
