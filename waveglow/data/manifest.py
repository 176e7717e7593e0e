"""The manifest: which clips there are, checked once, and which of them are held out.

One JSON object a line: path (relative to the manifest), sample_rate in Hz, frames in samples, sha256, split, mel where
a mel file goes with the clip, bandwidth in Hz where the recording has nothing above, synthetic where a model spoke,
corpus where it has a name. A run trains on `train` and validates on `valid`; `test` it never sees.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from waveglow.audio.files import AUDIO_SUFFIXES, MEL_SUFFIXES, Input, find_inputs
from waveglow.audio.io import AudioError, load_audio, probe, save_audio
from waveglow.config import ConfigError, from_mapping

Split = Literal["train", "valid", "test"]


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

    def __post_init__(self) -> None:
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ConfigError(f"bandwidth is {self.bandwidth} Hz; it must be above 0")

    @property
    def name(self) -> str:
        return Path(self.path).stem


def read_manifest(path: Path) -> list[Clip]:
    """The clips of a manifest. Raises ConfigError, with the line, where one can't be used."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read ({error}); make it with `waveglow prepare`") from error
    clips = [_parse(path, number, line) for number, line in enumerate(lines, 1)]
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


def _parse(path: Path, number: int, line: str) -> Clip:
    try:
        clip = from_mapping(Clip, json.loads(line))
    except ValueError as error:
        raise ConfigError(f"{path}, line {number}: {error}") from error
    mel = None if clip.mel is None else os.path.normpath(path.parent / clip.mel)
    return dataclasses.replace(clip, path=os.path.normpath(path.parent / clip.path), mel=mel)


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips, with paths relative to the manifest."""
    lines = []
    for clip in clips:
        entry = dataclasses.asdict(clip)
        entry["path"] = os.path.relpath(clip.path, path.parent)
        entry["mel"] = None if clip.mel is None else os.path.relpath(clip.mel, path.parent)
        lines.append(json.dumps({key: value for key, value in entry.items() if value not in (None, False)}))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, path)


@dataclass(frozen=True)
class Prepared:
    """What `prepare` found: the clips that can be used, and why others can't."""

    clips: list[Clip]
    refused: list[str]
    notices: list[str]

    def text(self) -> str:
        """How much it is, in a line."""
        seconds = sum(clip.frames / clip.sample_rate for clip in self.clips)
        held_out = sum(clip.split == "valid" for clip in self.clips)
        rate = self.clips[0].sample_rate
        return (
            f"{len(self.clips)} clips, {seconds / 60:.1f} minutes at {rate} Hz, {held_out} held out, "
            f"{len(self.refused)} refused"
        )


def prepare(
    corpus: Path,
    out: Path,
    *,
    sample_rate: int,
    valid_fraction: float = 0.05,
    mels: Path | None = None,
    progress: Callable[[Iterable[Input]], Iterable[Input]] = iter,
) -> Prepared:
    """Check every recording below `corpus` and write `out`/manifest.jsonl.

    Recordings at another rate or with several channels are converted into `out`/wavs. Files that can't be decoded
    whole, and silent ones, are refused by name. The held-out split is the `valid_fraction` of the clips whose names
    have the smallest hashes, at least one. `mels` is a folder of mel files with the clips' names (training on the mels
    of an acoustic model); a clip without one is refused.
    Raises ConfigError for a corpus that is no folder, a fraction that is none, and where fewer than two clips remain,
    ValueError where `out`/wavs lies among the recordings.
    """
    if not corpus.is_dir():
        raise ConfigError(f"{corpus} is no folder; give LJSpeech-1.1 or any folder of recordings")
    if not 0 < valid_fraction < 1:
        raise ConfigError(f"valid_fraction is {valid_fraction}; it must be between 0 and 1")
    inputs = find_inputs([wav_folder(corpus)], AUDIO_SUFFIXES, out=out / "wavs")
    clips, refused, notices = [], [f"{s.path}: {s.reason}" for s in inputs.skipped], []
    for file, stem in progress(inputs.found):
        try:
            clip, said = _checked(file, stem, out, sample_rate, mels)
        except AudioError as error:
            refused.append(str(error))
            continue
        clips.append(clip)
        notices += said
    if len(clips) < 2:
        raise ConfigError(
            f"{corpus}: has {len(clips)} usable recordings ({len(refused)} refused"
            + (f", first: {refused[0]}" if refused else "")
            + f"); looked for {', '.join(AUDIO_SUFFIXES)} below {wav_folder(corpus)}, at least 2 are needed"
        )
    clips = with_split(clips, valid_fraction)
    write_manifest(out / "manifest.jsonl", clips)
    return Prepared(clips, refused, notices)


def wav_folder(corpus: Path) -> Path:
    """`wavs` where the corpus has LJSpeech's layout (wavs/ and metadata.csv), else the folder itself."""
    return corpus / "wavs" if (corpus / "wavs").is_dir() and (corpus / "metadata.csv").is_file() else corpus


def _checked(file: Path, stem: Path, out: Path, sample_rate: int, mels: Path | None) -> tuple[Clip, list[str]]:
    info = probe(file)
    audio, path = load_audio(file, sample_rate=sample_rate, strict=True), file
    if not np.any(audio.samples):
        raise AudioError(file, "is digital silence throughout; nothing can be learned from it")
    mel = None
    if mels is not None:
        mel = next((mels / f"{stem}{s}" for s in MEL_SUFFIXES if (mels / f"{stem}{s}").is_file()), None)
        if mel is None:
            raise AudioError(file, f"has no mel {mels / stem}.npy (or {', '.join(MEL_SUFFIXES[1:])})")
    if (info.sample_rate, info.channels) != (sample_rate, 1):
        path = out / "wavs" / stem.with_name(stem.name + ".wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, audio.samples, sample_rate)
    clip = Clip(
        path=str(path.resolve()),
        sample_rate=sample_rate,
        frames=len(audio.samples),
        sha256=_digest(path),
        split="train",
        mel=str(mel.resolve()) if mel else None,
        mel_sha256=_digest(mel) if mel else None,
    )
    return clip, [f"{file}: {notice}" for notice in audio.notices]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def with_split(clips: list[Clip], valid_fraction: float) -> list[Clip]:
    """The clips with the `valid_fraction` of smallest name hashes held out: at least one, never all."""
    held_out = min(max(1, round(valid_fraction * len(clips))), len(clips) - 1)
    by_hash = sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).hexdigest())
    valid = {clip.path for clip in by_hash[:held_out]}
    return [dataclasses.replace(clip, split="valid" if clip.path in valid else "train") for clip in clips]
