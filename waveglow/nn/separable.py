"""SqueezeWave's coupling network (Zhai et al. 2020, arXiv:2001.05685, §3.2): a WaveNet of separable convolutions."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from waveglow.nn.conv import conv, convolved_places, from_channels_last, normed_conv, to_channels_last, zero_conv
from waveglow.nn.gate import gated_tanh_unit

BATCH_NORM_EPS = 1e-5


class SeparableConv(nn.Module):
    """Batch norm, depthwise convolution of 3 taps, 1×1 convolution: [B, C, 1, T] to [B, out_channels, 1, T].

    The normed input is padded with zeros, so the norm's shift is missing from one tap at either end. Folded into a bias
    it is added to all taps: the buffer `edges` holds what has to be taken off again at the two ends.
    """

    edges: Tensor | None

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm: nn.BatchNorm2d | None = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)
        self.depthwise = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), groups=channels)
        self.pointwise = conv(channels, out_channels)
        self.register_buffer("edges", None)

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x if self.norm is None else self.norm(x))
        if self.edges is not None:
            h[..., :1] -= self.edges[0]
            h[..., -1:] -= self.edges[1]
        return self.pointwise(h)

    @torch.no_grad()
    def fold_(self) -> None:
        """Put the norm, with the statistics that it has in evaluation, into the depthwise convolution; exact."""
        if self.norm is None:
            return
        norm, weight, bias = self.norm, self.depthwise.weight, cast(Tensor, self.depthwise.bias)
        of_norm = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        mean, var, gain, offset = (cast(Tensor, each).cpu().double() for each in of_norm)  # where float64 is
        scale = gain * (var + norm.eps).rsqrt()
        shift = offset - mean * scale
        exact = weight.cpu().double()
        shifted = (exact * shift.view(-1, 1, 1, 1)).squeeze(1)  # [C, 1, taps]: what each tap makes of it
        self.edges = torch.stack([shifted[..., :1], shifted[..., -1:]]).to(weight)
        bias.copy_(bias.cpu().double() + shifted.sum((1, 2)))
        weight.copy_(exact * scale.view(-1, 1, 1, 1))
        self.norm = None


class SeparableWaveNet(nn.Module):
    """x [B, in_channels, T] and cond [B, cond_channels, T] to [B, out_channels, T]; zeros at first.

    It has the gates and the residual connections of WaveGlow's net, but no skip connections and no dilation.

    Arguments:
        n_channels: of the residual connections.
        n_layers: how many separable convolutions there are.

    >>> net = SeparableWaveNet(4, 8, cond_channels=80, n_channels=16, n_layers=2)
    >>> net(torch.randn(2, 4, 50), torch.randn(2, 80, 50)).shape
    torch.Size([2, 8, 50])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, cond_channels: int, n_channels: int, n_layers: int
    ) -> None:
        super().__init__()
        self.start = normed_conv(in_channels, n_channels)
        self.cond = normed_conv(cond_channels, 2 * n_channels * n_layers)
        self.separable = nn.ModuleList(SeparableConv(n_channels, 2 * n_channels) for _ in range(n_layers))
        self.residual = nn.ModuleList(normed_conv(n_channels, n_channels) for _ in range(n_layers))
        self.end = zero_conv(n_channels, out_channels)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        h = self.start(to_channels_last(x))  # (B, C, 1, T)
        cond_parts = self.cond(to_channels_last(cond)).chunk(len(self.separable), dim=1)
        for separable, residual, cond_part in zip(self.separable, self.residual, cond_parts, strict=True):
            h = h + residual(gated_tanh_unit(separable(h) + cond_part))
        return from_channels_last(self.end(h))

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return convolved_places(self)
