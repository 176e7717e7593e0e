#!/usr/bin/env bash
# From open voices to a vocoder: prepare, train, evaluate, report. Every stage resumes; run the same command again.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

usage() {
  cat <<EOF
usage: recipes/openvoices/train.sh [options] [KEY=VALUE ...]

Train a vocoder on open speech in four languages: 3 hours of four voices, at three speeds. The recordings come from
Debian packages (234 MB), which are downloaded and not installed; a fifth voice is held out whole.

  --config FILE       a file of recipes/openvoices/conf, or any other (lapglow.yaml)
  --run-dir DIR       where the run lives (runs/openvoices)
  --data DIR          where the speech lives: debs/, wavs/, manifest.jsonl, unseen.jsonl (data/openvoices); 2 GB
  --gpus N            train on N GPUs of this machine (torchrun)
  --stage N           start at stage N: 1 fetch and prepare, 2 train, 3 evaluate on the test clips, 4 report (1)
  --stop-stage N      stop after stage N (4)
  KEY=VALUE           settings, such as train.batch_size=24 or train.steps=1000
EOF
}

fail() { echo "train.sh: $1" >&2; exit 2; }

config="$here/conf/lapglow.yaml" run=runs/openvoices data=data/openvoices gpus=0 stage=1 stop_stage=4 settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
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
for number in "$gpus" "$stage" "$stop_stage"; do
  [[ "$number" =~ ^[0-9]+$ ]] || fail "$number is no whole number; see --help"
done
[ "$stage" -ge 1 ] && [ "$stage" -le "$stop_stage" ] && [ "$stop_stage" -le 4 ] ||
  fail "stages are 1 to 4, --stage $stage to --stop-stage $stop_stage is none; see --help"
command -v waveglow >/dev/null || fail "the waveglow command isn't installed; run 'make setup' and '. .venv/bin/activate'"

wants() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }
say() { echo "== stage $1: $2"; }
refused() { [ "$1" -eq 3 ] || exit "$1"; }  # 3: the rest is there

[ -f "$config" ] || [ ! -f "$here/conf/$config" ] || config="$here/conf/$config"
! wants 2 || [ -f "$config" ] || fail "no configuration $config; there are: $(cd "$here" && echo conf/*.yaml)"

if wants 1; then
  say 1 "fetch and prepare"
  if [ ! -f "$data/manifest.jsonl" ] || [ ! -f "$data/unseen.jsonl" ]; then
    "$here/fetch.sh" "$data/debs"
    python "$here/prepare.py" "$data/debs" "$data" || refused $?  # some recordings were refused, and named
  fi
  echo "$data/manifest.jsonl: $(wc -l <"$data/manifest.jsonl") clips"
fi

if wants 2; then
  say 2 "train"
  train=(train --config "$config" --data "$data" --run-dir "$run" "${settings[@]+"${settings[@]}"}")
  if [ "$gpus" -gt 0 ]; then
    torchrun --standalone --nproc-per-node "$gpus" -m waveglow.cli.main "${train[@]}"
  else
    waveglow "${train[@]}"
  fi
fi

if wants 3; then
  say 3 "evaluate"
  waveglow evaluate -c "$run" "$data/manifest.jsonl" --split test "$run/evaluation"
fi

if wants 4; then
  say 4 "report"
  waveglow report "$run"
fi
