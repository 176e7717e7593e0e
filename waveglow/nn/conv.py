"""1-D convolutions that run as channels-last 2-D ones: twice the speed on CPUs with AVX-512, tensor cores on GPUs.

Networks take and give [B, C, T]; inside, activations are [B, C, 1, T] in channels-last memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

LOG_GAIN_FACTOR = 3  # the learning rate of a gain, in effect: OpenAI's `logscale_factor`, in Glow


def to_channels_last(x: Tensor) -> Tensor:
    """[B, C, T] to [B, C, 1, T], channels-last."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def from_channels_last(x: Tensor) -> Tensor:
    """[B, C, 1, T] to [B, C, T]."""
    return x.squeeze(2)


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, *, dilation: int = 1) -> nn.Conv2d:
    """Convolution over T of [B, C, 1, T] that keeps the length; kernel_size is odd."""
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is {kernel_size}; it must be odd, so that the length stays")
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(in_channels, out_channels, (1, kernel_size), dilation=(1, dilation), padding=(0, padding))


def convolved_places(module: nn.Module) -> int:
    """How many places to each side, on the last axis, all convolutions within a module look, one after the other.

    That is what a network's `reach_places` returns; at most, since parallel branches count as if they were in a row.

    >>> convolved_places(nn.Sequential(conv(4, 8, 3), nn.ReLU(), conv(8, 4, 3, dilation=4)))
    5
    """
    convs = (part for part in module.modules() if isinstance(part, (nn.Conv1d, nn.Conv2d)))
    return sum(math.ceil(part.dilation[-1] * (part.kernel_size[-1] - 1) / 2) for part in convs)


def normed_conv(in_channels: int, out_channels: int, kernel_size: int = 1, *, dilation: int = 1) -> nn.Module:
    """`conv` with weight normalization, a gain an output channel (Salimans and Kingma 2016, arXiv:1602.07868)."""
    return weight_norm(conv(in_channels, out_channels, kernel_size, dilation=dilation))


def zero_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1×1 convolution that starts at 0, so that a coupling with it as its net's last layer starts as the identity."""
    zero = conv(in_channels, out_channels)
    nn.init.zeros_(zero.weight)
    assert zero.bias is not None
    nn.init.zeros_(zero.bias)
    return zero


class GainedZeroConv(nn.Module):
    """`zero_conv` times exp(3·log_gain), a gain a channel (Glow, arXiv:1807.03039, §3.3)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = zero_conv(in_channels, out_channels)
        self.log_gain = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * (LOG_GAIN_FACTOR * self.log_gain).exp()
