"""The flow contract.

A flow is an invertible map between data x and latent z, both [B, C, *S], with S = (T,) or (H, W). `forward` goes from
data to latent and returns `log_det = log|det dz/dx|`, one number a sample, in at least float32; `inverse` goes back and
returns only x. `cond` is [B, C_cond, *S], already on the grid of x.

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
    """Invertible map between data x and latent z, both [B, C, *S]."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, C, *S] to (z [B, C', *S'], log_det [B])."""
        raise NotImplementedError

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """z [B, C', *S'] to x [B, C, *S], under the cond that `forward` was given."""
        raise NotImplementedError

    def condition(self, cond: Tensor | None) -> Tensor | None:
        """The cond that the next layer sees; only layers that move the conditioning too change it."""
        return cond

    def out_shape(self, shape: Shape) -> Shape:
        """(C', *S') of z for (C, *S) of x."""
        return shape

    def retrace(self, z: Tensor, cond: Tensor | None) -> Retraced:
        """Rebuild x from z, then run forward with a graph: what a reversible backward pass needs of a layer."""
        with torch.no_grad():
            x = self.inverse(z, cond)
        x = x.requires_grad_()
        return Retraced((x,), lambda leaf: leaf, *self(x, cond))


def log_det_dtype(x: Tensor) -> torch.dtype:
    """Log-determinants are kept in float32 or better, whatever the layer works in."""
    return torch.promote_types(x.dtype, torch.float32)


def sum_per_sample(values: Tensor) -> Tensor:
    """Sum over all but the batch, in float32 or better: [B, ...] to [B]."""
    return values.flatten(1).sum(1, dtype=log_det_dtype(values))


def zero_log_det(x: Tensor) -> Tensor:
    """log_det of a volume-preserving map: zeros [B]."""
    return torch.zeros(x.shape[0], dtype=log_det_dtype(x), device=x.device)


def positions(x: Tensor) -> int:
    """Number of places in S: a map that acts on every place alike has this many times its log-determinant."""
    return x[0, 0].numel()


def full_precision(x: Tensor) -> torch.autocast:
    """Region in which an ambient autocast has no effect: only coupling nets may run in half precision."""
    return torch.autocast(x.device.type, enabled=False)
