"""Networks for flows: what couplings ask how to move, and what makes a vocoder's conditioning of a mel.

A coupling's network takes (x, cond) and gives as many channels as the coupling needs, zeros at first so that the flow
starts as the identity. It also says how far it looks (`reach_places`), by which synthesis in pieces stays exact. A
`Conditioner` takes a mel [B, M, F] and says how many frames a place depends on (`frames_seen`).

>>> import torch
>>> from waveglow.nn import WaveNet
>>> net = WaveNet(4, 8, cond_channels=80, n_channels=32, n_layers=4)
>>> net(torch.randn(2, 4, 100), torch.randn(2, 80, 100)).shape, net.reach_places()
(torch.Size([2, 8, 100]), 15)

Public is what `__all__` lists, and `waveglow.nn.conv.conv`, under the promise that `waveglow.flows` makes of its own.
"""

from waveglow.nn.conv import (
    GainedZeroConv,
    convolved_places,
    from_channels_last,
    normed_conv,
    to_channels_last,
    zero_conv,
)
from waveglow.nn.gate import gated_tanh_unit
from waveglow.nn.image_nets import MLP, GlowNet, ResidualNet, ZeroConv2d
from waveglow.nn.separable import SeparableWaveNet
from waveglow.nn.transformer import GuidedNet, SelfAttention, TransformerBlock, TransformerNet
from waveglow.nn.upsample import (
    BandScale,
    Conditioner,
    MelEncoder,
    Repeat,
    SmoothUpsample,
    TransposedConvUpsample,
)
from waveglow.nn.wavenet import WaveNet, deep_ended_wavenet
from waveglow.nn.wavenet2d import FlavourNet, RowStack, WaveNet2d

__all__ = [
    "MLP",
    "BandScale",
    "Conditioner",
    "FlavourNet",
    "GainedZeroConv",
    "GlowNet",
    "GuidedNet",
    "MelEncoder",
    "Repeat",
    "ResidualNet",
    "RowStack",
    "SelfAttention",
    "SeparableWaveNet",
    "SmoothUpsample",
    "TransformerBlock",
    "TransformerNet",
    "TransposedConvUpsample",
    "WaveNet",
    "WaveNet2d",
    "ZeroConv2d",
    "convolved_places",
    "deep_ended_wavenet",
    "from_channels_last",
    "gated_tanh_unit",
    "normed_conv",
    "to_channels_last",
    "zero_conv",
]
