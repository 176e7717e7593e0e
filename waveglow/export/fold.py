"""A copy of a model made for inference: nothing in it is computed twice that depends on weights alone."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from waveglow.flows.coupling import Coupling
from waveglow.flows.permute import InvertibleConv
from waveglow.nn.separable import SeparableConv

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def folded(model: M, *, nets: torch.dtype | None = None) -> M:
    """Copy in evaluation mode with weight and batch norms folded and W⁻¹ filled (inverted in float64), all frozen.

    `nets`: what the weights of the coupling nets are kept in, to be run under an autocast to the same, which would
    convert frozen weights anew in every call; None leaves them as they are.
    """
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for module in copied.modules():
        if parametrize.is_parametrized(module, "weight"):
            _fold_weight(module)
        if isinstance(module, InvertibleConv):
            matrix = module.matrix()
            module.weight_inverse = torch.linalg.inv(matrix.double()).to(matrix.dtype)
        if isinstance(module, SeparableConv):
            module.fold_norm_()
        if isinstance(module, Coupling) and nets:
            module.net.to(nets)
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # as the activations are
    return copied.requires_grad_(False)


def _fold_weight(module: nn.Module) -> None:
    """`parametrize.remove_parametrizations` would edit the class, which a deep copy shares with the original model."""
    weight = cast(Tensor, module.weight)
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    module.weight = nn.Parameter(weight)
