"""Mel files beside recordings, as an acoustic model made them: each checked against its recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from waveglow.audio.files import MEL_SUFFIXES, FileError, Input
from waveglow.audio.io import AudioError, Samples
from waveglow.audio.mel import PRESETS, MelSpec, diagnose_beside, preset
from waveglow.audio.mel_files import MelError, read_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.config import ConfigError

NEED_STATISTICS = ("espnet", "flowavenet")  # of a corpus or an audio scale of their own: named, or not meant


class MelsBeside:
    """A folder of mel files with the recordings' names, all of one convention: the one given, or a preset that fits."""

    def __init__(self, folder: Path, candidates: list[MelSpec]) -> None:
        self.folder = folder
        self.candidates = candidates  # the one that fits, once a mel has shown it
        self.to_mel = {spec.name: MelSpectrogram(spec) for spec in candidates}

    @classmethod
    def of(cls, folder: Path | None, spec: MelSpec | None, sample_rate: int) -> MelsBeside | None:
        """None without a folder. Raises ConfigError where there is none, or no convention for the sample rate."""
        if folder is None:
            return None
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder; give that of the mel files")
        usual = (preset(name) for name in PRESETS if name not in NEED_STATISTICS)
        candidates = [spec] if spec else [found for found in usual if found.sample_rate == sample_rate]
        if not candidates or candidates[0].sample_rate != sample_rate:
            its = f"has {candidates[0].sample_rate} Hz, the clips {sample_rate} Hz" if spec else "isn't known"
            raise ConfigError(f"the convention of the mels {its}; name one of {sample_rate} Hz with --mel")
        return cls(folder, candidates)

    def of_clip(self, item: Input, corpus: Path, samples: Samples) -> Path:
        """The mel file of a recording, `samples [T]`. Raises FileError where there is none, or it doesn't fit."""
        stems = dict.fromkeys((item.stem, item.file.relative_to(corpus).with_suffix("")))  # of wavs/, or of the corpus
        files = [self.folder / f"{stem}{suffix}" for stem in stems for suffix in MEL_SUFFIXES]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            raise AudioError(item.file, f"has no mel {files[0]} (or {', '.join(MEL_SUFFIXES[1:])})")
        fits: list[tuple[float, MelSpec]] = []
        problems: list[FileError] = []
        for spec in self.candidates:
            try:
                fits.append((self._distance(path, spec, samples), spec))
            except FileError as error:
                problems.append(error)
        if not fits:
            raise problems[0]
        self.candidates = [min(fits, key=lambda fit: fit[0])[1]]
        return path

    def _distance(self, path: Path, spec: MelSpec, samples: Samples) -> float:
        """Mean of |mel − that of the recording|. Raises FileError where they can't belong together."""
        mel = read_mel(path, spec)
        require_frames(path, mel.shape[1], len(samples), spec)
        own = self.to_mel[spec.name].of_any_length(torch.from_numpy(samples)[None])[0].numpy()
        frames = min(mel.shape[1], own.shape[1])
        if looks := diagnose_beside(mel[:, :frames], own[:, :frames]):
            raise MelError(path, f"{looks}, that is not {spec.name or 'the convention'}; name its own with --mel")
        return float(np.abs(mel[:, :frames] - own[:, :frames]).mean())


def require_frames(path: Path | str, frames: int, n_samples: int, spec: MelSpec) -> None:
    """Raises MelError where a mel of so many frames is of another length than its recording."""
    needed = n_samples // spec.hop
    if not needed <= frames <= needed + 2:  # conventions differ by a frame; more is another hop or recording
        raise MelError(path, f"has {frames} frames, its recording of {n_samples} samples needs {needed}")
