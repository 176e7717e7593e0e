"""Wide-band speech beside the Debian packages: whose recordings, which files of them, and how wide each is.

FOLDER/<source> is a checkout of its repository, or FOLDER/<source>.tar holds the same paths; fetch.sh makes the former.
Of a repository only the files of lists/<source>.sha256 are taken, each compared with its hash: those that were found
to reach 9.5 kHz, with 20 dB of signal above the noise, unclipped, 0.45 s or more. The synthetic source has no list:
whoever runs the model (README.md) has their own files.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from waveglow.audio.io import Samples

LISTS = Path(__file__).parent / "lists"
FFT = 1024
EMPTY_DB = 80.0  # what lies this far below the loudest frequency, all the way up, is a codec's cut, and no speech
LEAKAGE_BINS = 7  # by which the window makes a cut look higher, at that level
STEP_HZ = 100


@dataclass(frozen=True)
class Source:
    """A repository at a commit, or speech that somebody made: all files of a `suffix`, for there is no list."""

    name: str
    url: str = ""
    commit: str = ""
    suffix: str = ""


SOURCES = (
    Source("audio-cmn", "https://github.com/hugolpz/audio-cmn", "ff9ed3d0c631195bd2c06f39450f3264c7124040"),
    Source("gcompris", "https://github.com/gcompris/GCompris-voices", "c0e8a743b7b4633af06b8dc15bc2b397e456dd6f"),
    Source("kokoro", suffix=".opus"),
)


def listed(source: Source, lists: Path = LISTS) -> dict[str, str]:
    """Path within the source to SHA-256, as `sha256sum` writes them; nothing for a source without a list."""
    path = lists / f"{source.name}.sha256"
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def chosen(folder: Path, source: Source, lists: Path = LISTS) -> list[Path]:
    """The files that are used of a source in `folder`, unpacked where only its tar is there; none where neither is.

    Raises ValueError where a listed file is missing or another.
    """
    hashes, tree = listed(source, lists), folder / source.name
    if not tree.is_dir():
        archive = folder / f"{source.name}.tar"
        if not archive.is_file():
            return []
        _unpack(archive, tree, hashes, source.suffix)
    if not hashes:
        return sorted(tree.rglob(f"*{source.suffix}"))
    wrong = [name for name, digest in hashes.items() if _digest(tree / name) != digest]
    if wrong:
        raise ValueError(
            f"{tree / wrong[0]} is missing, or isn't the file of the list ({len(wrong)} of {len(hashes)} such files); "
            f"remove {tree} and run recipes/openvoices/fetch.sh {folder}"
        )
    return [tree / name for name in hashes]


def _unpack(archive: Path, tree: Path, names: Iterable[str], suffix: str) -> None:
    """The regular files of these names, or of the suffix where there are none; no other path is ever written."""
    wanted, partial = set(names), tree.with_name(tree.name + ".partial")
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            taken = path.as_posix() in wanted if wanted else path.suffix == suffix
            if not member.isfile() or not taken or path.is_absolute() or ".." in path.parts:
                continue
            content = tar.extractfile(member)
            assert content is not None
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_bytes(content.read())
    if not partial.is_dir():
        raise ValueError(f"{archive} holds no recordings of {tree.name}; remove it, or put the right one there")
    partial.rename(tree)


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def bandwidth(samples: Samples, sample_rate: int) -> int:
    """Hz up to which a recording [T] has anything: where its mean spectrum is last above −80 dB, rounded down."""
    padded = np.pad(samples.astype(np.float64), (0, max(0, FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[:: FFT // 2] * np.hanning(FFT)
    powers = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)
    last = int(np.nonzero(powers >= powers.max() * 10 ** (-EMPTY_DB / 10))[0][-1]) - LEAKAGE_BINS
    return max(1, last) * sample_rate // FFT // STEP_HZ * STEP_HZ
