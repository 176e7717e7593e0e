"""Recordings that others have put into shards or listed: WebDataset, lhotse Shar and CutSets, to a manifest.

A WebDataset is uncompressed tars, in which the files of a sample have one name but for its end; a Shar is such tars
and, beside them, cuts.….jsonl.gz; a CutSet, or a RecordingSet, is one JSON object a line (lhotse.readthedocs.io,
"Cuts" and "Lhotse Shar"). None of their libraries is needed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from tqdm import tqdm

from waveglow.audio.files import AUDIO_SUFFIXES, FileError
from waveglow.audio.io import AudioError, load_audio, probe
from waveglow.audio.spans import Span, members
from waveglow.config import ConfigError, from_json
from waveglow.data.manifest import Clip, unescaped
from waveglow.data.prepare import MANIFEST, VALID_FRACTION, VALIDATED_SECONDS, Prepared, known_clips, write
from waveglow.data.shards import CUSTOM, key
from waveglow.data.split import Recorded, Split, require_shares, splits

LISTS = (".jsonl", ".jsonl.gz")


class Found(NamedTuple):
    """A recording that is to be read, its place, and what is said of it: fields of `Clip` by name."""

    source: Path | Span
    place: str
    said: Mapping[str, Any]


def import_clips(
    sources: Sequence[Path],
    out: Path,
    *,
    sample_rate: int,
    valid_fraction: float | None = None,
    test_fraction: float = 0.0,
) -> Prepared:
    """Check every recording of `sources` and write `out`/manifest.jsonl and `out`/report.json.

    Held out are those that their cuts say are (custom field `split`), or that `out` had before, unless a fraction is
    given; else by the hash of their names. Raises ConfigError where a source is none of those above, or fewer than two
    recordings can be used; FileError where a tar is broken; OutputError.
    """
    require_shares(VALID_FRACTION if valid_fraction is None else valid_fraction, test_fraction)
    if out.suffix.lower() in (".tar", *LISTS) or (out.exists() and not out.is_dir()):
        raise ConfigError(f"the output {out} looks like a file; name a folder, which gets {MANIFEST}")
    refused: list[str] = []
    found = [one for source in sources for one in _found(source, refused)]
    asked_anew = valid_fraction is not None or bool(test_fraction)
    known = {} if asked_anew else known_clips(out / MANIFEST)
    clips: list[Clip] = []
    recorded: list[Recorded] = []
    for one in tqdm(found, unit="file", disable=not sys.stderr.isatty()):
        try:
            clip, samples = _checked(one, sample_rate)
        except FileError as error:
            refused.append(str(error))
            continue
        before = known.get((clip.sha256, clip.name))
        kept = before.split if before else _split(one.said)
        long = clip.frames >= VALIDATED_SECONDS * sample_rate
        clips.append(clip)
        recorded.append(
            Recorded(one.place, hashlib.sha256(samples.tobytes()).hexdigest(), long, None if asked_anew else kept)
        )
    if len(clips) < 2:
        first = f", the first: {refused[0]}" if refused else ""
        raise ConfigError(
            f"{', '.join(map(str, sources))}: {len(clips)} recordings can be used ({len(refused)} refused{first}); "
            "at least 2 are needed"
        )
    given = splits(recorded, valid=VALID_FRACTION if valid_fraction is None else valid_fraction, test=test_fraction)
    placed = [Clip(**{**vars(clip), "split": split}) for clip, split in zip(clips, given, strict=True)]
    imported = Prepared(placed, refused, [])
    write(out, ", ".join(str(source.resolve()) for source in sources), imported)
    return imported


def _split(said: Mapping[str, Any]) -> Split | None:
    return next((split for split in get_args(Split) if split == said.get("split")), None)


def _checked(one: Found, sample_rate: int) -> tuple[Clip, np.ndarray]:
    """The clip and its samples [T]. Raises FileError."""
    info = probe(one.source)
    if info.sample_rate != sample_rate:
        rates = f"has {info.sample_rate} Hz, the manifest {sample_rate} Hz"
        raise AudioError(one.source, f"{rates}; give --sample-rate, or resample it with `waveglow prepare`")
    if not info.exact:
        raise AudioError(one.source, "can't be read from any sample on exactly; make it FLAC or WAV")
    samples = load_audio(one.source, channel=None, strict=True).samples
    if not samples.any():
        raise AudioError(one.source, "is digital silence throughout; nothing can be learned from it")
    where: dict[str, Any] = {"path": os.path.abspath(one.source)}
    if isinstance(one.source, Span):
        span = one.source
        where = {"path": span.shard, "offset": span.offset, "bytes": span.size, "member": span.member}
    facts = {name: one.said[name] for name in CUSTOM if name in one.said and name not in ("sha256", "split")}
    digest = hashlib.sha256(one.source.read_bytes()).hexdigest()
    facts = {"sample_rate": sample_rate, "frames": len(samples), "sha256": digest, "split": "train", **facts}
    return Clip(**where, **facts), samples


def _found(source: Path, refused: list[str]) -> Iterator[Found]:
    if source.is_dir():
        cuts = sorted(path for path in source.glob("cuts.*") if path.name.endswith(LISTS))
        said = {str(line.get("id")): line.get("custom") or {} for path in cuts for _, line in _lines(path)}
        tars = sorted(source.glob("recording.*.tar" if cuts else "*.tar"))
        if not tars:
            raise ConfigError(f"{source}: has no tars; give a WebDataset, a lhotse Shar, or a CutSet's .jsonl.gz")
        yield from (one for tar in tars for one in _of_tar(tar, said))
    elif source.suffix == ".tar":
        yield from _of_tar(source, {})
    elif source.name.endswith(LISTS):
        yield from _of_list(source, refused)
    else:
        raise ConfigError(
            f"{source}: is no folder, .tar, {' or '.join(LISTS)}; recordings are listed by `waveglow prepare`"
        )


def _of_tar(tar: Path, said: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    for name, offset, size in members(tar):
        if Path(name).suffix.lower() in AUDIO_SUFFIXES:
            span = Span(os.path.abspath(tar), offset, size, name)
            yield Found(span, unescaped(key(name)), said.get(key(name), {}))


def _of_list(path: Path, refused: list[str]) -> Iterator[Found]:
    """Of a CutSet or a RecordingSet, whose lines are cuts of whole recordings, or recordings."""
    for number, line in _lines(path):
        recording = line.get("recording", line)
        sources = recording.get("sources") or [{}]
        place = str(line.get("id", number))
        whole = not line.get("start") and (
            round(line.get("duration", 0) * recording.get("sampling_rate", 0)) >= recording.get("num_samples", 1) - 1
        )
        if sources[0].get("type") != "file" or len(sources) > 1:
            kind = sources[0].get("type", "none")
            refused.append(
                f"{path}, line {number}: {place} is in no file ({kind}); write the cuts `to_shar` and give that"
            )
        elif not whole:
            refused.append(
                f"{path}, line {number}: {place} is a piece of its recording; write the cuts `to_shar` first"
            )
        else:
            named = Path(sources[0].get("source", ""))
            beside = path.parent / named
            yield Found(beside if beside.exists() else named, place, line.get("custom") or {})


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of each line. Raises ConfigError."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}: can't be read ({error})") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = from_json(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
        if not isinstance(value, dict) or not isinstance(value.get("recording", {}), dict):
            raise ConfigError(f"{path}, line {number}: is no cut and no recording of lhotse")
        yield number, value
