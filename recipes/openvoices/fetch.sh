#!/usr/bin/env bash
# The six Debian packages of the open voices, downloaded and not installed: no root, no change to the system.
set -euo pipefail

packages="festvox-ru"
for language in en es it ru fr; do
  packages+=" asterisk-core-sounds-$language-g722"
done

usage() {
  cat <<EOF
usage: recipes/openvoices/fetch.sh [FOLDER]

Download six Debian packages of recorded speech (234 MB) into FOLDER (data/openvoices/debs) with apt-get download.
What lies there already, as a .deb file or unpacked as FOLDER/<package>, is not downloaded again. The packages:
$(printf '  %s\n' $packages)
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

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) echo "fetch.sh: unknown option $1; see --help" >&2; exit 2 ;;
esac
[ $# -le 1 ] || { echo "fetch.sh: give one folder, or none; see --help" >&2; exit 2; }
folder="${1:-data/openvoices/debs}"

missing=""
for package in $packages; do
  [ -d "$folder/$package" ] || compgen -G "$folder/${package}_*.deb" >/dev/null || missing+=" $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "fetch.sh: there is no apt-get here to download the speech with." >&2
  by_hand
fi

# apt writes under the final name: in a folder of its own, a download that was cut off is never taken for a whole one.
mkdir -p "$folder/partial"
if ! (cd "$folder/partial" && apt-get download $missing >&2); then
  echo "fetch.sh: apt-get download failed. It needs the archive's lists, as fresh as they can be:" >&2
  echo "run 'apt-get update' (as root: sudo apt-get update) and this again. Or, in a system without these packages:" >&2
  by_hand
fi
mv "$folder"/partial/*.deb "$folder"
rmdir "$folder/partial"
