"""Batch normalization as a layer of a flow (RealNVP, arXiv:1605.08803, §3.7 and appendix E)."""

from __future__ import annotations

import torch
from torch import Tensor

from waveglow.flows.actnorm import per_channel
from waveglow.flows.base import Flow, Retraced, Shape, log_det_dtype, positions

EPS = 1e-5


class FlowBatchNorm(Flow):
    """`z = (x − mean) / √(var + ε)` for each channel; `log_det = −½ positions · Σ log(var + ε)`.

    In training, mean and variance are running averages that include the batch, through which gradients flow; in
    evaluation, and always in `inverse`, they are fixed. It is the only layer whose output depends on the whole batch in
    training, and the only one that changes its state in `forward`.

    Arguments:
        channels: C of x [B, C, *S].
        momentum: weight of the past in the running averages.

    >>> norm, x = FlowBatchNorm(2, momentum=0.0), torch.randn(8, 2, 100) + 5
    >>> z, _ = norm.train()(x)
    >>> torch.allclose(norm.eval()(x)[0], z, atol=1e-5), torch.allclose(norm.inverse(z), x, atol=1e-4)
    (True, True)
    """

    running_mean: Tensor
    running_var: Tensor
    rebuildable = False  # z alone does not tell the batch's statistics

    def __init__(self, channels: int, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self.running_mean, self.running_var
        rows = x.transpose(0, 1).flatten(1)  # (C, B*S)
        mean = torch.lerp(rows.mean(1), self.running_mean, self.momentum)
        var = torch.lerp(rows.var(1, correction=0), self.running_var, self.momentum)
        self.running_mean.copy_(mean.detach())
        self.running_var.copy_(var.detach())
        return mean, var

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, var = self._statistics(x)
        log_det = -0.5 * (var + EPS).log().sum(dtype=log_det_dtype(x)) * positions(x)
        return (x - per_channel(mean, x)) * per_channel(var + EPS, x).rsqrt(), log_det.expand(x.shape[0])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * per_channel(self.running_var + EPS, z).sqrt() + per_channel(self.running_mean, z)

    def reach_places(self, shape: Shape) -> int:
        return 0

    def retrace(self, z: Tensor, cond: Tensor | None) -> Retraced:
        """As in Flow. Raises ValueError in training: z alone does not tell the batch's statistics."""
        if self.training:
            raise ValueError("FlowBatchNorm can't be rebuilt in training; set train.memory=checkpoint or none")
        return super().retrace(z, cond)
