"""The manifest: which clips there are, checked once, and which of them are held out.

One JSON object a line: path (relative to the manifest), sample_rate in Hz, frames in samples, sha256, split, mel where
a mel file goes with the clip, bandwidth in Hz where the recording has nothing above, synthetic where a model spoke,
corpus where it has a name. A run trains on `train` and validates on `valid`; `test` it never sees.

A clip may lie in a shard: then `path` is an uncompressed tar, in which `member` has so many `bytes` from `offset` on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from waveglow.audio.files import FileError, make_folder, write_atomically
from waveglow.audio.remote import is_url, read_whole
from waveglow.audio.spans import Span
from waveglow.config import ConfigError, from_json, from_mapping
from waveglow.data.split import Split


@dataclass(frozen=True)
class Clip:
    """One recording. `path` and `mel` are absolute in memory, relative to the manifest on disk."""

    path: str
    sample_rate: int
    frames: int
    sha256: str
    split: Split
    mel: str | None = None
    mel_sha256: str | None = None
    bandwidth: int | None = None
    synthetic: bool = False
    corpus: str | None = None
    offset: int | None = None
    bytes: int | None = None
    member: str | None = None

    def __post_init__(self) -> None:
        if len({self.offset is None, self.bytes is None, self.member is None}) > 1:
            raise ConfigError("offset, bytes and member go together: where in the shard `path` the recording lies")
        if (self.offset or 512) < 512 or (self.bytes or 1) < 1:
            raise ConfigError(
                f"offset is {self.offset} and bytes {self.bytes}; at least 512 and 1 are possible in a tar"
            )
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ConfigError(f"bandwidth is {self.bandwidth} Hz; it must be above 0")

    @property
    def source(self) -> str | Span:
        """What to read: the file, or its place in a shard."""
        if self.offset is None or self.bytes is None or self.member is None:
            return self.path
        return Span(self.path, self.offset, self.bytes, self.member)

    @property
    def place(self) -> Path:
        """The file, or what it was called before it went into a shard, below the shard's folder."""
        return Path(self.path) if self.member is None else Path(self.path).parent / unescaped(self.member)

    @property
    def name(self) -> str:
        return self.place.stem


def escaped(stem: str) -> str:
    """The key of a clip in a shard: WebDataset ends it at the first dot of the last name."""
    folder, slash, name = stem.rpartition("/")
    return folder + slash + name.replace("%", "%25").replace(".", "%2E")


def unescaped(member: str) -> str:
    """The file that was written into a shard as `member`."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.replace("%2E", ".").replace("%25", "%")


def read_manifest(path: Path | str) -> list[Clip]:
    """The clips of a manifest, a file or a URL, empty lines passed over.

    Raises ConfigError, with the line, where one can't be used.
    """
    try:
        content = read_whole(path) if isinstance(path, str) and is_url(path) else Path(path).read_bytes()
        lines = content.decode("utf-8-sig").split("\n")  # with the mark that editors on Windows put before it
    except FileError as error:
        raise ConfigError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read ({error}); make it with `waveglow prepare`") from error
    if lines[0].strip() and not lines[0].lstrip().startswith("{"):
        raise ConfigError(
            f"{path}: is no manifest, its first line is {lines[0][:40]!r}; give the folder of the recordings, or a "
            "manifest.jsonl made with `waveglow prepare`"
        )
    clips = [_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not clips:
        raise ConfigError(f"{path}: is empty; make it with `waveglow prepare`")
    return clips


def content_hash(clips: Iterable[Clip]) -> str:
    """SHA-256 of what is trained on and in which order, wherever the files lie."""
    facts = [
        (
            clip.sha256,
            clip.frames,
            clip.sample_rate,
            clip.split,
            clip.mel_sha256,
            *([] if clip.bandwidth is None else [clip.bandwidth]),
            *(["synthetic"] if clip.synthetic else []),
        )
        for clip in clips
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _parse(path: Path | str, number: int, line: str) -> Clip:
    try:
        clip = from_mapping(Clip, from_json(line))
    except ValueError as error:
        raise ConfigError(f"{path}, line {number}: {error}") from error
    folder = os.path.dirname(path)
    lies = clip.path if is_url(clip.path) else _beside(folder, clip.path)
    mel = None if clip.mel is None else _beside(folder, clip.mel)
    if (is_url(lies) and clip.offset is None) or (mel and is_url(mel)):
        what = lies if clip.offset is None else mel
        raise ConfigError(f"{path}, line {number}: {what}: of a store only shards are read; make them with --shards")
    return dataclasses.replace(clip, path=lies, mel=mel)


def _beside(folder: str, path: str) -> str:
    """A path in a manifest, as seen from the manifest's folder, which may be a URL."""
    if not is_url(folder):
        return os.path.normpath(os.path.join(folder, path))
    scheme, _, place = folder.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(place, path))}"


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips, with paths relative to the manifest. Raises OutputError."""
    lines = []
    for clip in clips:
        entry = dataclasses.asdict(clip)
        entry["path"] = clip.path if is_url(clip.path) else os.path.relpath(clip.path, path.parent)
        entry["mel"] = None if clip.mel is None else os.path.relpath(clip.mel, path.parent)
        lines.append(json.dumps({key: value for key, value in entry.items() if value not in (None, False)}))
    make_folder(path.parent)
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def changes(before: Sequence[Clip], now: Sequence[Clip]) -> str:
    """How clips differ from what they were, in numbers and names; empty where they don't.

    Clips are what they contain: one that lies elsewhere is the same. One of a known name and another content changed.
    """
    lost, added = _unmatched(before, now), _unmatched(now, before)
    changed = lost & added
    kinds = {"added": added - changed, "changed": changed, "lost": lost - changed}
    return "; ".join(f"{names.total()} {kind} ({_some([*names])})" for kind, names in kinds.items() if names)


def _unmatched(clips: Sequence[Clip], others: Sequence[Clip]) -> Counter[str]:
    """Names of the clips whose content is not among the others', each of which counts once: equal names first."""
    own, theirs = (Counter((c.sha256, c.mel_sha256, c.name) for c in some) for some in (clips, others))
    left: Counter[tuple[str, str | None]] = Counter()
    for (sha256, mel_sha256, _), n in (theirs - own).items():
        left[sha256, mel_sha256] += n
    names: Counter[str] = Counter()
    for (sha256, mel_sha256, name), n in (own - theirs).items():
        renamed = min(n, left[sha256, mel_sha256])
        left[sha256, mel_sha256] -= renamed
        names[name] += n - renamed
    return +names


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
