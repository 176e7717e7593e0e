"""Files in, files out: inputs found in folders with the tree kept, outputs written whole or not at all.

Hidden files are no data, for sounds and pictures alike: nothing is taken below a name that begins with a dot (macOS's
`._a.wav`, `.Trash`, `.ipynb_checkpoints`), nor what archives and file servers leave behind (`LEFTOVERS`).
"""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from waveglow.config import is_told

LOSSLESS_SUFFIXES = (".wav", ".flac")
AUDIO_SUFFIXES = (*LOSSLESS_SUFFIXES, ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".w64", ".rf64", ".au")
OTHER_AUDIO = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".ape", ".wv", ".3gp")  # libsndfile decodes none
MEL_SUFFIXES = (".npy", ".npz", ".pt", ".safetensors")

LEFTOVERS = ("__MACOSX", "Thumbs.db", "@eaDir")


class OutputError(OSError):
    """A file that can't be written: no space, no permission. No fault of the input that it was to be made from."""

    def __str__(self) -> str:
        return f"{self.filename}: can't be written ({self.strerror})"


class FileError(ValueError):
    """A file that can't be used: `path` and `reason`. Survives pickling."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def is_of_input(error: Exception) -> bool:
    """Whether it is an input's fault, and others can be gone on with: it can't be read, or is refused in a sentence.

    A failure of output is not, and a bug, whose traceback is wanted.
    """
    return not isinstance(error, OutputError) and (isinstance(error, OSError) or is_told(error))


class Input(NamedTuple):
    """A file, and its place in the output folder without suffix: `corpus/a/b.wav` of `corpus` is `a/b`."""

    file: Path
    stem: Path


class Skipped(NamedTuple):
    """A path that is no usable input, and why."""

    path: Path
    reason: str


class PassedOver(NamedTuple):
    """A path that was never meant as an input, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Inputs:
    """What `find_inputs` found, in sorted order, what can't be used, and what was passed over as no data."""

    found: tuple[Input, ...]
    skipped: tuple[Skipped, ...]
    passed_over: tuple[PassedOver, ...] = ()

    def passed_over_text(self) -> str:
        """How many, why, and an example of each reason; empty where nothing was passed over."""
        counts = Counter(reason for _, reason in self.passed_over)
        examples = {reason: path for path, reason in reversed(self.passed_over)}
        return "; ".join(f"{n} passed over, {reason}: {examples[reason]}" for reason, n in counts.items())


def find_inputs(paths: Iterable[Path], suffixes: Iterable[str], *, out: Path | None = None) -> Inputs:
    """Regular files among `paths`, folders searched recursively for `suffixes` (`(".wav", ".flac")`, any case).

    A file that is named itself is taken whatever its suffix. Linked folders are followed; loops, FIFOs, devices,
    broken links, folders named like files, and audio of formats that can't be decoded, are skipped with a reason, and
    nothing is opened. Hidden files are passed over, and so are further forms of a recording, `a.mp3` beside `a.wav`.

    Raises:
        ValueError: two inputs would get one output name (also where only letter case or Unicode composition
            differs), or `out` lies in an input folder.
    """
    paths, endings = list(paths), {suffix.lower() for suffix in suffixes}
    if out is not None:
        _require_outside(out, paths)
    items = [item for path in paths for item in _search(path, endings)]
    skipped = [item for item in items if isinstance(item, Skipped)]
    passed_over = [item for item in items if isinstance(item, PassedOver)]
    found = list(dict.fromkeys(item for item in items if isinstance(item, Input)))
    lossless = {item.stem for item in found if _suffix(item.file) in LOSSLESS_SUFFIXES}
    taken = []
    for item in found:
        suffix = _suffix(item.file)
        if suffix in endings - {*LOSSLESS_SUFFIXES} | {*OTHER_AUDIO} and item.stem in lossless:
            passed_over.append(PassedOver(item.file, "another form of a recording that is there"))
        elif suffix in OTHER_AUDIO and ".wav" in endings:
            skipped.append(Skipped(item.file, f"{suffix} can't be decoded here; convert it to WAV, as ffmpeg does"))
        else:
            taken.append(item)
    _require_distinct(taken)
    return Inputs(tuple(taken), tuple(skipped), tuple(passed_over))


def hidden(name: str) -> bool:
    """Whether a file or folder of that name is no data, and nothing below it."""
    return name.startswith(".") or name in LEFTOVERS


def unusable(path: Path) -> str | None:
    """Why `path` is no regular file, or None. Looks, never opens: opening a FIFO blocks."""
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return "a folder named like a file"
    if os.path.exists(path):
        return "a FIFO, socket or device, no regular file"
    return "a broken link" if os.path.islink(path) else "doesn't exist"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What fails within it is an OutputError of `path`."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def make_folder(path: Path) -> None:
    """A folder for outputs, and those above it. Raises OutputError."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write beside `path` under another name, then rename: `path` is old or new, never half. Raises OutputError."""
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")  # not path.name + suffix: that may pass 255 bytes
    with writing(path):
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        finally:
            with suppress(OSError):
                partial.unlink()


def utf8(text: str) -> bytes:
    r"""Text that may have file names in it: what of these is no UTF-8 is escaped as JSON does it, \udce9."""
    return text.encode("utf-8", "backslashreplace")


def folders_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """`folder` and all below it, linked ones too, each real one once, with the names of the files in it; sorted."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders.sort()
        yield Path(parent), sorted(names)


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _search(path: Path, endings: set[str]) -> Iterator[Input | Skipped | PassedOver]:
    if os.path.isdir(path):
        yield from _walk(path, Path(), endings | ({*OTHER_AUDIO} if ".wav" in endings else set()), above=frozenset())
    else:
        reason = unusable(path)
        yield Skipped(path, reason) if reason else Input(path, Path(path.stem))


def _walk(
    folder: Path, place: Path, endings: set[str], *, above: frozenset[str]
) -> Iterator[Input | Skipped | PassedOver]:
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
        path, wanted = folder / name, _suffix(Path(name)) in endings
        if hidden(name):
            yield from _hidden_below(path, endings)
        elif os.path.isdir(path) and not wanted:
            yield from _walk(path, place / name, endings, above=above | {real})
        elif wanted:
            reason = unusable(path)
            yield Skipped(path, reason) if reason else Input(path, place / path.stem)


def _hidden_below(path: Path, endings: set[str]) -> Iterator[PassedOver]:
    """What would have been an input, had `path` not been hidden."""
    below = [parent / name for parent, names in folders_below(path) for name in names]
    yield from (PassedOver(file, "hidden") for file in [path, *below] if _suffix(file) in endings)


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
