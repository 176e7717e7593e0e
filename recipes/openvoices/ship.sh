#!/usr/bin/env bash
# From a trained run to the voice of the package: weights, scores of what is shipped, model card, audio samples.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"

usage() {
  cat <<EOF
usage: recipes/openvoices/ship.sh [RUN] [--data DIR] [--ljspeech DIR] [--metrics LIST]

Write RUN's newest averaged weights to waveglow/voices/lapglow in half precision, evaluate them there on every clip of
the test split, of the unseen voice and, where given, of a folder of LJSpeech, and write the tables into the model card;
then the copies of audio_samples/reference and their scores. Without RUN the weights stay and only the rest is made anew.
An evaluation that was interrupted goes on.

  RUN              training run, such as runs/openvoices
  --data DIR       of recipes/openvoices/train.sh (data/openvoices)
  --ljspeech DIR   recordings of LJSpeech
  --metrics LIST   of waveglow evaluate (all)
EOF
}

fail() { echo "ship.sh: $1" >&2; exit 2; }

run="" data=data/openvoices ljspeech="" metrics=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --data | --ljspeech | --metrics)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case "$1" in
        --data) data="$2" ;;
        --ljspeech) ljspeech="$2" ;;
        --metrics) metrics=(--metrics "$2") ;;
      esac
      shift 2 ;;
    -*) fail "unknown option $1; see --help" ;;
    *) [ -z "$run" ] || fail "two runs given, $run and $1; give one"; run="$1"; shift ;;
  esac
done
[ -f "$data/manifest.jsonl" ] || fail "no $data/manifest.jsonl; run recipes/openvoices/train.sh --stop-stage 1 first"
voice="$root/waveglow/voices/lapglow" scores="$data/scores"

[ -z "$run" ] || python "$here/ship.py" "$run"
[ -d "$voice" ] || fail "no $voice yet; name a run"

evaluate() { # TITLE INPUT [option ...]
  local title="$1" input="$2"
  shift 2
  waveglow evaluate -c "$voice" "$input" "$scores/$title" "$@" "${metrics[@]+"${metrics[@]}"}"
  tables+=(--scores "$title=$scores/$title")
}

tables=()
evaluate "test split" "$data/manifest.jsonl" --split test
evaluate "unseen voice" "$data/unseen.jsonl" --split test --sigmas none
[ -z "$ljspeech" ] || evaluate "LJSpeech" "$ljspeech" --sigmas none
python "$here/ship.py" "$voice" "${tables[@]}"

waveglow resynth -c "$voice" "$root/audio_samples/reference" "$root/audio_samples/lapglow"
rm "$root/audio_samples/lapglow/report.json"  # names this machine's paths
waveglow evaluate -c "$voice" "$root/audio_samples/reference" "$scores/samples" --sigmas none "${metrics[@]+"${metrics[@]}"}"
python "$here/ship.py" --samples "$scores/samples"
