"""Find LJSpeech 1.1, or download it, and print its folder.

Keith Ito, "The LJ Speech Dataset", 2017 (public domain): 13 100 clips, 24 hours, one speaker, 22.05 kHz.

    python recipes/ljspeech/prepare.py [LJSPEECH_DIR]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from torch.hub import download_url_to_file

DOWNLOAD_TO = Path("data")
NAME = "LJSpeech-1.1"
URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"


def find(given: str) -> Path:
    """The corpus folder: the given one (or its LJSpeech-1.1), data/LJSpeech-1.1, or a new download of 2.6 GiB.

    Raises SystemExit, saying what was looked for, where the given folder has no LJSpeech layout.
    """
    candidates = [Path(given), Path(given) / NAME] if given else [DOWNLOAD_TO / NAME]
    for folder in candidates:
        if (folder / "wavs").is_dir() and (folder / "metadata.csv").is_file():
            return folder
    if given:
        raise SystemExit(
            f"prepare.py: {given} has no wavs/ and metadata.csv, nor has {candidates[1]}; give the folder of LJSpeech "
            "1.1, or for other recordings use `waveglow prepare FOLDER OUT` and `waveglow train`"
        )
    print(f"downloading LJSpeech 1.1 (2.6 GiB) to {DOWNLOAD_TO}", file=sys.stderr)
    DOWNLOAD_TO.mkdir(exist_ok=True)
    try:
        download()
    except (OSError, RuntimeError) as error:
        raise SystemExit(
            f"prepare.py: LJSpeech can't be downloaded ({error}); get LJSpeech-1.1.tar.bz2 from "
            "https://keithito.com/LJ-Speech-Dataset, unpack it, and give its folder, or try --demo"
        ) from error
    return DOWNLOAD_TO / NAME


def download() -> None:
    """Fetch and unpack the corpus; a folder of its name is a whole one. Raises OSError, RuntimeError (a wrong hash)."""
    archive, unpacked = DOWNLOAD_TO / f"{NAME}.tar.bz2", DOWNLOAD_TO / "unpacked"
    if not archive.exists():
        download_url_to_file(URL, str(archive), hash_prefix=SHA256)
    shutil.rmtree(unpacked, ignore_errors=True)
    shutil.unpack_archive(archive, unpacked, filter="data")
    (unpacked / NAME).rename(DOWNLOAD_TO / NAME)
    unpacked.rmdir()


if __name__ == "__main__":
    print(find(sys.argv[1] if len(sys.argv) > 1 else ""))
