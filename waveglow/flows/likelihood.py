"""Likelihood with all its constants, in nats and in bits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from waveglow.flows.base import spread, sum_per_sample
from waveglow.noise import DRAWS, HEAVY_TAILED, Draw

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
STEP_16_BIT = 1 / 32768


def standard_normal_log_prob(zs: Iterable[Tensor]) -> Tensor:
    """Σ log N(z; 0, 1) over all latents, [B], in nats and float32 or better."""
    return torch.stack([sum_per_sample(-0.5 * z.square() - HALF_LOG_2PI) for z in zs]).sum(0)


def standard_logistic_log_prob(zs: Iterable[Tensor]) -> Tensor:
    """Σ log of the standard logistic density over all latents, [B], in nats (NICE, §3.4)."""
    return torch.stack([sum_per_sample(-F.softplus(z) - F.softplus(-z)) for z in zs]).sum(0)


def heavy_tailed_log_prob(zs: Iterable[Tensor]) -> Tensor:
    """Σ log of `noise.HEAVY_TAILED`, a mixture of normals of four scales, over all latents, [B], in nats."""
    heights = [math.log(share / scale) - HALF_LOG_2PI for share, scale in zip(*HEAVY_TAILED, strict=True)]

    def log_density(z: Tensor) -> Tensor:
        parts = [
            height - 0.5 * (z / scale).square() for height, scale in zip(heights, HEAVY_TAILED.scales, strict=True)
        ]
        return torch.stack(parts).logsumexp(0)

    return torch.stack([sum_per_sample(log_density(z)) for z in zs]).sum(0)


def _normal_sample(shape: Sequence[int], sigma: float, device: torch.device | None) -> Tensor:
    return sigma * torch.randn(*shape, device=device)


def _logistic_sample(shape: Sequence[int], sigma: float, device: torch.device | None) -> Tensor:
    return sigma * torch.logit(torch.rand(*shape, device=device), eps=1e-7)


def _heavy_tailed_sample(shape: Sequence[int], sigma: float, device: torch.device | None) -> Tensor:
    z, uniform = _normal_sample(shape, sigma, device), torch.rand(*shape, device=device)
    scale = torch.ones_like(uniform)
    for share, wider in zip(itertools.accumulate(HEAVY_TAILED.at(sigma)[:-1]), HEAVY_TAILED.scales[1:], strict=True):
        scale = torch.where(uniform < share, scale, wider)
    return scale * z


class Base(NamedTuple):
    """A density that latents may follow, every value by itself, symmetric about 0.

    `draw` and `sample` draw at a temperature, sigma: by a numpy generator what is to be multiplied by sigma (noise.py),
    by torch's own generator the latents (shape, sigma, device). `unmoved` is the |z| that says nothing of its own
    scale: there `log p(s·z) + log s` has no gradient by s at s = 1.
    """

    log_prob: Callable[[Iterable[Tensor]], Tensor]
    draw: Draw
    sample: Callable[[Sequence[int], float, torch.device | None], Tensor]
    unmoved: float


BASES = {
    "normal": Base(standard_normal_log_prob, DRAWS["normal"], _normal_sample, 1.0),
    "logistic": Base(standard_logistic_log_prob, DRAWS["logistic"], _logistic_sample, 1.5434046384),
    "heavy-tailed": Base(heavy_tailed_log_prob, DRAWS["heavy-tailed"], _heavy_tailed_sample, 1.0012781819),
}


def log_prob_by_latent(zs: Iterable[Tensor], bases: Iterable[str]) -> Tensor:
    """Σ log p(z) over latents that each have a base of their own, [B], in nats."""
    return torch.stack([BASES[base].log_prob([z]) for z, base in zip(zs, bases, strict=True)]).sum(0)


def log_prob_by_place(zs: Sequence[Tensor], bases: Iterable[str], *, places: int) -> Tensor:
    """As `log_prob_by_latent`, but on a grid of time: [B, places]. A latent's last axis covers it in equal steps."""
    by_latent = []
    for z, base in zip(zs, bases, strict=True):
        columns = z.movedim(-1, 1).flatten(2)  # (B, W, …)
        by_place = BASES[base].log_prob([columns.flatten(0, 1)]).view(columns.shape[:2])
        by_latent.append(spread(by_place, places))
    return torch.stack(by_latent).sum(0)


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
