#!/usr/bin/env bash
# From open voices to a vocoder: prepare, train, evaluate, report. Every stage resumes; run the same command again.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../stages.sh"

usage() {
  cat <<EOF
usage: recipes/openvoices/train.sh [options] [KEY=VALUE ...]

Train a vocoder on open speech: 3 hours of four voices in four languages, at three speeds, from Debian packages (234 MB),
which are downloaded and not installed, and 2¾ hours of wide-band words from two repositories; a fifth voice is held out
whole.

  --config FILE       a file of recipes/openvoices/conf, or any other (lapglow.yaml)
  --run-dir DIR       where the run lives (runs/openvoices)
  --data DIR          where the speech lives: debs/, wavs/, manifest.jsonl, unseen.jsonl (data/openvoices); 2 GB
  --narrow            without the wide-band speech
  --gpus N            train on N GPUs of this machine (torchrun)
  --stage N           start at stage N: 1 fetch and prepare, 2 train, 3 evaluate on the test clips, 4 report (1)
  --stop-stage N      stop after stage N (4)
  KEY=VALUE           settings, such as train.batch_size=24 or train.steps=1000
EOF
}

config="$here/conf/lapglow.yaml" run=runs/openvoices data=data/openvoices gpus=0 stage=1 stop_stage=4 narrow=() settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --narrow) narrow=(--narrow); shift ;;
    --config | --run-dir | --data | --gpus | --stage | --stop-stage)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --config) config="$2" ;;
        --run-dir) run="$2" ;;
        --data) data="$2" ;;
        --gpus) gpus="$2" ;;
        --stage) stage="$2" ;;
        --stop-stage) stop_stage="$2" ;;
      esac
      shift 2 ;;
    -*) fail "unknown option $1; see --help" ;;
    *=*) settings+=("$1"); shift ;;
    *) fail "$1 is no option and no KEY=VALUE; see --help" ;;
  esac
done
require_numbers
require_waveglow

! wants 2 || find_config

if wants 1; then
  say 1 "fetch and prepare"
  if [ ! -f "$data/manifest.jsonl" ] || [ ! -f "$data/unseen.jsonl" ]; then
    "$here/fetch.sh" "${narrow[@]+"${narrow[@]}"}" "$data/debs"
    python "$here/prepare.py" "$data/debs" "$data" || refused $?
  fi
  echo "$data/manifest.jsonl: $(wc -l <"$data/manifest.jsonl") clips"
fi

if wants 2; then
  say 2 "train"
  train=(train --config "$config" --data "$data" --run-dir "$run" "${settings[@]+"${settings[@]}"}")
  launch "${train[@]}"
fi

if wants 3; then
  say 3 "evaluate"
  waveglow evaluate -c "$run" "$data/manifest.jsonl" --split test "$run/evaluation"
fi

if wants 4; then
  say 4 "report"
  waveglow report "$run"
fi
