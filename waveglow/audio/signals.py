"""A sound to try vocoders on where there are no recordings, and how far two waveforms are apart."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

MAX_DECIBELS = 200.0  # what is equal to the last bit is said to have


def snr(reference: Tensor, audio: Tensor) -> float:
    """Power of the reference above that of the difference, in decibels; at most MAX_DECIBELS.

    Raises ValueError where one of them is not finite: nothing is near to NaN.

    >>> import torch
    >>> round(snr(torch.ones(4), 1.1 * torch.ones(4)), 3)
    20.0
    """
    wanted, got = reference.detach().cpu().double(), audio.detach().cpu().double()
    if not (wanted.isfinite().all() and got.isfinite().all()):
        raise ValueError("the audio that is compared has NaN or infinite samples; its model or its export is broken")
    noise = float((got - wanted).square().sum())
    power = float(wanted.square().sum())
    return min(MAX_DECIBELS, 10 * math.log10(max(power, 1e-300) / max(noise, 1e-300)))


def hum(length_seconds: float, sample_rate: int, *, voice: int = 0) -> npt.NDArray[np.float32]:
    """[T]: harmonics of a gliding pitch in four syllables a second, and a little noise; nobody's voice."""
    t = np.arange(max(1, round(length_seconds * sample_rate))) / sample_rate
    pitch = (110 + 15 * (voice % 8)) * (1 + 0.2 * np.sin(4.4 * t + voice))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    harmonics = sum(np.sin(n * phase) / n for n in range(1, 30))
    noise = np.random.default_rng(voice).standard_normal(len(t))
    audio = 0.1 * harmonics * (0.55 - 0.45 * np.cos(8 * np.pi * t)) + 0.003 * noise
    return np.asarray(audio, dtype=np.float32)
