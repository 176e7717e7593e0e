"""An exported file against its checkpoint, and the mels that its 8-bit ranges are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from waveglow.audio.files import AUDIO_SUFFIXES, find_inputs
from waveglow.audio.io import load_audio
from waveglow.audio.signals import hum, snr
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.vocoder import Vocoder

CLIPS = 8  # to measure ranges on, at most
COMPARED_SECONDS = 1.5

Mel = npt.NDArray[np.float32]


def recorded_mels(vocoder: Vocoder, folder: Path) -> list[Mel]:
    """Mels [M, F] of the first recordings of a folder. Raises ValueError where there are none."""
    files = [item.file for item in find_inputs([folder], AUDIO_SUFFIXES).found[:CLIPS]]
    if not files:
        raise ValueError(f"no {', '.join(AUDIO_SUFFIXES)} files in {folder}; 8-bit ranges are those of recorded speech")
    return [vocoder.mel(audio.samples, audio.sample_rate).numpy() for audio in map(load_audio, files)]


def hummed_mel(vocoder: Vocoder) -> Mel:
    """The mel [M, F] of a synthetic hum."""
    rate = vocoder.sample_rate
    return vocoder.mel(hum(COMPARED_SECONDS, rate), rate).numpy()


def difference(vocoder: Vocoder, exported: OnnxVocoder, mel: Mel, *, refine: int) -> tuple[float, float]:
    """(Largest difference of their audio, of full scale; signal-to-noise ratio in decibels) of a mel [M, F]."""
    expected, found = vocoder.synthesize(mel, refine=refine), torch.from_numpy(exported.synthesize(mel))
    return float((found - expected).abs().max()), snr(expected, found)
