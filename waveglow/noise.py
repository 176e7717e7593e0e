"""Counter-based random numbers: every value is a function of what it is for and where it stands, never of a state.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps a 128-bit key and a 256-bit counter
to random bits. The key is (seed, purpose); the two upper counter words name the place. So the same seed gives the same
audio at any batch size, chunk size and runtime, and the same training data at any worker count and world size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 1024
HALF_STEP_16_BIT = 0.5 / 32768
# Without noise a flow leaves bands empty, and refinement would fill them with amplified rounding, other in each runtime
# and piece: at sigma 0, 16 steps, audio differed by 6e-4 of full scale between torch and ONNX; from 0.01 on by 5e-5.
LEAST_REFINED_SIGMA = 0.02


class Sampling(NamedTuple):
    """What a call of a vocoder draws: a seed for each clip, the temperature of the noise, and steps of refinement."""

    seeds: list[int]
    sigma: float
    refine: int

    @classmethod
    def of_call(cls, clips: int, *, sigma: float, seed: int | Sequence[int], refine: int) -> Sampling:
        """Raises ValueError for another number of seeds than of clips, what is no seed, and a sigma that is negative or
        not finite."""
        seeds = [seed] * clips if isinstance(seed, (int, np.integer)) else list(seed)
        if len(seeds) != clips:
            raise ValueError(f"got {len(seeds)} seeds for {clips} clips; give one seed, or one a clip")
        for one in seeds:
            require_seed(one)
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma is {sigma}; it must be a finite number >= 0")
        return cls(seeds, max(sigma, LEAST_REFINED_SIGMA) if refine else sigma, refine)

    def of(self, rows: Iterable[int]) -> Sampling:
        """That of some of the clips."""
        return self._replace(seeds=[self.seeds[row] for row in rows])


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
    require_seed(seed)
    key = np.array([seed, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, block, place], dtype=np.uint64)))


def require_seed(seed: int) -> None:
    """Raises ValueError unless 0 <= seed < 2**64."""
    if int(seed) != seed or not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; it must be an integer from 0 to 2**64 - 1")


class ScaleMixture(NamedTuple):
    """`p(z) = Σ_k shares[k] · N(z; 0, scales[k]²)`, the narrowest first.

    Sampling at a temperature (`sigma`) is that of the pair of k and z, `p(k, z)^(1/sigma²)` up to a constant: given k,
    z is N(0, (sigma · scales[k])²), as N(0, 1) becomes N(0, sigma²), and the wide ones, of lower density, become rare.
    At sigma 1 it is the density itself, at sigma 0 its highest point; above 1 the shares stay as they are.
    """

    shares: tuple[float, ...]
    scales: tuple[float, ...]

    def at(self, sigma: float) -> tuple[float, ...]:
        """The share of each scale at a temperature: proportional to `(share / scale)^(1/sigma²) · scale`."""
        if sigma >= 1:
            return self.shares
        heights = [share / scale for share, scale in zip(self.shares, self.scales, strict=True)]
        falls = [math.log(height / max(heights)) for height in heights]
        weights = [
            scale * math.exp(fall / sigma / sigma if sigma else fall and -math.inf)
            for fall, scale in zip(falls, self.scales, strict=True)
        ]
        return tuple(weight / sum(weights) for weight in weights)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], sigma: float) -> npt.NDArray[np.float32]:
        """What is to be multiplied by sigma: float32 of a shape."""
        normal = generator.standard_normal(shape, dtype=np.float32)
        scale = np.searchsorted(np.cumsum(self.at(sigma))[:-1], generator.random(shape), side="right")
        return normal * np.asarray(self.scales, dtype=np.float32)[scale]


# For what a mel doesn't tell: a click in the top band stands up to 2000 standard deviations out. Checkpoints name it,
# so its numbers stay; where they come from is in recipes/openvoices/EXPERIMENTS.md.
HEAVY_TAILED = ScaleMixture(shares=(0.98, 0.015, 0.004, 0.001), scales=(1.0, 10.0, 100.0, 1000.0))

Draw = Callable[[np.random.Generator, tuple[int, ...], float], npt.NDArray[np.float32]]
# Draws of each base density: (generator, shape, sigma) to float32 that is to be multiplied by sigma.
DRAWS: Mapping[str, Draw] = {
    "normal": lambda generator, shape, sigma: generator.standard_normal(shape, dtype=np.float32),
    "logistic": lambda generator, shape, sigma: generator.logistic(size=shape).astype(np.float32),
    "heavy-tailed": HEAVY_TAILED.draw,
}


def latent_noise(
    seed: int, latent: int, channels: int, start: int, stop: int, *, base: str = "normal", sigma: float = 1.0
) -> npt.NDArray[np.float32]:
    """Noise for time steps start..stop of one latent, to be multiplied by sigma: [channels, stop - start].

    Arguments:
        base: of `DRAWS`. "normal" is N(0, 1), whatever sigma is.
        sigma: the temperature (`ScaleMixture`).
    """
    first, last = start // BLOCK, max(stop - 1, start) // BLOCK
    blocks = [
        DRAWS[base](philox(seed, Purpose.LATENT, latent, block), (BLOCK, channels), sigma)
        for block in range(first, last + 1)
    ]
    return np.concatenate(blocks)[start - first * BLOCK : stop - first * BLOCK].T


def dequantization_noise(seed: int, place: int, samples: int) -> npt.NDArray[np.float32]:
    """Uniform noise of ± half a 16-bit step, [samples], by which 16-bit audio becomes continuous."""
    uniform = philox(seed, Purpose.DEQUANTIZE, place).random(samples, dtype=np.float32)
    return (uniform - np.float32(0.5)) * np.float32(2 * HALF_STEP_16_BIT)
