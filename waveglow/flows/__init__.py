"""Invertible layers under one contract, in one and two dimensions: a library for flows of your own.

A layer is a `Flow`: `forward(x, cond)` goes from data to latent and gives `(z, log_det)`, `inverse(z, cond)` goes back.
Shapes are [B, C, T] for sounds and [B, C, H, W] for images; `log_det` is [B]. `Chain`, `Split` and `MultiScale` put
layers together, which take their networks as arguments: those of `waveglow.nn`, or any `nn.Module`.

>>> import torch
>>> from waveglow.flows import ActNorm, Chain, ChannelMask, Coupling, InvertibleConv, Squeeze
>>> from waveglow.nn import WaveNet
>>> net = WaveNet(4, 8, cond_channels=0, n_channels=32, n_layers=4)
>>> flow = Chain([Squeeze(8), ActNorm(8), InvertibleConv(8), Coupling(net, ChannelMask(8))])
>>> x = torch.randn(2, 1, 800)
>>> z, log_det = flow(x)
>>> torch.allclose(flow.inverse(z), x, atol=1e-4)
True

Public is what `__all__` lists. Kept stable are these names, their arguments, the shapes and dtypes that they take and
give, and the names of their tensors in state dicts: before one of them changes, CHANGELOG.md announces it and a release
passes. Names with an underscore, `Flow.retrace`, the insides of memory modes, and what is not listed may change at any
time. docs/howto/new-flow.md shows how to write a layer; tests/flows/test_contract.py is what it has to pass.
"""

from waveglow.flows.actnorm import ActNorm, ConditionalActNorm, Scale, initialize_
from waveglow.flows.autoregressive import RowAutoregressive, RowNet
from waveglow.flows.base import (
    Flow,
    Shape,
    coupling_nets,
    full_precision,
    log_det_dtype,
    net_reach,
    positions,
    sum_per_sample,
    zero_log_det,
)
from waveglow.flows.batchnorm import FlowBatchNorm
from waveglow.flows.compose import Chain, Memory, MultiScale, Split
from waveglow.flows.coupling import (
    ChannelMask,
    CheckerboardMask,
    Coupling,
    HalfOfPlacesMask,
    Mask,
    RowsAboveMask,
    WholeMask,
)
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.likelihood import (
    bits_per_dim,
    bits_per_sample,
    heavy_tailed_log_prob,
    standard_logistic_log_prob,
    standard_normal_log_prob,
)
from waveglow.flows.logit import Logit
from waveglow.flows.permute import FlipRows, Householder, InvertibleConv, InvertibleConvLU, Reverse, Shuffle, Swap
from waveglow.flows.reshape import Flatten, PlacesAsRows, Rows, RowsAsChannels, Squeeze
from waveglow.flows.spline import SplineCoupling, spline_numbers

__all__ = [
    "ActNorm",
    "Chain",
    "ChannelMask",
    "CheckerboardMask",
    "ConditionalActNorm",
    "Coupling",
    "Flatten",
    "FlipRows",
    "Flow",
    "FlowBatchNorm",
    "HalfOfPlacesMask",
    "Householder",
    "InvertibleConv",
    "InvertibleConvLU",
    "LappedSqueeze",
    "Logit",
    "Mask",
    "Memory",
    "MultiScale",
    "PlacesAsRows",
    "Reverse",
    "RowAutoregressive",
    "RowNet",
    "Rows",
    "RowsAboveMask",
    "RowsAsChannels",
    "Scale",
    "Shape",
    "Shuffle",
    "SplineCoupling",
    "Split",
    "Squeeze",
    "Swap",
    "WholeMask",
    "bits_per_dim",
    "bits_per_sample",
    "coupling_nets",
    "full_precision",
    "heavy_tailed_log_prob",
    "initialize_",
    "log_det_dtype",
    "net_reach",
    "positions",
    "spline_numbers",
    "standard_logistic_log_prob",
    "standard_normal_log_prob",
    "sum_per_sample",
    "zero_log_det",
]
