"""1-D convolutions that run as channels-last 2-D ones: twice the speed on CPUs with AVX-512, tensor cores on GPUs.

Networks take and give [B, C, T]; inside, activations are [B, C, 1, T] in channels-last memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

LOG_GAIN_FACTOR = 3  # makes gains learn faster than weights: `logscale_factor` in OpenAI's code of Glow


def to_channels_last(x: Tensor) -> Tensor:
    """[B, C, T] to [B, C, 1, T] in channels-last memory."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def from_channels_last(x: Tensor) -> Tensor:
    """[B, C, 1, T] to [B, C, T]."""
    return x.squeeze(2)


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, *, dilation: int = 1) -> nn.Conv2d:
    """Convolution over T of [B, C, 1, T] that keeps the length. Raises ValueError for an even kernel_size.

    >>> x = torch.randn(2, 4, 100)
    >>> from_channels_last(conv(4, 8, 3, dilation=2)(to_channels_last(x))).shape
    torch.Size([2, 8, 100])
    """
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
    """`conv` with weight normalization, a gain for each output channel (Salimans and Kingma 2016, arXiv:1602.07868)."""
    return weight_norm(conv(in_channels, out_channels, kernel_size, dilation=dilation))


def zero_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1×1 convolution whose weights and biases start at 0.

    As a net's last layer it makes a coupling start as the identity.

    >>> zero_conv(4, 2)(torch.randn(1, 4, 1, 10)).any().item()
    False
    """
    zero = conv(in_channels, out_channels)
    nn.init.zeros_(zero.weight)
    assert zero.bias is not None
    nn.init.zeros_(zero.bias)
    return zero


class GainedZeroConv(nn.Module):
    """`zero_conv` times exp(3·log_gain), with a gain for each channel (Glow, arXiv:1807.03039, §3.3).

    >>> GainedZeroConv(4, 2)(torch.randn(1, 4, 1, 10)).any().item()
    False
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = zero_conv(in_channels, out_channels)
        self.log_gain = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * (LOG_GAIN_FACTOR * self.log_gain).exp()
