"""The rows of an evaluation, what is compared: the vocoder, what needs no net, others; beside the recordings."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from waveglow.audio.files import AUDIO_SUFFIXES
from waveglow.audio.io import load_audio
from waveglow.audio.mel import MelSpec
from waveglow.audio.refine import MAX_NATS, SCHEMES
from waveglow.evaluation.cache import file_digest
from waveglow.evaluation.clips import Clip
from waveglow.evaluation.table import AGAINST, GRIFFIN_LIM, REFINED_NOISE, TRUTH, UNREFINED, VOCODER
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.metrics import Take
from waveglow.metrics.packages import Samples, version_of
from waveglow.metrics.spectral import GRIFFIN_LIM_ITERATIONS, griffin_lim
from waveglow.vocoder import Vocoder

LENGTH_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class Settings:
    """What was asked for. `checkpoint_found` is the directory that `checkpoint`, a run or a name, stood for."""

    input: str
    checkpoint: str
    checkpoint_found: str
    split: str | None
    sigma: float
    seed: int
    refine: int
    precision: str
    device: str
    threads: int
    metrics: list[str]
    sigmas: list[float]
    against: str | None = None


class Row(Protocol):
    """What is compared."""

    @property
    def name(self) -> str: ...

    def has(self, clip: Clip) -> bool:
        """Whether there can be a wav of that clip."""

    def recipe(self, clip: Clip) -> list[Any]:
        """What the wav depends on besides the recording, in JSON types."""

    def make(self, clip: Clip, recording: Samples) -> tuple[Samples, float]:
        """Samples, and the seconds their synthesis took. Raises ValueError."""


@dataclass(frozen=True)
class GriffinLim:
    """Griffin-Lim from the mels that the vocoder gets."""

    spec: MelSpec
    name: str = GRIFFIN_LIM

    def has(self, clip: Clip) -> bool:
        return True

    def recipe(self, clip: Clip) -> list[Any]:
        return [self.spec.fingerprint, GRIFFIN_LIM_ITERATIONS, version_of("librosa")]

    def make(self, clip: Clip, recording: Samples) -> tuple[Samples, float]:
        log_mel = Take(recording, self.spec, group=1).log_mel
        started = time.perf_counter()
        samples = griffin_lim(log_mel, self.spec, len(recording), iterations=GRIFFIN_LIM_ITERATIONS)
        return samples, time.perf_counter() - started


class RefinedNoise:
    """Noise with the mel's energies, refined as the vocoder's samples are: what there is without any net."""

    name = REFINED_NOISE

    def __init__(self, vocoder: Vocoder | OnnxVocoder, steps: int, seed: int) -> None:
        self._noise = Vocoder.of_noise(vocoder.mel_spec, refine=replace(vocoder.refinement, steps=steps))
        self._seed = seed

    def has(self, clip: Clip) -> bool:
        return True

    def recipe(self, clip: Clip) -> list[Any]:
        return [self._noise.mel_spec.fingerprint, self._seed, *refinement_numbers(self._noise, self._noise.refine)]

    def make(self, clip: Clip, recording: Samples) -> tuple[Samples, float]:
        mel = self._noise.mel(recording, self._noise.sample_rate)
        started = time.perf_counter()
        samples = self._noise.synthesize(mel, sigma=1.0, seed=self._seed, check=False).numpy()
        return _fitted(samples, len(recording)), time.perf_counter() - started


def refinement_numbers(vocoder: Vocoder | OnnxVocoder, steps: int) -> list[float]:
    """What wavs depend on where there are steps of refinement."""
    return [steps, *SCHEMES[vocoder.refinement.scheme], MAX_NATS] if steps else []


class Sampled:
    """A vocoder at one sigma. `timed`: one run to warm up comes before the first. `name` is for another than ours."""

    def __init__(
        self,
        vocoder: Vocoder | OnnxVocoder,
        settings: Settings,
        model_sha256: str,
        *,
        sigma: float,
        refine: int,
        timed: bool = False,
        name: str | None = None,
    ) -> None:
        own = VOCODER if sigma == settings.sigma else f"sigma={sigma:g}"
        self.name = name or (own if refine == settings.refine else UNREFINED)
        self.sigma = sigma
        self.refine = refine
        self._vocoder = vocoder
        self._settings = settings
        self._model_sha256 = model_sha256
        self._warm = not timed

    def has(self, clip: Clip) -> bool:
        return True

    def recipe(self, clip: Clip) -> list[Any]:
        settings = self._settings
        where = [settings.precision, settings.device, settings.threads]
        return [
            self._model_sha256,
            self.sigma,
            settings.seed,
            *where,
            *refinement_numbers(self._vocoder, self.refine),
        ]

    def make(self, clip: Clip, recording: Samples) -> tuple[Samples, float]:
        mel = self._vocoder.mel(recording, self._vocoder.sample_rate)
        if not self._warm:
            self._synthesized(mel)
            self._warm = True
        started = time.perf_counter()
        samples = self._synthesized(mel)
        took = time.perf_counter() - started
        return _fitted(samples, len(recording)), took

    def _synthesized(self, mel: torch.Tensor | Samples) -> Samples:
        sampled = self._vocoder.synthesize(
            mel, sigma=self.sigma, seed=self._settings.seed, refine=self.refine, check=False
        )
        return torch.as_tensor(sampled).cpu().numpy()


@dataclass(frozen=True)
class Other:
    """A folder of the same clips by another vocoder."""

    name: str
    folder: Path
    sample_rate: int

    def has(self, clip: Clip) -> bool:
        return found_in(self.folder, clip) is not None

    def recipe(self, clip: Clip) -> list[Any]:
        return [file_digest(self._file(clip)), self.sample_rate]

    def make(self, clip: Clip, recording: Samples) -> tuple[Samples, float]:
        samples = load_audio(self._file(clip), sample_rate=self.sample_rate).samples
        if abs(len(samples) - len(recording)) > LENGTH_TOLERANCE_SECONDS * self.sample_rate:
            lengths = f"{len(samples) / self.sample_rate:.2f} s against {len(recording) / self.sample_rate:.2f} s"
            raise ValueError(f"{self._file(clip)}: {lengths} of the recording; is it the same clip?")
        return _fitted(samples, len(recording)), 0.0

    def _file(self, clip: Clip) -> Path:
        file = found_in(self.folder, clip)
        if file is None:
            raise ValueError(f"{self.folder}: has no {clip.name}.wav")
        return file


def named_folders(options: Iterable[str]) -> dict[str, Path]:
    """The folders of `--also NAME=DIR`, by name. Raises ValueError where one is no NAME=DIR, or a name comes twice."""
    folders: dict[str, Path] = {}
    for option in options:
        name, _, folder = option.partition("=")
        if not name or not folder:
            raise ValueError(f"--also is {option!r}; it is NAME=DIR, such as hifigan=copies/hifigan")
        if name in folders:
            raise ValueError(f"--also {option}: {name!r} has that name; choose another one")
        folders[name] = Path(folder)
    return folders


def require_others(others: Mapping[str, str | Path], clips: Sequence[Clip]) -> dict[str, Path]:
    """The folders by name. Raises ValueError for a name that is taken, and a folder that has none of the clips."""
    taken = {folder_of(name): name for name in (TRUTH, GRIFFIN_LIM, REFINED_NOISE, UNREFINED, VOCODER, AGAINST)}
    for name, folder in others.items():
        if not folder_of(name):
            raise ValueError(f"{name!r}={folder}: a name needs a letter or a digit, such as hifigan")
        if folder_of(name) in taken:
            raise ValueError(f"{name}={folder}: {taken[folder_of(name)]!r} has that name; choose another one")
        if not Path(folder).is_dir():
            raise ValueError(f"{name}={folder}: {folder} is no folder")
        if not any(found_in(Path(folder), clip) for clip in clips):
            raise ValueError(f"{name}={folder}: {folder} has none of the clips, such as {clips[0].name}.wav")
        taken[folder_of(name)] = name
    return {name: Path(folder) for name, folder in others.items()}


def found_in(folder: Path, clip: Clip) -> Path | None:
    """Another's file of a clip: of its name in the same sub-folder, or at the top."""
    stems = dict.fromkeys((clip.name, Path(clip.name).name))
    return next((p for stem in stems for s in AUDIO_SUFFIXES if (p := folder / f"{stem}{s}").is_file()), None)


def folder_of(row: str) -> str:
    """The folder of a row's wavs: of `Griffin-Lim` it is `griffin-lim`."""
    return re.sub(r"[^\w.=-]+", "-", row).strip("-.").lower()


def _fitted(samples: Samples, length: int) -> Samples:
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
