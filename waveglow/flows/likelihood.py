"""Likelihood with all its constants, in nats and in bits."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from waveglow.flows.base import sum_per_sample

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
STEP_16_BIT = 1 / 32768


def standard_normal_log_prob(zs: Iterable[Tensor]) -> Tensor:
    """Σ log N(z; 0, 1) over all latents, [B], in nats and float32 or better."""
    return torch.stack([sum_per_sample(-0.5 * z.square() - HALF_LOG_2PI) for z in zs]).sum(0)


def bits_per_sample(nats_per_sample: float, step: float = STEP_16_BIT) -> float:
    """Bits that a code spends on each quantized sample, from −log p(x) in nats of the dequantized, continuous x.

    Uniform dequantization over one quantization step makes the density a bound on the probability of the quantized
    value, log P ≥ E log p + log step (Theis et al. 2016, arXiv:1511.01844, §3.1).

    >>> round(bits_per_sample(-5.1), 3)
    7.642
    """
    return (nats_per_sample - math.log(step)) / math.log(2)
