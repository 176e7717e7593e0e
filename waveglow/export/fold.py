"""A copy of a model made for inference: nothing in it is computed twice that depends on weights alone."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from waveglow.flows.base import coupling_nets
from waveglow.flows.reshape import Squeeze
from waveglow.models.weights import require_sound
from waveglow.nn.fused import FrameContext, FusedConditioning
from waveglow.nn.upsample import TransposedConvUpsample
from waveglow.nn.wavenet import WaveNet

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def folded(model: M, *, nets: torch.dtype | None = None, fused: bool = False) -> M:
    """Copy in evaluation mode with weight and batch norms folded and W⁻¹ filled (inverted in float64), all frozen.

    A layer or net of your own that can compute more in advance does so in a method `fold_()`, which is called on every
    module that has one.

    `nets`: dtype of the coupling nets' weights, for use under an autocast to the same dtype, which would otherwise
    convert them in every call; None leaves them as they are.
    `fused`: of a WaveGlow, make upsampling and conditioning one map (nn/fused.py), for 1 GiB in bf16 at 256 channels.
    Raises ValueError where `fused` is asked of another model, and for weights that are NaN, infinite or make a layer
    singular, by its name.
    """
    require_sound(model)
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for module in copied.modules():
        if parametrize.is_parametrized(module, "weight"):
            _fold_weight(module)
    for module in [*copied.modules()]:
        if hasattr(module, "fold_"):
            module.fold_()  # type: ignore[operator]
    if fused:
        _fuse_conditioning_(copied, nets)
    for net in coupling_nets(copied).values() if nets else ():
        net.to(nets)
    for module in copied.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # as the activations are
    return copied.requires_grad_(False)


def _fold_weight(module: nn.Module) -> None:
    """`parametrize.remove_parametrizations` would edit the class, which a deep copy shares with the original model."""
    weight = cast(Tensor, module.weight)
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    module.weight = nn.Parameter(weight)


def _fuse_conditioning_(model: nn.Module, dtype: torch.dtype | None) -> None:
    upsample = getattr(model, "conditioner", None)
    nets = [*coupling_nets(model).values()]
    squeezes = [module for module in model.modules() if isinstance(module, Squeeze)]
    if not isinstance(upsample, TransposedConvUpsample) or not all(isinstance(net, WaveNet) for net in nets):
        raise ValueError("only a WaveGlow's conditioning can be fused: one upsampling, and nets of one kind")
    for net in nets:
        assert isinstance(net, WaveNet)
        cond = cast(nn.Conv2d, net.cond)
        weight, bias = cond.weight.flatten(1), cast(Tensor, cond.bias)
        fused = FusedConditioning(upsample, weight, bias, group=squeezes[0].factor, n_layers=len(net.dilated))
        net.cond = fused.to(dtype)
    squeezes[0].squeeze_cond = False
    model.conditioner = FrameContext(-(-upsample.conv.kernel_size[0] // upsample.hop))
