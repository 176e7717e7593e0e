"""Coupling networks for images, and the zero-initialized convolution that Glow makes its priors with.

Shapes: x [B, C_in, H, W] to [B, C_out, H, W]; MLP: [B, C_in, 1] to [B, C_out, 1]. All accept a `cond`; only ZeroConv2d
uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from waveglow.nn.conv import LOG_GAIN_FACTOR, convolved_places

START_STD = 0.05


class ZeroConv2d(nn.Module):
    """3×3 convolution that starts at 0, times exp(3·log_gain), so that a coupling starts as the identity (Glow §3.3).

    The border is padded with ones, so that the outside of the picture differs from black.

    Arguments:
        n_classes: where it isn't 0, cond [B, n_classes, 1, 1] tells each image's class (one-hot), and each class has
            [C_out] values of its own, zeros at the start, that are added at every place. Raises ValueError for another
            cond.

    >>> net = ZeroConv2d(3, 6)
    >>> net(torch.randn(2, 3, 8, 8)).shape, net(torch.randn(2, 3, 8, 8)).any().item()
    (torch.Size([2, 6, 8, 8]), False)
    """

    def __init__(self, in_channels: int, out_channels: int, *, n_classes: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.log_gain = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.of_class = nn.Parameter(torch.zeros(out_channels, n_classes)) if n_classes else None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        output = self.conv(F.pad(x, (1, 1, 1, 1), value=1.0)) * (LOG_GAIN_FACTOR * self.log_gain).exp()
        if self.of_class is None:
            return output
        if cond is None or cond.shape[1] != self.of_class.shape[1]:
            raise ValueError(f"this model is conditional on {self.of_class.shape[1]} classes; give y, a class an image")
        return output + torch.einsum("oc,bchw->bohw", self.of_class, cond)

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return convolved_places(self)


class GlowNet(nn.Module):
    """3×3, 1×1 and zero-initialized 3×3 convolutions with ReLUs between them (Glow, arXiv:1807.03039, §3.3, B.1).

    Arguments:
        hidden: channels between the convolutions.
        norm: makes an ActNorm of so many channels; one follows each of the first two convolutions, which then have no
            bias, as in OpenAI's code. None for biases and no norms.

    >>> from waveglow.flows import ActNorm
    >>> GlowNet(3, 6, 16, norm=ActNorm)(torch.randn(2, 3, 8, 8)).shape
    torch.Size([2, 6, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, hidden: int, *, norm: Callable[[int], nn.Module] | None
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, hidden, 3, padding=1, bias=norm is None)
        self.second = nn.Conv2d(hidden, hidden, 1, bias=norm is None)
        self.norms = nn.ModuleList([norm(hidden), norm(hidden)] if norm else [])
        self.last = ZeroConv2d(hidden, out_channels)
        for conv in (self.first, self.second):
            nn.init.normal_(conv.weight, std=START_STD)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # by which convolutions on a CPU take 10 % less time
        for i, conv in enumerate((self.first, self.second)):
            x = F.relu(self.norms[i].after(conv, x) if self.norms else conv(x))  # type: ignore[operator]
        return self.last(x)

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return convolved_places(self)


def _normed(in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> nn.Module:
    return weight_norm(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias))


class ResidualBlock(nn.Module):
    """x [B, C, H, W] plus two normed 3×3 convolutions of it (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_norm = nn.BatchNorm2d(channels)
        self.in_conv = _normed(channels, channels, 3, bias=False)
        self.out_norm = nn.BatchNorm2d(channels)
        self.out_conv = _normed(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.in_conv(F.relu(self.in_norm(x)))
        return x + self.out_conv(F.relu(self.out_norm(h)))


class ResidualNet(nn.Module):
    """RealNVP's coupling net: residual blocks, all of which add to the output (arXiv:1605.08803, §4).

    The output's first half is `log_s = gain · tanh(·)` with a learned gain for each channel, the second half is t.
    The input is batch-normed and read twice, as x and as −x.

    Arguments:
        hidden: channels of the blocks.
        n_blocks: how many there are.
        sparse: whether half of the input's places are 0 (CheckerboardMask); the normed input is then doubled.

    >>> ResidualNet(3, 6, 16, 2, sparse=False)(torch.randn(2, 3, 8, 8)).shape
    torch.Size([2, 6, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, hidden: int, n_blocks: int, *, sparse: bool) -> None:
        super().__init__()
        self.sparse = sparse
        self.in_norm = nn.BatchNorm2d(in_channels)
        self.in_conv = _normed(2 * in_channels, hidden, 3)
        self.in_skip = _normed(hidden, hidden, 1)
        self.blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(n_blocks))
        self.skips = nn.ModuleList(_normed(hidden, hidden, 1) for _ in range(n_blocks))
        self.out_norm = nn.BatchNorm2d(hidden)
        self.out_conv = _normed(hidden, out_channels, 1)
        self.gain = nn.Parameter(torch.ones(out_channels // 2, 1, 1))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = self.in_norm(x.contiguous(memory_format=torch.channels_last)) * (2 if self.sparse else 1)
        x = self.in_conv(F.relu(torch.cat([x, -x], dim=1)))
        total = self.in_skip(x)
        for block, skip in zip(self.blocks, self.skips, strict=True):
            x = block(x)
            total = total + skip(x)
        raw, t = self.out_conv(F.relu(self.out_norm(total))).chunk(2, dim=1)
        return torch.cat([self.gain * torch.tanh(raw), t], dim=1)

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return convolved_places(self)


class MLP(nn.Module):
    """NICE's coupling net (arXiv:1410.8516, §5.1): ReLU layers from [B, C_in, 1] to [B, C_out, 1], zeros at first.

    Arguments:
        hidden: width of each of the `n_layers` hidden layers.

    >>> MLP(10, 10, 32, 2)(torch.randn(4, 10, 1)).shape
    torch.Size([4, 10, 1])
    """

    def __init__(self, in_channels: int, out_channels: int, hidden: int, n_layers: int) -> None:
        super().__init__()
        widths = [in_channels, *[hidden] * n_layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last = nn.Linear(hidden, out_channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x = x.flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.last(x).unsqueeze(2)

    def reach_places(self) -> int:
        """0: a vector has one place."""
        return 0
