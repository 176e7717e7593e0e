"""Likelihood with all its constants, in nats and in bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from waveglow.flows.base import sum_per_sample

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
STEP_16_BIT = 1 / 32768


def standard_normal_log_prob(zs: Iterable[Tensor]) -> Tensor:
    """Σ log N(z; 0, 1) over all latents, [B], in nats and float32 or better."""
    return torch.stack([sum_per_sample(-0.5 * z.square() - HALF_LOG_2PI) for z in zs]).sum(0)


def standard_logistic_log_prob(zs: Iterable[Tensor]) -> Tensor:
    """Σ log of the standard logistic density over all latents, [B], in nats (NICE, §3.4)."""
    return torch.stack([sum_per_sample(-F.softplus(z) - F.softplus(-z)) for z in zs]).sum(0)


class Base(NamedTuple):
    """A density that latents may follow, every value by itself."""

    log_prob: Callable[[Iterable[Tensor]], Tensor]
    draw: Callable[[np.random.Generator, tuple[int, ...]], npt.NDArray[np.float32]]


BASES = {
    "normal": Base(standard_normal_log_prob, lambda g, shape: g.standard_normal(shape, dtype=np.float32)),
    "logistic": Base(standard_logistic_log_prob, lambda g, shape: g.logistic(size=shape).astype(np.float32)),
}


def bits_per_dim(log_prob: Tensor, *, dims: int, n_bits: int) -> Tensor:
    """Bits a value from log p(x) [B] in nats, x being `dims` values dequantized to a domain one unit wide.

    Of 2^n_bits levels each is 2^−n_bits wide: `(−log p / dims + n_bits · log 2) / log 2` (Theis et al. 2016, §3.1). A
    density's NLL in nats may well be negative; the bits are not.
    """
    return -log_prob / (dims * math.log(2)) + n_bits


def bits_per_sample(nats_per_sample: float, step: float = STEP_16_BIT) -> float:
    """Bits that a code spends on each quantized sample, from −log p(x) in nats of the dequantized, continuous x.

    Uniform dequantization over one quantization step makes the density a bound on the probability of the quantized
    value, log P ≥ E log p + log step (Theis et al. 2016, arXiv:1511.01844, §3.1).

    >>> round(bits_per_sample(-5.1), 3)
    7.642
    """
    return (nats_per_sample - math.log(step)) / math.log(2)
