# What the recipes' scripts share; sourced. Of train.sh it reads $here, $config, $gpus, $stage and $stop_stage.

fail() { echo "${0##*/}: $1" >&2; exit 2; }
wants() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }
say() { echo "== stage $1: $2"; }
refused() { [ "$1" -eq 3 ] || exit "$1"; }  # 3: some inputs were refused, each named; the rest is there

require_numbers() {
  local number
  for number in "$gpus" "$stage" "$stop_stage" "$@"; do
    [[ "$number" =~ ^[0-9]+$ ]] || fail "$number is no whole number; see --help"
  done
  [ "$stage" -ge 1 ] && [ "$stage" -le "$stop_stage" ] && [ "$stop_stage" -le 4 ] ||
    fail "stages are 1 to 4, --stage $stage to --stop-stage $stop_stage is none; see --help"
}

require_waveglow() {
  command -v waveglow >/dev/null ||
    fail "the waveglow command isn't installed; run 'make setup' and '. .venv/bin/activate'"
}

find_config() {
  [ -f "$config" ] || [ ! -f "$here/conf/$config" ] || config="$here/conf/$config"
  [ -f "$config" ] || fail "no configuration $config; there are: $(cd "$here/conf" && echo *.yaml)"
}

launch() {
  if [ "$gpus" -gt 0 ]; then
    torchrun --standalone --nproc-per-node "$gpus" -m waveglow.cli.main "$@"
  else
    waveglow "$@"
  fi
}
