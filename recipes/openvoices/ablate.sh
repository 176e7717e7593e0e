#!/usr/bin/env bash
# What are the lapped squeeze and the mel-conditional ActNorm worth? Equal CPU time for each; a table and a plot.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

usage() {
  cat <<EOF
usage: recipes/openvoices/ablate.sh [--data DIR] [--run-dir DIR] [--seconds N]

Train {reshape, mdct} × {N(0,1), actnorm, mel-conditional actnorm}, and the last two once more with the bands above
6.9 kHz leaving first, each for the same CPU time in one thread; then write ablation.md and ablation.svg. A variant that
is done is not trained again. Needs the data of recipes/openvoices/train.sh --stop-stage 1.

  --data DIR      with manifest.jsonl (data/openvoices)
  --run-dir DIR   where the runs live (runs/ablation)
  --seconds N     of CPU time for each variant, start-up included (240)
EOF
}

fail() { echo "ablate.sh: $1" >&2; exit 2; }

data=data/openvoices runs=runs/ablation seconds=240
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --data | --run-dir | --seconds)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --data) data="$2" ;;
        --run-dir) runs="$2" ;;
        --seconds) seconds="$2" ;;
      esac
      shift 2 ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
done
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || fail "--seconds is $seconds; it must be a whole number above 0"
[ -f "$data/manifest.jsonl" ] || fail "no $data/manifest.jsonl; run recipes/openvoices/train.sh --stop-stage 1 first"
export OMP_NUM_THREADS=1

variant() {
  local run="$runs/$1"
  shift
  [ ! -f "$run/DONE" ] || return 0
  echo "== $run: $seconds s of CPU time"
  rm -rf "$run"
  ( ulimit -S -t "$seconds"; waveglow train --config "$here/conf/ablation.yaml" --data "$data" --run-dir "$run" --threads 1 "$@" )
  touch "$run/DONE"
}

for squeeze in reshape mdct; do
  for prior in none actnorm mel; do
    variant "$squeeze-$prior" "model.squeeze=$squeeze" "model.prior=$prior"
  done
done
variant mdct-actnorm-split model.prior=actnorm model.n_high=48 model.n_early_size=10
variant mdct-mel-split model.prior=mel model.n_high=48 model.n_early_size=10
python "$here/ablate.py" "$runs"
