"""A folder of recordings to a manifest: every clip, and every mel beside one, checked before anything is trained.

OUT gets manifest.jsonl, report.json (what was refused and said, and which files it was made from) and, in wavs/, what
had to be converted: recordings at another rate, with several channels, cut, or of a format that can't be read from any
sample on exactly.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from waveglow.audio.files import (
    AUDIO_SUFFIXES,
    FileError,
    Input,
    Inputs,
    find_inputs,
    make_folder,
    utf8,
    write_atomically,
)
from waveglow.audio.io import AudioError, AudioInfo, Channel, Samples, load_audio, load_long, probe, save_audio
from waveglow.audio.mel import MelSpec
from waveglow.config import ConfigError, from_json
from waveglow.data.beside import MelsBeside
from waveglow.data.manifest import Clip, read_manifest, write_manifest
from waveglow.data.shards import remove_others, write_shards
from waveglow.data.split import HeldOut, Recorded, Split, require_shares, splits

MANIFEST, REPORT = "manifest.jsonl", "report.json"
VALIDATED_SECONDS = 0.1  # of a clip that is held out, at least: all models' groups of samples are shorter
SHORTEST_CUT = 1.0  # seconds
VALID_FRACTION = 0.05
LONG_SECONDS = 30.0  # what is longer is better cut, where there is little else
SILENT = "is digital silence throughout; nothing can be learned from it"
NARROW = 0.95  # of the sample rate: a recording below it lacks the highest band


@dataclass(frozen=True)
class Prepared:
    """What `prepare` found: the clips that can be used, why others can't, and what is to be known of all."""

    clips: list[Clip]
    refused: list[str]
    notices: list[str]
    sources: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """How much it is, in a line."""
        seconds = sum(clip.frames / clip.sample_rate for clip in self.clips)
        counts = [sum(clip.split == split for clip in self.clips) for split in ("valid", "test")]
        return (
            f"{len(self.clips)} clips, {seconds / 60:.1f} minutes at {self.clips[0].sample_rate} Hz, "
            f"{counts[0]} held out{f' and {counts[1]} for tests' if counts[1] else ''}, {len(self.refused)} refused"
        )


def tell(prepared: Prepared, report: Path, *, most: int = 3) -> None:
    """Print to stderr what was refused, and some of the notices; the report has all."""
    for line in prepared.refused:
        print(f"refused: {line}", file=sys.stderr)
    for line in prepared.notices[:most]:
        print(f"notice: {line}", file=sys.stderr)
    if len(prepared.notices) > most:
        print(f"notice: {len(prepared.notices) - most} more notices are in {report}", file=sys.stderr)


def prepare(
    corpus: Path,
    out: Path,
    *,
    sample_rate: int,
    valid_fraction: float | None = None,
    test_fraction: float = 0.0,
    valid_names: Sequence[str] = (),
    test_names: Sequence[str] = (),
    mels: Path | None = None,
    mel_spec: MelSpec | None = None,
    channel: Channel = "mix",
    cut_seconds: float | None = None,
    shard_bytes: int | None = None,
    accept: Callable[[list[Clip]], None] | None = None,
) -> Prepared:
    """Check every recording below `corpus` and write `out`/manifest.jsonl and `out`/report.json.

    Files that can't be decoded whole, and silent ones, are refused by name. What was prepared in `out` before keeps
    its split, unless a fraction or a name is given.

    Arguments:
        sample_rate: of the clips, in Hz; other recordings are resampled, and lower ones get their bandwidth.
        valid_fraction, test_fraction: shares to hold out (0.05 and none), by `data.split.splits`; clips of a tenth
            of a second and more, if there are any. Beside clips that are named for validation, 0.05 becomes none.
        valid_names, test_names: patterns of recordings or folders to hold out (`data.split.HeldOut`).
        mels: a folder of mel files with the clips' names (training on the mels of an acoustic model); a clip without a
            mel that fits it is refused.
        mel_spec: their convention; None takes the preset at this sample rate that the first of them fits best.
        channel: of recordings of several.
        cut_seconds: longer recordings are cut at pauses into pieces of at most so many seconds.
        shard_bytes: the recordings are copied into tars of at most so many bytes (`data.shards`); mels stay files.
        accept: sees the clips before the manifest is written, and may raise.

    Raises ConfigError for a corpus that is no folder, fractions that are none, names of no recording, and where fewer
    clips remain than there are splits, ValueError where `out`/wavs lies among the recordings, OutputError where
    something can't be written.
    """
    if not corpus.is_dir():
        raise ConfigError(f"{corpus} is no folder; give LJSpeech-1.1 or any folder of recordings")
    if out.suffix.lower() == ".jsonl" or (out.exists() and not out.is_dir()):
        raise ConfigError(f"the output {out} looks like a file; name a folder, which gets {MANIFEST}")
    require_shares(VALID_FRACTION if valid_fraction is None else valid_fraction, test_fraction)
    if cut_seconds is not None and (mels is not None or cut_seconds < SHORTEST_CUT):
        raise ConfigError(f"recordings can't be cut to {cut_seconds:g} s; give 1 s or more, and no mels beside them")
    inputs = _inputs(corpus, out)
    held_out = HeldOut(corpus, {"valid": valid_names, "test": test_names})
    held_out.require_found(inputs.found)
    beside = MelsBeside.of(mels, mel_spec, sample_rate)
    work = _Preparation(corpus, out, sample_rate, channel, cut_seconds, beside, held_out)
    refused = [f"{path}: {reason}" for path, reason in inputs.skipped]
    notices = list(filter(None, [inputs.passed_over_text()]))
    for item in tqdm(inputs.found, unit="file", disable=not sys.stderr.isatty()):
        try:
            notices += work.take(item)
        except FileError as error:
            refused.append(str(error))
    clips, said = work.with_splits(refused, valid_fraction, test_fraction)
    if accept is not None:
        accept(clips)
    if shard_bytes is not None:
        places = (recorded.place for recorded in work.recorded)
        clips = write_shards(list(zip(places, clips, strict=True)), out, shard_bytes)
    prepared = Prepared(clips, refused, said + notices, _fingerprint(corpus, inputs))
    write(out, str(corpus.resolve()), prepared)
    if shard_bytes is not None:
        remove_others(out, clips)
    return prepared


def is_of(out: Path, corpus: Path) -> bool:
    """Whether `out` was prepared from the recordings as they are now, by their names, sizes and times of change."""
    try:
        report = from_json((out / REPORT).read_text("utf-8"))
        whole = (out / MANIFEST).is_file() and report["corpus"] == str(corpus.resolve())
        return bool(whole and report["sources"] == _fingerprint(corpus, _inputs(corpus, out)))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def wav_folder(corpus: Path) -> Path:
    """`wavs` where the corpus has LJSpeech's layout (wavs/ and metadata.csv), else the folder itself."""
    return corpus / "wavs" if (corpus / "wavs").is_dir() and (corpus / "metadata.csv").is_file() else corpus


def _inputs(corpus: Path, out: Path) -> Inputs:
    return find_inputs([wav_folder(corpus)], AUDIO_SUFFIXES, out=out / "wavs")


def _fingerprint(corpus: Path, inputs: Inputs) -> dict[str, str]:
    """Size in bytes and time of change of all files, also of those that are refused now and may be mended."""
    states = {os.path.relpath(file, corpus): file.stat() for file, _ in inputs.found}
    return {name: f"{state.st_size} {state.st_mtime_ns}" for name, state in sorted(states.items())}


def write(out: Path, corpus: str, prepared: Prepared) -> None:
    """Manifest and report, the manifest first: a report that lies there speaks of that manifest or of an older one,
    which `is_of` sees."""
    content: dict[str, Any] = {"corpus": corpus, "clips": prepared.text()}
    content |= {"refused": prepared.refused, "notices": prepared.notices, "sources": prepared.sources}
    write_manifest(out / MANIFEST, prepared.clips)
    write_atomically(out / REPORT, utf8(json.dumps(content, indent=1, ensure_ascii=False)))


class _Preparation:
    """Recordings as clips, one after another."""

    def __init__(
        self,
        corpus: Path,
        out: Path,
        sample_rate: int,
        channel: Channel,
        cut_seconds: float | None,
        mels: MelsBeside | None,
        held_out: HeldOut,
    ) -> None:
        self.corpus, self.out, self.sample_rate = corpus, out, sample_rate
        self.channel, self.cut_seconds, self.mels, self.held_out = channel, cut_seconds, mels, held_out
        self.clips: list[Clip] = []
        self.recorded: list[Recorded] = []
        self.written: set[Path] = set()
        self.longest = 0.0

    def take(self, item: Input) -> list[str]:
        """Check a recording, and convert it where it must be. Returns notices; raises FileError and OutputError."""
        info, split = probe(item.file), self.held_out.split_of(item)
        if self.cut_seconds and info.seconds > self.cut_seconds and (said := self._take_pieces(item, info, split)):
            return said
        audio = load_audio(item.file, sample_rate=self.sample_rate, channel=self.channel, strict=True)
        if not np.any(audio.samples):
            raise AudioError(item.file, SILENT)
        self.longest = max(self.longest, len(audio.samples) / self.sample_rate)
        if split and self._is_short(audio.samples):
            raise AudioError(item.file, f"is held out by name, and shorter than {VALIDATED_SECONDS} s")
        mel = self.mels.of_clip(item, self.corpus, audio.samples) if self.mels else None
        as_it_is = info.exact and (info.sample_rate, info.channels) == (self.sample_rate, 1)
        path = item.file if as_it_is else self._converted(item.stem, audio.samples)
        self._add(item.stem, path, audio.samples, info, mel=mel, split=split)
        return [f"{item.file}: {notice}" for notice in audio.notices]

    def _take_pieces(self, item: Input, info: AudioInfo, split: Split | None) -> list[str]:
        """Cut a recording of any length, no more of which than a piece is held. Empty where there is nothing to cut."""
        audio = load_long(item.file, sample_rate=self.sample_rate, channel=self.channel, strict=True)
        if audio.silent:
            raise AudioError(item.file, SILENT)
        pieces = self._pieces(audio)
        first = [*itertools.islice(pieces, 2)]
        if len(first) < 2:
            return []
        number = 0
        for number, piece in enumerate(itertools.chain(first, pieces), 1):
            if np.any(piece) and not (split and self._is_short(piece)):
                stem = item.stem / f"{number:04d}"
                self._add(stem, self._converted(stem, piece), piece, info, split=split)
        return [f"{item.file}: {notice}" for notice in (*audio.notices, f"cut into {number} pieces")]

    def _pieces(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """At most `cut_seconds` each, cut where the second half of a piece is quietest."""
        assert self.cut_seconds is not None
        longest, hop = round(self.cut_seconds * self.sample_rate), self.sample_rate // 50
        half = longest // 2
        samples = np.empty(0, np.float32)
        for block in blocks:
            samples = np.concatenate([samples, block])
            while len(samples) > longest:
                frames = np.square(samples[half:longest])[: half // hop * hop].reshape(-1, hop).mean(1)
                end = half + hop * int(frames.argmin()) + hop // 2
                yield samples[:end]
                samples = samples[end:]
        yield samples

    def _is_short(self, samples: Samples) -> bool:
        return len(samples) < VALIDATED_SECONDS * self.sample_rate

    def _converted(self, stem: Path, samples: Samples) -> Path:
        path = self.out / "wavs" / stem.with_name(stem.name + ".wav")
        if path in self.written:
            raise ConfigError(f"two clips would be written as {path}; rename {stem} or the recording that is cut to it")
        self.written.add(path)
        make_folder(path.parent)
        save_audio(path, samples, self.sample_rate)
        return path

    def _add(
        self,
        stem: Path,
        path: Path,
        samples: Samples,
        info: AudioInfo,
        *,
        split: Split | None,
        mel: Path | None = None,
    ) -> None:
        narrow = info.sample_rate < NARROW * self.sample_rate
        clip = Clip(
            path=str(path.resolve()),
            sample_rate=self.sample_rate,
            frames=len(samples),
            sha256=_digest(path),
            split="train",
            mel=str(mel.resolve()) if mel else None,
            mel_sha256=_digest(mel) if mel else None,
            bandwidth=info.sample_rate // 2 if narrow else None,
        )
        self.clips.append(clip)
        content = hashlib.sha256(samples.data).hexdigest()
        self.recorded.append(Recorded(stem.as_posix(), content, not self._is_short(samples), split))

    def with_splits(
        self, refused: list[str], valid_fraction: float | None, test_fraction: float
    ) -> tuple[list[Clip], list[str]]:
        """The clips, held out or not, and what is to be said of it. Raises ConfigError where there are too few."""
        if len(self.clips) < 2:
            raise ConfigError(
                f"{self.corpus}: has {len(self.clips)} usable recordings ({len(refused)} refused"
                + (f", first: {refused[0]}" if refused else "")
                + f"); looked for {', '.join(AUDIO_SUFFIXES)} below {wav_folder(self.corpus)}, at least 2 are needed"
                + ("; `waveglow prepare --cut 10` makes clips of a long one" if self.longest > LONG_SECONDS else "")
            )
        named = {clip.kept for clip in self.recorded} - {None}
        asked_anew = valid_fraction is not None or bool(test_fraction) or bool(named)
        known = {} if asked_anew else known_clips(self.out / MANIFEST)
        of_name = [known.get((clip.sha256, clip.name), known.get((clip.sha256, ""))) for clip in self.clips]
        recorded = [
            item._replace(kept=old.split) if old else item for item, old in zip(self.recorded, of_name, strict=True)
        ]
        usual = 0.0 if "valid" in named else VALID_FRACTION
        given = splits(recorded, valid=usual if valid_fraction is None else valid_fraction, test=test_fraction)
        if any(item.kept not in (None, split) for item, split in zip(self.recorded, given, strict=True)):
            raise ConfigError(f"{self.corpus}: what is held out by name leaves nothing to train on; name less")
        clips = [
            dataclasses.replace(
                old or clip,
                path=clip.path,
                mel=clip.mel,
                mel_sha256=clip.mel_sha256,
                split=split,
                offset=None,
                bytes=None,
                member=None,
            )
            for clip, split, old in zip(self.clips, given, of_name, strict=True)
        ]
        return clips, list(self._said(clips))

    def _said(self, clips: Iterable[Clip]) -> Iterator[str]:
        copies: dict[str, list[Clip]] = defaultdict(list)
        for clip, recorded in zip(clips, self.recorded, strict=True):
            copies[recorded.content].append(clip)
        for same in copies.values():
            sides = sorted({clip.split for clip in same})
            if len(same) > 1:
                yield f"{', '.join(clip.path for clip in same)} are one recording, in {' and '.join(sides)}"


def known_clips(manifest: Path) -> dict[tuple[str, str], Clip]:
    """Clips that were prepared before, by content and name, and by content alone."""
    try:
        clips = read_manifest(manifest)
    except ConfigError:
        return {}
    return {(clip.sha256, ""): clip for clip in clips} | {(clip.sha256, clip.name): clip for clip in clips}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
