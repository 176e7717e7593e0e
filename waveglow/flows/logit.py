"""The logit: from values that have bounds to values that have none (RealNVP, arXiv:1605.08803, §4.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from waveglow.flows.base import Flow, Shape, full_precision, positions, sum_per_sample


class Logit(Flow):
    """`z = logit(p)`, `p = α + (1 − 2α) x` for x in [0, 1]; `log_det = Σ log(1 − 2α) − log p − log(1 − p)`.

    The inverse undoes the contraction by 1 − 2α too, so that samples have their full contrast.

    Arguments:
        alpha: α. Raises ValueError unless 0 < α < ½.

    >>> pixels = torch.tensor([[[0.0, 0.5, 1.0]]])
    >>> z, log_det = Logit()(pixels)
    >>> z
    tensor([[[-2.9444,  0.0000,  2.9444]]])
    """

    def __init__(self, *, alpha: float = 0.05) -> None:
        super().__init__()
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha is {alpha}; it must be above 0 and below 0.5")
        self.alpha = alpha

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.logit(self.alpha + (1 - 2 * self.alpha) * x)
        with full_precision(x):
            log_slope = F.softplus(z) + F.softplus(-z)  # −log p − log(1 − p)
        contraction = math.log1p(-2 * self.alpha) * positions(x) * x.shape[1]
        return z, sum_per_sample(log_slope) + contraction

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return (torch.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)

    def reach_places(self, shape: Shape) -> int:
        return 0
