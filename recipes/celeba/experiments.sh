#!/usr/bin/env bash
# Two comparisons of image flows on Fashion-MNIST, each a table, a plot and a picture of samples.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../stages.sh"

usage() {
  cat <<EOF
usage: recipes/celeba/experiments.sh figure3|models [--data DIR] [--run-dir DIR] [--seeds N] [--seconds N]

  figure3   Glow with {reverse, shuffle, conv} × {additive, affine}, for equal steps (conf/ablation.yaml): does the
            order of Glow's figure 3 hold?
  models    NICE, RealNVP and Glow for equal CPU time, all with batches of 32

Every run trains in one thread and is evaluated on the test images (for models, 2000 of them, the same for all: RealNVP
takes its time); a run that is done is not done again. Then compare.py writes table.md, curves.svg and samples.png.
Needs the pictures at their own size:

  waveglow image prepare --dataset fashion-mnist --size 28 SOURCE data/fashion-mnist

  --data DIR      prepared pictures (data/fashion-mnist)
  --run-dir DIR   where the runs live (runs/figure3, runs/models)
  --seeds N       runs of each variant (2 for figure3, 1 for models)
  --seconds N     of CPU time for each of the models, start-up included (600)
EOF
}

what="" data=data/fashion-mnist runs="" seeds="" seconds=600
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --data | --run-dir | --seeds | --seconds)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --data) data="$2" ;;
        --run-dir) runs="$2" ;;
        --seeds) seeds="$2" ;;
        --seconds) seconds="$2" ;;
      esac
      shift 2 ;;
    figure3 | models) what="$1"; shift ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
done
[ -n "$what" ] || fail "say which: figure3 or models; see --help"
runs="${runs:-runs/$what}"
[ -n "$seeds" ] || seeds=$([ "$what" = figure3 ] && echo 2 || echo 1)
[[ "$seeds" =~ ^[1-9][0-9]*$ ]] || fail "--seeds is $seeds; it must be a whole number above 0"
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || fail "--seconds is $seconds; it must be a whole number above 0"
[ -f "$data/images.json" ] || fail "no $data/images.json; prepare pictures first, see --help"
images=$([ "$what" = figure3 ] && echo 10000 || echo 2000)
require_waveglow
export OMP_NUM_THREADS=1

variant() { # NAME CONFIG [KEY=VALUE ...]
  local run="$runs/$1" config="$here/conf/$2"
  shift 2
  [ ! -f "$run/evaluation/evaluation.json" ] || return 0
  if [ ! -f "$run/TRAINED" ]; then
    echo "== $run"
    [ "$what" = figure3 ] || rm -rf "$run"
    (
      [ "$what" = figure3 ] || ulimit -S -t "$seconds"
      waveglow image train --config "$config" --data "$data" --run-dir "$run" --threads 1 data.workers=0 "$@"
    ) || fail "$run could not be trained; if its time ran out before the first step, raise --seconds"
    touch "$run/TRAINED"
  fi
  waveglow image evaluate -c "$run" --data "$data" "$run/evaluation" --images "$images" || refused $?
}

for ((seed = 0; seed < seeds; seed++)); do
  if [ "$what" = figure3 ]; then
    for permutation in reverse shuffle conv; do
      for coupling in additive affine; do
        variant "$permutation-$coupling-$seed" ablation.yaml \
          "model.permutation=$permutation" "model.coupling=$coupling" "train.seed=$seed"
      done
    done
  else
    alike=(train.batch_size=32 train.validate_every_steps=1000000 data.flip=false "train.seed=$seed")
    variant "nice-$seed" nice.yaml "${alike[@]}"
    variant "realnvp-$seed" realnvp.yaml model.n_scales=2 optim.warmup_steps=200 train.log_every_steps=25 "${alike[@]}"
    variant "glow-$seed" fashion-mnist.yaml optim.decay=none "${alike[@]}"
  fi
done
python "$here/compare.py" "$runs"
