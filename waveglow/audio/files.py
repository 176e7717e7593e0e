"""Files in, files out: inputs found in folders with the tree kept, outputs written whole or not at all."""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

AUDIO_SUFFIXES = (".wav", ".flac")
MEL_SUFFIXES = (".npy", ".npz", ".pt", ".safetensors")


class FileError(ValueError):
    """A file that can't be used: `path` and `reason`. Survives pickling."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Input(NamedTuple):
    """A file, and its place in the output folder without suffix: `corpus/a/b.wav` of `corpus` is `a/b`."""

    file: Path
    stem: Path


class Skipped(NamedTuple):
    """A path that is no usable input, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Inputs:
    """What `find_inputs` found, in sorted order, and what it left out."""

    found: tuple[Input, ...]
    skipped: tuple[Skipped, ...]


def find_inputs(paths: Iterable[Path], suffixes: Iterable[str], *, out: Path | None = None) -> Inputs:
    """Regular files among `paths`, folders searched recursively for `suffixes` (`(".wav", ".flac")`, any case).

    A file that is named itself is taken whatever its suffix. Linked folders are followed; loops, FIFOs, devices,
    broken links and folders named like files are skipped with a reason, and nothing is opened.

    Raises:
        ValueError: two inputs would get one output name (also where only letter case or Unicode composition
            differs), or `out` lies in an input folder.
    """
    paths, endings = list(paths), {suffix.lower() for suffix in suffixes}
    if out is not None:
        _require_outside(out, paths)
    items = [item for path in paths for item in _search(path, endings)]
    found = list(dict.fromkeys(item for item in items if isinstance(item, Input)))
    _require_distinct(found)
    return Inputs(tuple(found), tuple(item for item in items if isinstance(item, Skipped)))


def unusable(path: Path) -> str | None:
    """Why `path` is no regular file, or None. Looks, never opens: opening a FIFO blocks."""
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return "a folder named like a file"
    if os.path.exists(path):
        return "a FIFO, socket or device, no regular file"
    return "a broken link" if os.path.islink(path) else "doesn't exist"


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path` under another name, then rename: `path` is old or new, never half. Raises OSError."""
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")  # not path.name + suffix: that may pass 255 bytes
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _search(path: Path, endings: set[str]) -> Iterator[Input | Skipped]:
    if os.path.isdir(path):
        yield from _walk(path, Path(), endings, above=frozenset())
    else:
        reason = unusable(path)
        yield Skipped(path, reason) if reason else Input(path, Path(path.stem))


def _walk(folder: Path, place: Path, endings: set[str], *, above: frozenset[str]) -> Iterator[Input | Skipped]:
    """The inputs under `folder`, which is `place` in the output; `above` holds the real paths of its parents."""
    real = os.path.realpath(folder)
    if real in above:
        yield Skipped(folder, "a link back to a folder above it")
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield Skipped(folder, f"can't be listed ({error.strerror})")
        return
    for name in names:
        path, wanted = folder / name, Path(name).suffix.lower() in endings
        if os.path.isdir(path) and not wanted:
            yield from _walk(path, place / name, endings, above=above | {real})
        elif wanted:
            reason = unusable(path)
            yield Skipped(path, reason) if reason else Input(path, place / path.stem)


def _require_distinct(inputs: list[Input]) -> None:
    taken: dict[str, Path] = {}
    for file, stem in inputs:
        # Letter case and composition count for nothing on some file systems, where the second would replace the first.
        key = unicodedata.normalize("NFC", stem.as_posix()).casefold()
        if key in taken:
            raise ValueError(f"{taken[key]} and {file} would both be written as {stem}; rename one or run them apart")
        taken[key] = file


def _require_outside(out: Path, paths: list[Path]) -> None:
    for path in paths:
        if os.path.isdir(path) and out.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"the output folder {out} lies in the input folder {path}; choose one outside it")
