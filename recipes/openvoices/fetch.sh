#!/usr/bin/env bash
# The speech of the open voices: six Debian packages, downloaded and not installed (no root, no change to the system), and
# two repositories of wide-band recordings.
set -euo pipefail

packages="festvox-ru"
for language in en es it ru fr; do
  packages+=" asterisk-core-sounds-$language-g722"
done

# name, repository, commit, folders: as in wide.py
wide=(
  "audio-cmn https://github.com/hugolpz/audio-cmn ff9ed3d0c631195bd2c06f39450f3264c7124040 96k/hsk 64k/syllabs"
  "gcompris https://github.com/gcompris/GCompris-voices c0e8a743b7b4633af06b8dc15bc2b397e456dd6f gd es en"
)

usage() {
  cat <<EOF
usage: recipes/openvoices/fetch.sh [--narrow] [FOLDER]

Download six Debian packages of recorded speech (234 MB) into FOLDER (data/openvoices/debs) with apt-get download, and
of two repositories the folders with wide-band recordings, with git. What lies there already, as a .deb file or unpacked
as FOLDER/<package>, as a checkout or a FOLDER/<repository>.tar, is not downloaded again. The packages and repositories:
$(printf '  %s\n' $packages)
$(for source in "${wide[@]}"; do read -r name url commit folders <<<"$source"; echo "  $name: $url at $commit"; done)

  --narrow   the packages alone
EOF
}

by_hand() {
  cat >&2 <<EOF
Get the .deb files by hand, from Debian's pages (choose a release, then Download, architecture all):
$(printf '  https://packages.debian.org/%s\n' $missing)
put them into $folder and run this again. Where there is no dpkg-deb either, unpack each of them:
  mkdir $folder/PACKAGE && cd $folder/PACKAGE && ar x ../PACKAGE_*.deb && tar -xf data.tar.*
EOF
  exit 2
}

checkout() { # of some folders of a repository, at one commit: nothing else is downloaded
  local partial="$folder/$name.partial"
  rm -rf "$partial"
  git init -q "$partial" &&
    git -C "$partial" remote add origin "$url" &&
    git -C "$partial" sparse-checkout set $folders &&
    git -C "$partial" fetch -q --depth 1 --filter=blob:none origin "$commit" &&
    git -C "$partial" checkout -q FETCH_HEAD &&
    mv "$partial" "$folder/$name"
}

narrow=""
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  --narrow) narrow=1; shift ;;
  -*) echo "fetch.sh: unknown option $1; see --help" >&2; exit 2 ;;
esac
[ $# -le 1 ] || { echo "fetch.sh: give one folder, or none; see --help" >&2; exit 2; }
folder="${1:-data/openvoices/debs}"

missing=""
for package in $packages; do
  [ -d "$folder/$package" ] || compgen -G "$folder/${package}_*.deb" >/dev/null || missing+=" $package"
done
if [ -n "$missing" ] && ! command -v apt-get >/dev/null; then
  echo "fetch.sh: there is no apt-get here to download the speech with." >&2
  by_hand
fi

# apt writes under the final name: in a folder of its own, a download that was cut off is never taken for a whole one.
if [ -n "$missing" ]; then
  mkdir -p "$folder/partial"
  if ! (cd "$folder/partial" && apt-get download $missing >&2); then
    echo "fetch.sh: apt-get download failed. It needs the archive's lists, as fresh as they can be:" >&2
    echo "run 'apt-get update' (as root: sudo apt-get update) and this again. Or, in a system without these packages:" >&2
    by_hand
  fi
  mv "$folder"/partial/*.deb "$folder"
  rmdir "$folder/partial"
fi

[ -z "$narrow" ] || exit 0
for source in "${wide[@]}"; do
  read -r name url commit folders <<<"$source"
  [ ! -d "$folder/$name" ] && [ ! -f "$folder/$name.tar" ] || continue
  if ! command -v git >/dev/null || ! checkout; then
    cat >&2 <<EOF
fetch.sh: $url can't be fetched with git. Get $url/archive/$commit.tar.gz
by hand and unpack it, so that there is $folder/$name/${folders%% *}; or go without wide-band speech: --narrow.
EOF
    exit 2
  fi
done
