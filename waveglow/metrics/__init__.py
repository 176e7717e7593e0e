"""How near a vocoder's output is to the recording: the metrics by name, each with its unit, direction and source.

scores = {name: METRICS[name].load() for name in ("pesq", "mcd")}   # MissingPackageError where a package isn't there
scores["pesq"](Take(recording, spec, group=8), Take(output, spec, group=8))   # ValueError where it can't be scored
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import soxr
import torch

from waveglow.audio.mel_spec import MelSpec, to_nats
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.metrics import perceptual, periodicity, pitch, spectral
from waveglow.metrics.packages import MissingPackageError, Samples, Score, version_of

__all__ = ["METRICS", "USUAL", "Metric", "MissingPackageError", "Take"]

VERSION = 1  # of the definitions here: raise it when one changes, so that cached scores are computed anew


@dataclass(frozen=True)
class Take:
    """One recording or output, float32 [T] at the rate of `spec`, with what several metrics want of it.

    `group` is how many samples the vocoder's flow squeezes together (FlowVocoder.group).
    Raises ValueError for samples that are not finite: a score of them would mean nothing.
    """

    samples: Samples
    spec: MelSpec
    group: int

    def __post_init__(self) -> None:
        if not np.isfinite(self.samples).all():
            raise ValueError("the audio to be scored has NaN or infinite samples")

    @cached_property
    def at_16k(self) -> Samples:
        """At 16 kHz, by soxr."""
        resampled = soxr.resample(self.samples, self.spec.sample_rate, perceptual.SAMPLE_RATE, quality="HQ")
        return np.asarray(resampled, np.float32)

    @cached_property
    def log_mel(self) -> spectral.Array:
        """[n_mels, F] in nats."""
        wav = torch.from_numpy(self.samples)[None]
        return to_nats(MelSpectrogram(self.spec).of_any_length(wav)[0].numpy(), self.spec)

    @cached_property
    def periodicity(self) -> periodicity.Periodicity:
        """By CREPE. Raises ValueError where the take is too short, MissingPackageError."""
        return periodicity.load_periodicity()(self.at_16k)

    @cached_property
    def pitch(self) -> pitch.Track:
        """F0 track. Raises ValueError where the take is too short."""
        return pitch.f0_track(self.at_16k)


TakeScore = Callable[[Take, Take], float]
"""(reference, output), equally long, to the score. Raises ValueError where it can't be computed."""


@dataclass(frozen=True)
class Metric:
    """A metric: `load` gets what it needs, raising MissingPackageError; `about` is its definition in a line.

    Without `load` it is no matter of two takes, and whoever runs the vocoder measures it. What is not `usual` takes
    minutes a clip, and is measured where it is asked for by name.
    """

    label: str
    unit: str
    better: Literal["higher", "lower"]
    digits: int
    about: str
    load: Callable[[], TakeScore] | None = None
    package: str = ""
    usual: bool = True

    @property
    def version(self) -> str:
        """What a score depends on besides the audio."""
        return f"{VERSION} {self.package} {version_of(self.package)}".strip() if self.package else str(VERSION)


def _at_16k(load: Callable[[], Score]) -> Callable[[], TakeScore]:
    def loaded() -> TakeScore:
        score = load()
        return lambda reference, output: score(reference.at_16k, output.at_16k)

    return loaded


def _mr_stft() -> TakeScore:
    score = spectral.load_mr_stft()
    return lambda reference, output: score(reference.samples, output.samples)


def _periodicity(compare: Callable[[periodicity.Periodicity, periodicity.Periodicity], float]) -> TakeScore:
    periodicity.load_periodicity()
    return lambda reference, output: compare(reference.periodicity, output.periodicity)


METRICS = {
    "pesq": Metric(
        label="PESQ",
        unit="MOS-LQO",
        better="higher",
        digits=2,
        about="wide band, ITU-T P.862.2, at 16 kHz; 4.64 is the most",
        load=_at_16k(perceptual.load_pesq),
        package="pesq",
    ),
    "estoi": Metric(
        label="ESTOI",
        unit="",
        better="higher",
        digits=3,
        about="intelligibility, Jensen and Taal 2016, at 10 kHz; 1 is the most",
        load=_at_16k(perceptual.load_estoi),
        package="pystoi",
    ),
    "visqol": Metric(
        label="ViSQOL",
        unit="MOS-LQO",
        better="higher",
        digits=2,
        about="v3, speech mode with the lattice model, at 16 kHz; some 4.5 for equal signals",
        load=_at_16k(perceptual.load_visqol),
        package="visqol-python",
    ),
    "distillmos": Metric(
        label="DistillMOS",
        unit="MOS",
        better="higher",
        digits=2,
        about="without a reference, Stahl and Gamper 2025 (arXiv:2502.05356), at 16 kHz",
        load=_at_16k(perceptual.load_distillmos),
        package="distillmos",
    ),
    "dnsmos": Metric(
        label="DNSMOS",
        unit="MOS",
        better="higher",
        digits=2,
        about="OVRL of P.835, without a reference, Reddy et al. 2022 (arXiv:2110.01763), at 16 kHz",
        load=_at_16k(perceptual.load_dnsmos),
        package="speechmos",
    ),
    "mr_stft": Metric(
        label="MR-STFT",
        unit="",
        better="lower",
        digits=3,
        about="auraloss' MultiResolutionSTFTLoss: FFT of 512, 1024, 2048; spectral convergence and L1 of log magnitude",
        load=_mr_stft,
        package="auraloss",
    ),
    "mel_l1": Metric(
        label="mel-L1",
        unit="nats",
        better="lower",
        digits=3,
        about="mean |difference| of the natural log-mels, in the model's mel convention",
        load=lambda: lambda reference, output: spectral.mel_l1(reference.log_mel, output.log_mel),
    ),
    "mcd": Metric(
        label="MCD",
        unit="dB",
        better="lower",
        digits=2,
        about="(10 / ln 10) √(2 Σ Δc²) over c1 … c13 of the log-mel's cosine transform, no time warping",
        load=lambda: lambda reference, output: spectral.mcd(reference.log_mel, output.log_mel),
    ),
    "f0_cents": Metric(
        label="F0 error",
        unit="cents",
        better="lower",
        digits=1,
        about="median |cents| over frames voiced in both, pYIN of 60 to 500 Hz",
        load=lambda: lambda reference, output: pitch.f0_error_cents(reference.pitch, output.pitch),
    ),
    "voicing": Metric(
        label="voicing error",
        unit="%",
        better="lower",
        digits=1,
        about="frames voiced in one of the two alone, by pYIN",
        load=lambda: lambda reference, output: pitch.voicing_error(reference.pitch, output.pitch),
    ),
    "periodicity": Metric(
        label="periodicity",
        unit="",
        better="lower",
        digits=3,
        about="root mean square difference of CREPE's periodicity, Morrison et al. 2022 (arXiv:2110.10139)",
        load=lambda: _periodicity(periodicity.periodicity_error),
        package="torchcrepe",
        usual=False,
    ),
    "voiced_f1": Metric(
        label="V/UV F1",
        unit="",
        better="higher",
        digits=3,
        about="F1 of the frames that are voiced by CREPE, periodicity 0.21 and more, Morrison et al. 2022",
        load=lambda: _periodicity(periodicity.voiced_f1),
        package="torchcrepe",
        usual=False,
    ),
    "tones": Metric(
        label="tones",
        unit="dB",
        better="lower",
        digits=1,
        about="how far the harmonics of sample rate / group stand out of their neighbourhood, less the recording's; "
        "0 is none",
        load=lambda: (
            lambda reference, output: spectral.tone_energy(reference.samples, output.samples, group=reference.group)
        ),
    ),
    "nll": Metric(
        label="NLL",
        unit="nats per sample",
        better="lower",
        digits=3,
        about="exact negative log-likelihood of the recording given its mel, 16-bit steps filled with uniform noise",
    ),
    "rtf": Metric(
        label="real-time factor",
        unit="",
        better="lower",
        digits=3,
        about="seconds that mel to audio takes, a second of audio, after one run to warm up",
    ),
}

USUAL = tuple(name for name, metric in METRICS.items() if metric.usual)
