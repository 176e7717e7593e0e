"""Coupling layers: one part of x stays and tells a network how the other part moves.

NICE (Dinh et al. 2014, arXiv:1410.8516, §3.2) adds; RealNVP (2016, arXiv:1605.08803, eqs. 7–8) also scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.config import require_known
from waveglow.flows.base import Flow, Retraced, Shape, net_reach, sum_per_place, sum_per_sample


class Mask(Protocol):
    """Which part of x [B, C, *S] a coupling moves; the other part, which it keeps, is what its network sees.

    `kept_channels` and `moved_channels` are C_kept and C_moved of the two parts.
    """

    kept_channels: int
    moved_channels: int

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x to (kept [B, C_kept, *S], moved [B, C_moved, *S])."""

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """What `split` took apart, [B, C, *S]."""

    def confine(self, values: Tensor) -> Tensor:
        """values [B, C_moved, *S] where x moves, 0 elsewhere."""


class ChannelMask:
    """The last C // 2 channels of [B, C, *S] move, or the first C // 2.

    Raises ValueError for a single channel, and for an unknown word, as the other masks do.

    >>> kept, moved = ChannelMask(5).split(torch.arange(5).view(1, 5, 1))
    >>> kept.flatten().tolist(), moved.flatten().tolist()
    ([0, 1, 2], [3, 4])
    """

    def __init__(self, channels: int, *, moves: Literal["first", "last"] = "last") -> None:
        if channels < 2:
            raise ValueError(f"a coupling of {channels} channel has nothing to split; it needs at least 2")
        require_known("moves", moves, ("first", "last"))
        self.moves = moves
        self.moved_channels = channels // 2
        self.kept_channels = channels - self.moved_channels

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C, *S] to (kept, moved)."""
        if self.moves == "last":
            return x[:, : self.kept_channels], x[:, self.kept_channels :]
        return x[:, self.moved_channels :], x[:, : self.moved_channels]

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """What `split` took apart, [B, C, *S]."""
        return torch.cat([kept, moved] if self.moves == "last" else [moved, kept], dim=1)

    def confine(self, values: Tensor) -> Tensor:
        """All values: the moved part is a tensor of its own."""
        return values


class CheckerboardMask:
    """Every other place of [B, C, *S] moves (RealNVP §3.4), those whose indices have an even or an odd sum.

    Both parts have the shape of x, with zeros in the places of the other.

    >>> kept, moved = CheckerboardMask(1).split(torch.arange(1, 7).view(1, 1, 6))
    >>> kept.tolist(), moved.tolist()
    ([[[0, 2, 0, 4, 0, 6]]], [[[1, 0, 3, 0, 5, 0]]])
    """

    def __init__(self, channels: int, *, moves: Literal["even", "odd"] = "even") -> None:
        require_known("moves", moves, ("even", "odd"))
        self.kept_channels = self.moved_channels = channels
        self.parity = 0 if moves == "even" else 1

    def _moves(self, x: Tensor) -> Tensor:
        index_sum = torch.zeros((), dtype=torch.long, device=x.device)
        for axis, size in enumerate(x.shape[2:]):
            places = torch.arange(size, device=x.device)
            index_sum = index_sum + places.view(-1, *[1] * (x.dim() - 3 - axis))
        return index_sum % 2 == self.parity  # S

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C, *S] to (kept, moved), both [B, C, *S]."""
        moves = self._moves(x)
        return x * ~moves, x * moves

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """What `split` took apart, [B, C, *S]."""
        return torch.where(self._moves(kept), moved, kept)

    def confine(self, values: Tensor) -> Tensor:
        """values [B, C, *S] in the places that move, 0 in the others."""
        return values * self._moves(values)


class HalfOfPlacesMask:
    """Half of the places of [B, C, H, W] move, in a pattern (Jet, arXiv:2412.15129, §2).

    Unlike CheckerboardMask's, both parts are whole tensors: of each place's C channels it makes two places of C / 2, so
    that a part is [B, C / 2, H, W] and a net sees as many places as x has.

    Arguments:
        channels: C. Raises ValueError where it is odd, and for an unknown word; when it runs, where the places can't be
            halved.
        pattern: "checkerboard", "columns" or "rows", every other one.
        moves: those whose index (of a checkerboard: whose indices' sum) is even, or odd.

    >>> kept, moved = HalfOfPlacesMask(2, pattern="columns").split(torch.arange(8).view(1, 2, 1, 4))
    >>> kept.tolist(), moved.tolist()
    ([[[[0, 4, 2, 6]]]], [[[[1, 5, 3, 7]]]])
    """

    def __init__(
        self,
        channels: int,
        *,
        pattern: Literal["checkerboard", "columns", "rows"] = "checkerboard",
        moves: Literal["even", "odd"] = "odd",
    ) -> None:
        require_known("pattern", pattern, ("checkerboard", "columns", "rows"))
        require_known("moves", moves, ("even", "odd"))
        if channels % 2:
            raise ValueError(f"HalfOfPlacesMask got {channels} channels; it needs an even number")
        self.kept_channels = self.moved_channels = channels // 2
        self.pattern = pattern
        self.moves = moves

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C, H, W] to (kept, moved), both [B, C / 2, H, W]."""
        order = self._order(x)
        kept, moved = x.flatten(2)[:, :, order].chunk(2, dim=2)  # (B, C, H·W / 2) each
        return self._halved(kept, x), self._halved(moved, x)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """What `split` took apart, [B, C, H, W]."""
        whole = torch.cat([self._whole(kept), self._whole(moved)], dim=2)
        return whole[:, :, self._order(kept).argsort()].unflatten(2, kept.shape[2:])

    def confine(self, values: Tensor) -> Tensor:
        """All values: the moved part is a tensor of its own."""
        return values

    def _order(self, x: Tensor) -> Tensor:
        """Places [H·W], those that stay before those that move."""
        height, width = x.shape[2:]
        rows, columns = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
        halved = {"rows": rows + 0 * columns, "columns": columns + 0 * rows, "checkerboard": rows + columns}
        axes = {"rows": height, "columns": width, "checkerboard": height * width}
        if axes[self.pattern] % 2:
            raise ValueError(f"{height} × {width} places can't be halved by {self.pattern}; give an even number")
        odd = halved[self.pattern].flatten() % 2
        return torch.argsort(odd if self.moves == "odd" else 1 - odd, stable=True)

    def _halved(self, part: Tensor, x: Tensor) -> Tensor:
        """[B, C, H·W / 2], each place as two of half the channels, side by side: [B, C / 2, H, W]."""
        two = part.unflatten(1, (2, -1)).permute(0, 2, 3, 1)  # (B, C / 2, H·W / 2, 2)
        return two.flatten(2).unflatten(2, x.shape[2:])

    def _whole(self, part: Tensor) -> Tensor:
        """The inverse of `_halved`."""
        return part.flatten(2).unflatten(2, (-1, 2)).permute(0, 3, 1, 2).flatten(1, 2)


class RowsAboveMask:
    """Rows of [B, C, H, W] move, given those above (WaveFlow, arXiv:1912.01219, eq. 6); for RowAutoregressive.

    Arguments:
        channels: C.
        first: "kept" leaves the first row as it is: the net sees rows 0 … H − 2, for rows 1 … H − 1. "moved" puts a row
            of zeros above the first one, which then moves too (as NanoFlow has it, arXiv:2006.06280).

    >>> above, moved = RowsAboveMask(1).split(torch.arange(3).view(1, 1, 3, 1))
    >>> above.flatten().tolist(), moved.flatten().tolist()
    ([0, 1], [1, 2])
    """

    def __init__(self, channels: int, *, first: Literal["kept", "moved"] = "kept") -> None:
        require_known("first", first, ("kept", "moved"))
        self.kept_channels = self.moved_channels = channels
        self.first = first

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x to (the rows above each that moves, the rows that move)."""
        if self.first == "kept":
            return x[:, :, :-1], x[:, :, 1:]
        return F.pad(x[:, :, :-1], (0, 0, 1, 0)), x

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """All rows, [B, C, H, W]."""
        return torch.cat([kept[:, :, :1], moved], dim=2) if self.first == "kept" else moved

    def confine(self, values: Tensor) -> Tensor:
        """All values."""
        return values


class WholeMask:
    """All of [B, C, *S] moves; the net sees zeros, and the conditioning.

    With the form "(x-t)/s" such a coupling is a learned Gaussian prior of x, with mean t and standard deviation s.

    >>> kept, moved = WholeMask(2).split(torch.ones(1, 2, 3))
    >>> kept.any().item(), moved.all().item()
    (False, True)
    """

    def __init__(self, channels: int) -> None:
        self.kept_channels = self.moved_channels = channels

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C, *S] to (zeros, x)."""
        return torch.zeros_like(x), x

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """What moved, [B, C, *S]."""
        return moved

    def confine(self, values: Tensor) -> Tensor:
        """All values."""
        return values


class Form(NamedTuple):
    """How (log_s, t) act on x, and the sign with which log_s enters the log-determinant; all are [B, C_moved, *S]."""

    forward: Callable[[Tensor, Tensor, Tensor], Tensor]
    inverse: Callable[[Tensor, Tensor, Tensor], Tensor]
    sign: int


FORMS = {
    "s*x+t": Form(lambda x, log_s, t: x * log_s.exp() + t, lambda z, log_s, t: (z - t) * (-log_s).exp(), +1),
    "(x+t)*s": Form(lambda x, log_s, t: (x + t) * log_s.exp(), lambda z, log_s, t: z * (-log_s).exp() - t, +1),
    "(x-t)/s": Form(lambda x, log_s, t: (x - t) * (-log_s).exp(), lambda z, log_s, t: z * log_s.exp() + t, -1),
}

MAX_LOG_S = 2.0  # a factor of e² ≈ 7.4; without a bound, a lapglow diverged after 1100 steps

LOG_2 = math.log(2)

SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda raw: raw,
    "sigmoid": lambda raw: F.logsigmoid(raw + 2),
    "double-sigmoid": lambda raw: F.logsigmoid(raw) + LOG_2,
    "bounded": lambda raw: MAX_LOG_S * torch.tanh(raw / MAX_LOG_S),
}


class Coupling(Flow):
    """`z_kept = x_kept`; `z_moved` is an affine map of `x_moved` whose (log_s, t) are `net(x_kept, cond)`.

    Arguments:
        net: maps (x_kept [B, C_kept, *S], cond) to [B, 2·C_moved, *S], log_s first; to t [B, C_moved, *S] if additive.
        mask: which part moves.
        form: "s*x+t" (WaveGlow), "(x+t)*s" (Glow) or "(x-t)/s" (FloWaveNet).
        scale: "exp" (log_s is the net's output), "sigmoid" (`s = sigmoid(output + 2)`), "double-sigmoid"
            (`s = 2 · sigmoid(output)`, Jet), "bounded" (log_s between −2 and 2, by a tanh), or "additive" (s = 1).

    Raises ValueError for an unknown form or scale, and, when it runs, where the net gives another number of channels.

    >>> from waveglow.nn import WaveNet
    >>> mask = ChannelMask(8)
    >>> net = WaveNet(4, 2 * 4, cond_channels=80, n_channels=16, n_layers=2)
    >>> coupling = Coupling(net, mask)
    >>> x, cond = torch.randn(2, 8, 50), torch.randn(2, 80, 50)
    >>> z, log_det = coupling(x, cond)
    >>> torch.allclose(coupling.inverse(z, cond), x, atol=1e-5), torch.equal(z[:, :4], x[:, :4])
    (True, True)
    """

    def __init__(self, net: nn.Module, mask: Mask, *, form: str = "s*x+t", scale: str = "exp") -> None:
        super().__init__()
        require_known("form", form, FORMS)
        require_known("scale", scale, (*SCALES, "additive"))
        self.net = net
        self.mask = mask
        self.form = form
        self.scale = scale

    def _log_s_and_t(self, kept: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._read(self.net(kept, cond).to(kept.dtype))

    def _read(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """What the net gave, as (log_s, t)."""
        expected = self.mask.moved_channels * (1 if self.scale == "additive" else 2)
        if output.shape[1] != expected:
            raise ValueError(
                f"the coupling net gives {output.shape[1]} channels, {self.scale} coupling needs {expected}"
            )
        if self.scale == "additive":
            return torch.zeros_like(output), self.mask.confine(output)
        raw, t = output.chunk(2, dim=1)
        return self.mask.confine(SCALES[self.scale](raw)), self.mask.confine(t)

    def _log_det(self, log_s: Tensor) -> Tensor:
        return FORMS[self.form].sign * sum_per_sample(log_s)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.mask.split(x)
        log_s, t = self._log_s_and_t(kept, cond)
        return self.mask.join(kept, FORMS[self.form].forward(moved, log_s, t)), self._log_det(log_s)

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.mask.split(x)
        log_s, t = self._log_s_and_t(kept, cond)
        form = FORMS[self.form]
        return self.mask.join(kept, form.forward(moved, log_s, t)), form.sign * sum_per_place(log_s)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        kept, moved = self.mask.split(z)
        return self.mask.join(kept, FORMS[self.form].inverse(moved, *self._log_s_and_t(kept, cond)))

    def reach_places(self, shape: Shape) -> int:
        return net_reach(self.net)

    def half_precision_nets(self) -> list[nn.Module]:
        return [self.net]

    def retrace(self, z: Tensor, cond: Tensor | None) -> Retraced:
        """As in Flow, but the net, which reads only what stays, is evaluated once for both directions."""
        kept, z_moved = self.mask.split(z.detach())
        kept = kept.contiguous().requires_grad_()
        log_s, t = self._log_s_and_t(kept, cond)
        x_moved = FORMS[self.form].inverse(z_moved, log_s.detach(), t.detach()).requires_grad_()
        z_again = self.mask.join(kept, FORMS[self.form].forward(x_moved, log_s, t))
        return Retraced((kept, x_moved), self.mask.join, z_again, self._log_det(log_s))
