"""The recordings that an evaluation is of, and what each of them scored."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from waveglow.audio.files import AUDIO_SUFFIXES, find_inputs
from waveglow.audio.spans import Span
from waveglow.data.manifest import read_manifest


@dataclass(frozen=True)
class Clip:
    """A recording; `name` is its place in the input without suffix, `a/b`."""

    name: str
    path: Path | Span


@dataclass
class ClipScores:
    """A clip's scores, row by row and metric by metric, None where a metric can't score it."""

    clip: str
    seconds: float = 0.0
    rows: dict[str, dict[str, float | None]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def find_clips(source: Path, out: Path, split: str | None) -> tuple[list[Clip], list[tuple[Path, str]]]:
    """Recordings of a folder or of a manifest's split, in order of name, and (path, reason) of what can't be one.

    Raises ValueError where there is none, or `out` lies in the folder.
    """
    if source.is_file():
        return _of_manifest(source, split), []
    if split is not None:
        raise ValueError(f"split is {split}, and {source} is no manifest; leave it out")
    inputs = find_inputs([source], AUDIO_SUFFIXES, out=out)
    if not inputs.found:
        raise ValueError(f"no {', '.join(AUDIO_SUFFIXES)} files in {source}")
    clips = [Clip(item.stem.as_posix(), item.file) for item in inputs.found]
    return sorted(clips, key=lambda clip: clip.name), [(item.path, item.reason) for item in inputs.skipped]


def _of_manifest(path: Path, split: str | None) -> list[Clip]:
    if path.suffix.lower() in AUDIO_SUFFIXES:
        raise ValueError(f"{path} is one recording; give its folder, or a manifest")
    entries = read_manifest(path)
    splits = sorted({str(entry.split) for entry in entries})
    chosen = split or next((name for name in ("test", "valid") if name in splits), None)
    if chosen not in splits:
        raise ValueError(f"{path}: has no split {chosen or 'test or valid'}; it has {', '.join(splits)}")
    entries = [entry for entry in entries if str(entry.split) == chosen]
    common = os.path.commonpath([entry.place.parent for entry in entries])
    clips = {entry.place.relative_to(common).with_suffix("").as_posix(): entry.source for entry in entries}
    if len(clips) < len(entries):
        raise ValueError(f"{path}: two clips have one name but for the suffix; rename one")
    found = {name: source if isinstance(source, Span) else Path(source) for name, source in clips.items()}
    return [Clip(name, found[name]) for name in sorted(found)]
