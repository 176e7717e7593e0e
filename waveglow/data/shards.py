"""Clips in shards: uncompressed tars, which WebDataset and lhotse Shar read too.

A clip is two files behind each other, KEY.flac (or .wav), byte for byte the recording, and KEY.json, lhotse's
description of it; KEY is its place in the corpus. Beside `recording.….000007.tar` lies `cuts.….000007.jsonl.gz`, which
Shar needs. Shards are named by what is in them, so that one that is there is whole and right: writing resumes where it
stopped, a manifest that is there stays true until the new one replaces it, and those of others are removed then.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from waveglow.audio.files import FileError, make_folder, write_atomically, writing
from waveglow.audio.spans import BLOCK, members
from waveglow.config import ConfigError
from waveglow.data.manifest import Clip, escaped

FOLDER = "shards"
UNITS = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
SMALLEST = 1 << 20
CUSTOM = ("sha256", "split", "bandwidth", "synthetic", "corpus")  # of a clip


def size(text: str) -> int:
    """Bytes of "1024MB". Raises ConfigError for what is no size, and below 1 MB."""
    found = re.fullmatch(r"(\d+)(KB|MB|GB)", text.upper())
    if not found or int(found[1]) * UNITS[found[2]] < SMALLEST:
        raise ConfigError(f"{text!r} is no size of a shard; give 1MB or more, such as 1024MB or 1GB")
    return int(found[1]) * UNITS[found[2]]


def write_shards(clips: Sequence[tuple[str, Clip]], out: Path, max_bytes: int) -> list[Clip]:
    """Clips, each with its place in the corpus (`speaker/012`), into tars below `out`/shards; as they lie there.

    A shard has as many as fit into `max_bytes`, one at least. Those that are there already stay as they are. Raises
    ConfigError for two clips of one place, FileError where a recording changed meanwhile, and OutputError.
    """
    folder = out / FOLDER
    make_folder(folder)
    stems: dict[str, str] = {}
    for stem, clip in clips:
        if stem in stems:
            raise ConfigError(f"{stems[stem]} and {clip.path} would both be {stem} in a shard; rename one")
        stems[stem] = clip.path
    files = [(f"{escaped(stem)}{Path(clip.path).suffix.lower()}", clip) for stem, clip in clips]
    mark = hashlib.sha256(json.dumps([[name, clip.sha256] for name, clip in files] + [max_bytes]).encode()).hexdigest()
    parts = list(_parted(files, max_bytes))
    placed: list[Clip] = []
    for number, part in enumerate(tqdm(parts, unit="shard", disable=not sys.stderr.isatty())):
        placed += _write(folder, f"{mark[:8]}.{number:06d}", part)
    return placed


def remove_others(out: Path, clips: Sequence[Clip]) -> None:
    """Remove the shards below `out` that have none of the clips: those of an older manifest."""
    kept = {_mark(Path(clip.path).name) for clip in clips if clip.offset}
    for path in (out / FOLDER).glob("*"):
        if _mark(path.name) and _mark(path.name) not in kept:
            with suppress(OSError):
                path.unlink()


def _mark(name: str) -> str:
    found = re.fullmatch(r"(?:recording|cuts)\.([0-9a-f]{8})\.\d{6}\.(?:tar|jsonl\.gz)", name)
    return found[1] if found else ""


def _parted(files: Sequence[tuple[str, Clip]], max_bytes: int) -> Iterator[list[tuple[str, Clip]]]:
    part: list[tuple[str, Clip]] = []
    room = max_bytes
    for name, clip in files:
        needed = Path(clip.path).stat().st_size + 4 * BLOCK  # two headers, the JSON, what fills up
        if part and needed > room:
            yield part
            part, room = [], max_bytes
        part.append((name, clip))
        room -= needed
    if part:
        yield part


def _write(folder: Path, name: str, part: Sequence[tuple[str, Clip]]) -> list[Clip]:
    """One shard, and the clips as they lie in it; the tar last, so that where it is all is whole."""
    path, cuts = folder / f"recording.{name}.tar", folder / f"cuts.{name}.jsonl.gz"
    if not path.exists():
        lines = "".join(json.dumps(cut(member, clip)) + "\n" for member, clip in part)
        write_atomically(cuts, gzip.compress(lines.encode(), mtime=0))
        _write_tar(path, part)
    found = {one.name: one for one in members(path)}
    return [
        dataclasses.replace(
            clip, path=str(path.resolve()), offset=found[member].offset, bytes=found[member].size, member=member
        )
        for member, clip in part
    ]


def _write_tar(path: Path, part: Sequence[tuple[str, Clip]]) -> None:
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with writing(path), tarfile.open(partial, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
            for member, clip in part:
                for name, data in ((member, _recording(clip)), (f"{key(member)}.json", _described(member, clip))):
                    info = tarfile.TarInfo(name)  # of no time and no owner: the same clips make the same bytes
                    info.size, info.mode = len(data), 0o644
                    tar.addfile(info, io.BytesIO(data))
        with writing(path):
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _recording(clip: Clip) -> bytes:
    """Byte for byte. Raises FileError where it is another than when it was checked."""
    try:
        content = Path(clip.path).read_bytes()
    except OSError as error:
        raise FileError(clip.path, f"can't be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != clip.sha256:
        raise FileError(clip.path, "changed while it was prepared; run `waveglow prepare` again")
    return content


def key(member: str) -> str:
    """A file in a shard without the end of its name: what WebDataset and lhotse call the sample."""
    return member.rpartition(".")[0]


def _described(member: str, clip: Clip) -> bytes:
    """As `lhotse.Recording` has it, of data that lie beside it in the shard."""
    description = {
        "id": key(member),
        "sources": [{"type": "shar", "channels": [0], "source": ""}],
        "sampling_rate": clip.sample_rate,
        "num_samples": clip.frames,
        "duration": clip.frames / clip.sample_rate,
        "channel_ids": [0],
    }
    return json.dumps(description).encode()


def cut(member: str, clip: Clip) -> dict[str, Any]:
    """As `lhotse.MonoCut` has it, with what only our manifest says as its custom fields."""
    custom = {name: getattr(clip, name) for name in CUSTOM if getattr(clip, name)}
    return {
        "id": key(member),
        "start": 0.0,
        "duration": clip.frames / clip.sample_rate,
        "channel": 0,
        "supervisions": [],
        "custom": custom,
        "type": "MonoCut",
    }
