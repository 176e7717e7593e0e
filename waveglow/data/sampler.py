"""Counter-based sampling: which clip a training sample takes is a function of (seed, its number), nothing else.

Sample g = step·batch + i belongs to epoch g // N and takes the (g mod N)-th clip of that epoch's permutation. So the
data order is the same after a resume and at any number of workers, ranks and micro-batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from waveglow.noise import Purpose, philox


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """The order of n clips in an epoch."""
    return philox(seed, Purpose.ORDER, epoch).permutation(n)


def clip_index(seed: int, sample: int, n_clips: int) -> int:
    """Which of n_clips the training sample of that number takes."""
    epoch, place = divmod(sample, n_clips)
    return int(permutation(seed, epoch, n_clips)[place])


def stratum(sample: int, share: Fraction) -> tuple[bool, int]:
    """Whether a training sample is one of the `share` of them that is drawn separately, and its number among its kind.

    They are spread evenly: of any n samples in a row at most ⌈n · share⌉ are.
    """
    apart_before, apart_after = math.floor(sample * share), math.floor((sample + 1) * share)
    return (True, apart_before) if apart_after > apart_before else (False, sample - apart_before)


class StepSampler(Sampler[list[int]]):
    """Numbers of the samples of each micro-batch of one rank, from step `start` to `stop`.

    Rank r of W takes the samples g ≡ r (mod W) of each micro-batch. Raises ValueError where the global batch can't be
    divided among ranks and micro-batches.
    """

    def __init__(
        self, start: int, stop: int, *, batch_size: int, accumulate: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size % (accumulate * world_size):
            raise ValueError(
                f"train.batch_size is {batch_size}, to be divided among {world_size} processes × {accumulate} "
                f"micro-batches; make it a multiple of {accumulate * world_size}"
            )
        self.steps = range(start, stop)
        self.batch_size = batch_size
        self.micro_size = batch_size // accumulate
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = step * self.batch_size
            for micro in range(first, first + self.batch_size, self.micro_size):
                yield list(range(micro + self.rank, micro + self.micro_size, self.world_size))

    def __len__(self) -> int:
        return len(self.steps) * (self.batch_size // self.micro_size)
