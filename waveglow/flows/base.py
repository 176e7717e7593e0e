"""The flow contract: what a layer has to say of itself, and the few functions that its arithmetic needs.

A flow is an invertible map between data x and latent z, both [B, C, *S], with S = (T,) for sounds or (H, W) for images.
`forward` goes from data to latent and returns `log_det = log|det dz/dx|`, one number a sample, in at least float32;
`inverse` goes back and returns only x. `cond` is [B, C_cond, *S], already on the grid of x.

By the change of variables, log p(x) = log p(z) + log_det (Dinh et al., "NICE", 2014, arXiv:1410.8516, eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


class Retraced(NamedTuple):
    """A layer run again from its output: `x = join(*leaves)`, and z, log_det with a graph that ends in the leaves."""

    leaves: tuple[Tensor, ...]
    join: Callable[..., Tensor]
    z: Tensor
    log_det: Tensor


class Flow(nn.Module):
    """Invertible map between data x and latent z, both [B, C, *S].

    A layer defines `forward`, `inverse` and `reach_places`; the rest has defaults, which fit a layer that keeps the
    shape of x, leaves the conditioning alone, and has no network.

    >>> class Double(Flow):
    ...     def forward(self, x, cond=None):
    ...         return 2 * x, x[0].numel() * zero_log_det(x).add(2).log()
    ...
    ...     def inverse(self, z, cond=None):
    ...         return z / 2
    ...
    ...     def reach_places(self, shape):
    ...         return 0
    >>> z, log_det = Double()(torch.ones(1, 3, 4))  # 12 values, each of them doubled
    >>> print(z.sum().item(), round(log_det.exp().item()))
    24.0 4096
    """

    factor: int = 1
    """How many places of x, on its last axis, one place of z holds: more than 1 for layers that squeeze."""

    rebuildable: bool = True
    """Whether x follows from z while training too, which `memory="reversible"` needs."""

    elementwise_affine: bool = False
    """Whether `z = x · s + t` for every value, s > 0 and t depending on nothing but parameters and the conditioning."""

    filter_bank: bool = False
    """Whether z's channels are the bands of x's one channel, from low to high frequencies, by an orthonormal map."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, C, *S] to (z [B, C', *S'], log_det [B])."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(x, cond); it must return (z, log_det)")

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `forward`, with the log_det of every place on the last axis of x apart: (z, [B, W]); the sum is log_det.

        A layer that scales one place more than another defines it; here all places have an equal share.
        """
        z, log_det = self(x, cond)
        places = x.shape[-1]
        return z, (log_det / places)[:, None].expand(-1, places)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """z [B, C', *S'] to x [B, C, *S], under the cond that `forward` was given."""
        raise NotImplementedError(f"{type(self).__name__} defines no inverse(z, cond); it must return x")

    def condition(self, cond: Tensor | None) -> Tensor | None:
        """The cond that the next layer sees; only layers that move the conditioning too change it."""
        return cond

    def out_shape(self, shape: Shape) -> Shape:
        """(C', *S') of z for (C, *S) of x."""
        return shape

    def reach_places(self, shape: Shape) -> int:
        """How many places of x to each side, on its last axis, a place depends on, for x of (C, *S).

        Whichever is more of `forward` and `inverse`, the conditioning included; 0 for a layer that treats every place
        by itself. Synthesis in pieces decodes so much with each piece. Raises NotImplementedError where a layer does
        not say it: a guess would be heard at every boundary.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say how far it looks; define reach_places(shape) in it, the number of "
            "places to each side (0 if it treats every place by itself)"
        )

    def half_precision_nets(self) -> list[nn.Module]:
        """This layer's own networks that may run in half precision under autocast, be compiled, and be quantized.

        Everything else stays in float32 or better. A network whose output is a log-determinant on its own is none.
        """
        return []

    def fold_(self) -> None:
        """In a copy for inference, compute once what depends on the weights alone."""

    def require_invertible(self) -> None:
        """Raises ValueError, which says what is wrong, where the weights as they are make this no invertible map.

        Asked once, when weights are read from a file; NaN and infinite ones are found elsewhere.
        """

    def retrace(self, z: Tensor, cond: Tensor | None) -> Retraced:
        """Rebuild x from z, then run forward with a graph: what a reversible backward pass needs of a layer."""
        with torch.no_grad():
            x = self.inverse(z, cond)
        x = x.requires_grad_()
        return Retraced((x,), lambda leaf: leaf, *self(x, cond))


def net_reach(net: nn.Module) -> int:
    """How many places to each side a network looks, as its method `reach_places()` says.

    Raises NotImplementedError where it has none.
    """
    if not hasattr(net, "reach_places"):
        raise NotImplementedError(
            f"the network {type(net).__name__} does not say how far it looks; define reach_places() in it, the number "
            "of places to each side (waveglow.nn.conv.convolved_places counts those of its convolutions)"
        )
    return int(net.reach_places())  # type: ignore[operator]


def coupling_nets(model: nn.Module) -> dict[str, nn.Module]:
    """The networks of a model's flows that may run in half precision, by their names in it, in data order."""
    nets = {net for part in model.modules() if isinstance(part, Flow) for net in part.half_precision_nets()}
    return {name: part for name, part in model.named_modules() if part in nets}


def log_det_dtype(x: Tensor) -> torch.dtype:
    """Log-determinants are kept in float32 or better, whatever the layer works in.

    >>> log_det_dtype(torch.zeros(1, dtype=torch.bfloat16)), log_det_dtype(torch.zeros(1, dtype=torch.float64))
    (torch.float32, torch.float64)
    """
    return torch.promote_types(x.dtype, torch.float32)


MAX_LOG_SCALE = 80.0  # float32 ends at e⁸⁸


def require_scales(log_scale: Tensor) -> None:
    """Raises ValueError where a scale of `exp(log_scale)` is 0 or infinite in float32, or nearly so."""
    worst = float(log_scale.abs().amax()) if log_scale.numel() else 0.0
    if not worst <= MAX_LOG_SCALE:
        raise ValueError(f"a log-scale of it is ±{worst:.4g}; beyond {MAX_LOG_SCALE:g} its scale or the inverse is 0")


def has_float64(device: torch.device) -> bool:
    """Whether tensors of float64 can be there, which Apple's GPUs have none of."""
    return device.type in ("cpu", "cuda", "meta")


def widest(x: Tensor) -> Tensor:
    """x in the widest numbers that its device has, where it is."""
    return x.double() if has_float64(x.device) else x.float()


def in_float64(x: Tensor) -> Tensor:
    """x in float64: on its device, or on the CPU."""
    return x.double() if has_float64(x.device) else x.cpu().double()


def sum_per_sample(values: Tensor) -> Tensor:
    """Sum over all but the batch, in float32 or better: [B, ...] to [B]."""
    return values.flatten(1).sum(1, dtype=log_det_dtype(values))


def sum_per_place(values: Tensor) -> Tensor:
    """Sum over all but the batch and the last axis, in float32 or better: [B, ..., W] to [B, W]."""
    return values.flatten(1, -2).sum(1, dtype=log_det_dtype(values))


def spread(by_place: Tensor, places: int) -> Tensor:
    """[B, W] on a grid of more places, each getting an equal share of its own: [B, places], with the same sum.

    >>> spread(torch.tensor([[2.0, 6.0]]), 4)
    tensor([[1., 1., 3., 3.]])
    """
    factor = places // by_place.shape[-1]
    return (by_place / factor).repeat_interleave(factor, dim=-1)


def zero_log_det(x: Tensor) -> Tensor:
    """log_det of a volume-preserving map: zeros [B]."""
    return torch.zeros(x.shape[0], dtype=log_det_dtype(x), device=x.device)


def positions(x: Tensor) -> int:
    """Number of places in S of x [B, C, *S]: a map that treats every place alike has so many times its log_det.

    >>> positions(torch.zeros(2, 3, 4, 5))
    20
    """
    return x[0, 0].numel()


def full_precision(x: Tensor) -> torch.autocast:
    """Region in which an ambient autocast has no effect: only coupling nets may run in half precision."""
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)
