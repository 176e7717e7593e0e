"""Whether the voice keeps its pitch: F0 tracks, their distance, and where one is voiced and the other not.

T: samples at 16 kHz. F: frames, 16 ms apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from waveglow.metrics.packages import Samples, librosa, quiet

SAMPLE_RATE = 16_000
FRAME_SAMPLES, HOP_SAMPLES = 1024, 256
FMIN_HZ, FMAX_HZ = 60.0, 500.0
CENTS_PER_OCTAVE = 1200
REFINED_CENTS = 50.0


@dataclass(frozen=True)
class Track:
    """`hz [F]`, and whether a frame is voiced `[F]`; `hz` means nothing elsewhere."""

    hz: npt.NDArray[np.float64]
    voiced: npt.NDArray[np.bool_]


def f0_track(samples: Samples) -> Track:
    """F0 of 60 to 500 Hz of samples [T].

    pYIN (M. Mauch and S. Dixon, 2014) decides on voicing and octave, on a grid of 10 cents; YIN (A. de Cheveigné and
    H. Kawahara, 2002), which interpolates, gives the value where both agree within 50 cents.
    Raises ValueError for fewer than 1024 samples.
    """
    of_librosa = librosa()  # here, for it takes a second or two to load

    if len(samples) < FRAME_SAMPLES:
        raise ValueError(f"{len(samples)} samples are too short for a pitch; it takes {FRAME_SAMPLES} at 16 kHz")
    with quiet():
        coarse, voiced, _ = of_librosa.pyin(
            samples,
            fmin=FMIN_HZ,
            fmax=FMAX_HZ,
            sr=SAMPLE_RATE,
            frame_length=FRAME_SAMPLES,
            hop_length=HOP_SAMPLES,
            fill_na=None,
        )
        fine = of_librosa.yin(
            samples, fmin=FMIN_HZ, fmax=FMAX_HZ, sr=SAMPLE_RATE, frame_length=FRAME_SAMPLES, hop_length=HOP_SAMPLES
        )
    near = np.abs(cents(fine, coarse)) <= REFINED_CENTS
    return Track(np.where(near, fine, coarse), voiced)


def cents(hz: npt.NDArray[np.float64], reference_hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1200 log2(hz / reference_hz), [F]."""
    return CENTS_PER_OCTAVE * np.log2(hz / reference_hz)


def f0_error_cents(reference: Track, output: Track) -> float:
    """Median |cents| over the frames that are voiced in both. Raises ValueError where there is none."""
    both = reference.voiced & output.voiced
    if not both.any():
        raise ValueError("no frame is voiced in both the recording and the output")
    return float(np.median(np.abs(cents(output.hz[both], reference.hz[both]))))


def voicing_error(reference: Track, output: Track) -> float:
    """Percentage of the frames that are voiced in one of the two alone."""
    return 100 * float(np.mean(reference.voiced != output.voiced)) if len(reference.voiced) else math.nan
