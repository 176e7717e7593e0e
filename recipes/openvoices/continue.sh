#!/usr/bin/env bash
# Train on from the newest weights for a stated time, with the scores of held-out clips before and after.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../stages.sh"

usage() {
  cat <<EOF
usage: recipes/openvoices/continue.sh --minutes N [options] [KEY=VALUE ...]

Train the voice for N more minutes: on from the newest checkpoint of the run, else from the weights of --from with a new
optimizer. On a CPU with one thread; on a GPU with recorded steps and batches of 32 × 16384 samples (a run keeps the batch
it was begun with: give another --run-dir, and the old run as --from). Then run it again, or ship.sh.

In the background, behind all other work: nice -n 19 setsid …, and, since Linux weighs sessions and not processes,
echo 19 >/proc/PID/autogroup.

  --minutes N         how long to train; the state is saved at the end
  --run-dir DIR       where the run lives (runs/openvoices)
  --data DIR          of recipes/openvoices/train.sh (data/openvoices)
  --from CKPT         weights that a new run starts from (lapglow, the voice of the package)
  --device NAME       cpu or cuda (what is there)
  --clips N           held-out clips to score (40; 0 for likelihood alone)
  --metrics LIST      of waveglow evaluate ($metrics)
  KEY=VALUE           settings, such as optim.lr=2e-4
EOF
}

require_value() { [ "$2" -ge 2 ] || fail "$1 needs a value; see --help"; }

minutes="" run=runs/openvoices data=data/openvoices from=lapglow device="" clips=40
metrics=pesq,distillmos,mr_stft,mel_l1 settings=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --minutes) require_value "$1" $#; minutes="$2"; shift 2 ;;
    --run-dir) require_value "$1" $#; run="$2"; shift 2 ;;
    --data) require_value "$1" $#; data="$2"; shift 2 ;;
    --from) require_value "$1" $#; from="$2"; shift 2 ;;
    --device) require_value "$1" $#; device="$2"; shift 2 ;;
    --clips) require_value "$1" $#; clips="$2"; shift 2 ;;
    --metrics) require_value "$1" $#; metrics="$2"; shift 2 ;;
    -*) fail "unknown option $1; see --help" ;;
    *=*) settings+=("$1"); shift ;;
    *) fail "$1 is no option and no KEY=VALUE; see --help" ;;
  esac
done
[ -n "$minutes" ] || fail "--minutes is missing; see --help"
for number in "$minutes" "$clips"; do
  [[ "$number" =~ ^[0-9]+$ ]] || fail "$number is no whole number; see --help"
done
[ "$minutes" -ge 1 ] || fail "--minutes is $minutes; it must be at least 1"
require_waveglow
[ -f "$data/manifest.jsonl" ] || fail "no $data/manifest.jsonl; run recipes/openvoices/train.sh --stop-stage 1 first"
[ -n "$device" ] ||
  device="$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')"
case "$device" in
  cpu) export OMP_NUM_THREADS=1; how=(--threads 1 data.workers=0) ;;
  cuda) how=(train.cuda_graphs=true train.batch_size=32 data.segment_samples=16384 data.workers=8) ;;
  *) fail "--device is $device; it is cpu or cuda" ;;
esac

scores() { # CKPT NAME
  echo "== $2: $1"
  python "$here/held_out.py" "$1" "$data/manifest.jsonl"
  [ "$clips" -gt 0 ] || return 0
  grep '"split": "valid"' "$data/manifest.jsonl" | head -n "$clips" >"$data/valid-$clips.jsonl" || true
  waveglow evaluate -c "$1" "$data/valid-$clips.jsonl" --split valid "$run/scores/$2" --metrics "$metrics" --sigmas none
}

newest="$from"
if compgen -G "$run/checkpoints/step_*" >/dev/null; then newest="$run"; fi
scores "$newest" "before-$(date +%Y%m%d-%H%M)"
train=(train --config "$here/conf/lapglow.yaml" --data "$data" --run-dir "$run" --device "$device")
[ "$newest" = "$run" ] || train+=(--init-from "$from")
timeout --preserve-status --signal TERM "${minutes}m" waveglow "${train[@]}" "${how[@]}" "${settings[@]+"${settings[@]}"}"
scores "$run" "after-$(date +%Y%m%d-%H%M)"
