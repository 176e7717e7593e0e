"""A vocoder as NVIDIA published WaveGlow: contiguous 1-D convolutions, weight norm at every call.

The arithmetic is that of this library's model; only the order in memory, and what is worked out again, differ.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.flows.base import coupling_nets
from waveglow.flows.permute import InvertibleConv
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.nn.wavenet import WaveNet


def conv1d(conv: nn.Module | None, x: Tensor) -> Tensor:
    """A convolution of nn/conv.py on contiguous [B, C, T]; a normed one works its weight out, as at every call."""
    layer = cast(nn.Conv2d, conv)
    weight, padding = layer.weight.squeeze(2), cast(int, layer.padding[-1])
    return F.conv1d(x.contiguous(), weight, layer.bias, padding=padding, dilation=layer.dilation[-1])


class PlainConv(nn.Module):
    """The convolution on [B, C, 1, T], computed in one dimension."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return conv1d(self.conv, x.squeeze(2)).unsqueeze(2)


class PlainWaveNet(nn.Module):
    """The layers of a WaveNet, computed as NVIDIA's code does: activations are contiguous [B, C, T] throughout."""

    def __init__(self, net: WaveNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        net = self.net
        h = conv1d(net.start, x)
        cond_parts = conv1d(net.cond, cond).chunk(len(net.dilated), dim=1)
        skips = torch.zeros_like(h)
        for dilated, res_skip, part in zip(net.dilated, net.res_skip, cond_parts, strict=True):
            filtered, gate = (conv1d(dilated, h) + part).chunk(2, dim=1)
            *residual, skip = conv1d(res_skip, torch.tanh(filtered) * torch.sigmoid(gate)).split(net.n_channels, dim=1)
            h = h + residual[0] if residual else h
            skips = skips + skip
        return conv1d(net.end, skips)


def plain_conv1d(model: FlowVocoder) -> FlowVocoder:
    """A copy whose convolutions are the plain ones. Raises ValueError where its nets aren't WaveGlow's."""
    nets = coupling_nets(model).values()
    if not all(isinstance(net, WaveNet) and isinstance(net.start, nn.Conv2d) for net in nets):
        raise ValueError("this is how NVIDIA runs WaveGlow, and the model's nets are others")
    copied = copy.deepcopy(model)
    _make_plain_(copied)
    return copied


def _make_plain_(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, WaveNet):
            setattr(module, name, PlainWaveNet(child))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, PlainConv(child))
        else:
            _make_plain_(child)


@torch.no_grad()
def cache_inverses_(model: nn.Module) -> None:
    """Invert the 1×1 convolutions once, as NVIDIA's code does."""
    for module in model.modules():
        if isinstance(module, InvertibleConv):
            module.weight_inverse = torch.linalg.inv(module.matrix())
