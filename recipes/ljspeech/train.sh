#!/usr/bin/env bash
# From LJSpeech to a vocoder: prepare, train, synthesize, report. Every stage resumes; run the same command again.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../stages.sh"

usage() {
  cat <<EOF
usage: recipes/ljspeech/train.sh [LJSPEECH_DIR] [options] [KEY=VALUE ...]

Train a WaveGlow on LJSpeech 1.1. LJSPEECH_DIR is a folder in LJSpeech's layout (wavs/, metadata.csv); without it, and
without data/LJSpeech-1.1, the corpus (2.6 GiB) is downloaded and its checksum verified.

  --demo              no download: the reference clips and a small model, minutes on two CPU cores, in runs/demo
  --config FILE       a file of recipes/ljspeech/conf (waveglow.yaml; with --demo: demo.yaml)
  --run-dir DIR       where the run lives (runs/ljspeech)
  --gpus N            train on N GPUs of this machine (torchrun)
  --stage N           start at stage N: 1 prepare, 2 train, 3 synthesize, 4 report (1)
  --stop-stage N      stop after stage N (4)
  KEY=VALUE           settings, such as train.batch_size=24 or train.steps=1000
EOF
}

corpus="" config="" run="" gpus=0 stage=1 stop_stage=4 demo=false settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --demo) demo=true; shift ;;
    --config | --run-dir | --gpus | --stage | --stop-stage)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --config) config="$2" ;;
        --run-dir) run="$2" ;;
        --gpus) gpus="$2" ;;
        --stage) stage="$2" ;;
        --stop-stage) stop_stage="$2" ;;
      esac
      shift 2 ;;
    -*) fail "unknown option $1; see --help" ;;
    *=*) settings+=("$1"); shift ;;
    *) [ -z "$corpus" ] || fail "two corpora given, $corpus and $1; give one"; corpus="$1"; shift ;;
  esac
done
require_numbers
require_waveglow

if $demo; then
  [ -z "$corpus" ] || fail "--demo has its own corpus, and $corpus was given; drop one of them"
  run="${run:-runs/demo}" config="${config:-$here/conf/demo.yaml}" corpus="$here/../../audio_samples/reference"
else
  run="${run:-runs/ljspeech}" config="${config:-$here/conf/waveglow.yaml}"
fi
find_config
data="$run/data"

if wants 1; then
  say 1 "prepare"
  if [ ! -f "$data/manifest.jsonl" ]; then
    $demo || corpus="$(python "$here/prepare.py" "$corpus")" || exit 2
    waveglow prepare "$corpus" "$data" || refused $?
  fi
  echo "$data/manifest.jsonl: $(wc -l <"$data/manifest.jsonl") clips"
fi

if wants 2; then
  say 2 "train"
  train=(train --config "$config" --data "$data" --run-dir "$run" "${settings[@]+"${settings[@]}"}")
  launch "${train[@]}"
fi

if wants 3; then
  say 3 "synthesize"
  # The held-out recordings: to mels, as an acoustic model would give them, and back to waves.
  waveglow mel --checkpoint "$run" "$run/samples/reference" "$run/mels"
  waveglow synth --checkpoint "$run" "$run/mels" "$run/wavs"
fi

if wants 4; then
  say 4 "report"
  waveglow report "$run"
fi
