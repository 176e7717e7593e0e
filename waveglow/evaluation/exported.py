"""An exported file against its checkpoint, and the mels that its 8-bit ranges are measured on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from waveglow.audio.files import AUDIO_SUFFIXES, find_inputs
from waveglow.audio.io import load_audio
from waveglow.audio.signals import hum, snr
from waveglow.export.onnx_runtime import SIGMA, OnnxFileError, OnnxVocoder
from waveglow.vocoder import Vocoder

CLIPS = 8  # to measure ranges on, at most
COMPARED_SECONDS = 1.5
NEAR, LEAST_SNR = 1e-4, 50.0  # of full scale, decibels: in float32 either is kept to

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


def compared(vocoder: Vocoder, exported: OnnxVocoder, mel: Mel, *, refine: int) -> str:
    """How far the audio of a mel [M, F] is from the checkpoint's, in a sentence.

    A file that draws its own noise is compared without it and without refinement. Raises OnnxFileError where it is far
    off, or not finite.
    """
    sigma, steps = (SIGMA, refine) if exported.latents else (0.0, 0)
    expected = vocoder.synthesize(mel, sigma=sigma, refine=steps)
    found = torch.from_numpy(exported.synthesize(mel, sigma=sigma, refine=steps))
    error = float((found - expected).abs().max())
    if not math.isfinite(error):
        raise OnnxFileError(f"{exported.path}: its audio or the checkpoint's has NaN or infinite samples; don't use it")
    decibels = snr(expected, found)
    if exported.precision == "float32" and error > NEAR and decibels < LEAST_SNR:
        raise OnnxFileError(
            f"{exported.path}: differs from the checkpoint by {error:.1e} of full scale, SNR {decibels:.0f} dB; in "
            f"float32 that is at least {LEAST_SNR:.0f} dB; don't use it, and please report it"
        )
    without = "" if exported.latents else "without its noise it "
    return f"{without}differs from the checkpoint by at most {error:.1e} of full scale, SNR {decibels:.0f} dB"
