"""Couplings by monotone splines: what moves passes a curve of many bends, where an affine coupling has a straight line.

C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural Spline Flows", 2019, arXiv:1906.04032, §3.1 and appendix
A; the curves are those of J. A. Gregory and R. Delbourgo, IMA J. Numer. Anal. 2(2), 1982.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.flows.base import (
    Flow,
    Retraced,
    Shape,
    full_precision,
    log_det_dtype,
    net_reach,
    sum_per_place,
    sum_per_sample,
)
from waveglow.flows.coupling import Mask

LEAST = 1e-3  # of a bin's share of the width or the height, and of a slope: no division by almost nothing
SLOPE_OFFSET = math.log(math.expm1(1 - LEAST))  # by which a net that gives 0 makes a slope of 1


class Knots(NamedTuple):
    """Where the K bins of a spline meet, and its slope there, each [B, C, K + 1, *S]."""

    x: Tensor
    y: Tensor
    slope: Tensor


class SplineCoupling(Flow):
    """`z_kept = x_kept`; every value that moves passes a rational-quadratic spline that `net(x_kept, cond)` describes.

    The spline maps [−bound, bound] onto itself, increasing, by K pieces with a continuous slope; outside it is the
    identity ("linear tails"). Where the net gives zeros, so it is inside: the coupling starts as the identity.

    Arguments:
        net: maps (x_kept [B, C_kept, *S], cond) to [B, C_moved · (3K − 1), *S]: for each channel that moves, K numbers
            for the widths of its bins, K for their heights, and K − 1 for the slopes between them.
        mask: which part moves.
        bins: K.
        bound: latents beyond it are not bent; 3 holds 99.7 % of those that are N(0, 1).

    Raises ValueError for fewer than 1 or more than 500 bins, a bound that is not positive, and, when it runs, for a net
    that gives another number of channels.

    >>> from waveglow.flows import ChannelMask
    >>> from waveglow.nn import WaveNet
    >>> mask = ChannelMask(4)
    >>> net = WaveNet(2, 2 * spline_numbers(8), cond_channels=0, n_channels=16, n_layers=2)
    >>> x = torch.randn(1, 4, 10)
    >>> z, log_det = SplineCoupling(net, mask, bins=8)(x)
    >>> torch.allclose(z, x, atol=1e-5)  # as yet, for a WaveNet starts with zeros
    True
    """

    def __init__(self, net: nn.Module, mask: Mask, *, bins: int = 8, bound: float = 3.0) -> None:
        super().__init__()
        if not 1 <= bins <= 500:
            raise ValueError(f"bins is {bins}; a spline takes 1 to 500 of them")
        if not bound > 0:
            raise ValueError(f"bound is {bound}; it must be above 0, as 3 for latents that are N(0, 1)")
        self.net = net
        self.mask = mask
        self.bins = bins
        self.bound = bound

    def _knots(self, kept: Tensor, cond: Tensor | None) -> Knots:
        output = self.net(kept, cond).to(log_det_dtype(kept))
        expected = self.mask.moved_channels * spline_numbers(self.bins)
        if output.shape[1] != expected:
            raise ValueError(
                f"the coupling net gives {output.shape[1]} channels; splines of {self.bins} bins need "
                f"{spline_numbers(self.bins)} for each of the {self.mask.moved_channels} that move, {expected} in all"
            )
        return spline_knots(output.unflatten(1, (self.mask.moved_channels, -1)), bound=self.bound)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.mask.split(x)
        z, log_slope = self._forward(kept, moved, self._knots(kept, cond))
        return z, sum_per_sample(log_slope)

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.mask.split(x)
        z, log_slope = self._forward(kept, moved, self._knots(kept, cond))
        return z, sum_per_place(log_slope)

    def _forward(self, kept: Tensor, moved: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
        """z, and the log-slope of what moved."""
        with full_precision(moved):
            z_moved, log_slope = spline(moved, knots)
        return self.mask.join(kept, z_moved), self.mask.confine(log_slope)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        kept, moved = self.mask.split(z)
        return self.mask.join(kept, self._inverse(moved, self._knots(kept, cond)))

    def _inverse(self, moved: Tensor, knots: Knots) -> Tensor:
        with full_precision(moved):
            return spline_inverse(moved, knots)

    def reach_places(self, shape: Shape) -> int:
        return net_reach(self.net)

    def half_precision_nets(self) -> list[nn.Module]:
        return [self.net]

    def retrace(self, z: Tensor, cond: Tensor | None) -> Retraced:
        """As in Flow, but the net, which reads only what stays, is evaluated once for both directions."""
        kept, z_moved = self.mask.split(z.detach())
        kept = kept.contiguous().requires_grad_()
        knots = self._knots(kept, cond)
        x_moved = self._inverse(z_moved, Knots(*(part.detach() for part in knots))).requires_grad_()
        z_again, log_slope = self._forward(kept, x_moved, knots)
        return Retraced((kept, x_moved), self.mask.join, z_again, sum_per_sample(log_slope))


def spline_numbers(bins: int) -> int:
    """How many numbers describe a spline of so many bins: 3K − 1."""
    return 3 * bins - 1


def spline_knots(numbers: Tensor, *, bound: float) -> Knots:
    """Splines from any numbers [B, C, 3K − 1, *S] (§3.1): K for widths, K for heights, K − 1 for slopes."""
    bins = (numbers.shape[2] + 1) // 3
    widths, heights, slopes = numbers.split([bins, bins, bins - 1], dim=2)
    one = torch.ones_like(widths[:, :, :1])
    inner = LEAST + F.softplus(slopes + SLOPE_OFFSET)
    return Knots(_edges(widths, bound), _edges(heights, bound), torch.cat([one, inner, one], dim=2))


def _edges(sizes: Tensor, bound: float) -> Tensor:
    """Increasing from −bound to bound, [B, C, K + 1, *S]; the K sizes [B, C, K, *S] are logarithms of shares."""
    bins = sizes.shape[2]
    shares = LEAST + (1 - LEAST * bins) * torch.softmax(sizes, dim=2)
    inner = bound * (2 * shares.cumsum(2)[:, :, : bins - 1] - 1)
    end = torch.full_like(sizes[:, :, :1], bound)
    return torch.cat([-end, inner, end], dim=2)


def spline(x: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    """x [B, C, *S] to (y, log dy/dx), both alike, by eqs. 4 and 5; the identity outside of the knots.

    >>> straight = spline_knots(torch.zeros(1, 1, 3 * 4 - 1, 1), bound=1.0)
    >>> y, log_slope = spline(torch.tensor([[[0.3]]]), straight)
    >>> round(y.item(), 4), round(log_slope.exp().item(), 4)
    (0.3, 1.0)
    """
    inside, value, b = _bins(x, knots.x, knots)
    xi = (value - b.x) / b.width
    bend = xi * (1 - xi)
    denominator = b.steepness + (b.slope + b.next_slope - 2 * b.steepness) * bend
    y = b.y + b.height * (b.steepness * xi.square() + b.slope * bend) / denominator
    slopes = b.next_slope * xi.square() + 2 * b.steepness * bend + b.slope * (1 - xi).square()
    log_slope = 2 * b.steepness.log() + slopes.log() - 2 * denominator.log()
    return torch.where(inside, y.to(x.dtype), x), torch.where(inside, log_slope, 0.0)


def spline_inverse(y: Tensor, knots: Knots) -> Tensor:
    """The x [B, C, *S] that `spline` maps to y: the root of a quadratic equation (appendix A)."""
    inside, value, b = _bins(y, knots.y, knots)
    rise = value - b.y
    curvature = rise * (b.slope + b.next_slope - 2 * b.steepness)
    quadratic = b.height * (b.steepness - b.slope) + curvature
    linear = b.height * b.slope - curvature
    constant = -b.steepness * rise
    root = (linear.square() - 4 * quadratic * constant).clamp(min=0).sqrt()
    xi = 2 * constant / (-linear - root)
    return torch.where(inside, (b.x + xi * b.width).to(y.dtype), y)


class _Bin(NamedTuple):
    """The bin that each value falls into, everything [B, C, *S]."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    steepness: Tensor  # height / width: s_k in the paper
    slope: Tensor  # at the bin's start: δ_k
    next_slope: Tensor


def _bins(values: Tensor, edges: Tensor, knots: Knots) -> tuple[Tensor, Tensor, _Bin]:
    """(Which values lie between the first edge and the last, the values kept within these, their bins)."""
    first, last = edges[:, :, 0], edges[:, :, -1]
    inside = (values > first) & (values < last)
    value = torch.where(inside, values, 0.0).to(edges.dtype)
    number = (value.unsqueeze(2) >= edges[:, :, 1:-1]).sum(2, keepdim=True)  # (B, C, 1, *S)

    def start_and_end(of_knots: Tensor) -> tuple[Tensor, Tensor]:
        return of_knots.gather(2, number).squeeze(2), of_knots.gather(2, number + 1).squeeze(2)

    (x, next_x), (y, next_y), (slope, next_slope) = map(start_and_end, knots)
    width, height = next_x - x, next_y - y
    return inside, value, _Bin(x, y, width, height, height / width, slope, next_slope)
