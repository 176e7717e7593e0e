"""Flows made of flows: Chain, Split and MultiScale.

A part of one is a layer with z = f(x), or a Split, at which some channels leave.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from waveglow.config import require_known
from waveglow.flows.base import Flow, Shape, spread, zero_log_det
from waveglow.flows.reversible import conditions, reversible_forward

Memory = Literal["none", "checkpoint", "reversible"]


def _run_again(layer: Flow, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    """The layer, to run again in the backward pass from the running averages (batch norm) that it had before."""
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()} if layer.training else {}
    again = False

    def run(x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        nonlocal again
        first, again = not again, True
        result: tuple[Tensor, Tensor] = layer(x, cond) if first else functional_call(layer, before, (x, cond))
        return result

    outputs: tuple[Tensor, Tensor] = checkpoint(run, x, cond, use_reentrant=False)
    return outputs


class Chain(Flow):
    """Layers in data order: `z = f_n(… f_1(x))`, `log_det = Σ log_det_k`.

    Arguments:
        layers: of any kind of Flow, other chains included.
        memory: what is kept for the backward pass. "none" saves no memory: all activations are kept. "checkpoint" keeps
            each layer's input and runs the layer again (Chen et al. 2016, arXiv:1604.06174). "reversible" keeps one
            output and rebuilds the rest by inversion, so that memory does not grow with depth; it needs float32.

    Raises ValueError for an unknown word.

    >>> from waveglow.flows import ActNorm, InvertibleConv, Squeeze
    >>> flow = Chain([Squeeze(8), ActNorm(8), InvertibleConv(8)])
    >>> x = torch.randn(2, 1, 80)
    >>> z, log_det = flow(x)
    >>> z.shape, log_det.shape, torch.allclose(flow.inverse(z), x, atol=1e-5)
    (torch.Size([2, 8, 10]), torch.Size([2]), True)
    """

    def __init__(self, layers: Iterable[Flow], *, memory: Memory = "none") -> None:
        super().__init__()
        require_known("memory", memory, get_args(Memory))
        self.layers = nn.ModuleList(layers)
        self.memory = memory

    def flows(self) -> list[Flow]:
        """The layers, in data order."""
        return cast(list[Flow], list(self.layers))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        memory = self.memory if torch.is_grad_enabled() else "none"
        if memory == "reversible":
            return reversible_forward(self.flows(), x, cond)
        log_det = zero_log_det(x)
        for layer in self.flows():
            x, layer_log_det = _run_again(layer, x, cond) if memory == "checkpoint" else layer(x, cond)
            log_det = log_det + layer_log_det
            cond = layer.condition(cond)
        return x, log_det

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        places = x.shape[-1]
        log_det = zero_log_det(x)[:, None]
        for layer in self.flows():
            x, layer_log_det = layer.forward_by_place(x, cond)
            log_det = log_det + spread(layer_log_det, places)
            cond = layer.condition(cond)
        return x, log_det.expand(-1, places)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        conds = conditions(self.flows(), cond)
        for layer, layer_cond in zip(reversed(self.flows()), conds[-2::-1], strict=True):
            z = layer.inverse(z, layer_cond)
        return z

    def condition(self, cond: Tensor | None) -> Tensor | None:
        return conditions(self.flows(), cond)[-1]

    def out_shape(self, shape: Shape) -> Shape:
        for layer in self.flows():
            shape = layer.out_shape(shape)
        return shape

    @property
    def factor(self) -> int:  # type: ignore[override]
        """The product of the layers' factors."""
        return math.prod(layer.factor for layer in self.flows())

    def reach_places(self, shape: Shape) -> int:
        """As in Flow: what the layers reach adds up, in places of the first one's x."""
        return _reach_places(self.flows(), shape)


class Split(nn.Module):
    """Some channels leave the flow as a latent, the others go on (RealNVP §3.6; the early outputs of WaveGlow).

    Arguments:
        channels: how many leave.
        leaves: "first" or "last" of the channels.
        prior: a coupling that moves the leaving channels given those that stay, which makes their density conditional
            and the latent N(0, 1) again; None where they leave as they are.

    Raises ValueError where no channel would leave, or none would stay, and for an unknown word.

    >>> z, rest, log_det = Split(2)(torch.randn(4, 8, 10))
    >>> z.shape, rest.shape
    (torch.Size([4, 2, 10]), torch.Size([4, 6, 10]))
    """

    factor = 1  # it keeps all places, as in Flow

    def __init__(self, channels: int, *, leaves: Literal["first", "last"] = "first", prior: Flow | None = None) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"a Split of {channels} channels lets nothing leave; give at least 1")
        require_known("leaves", leaves, ("first", "last"))
        self.channels = channels
        self.leaves = leaves
        self.prior = prior

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, C, *S] to (z_out [B, channels, *S], x_rest [B, C − channels, *S], log_det [B])."""
        self.out_shape(tuple(x.shape[1:]))
        x, log_det = (x, zero_log_det(x)) if self.prior is None else self.prior(x, cond)
        return *self._parted(x), log_det

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, with the log_det of every place on the last axis apart, [B, W]."""
        if self.prior is None:
            z, rest, log_det = self(x, cond)
            return z, rest, log_det[:, None].expand(-1, x.shape[-1])  # zeros
        self.out_shape(tuple(x.shape[1:]))
        x, by_place = self.prior.forward_by_place(x, cond)
        return *self._parted(x), by_place

    def _parted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What leaves, and what goes on."""
        if self.leaves == "first":
            return x[:, : self.channels], x[:, self.channels :]
        return x[:, -self.channels :], x[:, : -self.channels]

    def inverse(self, z_out: Tensor, x_rest: Tensor, cond: Tensor | None = None) -> Tensor:
        """(z_out, x_rest) to x [B, C, *S]."""
        x = torch.cat([z_out, x_rest] if self.leaves == "first" else [x_rest, z_out], dim=1)
        return x if self.prior is None else self.prior.inverse(x, cond)

    def condition(self, cond: Tensor | None) -> Tensor | None:
        """The cond that the next level sees: the same."""
        return cond

    def out_shape(self, shape: Shape) -> Shape:
        """(C − channels, *S) of what goes on, for x of (C, *S). Raises ValueError where no channel would be left."""
        if shape[0] <= self.channels:
            raise ValueError(f"a Split takes {self.channels} channels out of {shape[0]}; at least one must stay")
        return (shape[0] - self.channels, *shape[1:])

    def reach_places(self, shape: Shape) -> int:
        """How far the prior looks, as in Flow; 0 without one."""
        return 0 if self.prior is None else self.prior.reach_places(shape)


class MultiScale(nn.Module):
    """Flows and Splits in data order; z is a list of latents: one of each Split, and what remains as the last.

    >>> from waveglow.flows import InvertibleConv, Squeeze
    >>> flow = MultiScale([Squeeze(8), InvertibleConv(8), Split(2), InvertibleConv(6)])
    >>> x = torch.randn(4, 1, 80)
    >>> zs, log_det = flow(x)
    >>> [tuple(z.shape) for z in zs], flow.latent_shapes((1, 80))
    ([(4, 2, 10), (4, 6, 10)], [(2, 10), (6, 10)])
    >>> torch.allclose(flow.inverse(zs), x, atol=1e-5)
    True
    """

    def __init__(self, levels: Iterable[Flow | Split]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)

    def parts(self) -> list[Flow | Split]:
        """The levels, in data order."""
        return cast("list[Flow | Split]", list(self.levels))

    @property
    def n_latents(self) -> int:
        """How many latents there are: one of each Split, and what remains."""
        return 1 + sum(isinstance(level, Split) for level in self.parts())

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """x [B, C, *S] to (zs, log_det [B])."""
        zs = []
        log_det = zero_log_det(x)
        for level in self.parts():
            if isinstance(level, Split):
                z, x, level_log_det = level(x, cond)
                zs.append(z)
            else:
                x, level_log_det = level(x, cond)
            log_det = log_det + level_log_det
            cond = level.condition(cond)
        return [*zs, x], log_det

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """As `forward`, with the log_det of every place on the last axis of x apart: (zs, [B, W])."""
        zs, places = [], x.shape[-1]
        log_det = zero_log_det(x)[:, None]
        for level in self.parts():
            if isinstance(level, Split):
                z, x, level_log_det = level.forward_by_place(x, cond)
                zs.append(z)
            else:
                x, level_log_det = level.forward_by_place(x, cond)
            log_det = log_det + spread(level_log_det, places)
            cond = level.condition(cond)
        return [*zs, x], log_det.expand(-1, places)

    def inverse(self, zs: Sequence[Tensor], cond: Tensor | None = None) -> Tensor:
        """zs, as `forward` gives them, to x [B, C, *S]. Raises ValueError where their number is wrong."""
        if len(zs) != self.n_latents:
            raise ValueError(f"got {len(zs)} latents; this flow has {self.n_latents}")
        left, x = [*zs[:-1]], zs[-1]  # `*left, x = zs` makes a tuple in torch 2.10's compiler
        conds = conditions(self.parts(), cond)
        for level, level_cond in zip(reversed(self.parts()), conds[-2::-1], strict=True):
            x = level.inverse(left.pop(), x, level_cond) if isinstance(level, Split) else level.inverse(x, level_cond)
        return x

    def latent_shapes(self, shape: Shape) -> list[Shape]:
        """(C_i, *S_i) of each latent, in the order of `forward`, for x of (C, *S)."""
        shapes = []
        for level in self.parts():
            if isinstance(level, Split):
                shapes.append((level.channels, *shape[1:]))
            shape = level.out_shape(shape)
        return [*shapes, shape]

    @property
    def factor(self) -> int:
        """How many places of x, on its last axis, one place of the last latent holds."""
        return math.prod(level.factor for level in self.parts())

    def reach_places(self, shape: Shape) -> int:
        """How many places of x to each side a place depends on, for x of (C, *S), as in Flow."""
        return _reach_places(self.parts(), shape)


def _reach_places(parts: Iterable[Flow | Split], shape: Shape) -> int:
    """The sum of what the parts reach, in places of x.

    Raises ValueError where a part's `factor` is not that of its `out_shape`: places would be counted wrong.
    """
    reach, factor = 0, 1
    for part in parts:
        reach += factor * part.reach_places(shape)
        after = part.out_shape(shape)
        if after[-1] * part.factor != shape[-1]:
            raise ValueError(
                f"{type(part).__name__} makes {after[-1]} places of {shape[-1]}, and its factor is {part.factor}; set "
                f"factor to {shape[-1] // after[-1]}"
            )
        shape, factor = after, factor * part.factor
    return reach
