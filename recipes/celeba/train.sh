#!/usr/bin/env bash
# From CelebA to an image flow: prepare, train, evaluate, pictures. Every stage resumes; run the same command again.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../stages.sh"

usage() {
  cat <<EOF
usage: recipes/celeba/train.sh [SOURCE] [options] [KEY=VALUE ...]

Train Glow, RealNVP or NICE on pictures. SOURCE is CelebA as published (a folder with img_align_celeba/ or its zip,
list_attr_celeba.txt and list_eval_partition.txt), or what --dataset names; CelebA is for non-commercial research only.

  --demo              no download: drawn faces, and the shipped weights trained on for minutes, in runs/demo-faces
  --dataset NAME      celeba, cifar10, imagefolder, fashion-mnist, mnist-5k or digits (celeba)
  --size PX           pixels a side: 8, 16, 32, 64, 128 or 256 (the data set's own; celeba 64)
  --download          celeba: fetch it into SOURCE first, by torchvision
  --config FILE       a file of recipes/celeba/conf (glow-64.yaml; with --demo: demo.yaml)
  --run-dir DIR       where the run lives (runs/celeba)
  --data DIR          where the prepared pictures live (RUN_DIR/data)
  --gpus N            train on N GPUs of this machine (torchrun)
  --stage N           start at stage N: 1 prepare, 2 train, 3 evaluate, 4 pictures and report (1)
  --stop-stage N      stop after stage N (4)
  KEY=VALUE           settings, such as train.batch_size=32 or train.memory=checkpoint
EOF
}

source="" config="" run="" data="" dataset=celeba size="" gpus=0 stage=1 stop_stage=4 demo=false download=() settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --demo) demo=true; shift ;;
    --download) download=(--download); shift ;;
    --config | --run-dir | --data | --dataset | --size | --gpus | --stage | --stop-stage)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --config) config="$2" ;;
        --run-dir) run="$2" ;;
        --data) data="$2" ;;
        --dataset) dataset="$2" ;;
        --size) size="$2" ;;
        --gpus) gpus="$2" ;;
        --stage) stage="$2" ;;
        --stop-stage) stop_stage="$2" ;;
      esac
      shift 2 ;;
    -*) fail "unknown option $1; see --help" ;;
    *=*) settings+=("$1"); shift ;;
    *) [ -z "$source" ] || fail "two sources given, $source and $1; give one"; source="$1"; shift ;;
  esac
done
require_numbers "${size:-0}"
require_waveglow

init=()
if $demo; then
  [ -z "$source" ] || fail "--demo has its own pictures, and $source was given; drop one of them"
  run="${run:-runs/demo-faces}" config="${config:-$here/conf/demo.yaml}" source="$run/faces" size=32
  [ -d "$run/checkpoints" ] || init=(--init-from demo-faces)
else
  run="${run:-runs/celeba}" config="${config:-$here/conf/glow-64.yaml}"
fi
data="${data:-$run/data}"
find_config

if wants 1; then
  say 1 "prepare"
  ! $demo || python "$here/demo_faces.py" "$source" --faces 4000
  prepare=(image prepare --dataset "$dataset" ${size:+--size "$size"} "${download[@]+"${download[@]}"}")
  waveglow "${prepare[@]}" ${source:+"$source"} "$data" || refused $?
fi

if wants 2; then
  say 2 "train"
  train=(image train --config "$config" --data "$data" --run-dir "$run" "${init[@]+"${init[@]}"}" "${settings[@]+"${settings[@]}"}")
  launch "${train[@]}"
fi

if wants 3; then
  say 3 "evaluate"
  waveglow image evaluate -c "$run" --data "$data" "$run/evaluation"
fi

if wants 4; then
  say 4 "pictures and report"
  waveglow image sample -c "$run" "$run/pictures/samples.png"
  waveglow image interpolate -c "$run" --data "$data" "$run/pictures/interpolation.png"
  if grep -q '"attribute_names": \[[^]]' <(tr -d '\n' <"$data/images.json"); then
    waveglow image attributes -c "$run" --data "$data" --regress "$run/attributes"
  fi
  ! $demo || python "$here/measure.py" -c "$run" --data "$data" --directions "$run/attributes" --tune 60 --faces 100
  waveglow image report "$run"
fi
