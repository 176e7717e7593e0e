"""Periodicity and voicing as vocoder papers print them: CARGAN's measures by CREPE.

M. Morrison et al., "Chunked Autoregressive GAN for Conditional Waveform Synthesis", 2022, arXiv:2110.10139, §4; J. W.
Kim et al., "CREPE", 2018, arXiv:1802.06182. BigVGAN's and Vocos' tables have them.

T: samples at 16 kHz. F: frames, 10 ms apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from waveglow.metrics.packages import Samples, librosa, quiet, required

SAMPLE_RATE = 16_000
WINDOW_SAMPLES, HOP_SAMPLES = 1024, 160
FMIN_HZ, FMAX_HZ = 50.0, 550.0
SILENCE_DB = -60.0  # mean A-weighted level of a frame below which nothing is periodic
VOICED_FROM = 0.21  # periodicity
FRAMES_AT_ONCE = 128  # CREPE takes 4 MiB a frame


@dataclass(frozen=True)
class Periodicity:
    """How sure CREPE is of its pitch, 0 to 1 [F]; a frame is voiced from 0.21 on."""

    values: npt.NDArray[np.float64]

    @property
    def voiced(self) -> npt.NDArray[np.bool_]:
        return self.values >= VOICED_FROM


def load_periodicity() -> Callable[[Samples], Periodicity]:
    """The periodicity of samples [T]. Raises MissingPackageError; what is returned, ValueError for less than 64 ms."""
    torchcrepe = required("torchcrepe")
    of_librosa = librosa()  # here, for it takes a second or two to load

    frequencies_hz = of_librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=WINDOW_SAMPLES)

    def of(samples: Samples) -> Periodicity:
        if len(samples) < WINDOW_SAMPLES:
            raise ValueError(f"{len(samples)} samples are too short for a periodicity; it takes {WINDOW_SAMPLES}")
        with quiet(), torch.inference_mode():
            _, found = torchcrepe.predict(
                torch.from_numpy(samples)[None],
                SAMPLE_RATE,
                HOP_SAMPLES,
                FMIN_HZ,
                FMAX_HZ,
                model="full",
                return_periodicity=True,
                batch_size=FRAMES_AT_ONCE,
                pad=False,
            )
            spectrum = of_librosa.stft(samples, n_fft=WINDOW_SAMPLES, hop_length=HOP_SAMPLES, center=False)
            level_db = of_librosa.perceptual_weighting(np.abs(spectrum) ** 2, frequencies_hz).mean(0)  # (F)
        return Periodicity(np.where(level_db < SILENCE_DB, 0.0, found[0].double().numpy()))

    return of


def periodicity_error(reference: Periodicity, output: Periodicity) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.square(reference.values - output.values).mean()))


def voiced_f1(reference: Periodicity, output: Periodicity) -> float:
    """2·TP / (2·TP + FP + FN), a true positive being a frame voiced in both. Raises ValueError where none is voiced."""
    both = int((reference.voiced & output.voiced).sum())
    either = int(reference.voiced.sum() + output.voiced.sum())
    if not either:
        raise ValueError("no frame of the recording or the output is voiced")
    return 2 * both / either
