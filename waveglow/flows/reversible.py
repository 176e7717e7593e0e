"""Backpropagation that rebuilds activations by inverting the layers instead of keeping them.

Gomez et al., "The Reversible Residual Network", 2017, arXiv:1707.04585; in a flow, every layer is its own rebuilder.
What is kept for the backward pass is one output, whatever the depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from waveglow.flows.base import Flow, zero_log_det


def reversible_forward(layers: Sequence[Flow], x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    """(z, log_det) of the layers in order, with an activation memory that does not grow with their number.

    Raises ValueError under autocast: inputs rebuilt through half-precision nets drift (measured 0.5 after 12 steps);
    and in a backward pass with `create_graph=True`, since gradients of gradients would be wrong.
    """
    if torch.is_autocast_enabled(x.device.type):
        raise ValueError(
            "reversible training needs float32 nets, since rebuilt inputs drift in half precision; "
            "set train.precision=float32 or train.memory=checkpoint"
        )
    parameters = dict.fromkeys(p for layer in layers for p in layer.parameters() if p.requires_grad)  # each once
    z, log_det = _Rebuild.apply(layers, x, cond, *parameters)
    return z, log_det


def conditions(layers: Sequence[Any], cond: Tensor | None) -> list[Tensor | None]:
    """The cond that each layer sees, and that the layer behind the last would see."""
    conds = [cond]
    for layer in layers:
        conds.append(layer.condition(conds[-1]))
    return conds


class _Rebuild(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: Sequence[Flow], x: Tensor, cond: Tensor | None, *parameters: Tensor) -> Any:
        log_det = zero_log_det(x)
        layer_cond = cond
        for layer in layers:
            x, layer_log_det = layer(x, layer_cond)
            log_det = log_det + layer_log_det
            layer_cond = layer.condition(layer_cond)
        ctx.layers, ctx.parameters = layers, parameters
        ctx.save_for_backward(x, cond)
        return x, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():  # the gradients below are of rebuilt copies: a second derivative would be missing
            raise ValueError(
                "create_graph=True needs the activations that reversible layers don't keep; set memory to "
                "'checkpoint' or 'none' for second derivatives"
            )
        grad_z, grad_log_det = grads
        z, cond = ctx.saved_tensors
        with torch.no_grad():
            conds = conditions(ctx.layers, cond)
        parameter_grads: dict[int, Tensor] = {}
        grad_cond: Tensor | None = None
        for layer, layer_cond in zip(reversed(ctx.layers), reversed(conds[:-1]), strict=True):
            z, grad_z, grad_cond = _backward_one(
                layer, z, layer_cond, (grad_z, grad_log_det, grad_cond), parameter_grads
            )
        return None, grad_z, grad_cond, *(parameter_grads.get(id(p)) for p in ctx.parameters)


@contextmanager
def _statistics_kept(layer: Flow) -> Iterator[None]:
    """What nets run again see of batch norms: the batch's statistics, without counting them a second time."""
    norms = [module for module in layer.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _backward_one(
    layer: Flow,
    z: Tensor,
    cond: Tensor | None,
    grads: tuple[Tensor, Tensor, Tensor | None],
    parameter_grads: dict[int, Tensor],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer back: (x, grad of x, grad of its cond); gradients of its parameters are added to the dictionary."""
    grad_z, grad_log_det, grad_next_cond = grads
    parameters = [p for p in layer.parameters() if p.requires_grad]
    with torch.enable_grad(), _statistics_kept(layer):
        cond = None if cond is None else cond.detach().requires_grad_()
        leaves, join, z_again, log_det = layer.retrace(z, cond)
        next_cond = layer.condition(cond)
    pairs = [(z_again, grad_z), (log_det, grad_log_det)]
    if next_cond is not None and grad_next_cond is not None:
        pairs.append((next_cond, grad_next_cond))
    pairs = [(output, grad) for output, grad in pairs if output.requires_grad]
    inputs = [*leaves, *([] if cond is None else [cond]), *parameters]
    found = torch.autograd.grad([o for o, _ in pairs], inputs, [g for _, g in pairs], allow_unused=True)
    leaf_grads = [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=False)]
    for parameter, grad in zip(parameters, found[len(inputs) - len(parameters) :], strict=True):
        if grad is not None:
            known = parameter_grads.get(id(parameter))
            parameter_grads[id(parameter)] = grad if known is None else known + grad
    with torch.no_grad():
        x, grad_x = join(*(leaf.detach() for leaf in leaves)), join(*leaf_grads)
    return x, grad_x, None if cond is None else found[len(leaves)]
