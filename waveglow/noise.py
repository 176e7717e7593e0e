"""Counter-based random numbers: every value is a function of what it is for and where it stands, never of a state.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps a 128-bit key and a 256-bit counter
to random bits. The key is (seed, purpose); the two upper counter words name the place. So the same seed gives the same
audio at any batch size, chunk size and runtime, and the same training data at any worker count and world size.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

BLOCK = 1024
HALF_STEP_16_BIT = 0.5 / 32768


class Purpose(IntEnum):
    """What random numbers are for; each purpose has a stream of its own."""

    LATENT = 0
    DEQUANTIZE = 1
    ORDER = 2
    CROP = 3
    SILENCE = 4
    FLIP = 5


def philox(seed: int, purpose: Purpose, place: int, block: int = 0) -> np.random.Generator:
    """Generator for one place, e.g. (latent index, block of time) or (sample index, 0).

    Raises ValueError unless 0 <= seed < 2**64.
    """
    if int(seed) != seed or not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; it must be an integer from 0 to 2**64 - 1")
    key = np.array([seed, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, block, place], dtype=np.uint64)))


def latent_noise(seed: int, latent: int, channels: int, start: int, stop: int) -> npt.NDArray[np.float32]:
    """N(0, 1) for time steps start..stop of one latent: [channels, stop - start]."""
    first, last = start // BLOCK, max(stop - 1, start) // BLOCK
    blocks = [
        philox(seed, Purpose.LATENT, latent, block).standard_normal((BLOCK, channels), dtype=np.float32)
        for block in range(first, last + 1)
    ]
    return np.concatenate(blocks)[start - first * BLOCK : stop - first * BLOCK].T


def dequantization_noise(seed: int, place: int, samples: int) -> npt.NDArray[np.float32]:
    """Uniform noise of ± half a 16-bit step, [samples], by which 16-bit audio becomes continuous."""
    uniform = philox(seed, Purpose.DEQUANTIZE, place).random(samples, dtype=np.float32)
    return (uniform - np.float32(0.5)) * np.float32(2 * HALF_STEP_16_BIT)
