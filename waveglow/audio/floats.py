"""What callers give as audio or mel: floats of any kind, and whether audio is in [-1, 1] or in integers' range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_PEAK = 10.0  # of full scale: filters overshoot to 2 or 3, integers of 8 bits reach 128
INTEGERS = {8: 2**7, 16: 2**15, 24: 2**23, 32: 2**31}  # by bits, what to divide by

EXPECTED = {
    "audio": "give floats in [-1, 1] (16-bit integers divided by 32768)",
    "mel": "give floats, in the vocoder's mel convention",
}


def require_floats(dtype: object, what: str) -> None:
    """Raises ValueError for a type of numpy or torch that is no float; `what` is "audio" or "mel"."""
    name = str(getattr(dtype, "name", dtype))  # by name: numpy knows bfloat16 as a type of some other kind
    if "float" not in name:
        raise ValueError(f"{what} is {name}; {EXPECTED[what]}")


def floats(values: Any, what: str) -> npt.NDArray[np.float32]:
    """Floats of any kind as float32, in memory of their own: arrays, lists, tensors of torch. Raises ValueError."""
    if hasattr(values, "detach"):
        require_floats(values.dtype, what)
        values = values.detach().cpu().float().numpy()
    array = np.asarray(values)
    require_floats(array.dtype, what)
    return np.array(array, np.float32, order="C")


def require_audio_shape(shape: Sequence[int]) -> None:
    """Raises ValueError where a shape is neither [T] nor [B, T] with a sample, or looks like [T, channels]."""
    if len(shape) not in (1, 2) or not all(shape):
        raise ValueError(f"audio has shape {tuple(shape)}; give [T] or [B, T] with at least one sample")
    if len(shape) == 2 and shape[1] <= 8 < shape[0]:
        raise ValueError(f"audio of shape {tuple(shape)} looks like [T, channels]; give wav.mean(1), or wav.T")


def beyond_full_scale(peak: float) -> str | None:
    """What audio looks like whose largest sample is so far beyond full scale, and what to do; None where it isn't.

    >>> beyond_full_scale(1.5)
    >>> beyond_full_scale(20_000.0)
    'reaches 20000, full scale is 1: it looks like 16-bit integers in floats; divide it by 32768'
    """
    if peak <= MAX_PEAK:
        return None
    bits = next((bits for bits, scale in INTEGERS.items() if peak <= scale), None)
    looks = f"it looks like {bits}-bit integers in floats; divide it by {INTEGERS[bits]}" if bits else "scale it"
    return f"reaches {peak:.5g}, full scale is 1: {looks}"
