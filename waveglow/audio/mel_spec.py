"""Mel conventions: how a mel spectrogram is computed from samples, its filterbank and its logarithm.

T: samples, F: frames.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from waveglow.config import from_mapping, to_mapping

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class MelSpec:
    """A mel convention. Lengths are in samples, frequencies in Hz; fields that published conventions disagree on most
    have no default.

    `guard` keeps the square root away from zero, where its gradient is infinite: "add" is √(|X|² + guard_value),
    "clamp" √(max(|X|², guard_value)).
    The mel sums magnitudes (`power` 1) or their squares (2). The log is taken of max(mel, floor_value) ("clamp") or
    mel + floor_value ("add"), of at most `ceiling_value`. Then `(log_mel - mean) / std` with one value or one a bin,
    where given. Frames are centred if the padding is n_fft / 2 on both sides.
    `layout` is how files hold it: "CT" [n_mels, F] or "TC" [F, n_mels]. `name` and `peak_policy` (how the original
    recipe scales a recording beforehand) say nothing of the mel of given samples and are left out of comparisons.

    Raises ValueError for a field out of its range.

    >>> from dataclasses import replace
    >>> from waveglow.audio.mel import preset
    >>> spec = preset("hifigan")
    >>> spec.sample_rate, spec.hop, spec.fmax
    (22050, 256, 8000.0)
    >>> spec.frames(22050)  # of a second
    86
    >>> replace(spec, fmax=12000.0)
    Traceback (most recent call last):
    ValueError: fmax is 12000.0; it must be at most sample_rate / 2 = 11025; None means that
    """

    sample_rate: int
    n_fft: int
    hop: int
    win: int
    n_mels: int
    fmin: float
    fmax: float | None
    """None: half the sample rate."""
    mel_scale: Literal["slaney", "htk"]
    mel_norm: Literal["slaney"] | None
    pad_left: int
    pad_right: int
    pad_mode: Literal["reflect", "constant"] = "reflect"
    window: Literal["hann"] = "hann"
    window_periodic: bool = True
    guard: Literal["add", "clamp"] | None = None
    guard_value: float = 0.0
    power: Literal[1, 2] = 1
    log_base: Literal["e", "10"] = "e"
    floor: Literal["clamp", "add"] = "clamp"
    floor_value: float = 1e-5
    ceiling_value: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["CT", "TC"] = "CT"
    peak_policy: str = field(default="none", compare=False)
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop", "win", "n_mels"):
            self._require(name, getattr(self, name) > 0, "it must be positive")
        for name, hint in typing.get_type_hints(type(self)).items():
            self._require_option(name, hint)
        self._require("win", self.win <= self.n_fft, f"it must be at most n_fft = {self.n_fft}")
        self._require("hop", self.hop <= self.win, f"it must be at most win = {self.win}, or samples are passed over")
        top = self.sample_rate / 2
        self._require("fmax", self.fmax_hz <= top, f"it must be at most sample_rate / 2 = {top:g}; None means that")
        self._require("fmin", 0 <= self.fmin < self.fmax_hz, f"it must be in 0..fmax = {self.fmax_hz:g}")
        self._require("pad_left", self.pad_left >= 0, "it can't be negative")
        self._require("pad_right", self.pad_right >= 0, "it can't be negative")
        self._require("guard_value", 0 <= self.guard_value < 1, "it must be in 0..1, 1e-9 for example")
        self._require("floor_value", 0 < self.floor_value < 1, "it must be in 0..1, 1e-5 for example")
        floor, ceiling = self.floor_value, self.ceiling_value
        above = ceiling is None or floor < ceiling < math.inf
        self._require("ceiling_value", above, f"it must be finite, above floor_value = {floor:g}; None means no limit")
        for name in ("mean", "std"):
            values = getattr(self, name) or (0.0,)
            self._require(name, len(values) in (1, self.n_mels), f"it needs 1 or n_mels = {self.n_mels} values")
            self._require(name, all(map(math.isfinite, values)), "its values must be finite")
        self._require("std", (self.std is None) == (self.mean is None), "mean and std go together; give both")
        self._require("std", min(self.std or (1.0,)) > 0, "its values must be positive")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; {rule}")

    def _require_option(self, name: str, hint: Any) -> None:
        literals = [part for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is Literal]
        if literals:
            options = [*typing.get_args(literals[0]), *([None] if hint is not literals[0] else [])]
            self._require(name, getattr(self, name) in options, f"allowed: {', '.join(map(repr, options))}")

    @property
    def fmax_hz(self) -> float:
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def min_samples(self) -> int:
        """The shortest waveform that has a mel: reflection needs more samples than it adds, a frame needs n_fft."""
        reflected = max(self.pad_left, self.pad_right) + 1 if self.pad_mode == "reflect" else 1
        return max(reflected, self.n_fft - self.pad_left - self.pad_right)

    def frames(self, samples: int) -> int:
        """How many frames F a waveform of T samples has."""
        return max(0, (samples + self.pad_left + self.pad_right - self.n_fft) // self.hop + 1)

    @cached_property
    def silence(self) -> float:
        """The mel's value where all samples are 0; the mean over the bins where `guard` or `mean` makes them differ."""
        return float(from_nats(self._silent_nats()[:, None], self).mean())

    def _silent_nats(self) -> Array:
        """The natural log-mel of digital silence, [n_mels]."""
        mel = self._silent_mel()
        raised = mel if self.floor == "clamp" else mel + self.floor_value
        return np.log(np.clip(raised, self.floor_value, self.ceiling_value))

    def _silent_mel(self) -> Array:
        """What the guard leaves of digital silence, [n_mels]: no log, floor or ceiling."""
        guarded: Array = filterbank(self).sum(1) * (self.guard_value if self.guard else 0.0) ** (self.power / 2)
        return guarded

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the compared fields as canonical JSON: equal for two ways to write one convention."""
        return hashlib.sha256(json.dumps(_said(self._canonical()), sort_keys=True).encode()).hexdigest()

    def _canonical(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.compare}
        values |= {"fmax": self.fmax_hz, "guard_value": self.guard_value if self.guard else 0}
        return {key: float(value) if isinstance(value, (int, float)) else value for key, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON types; `from_dict` gives an equal spec.

        >>> from waveglow.audio.mel import preset
        >>> MelSpec.from_dict(preset("vocos").to_dict()) == preset("vocos")
        True
        """
        return _said(to_mapping(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelSpec:
        """The spec of a mapping such as `to_dict` makes.

        Raises ConfigError for an unknown, missing or unusable field.
        """
        return from_mapping(cls, values)


_UNSAID = {"power": 1, "ceiling_value": None}  # left out: fingerprints and checkpoints are older than these fields


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _UNSAID or value != _UNSAID[name]}


def filterbank(spec: MelSpec) -> Array:
    """Triangular filters, float64 [n_mels, n_fft/2 + 1].

    Filter m rises from edge m to m + 1 and falls to m + 2; the edges are equidistant in mel. Norm "slaney" scales each
    to area 1 Hz. Scales: O'Shaughnessy 1987 in HTK's form; Slaney, Auditory Toolbox, 1998.

    >>> from waveglow.audio.mel import preset
    >>> filterbank(preset("nvidia/tacotron2")).shape
    (80, 513)
    """
    edges = _mel_edges(spec)[:, None]
    hz = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rise, fall))
    return weights * 2 / (edges[2:] - edges[:-2]) if spec.mel_norm == "slaney" else weights


def _mel_edges(spec: MelSpec) -> Array:
    """The filters' n_mels + 2 edges in Hz."""
    to_mel, to_hz = (_htk_mel, _htk_hz) if spec.mel_scale == "htk" else (_slaney_mel, _slaney_hz)
    low, high = to_mel(np.array([spec.fmin, spec.fmax_hz]))
    return to_hz(np.linspace(low, high, spec.n_mels + 2))


def _htk_mel(hz: Array) -> Array:
    return 2595 * np.log10(1 + hz / 700)


def _htk_hz(mel: Array) -> Array:
    return 700 * (10 ** (mel / 2595) - 1)


SLANEY_HZ_PER_MEL = 200 / 3  # linear up to 1000 Hz = 15 mel, from there 27 mel for every factor 6.4
SLANEY_LOG_STEP = math.log(6.4) / 27


def _slaney_mel(hz: Array) -> Array:
    return np.where(hz < 1000, hz / SLANEY_HZ_PER_MEL, 15 + np.log(np.maximum(hz, 1000) / 1000) / SLANEY_LOG_STEP)


def _slaney_hz(mel: Array) -> Array:
    return np.where(mel < 15, mel * SLANEY_HZ_PER_MEL, 1000 * np.exp((np.maximum(mel, 15) - 15) * SLANEY_LOG_STEP))


def to_nats(mel: Array, spec: MelSpec) -> Array:
    """Mels as `spec` has them to natural log-mels without its normalization: [..., n_mels, F] to the same shape."""
    log_mel = mel if spec.mean is None or spec.std is None else mel * _column(spec.std) + _column(spec.mean)
    return log_mel if spec.log_base == "e" else log_mel * math.log(10)


def from_nats(log_mel: Array, spec: MelSpec) -> Array:
    """Natural log-mels to mels as `spec` has them, the inverse of `to_nats`: [..., n_mels, F] to the same shape."""
    based = log_mel if spec.log_base == "e" else log_mel / math.log(10)
    return based if spec.mean is None or spec.std is None else (based - _column(spec.mean)) / _column(spec.std)


def _column(values: tuple[float, ...]) -> Array:
    return np.array(values)[:, None]
