"""Audio in memory at any rate, at the model's: checked first, for a caller may give anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATES = range(4_000, 192_001)  # Hz; libsndfile itself accepts 1 Hz and 2³¹ - 1 Hz


def resampled(audio: npt.NDArray[np.float32], old_hz: int, new_hz: int) -> npt.NDArray[np.float32]:
    """[B, T] to [B, T'] (soxr, HQ). Raises ValueError for a rate that no audio has, and where nothing is left."""
    if not SAMPLE_RATES[0] <= old_hz <= SAMPLE_RATES[-1]:
        raise ValueError(f"the sample rate is {old_hz} Hz; it must be from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}")
    rows = np.stack([soxr.resample(row, old_hz, new_hz, quality="HQ") for row in audio])
    if not rows.size:
        raise ValueError(
            f"the audio's {audio.shape[-1]} samples at {old_hz} Hz are none at {new_hz} Hz; give a longer clip"
        )
    return rows
