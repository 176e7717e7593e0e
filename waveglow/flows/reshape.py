"""Squeeze: neighbouring places become channels (RealNVP, arXiv:1605.08803, §3.6; WaveGlow's groups of 8 samples)."""

from __future__ import annotations

import math

from torch import Tensor

from waveglow.flows.base import Flow, Shape, zero_log_det


class Squeeze(Flow):
    """[B, C, T] to [B, C·g, T/g], or [B, C, H, W] to [B, C·g², H/g, W/g]; `log_det = 0`.

    Channel c and the place p within a group become channel `c·g + p` (in 2-D `c·g² + p`, row by row).

    Arguments:
        factor: g.
        squeeze_cond: whether the conditioning is squeezed too, so that it fits z.

    Raises ValueError where a size is no multiple of g.

    >>> import torch
    >>> z, _ = Squeeze(3)(torch.arange(6).view(1, 1, 6))
    >>> z.tolist()
    [[[0, 3], [1, 4], [2, 5]]]
    """

    def __init__(self, factor: int, *, squeeze_cond: bool = True) -> None:
        super().__init__()
        self.factor = factor
        self.squeeze_cond = squeeze_cond

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return squeeze(x, self.factor), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return unsqueeze(z, self.factor)

    def condition(self, cond: Tensor | None) -> Tensor | None:
        return squeeze(cond, self.factor) if self.squeeze_cond and cond is not None else cond

    def out_shape(self, shape: Shape) -> Shape:
        channels, *sizes = shape
        return squeezed_shape(channels, sizes, self.factor)

    def reach_places(self, shape: Shape) -> int:
        return 0


class Flatten(Flow):
    """[B, C, *S] to [B, C·|S|, 1], every value a channel, for flows of vectors (NICE); `log_det = 0`.

    Arguments:
        shape: (C, *S). Raises ValueError where x has another.

    >>> import torch
    >>> Flatten((3, 4, 4))(torch.zeros(2, 3, 4, 4))[0].shape
    torch.Size([2, 48, 1])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.factor = shape[-1]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.out_shape(tuple(x.shape[1:]))
        return x.reshape(x.shape[0], -1, 1), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.reshape(z.shape[0], *self.shape)

    def out_shape(self, shape: Shape) -> Shape:
        if shape != self.shape:
            raise ValueError(
                f"Flatten of {list(self.shape)} got {list(shape)}; the flow behind it fits that shape only"
            )
        return (math.prod(shape), 1)

    def reach_places(self, shape: Shape) -> int:
        return 0


class Rows(Flow):
    """[B, C, T] to [B, C, H, T/H], sample t in row t mod H and column t div H (WaveFlow, arXiv:1912.01219, §3.1).

    The conditioning becomes rows in the same way; `log_det = 0`.

    Arguments:
        height: H. Raises ValueError where T is no multiple of it.

    >>> import torch
    >>> z, _ = Rows(3)(torch.arange(6).view(1, 1, 6))
    >>> z.tolist()
    [[[[0, 3], [1, 4], [2, 5]]]]
    """

    def __init__(self, height: int) -> None:
        super().__init__()
        self.factor = height

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._rows(x), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.transpose(2, 3).flatten(2)

    def condition(self, cond: Tensor | None) -> Tensor | None:
        return None if cond is None else self._rows(cond)

    def out_shape(self, shape: Shape) -> Shape:
        channels, *sizes = shape
        height_in_all, columns = squeezed_shape(1, sizes, self.factor)
        return (channels, height_in_all, columns)

    def reach_places(self, shape: Shape) -> int:
        return 0

    def _rows(self, x: Tensor) -> Tensor:
        self.out_shape(tuple(x.shape[1:]))
        return x.unflatten(2, (-1, self.factor)).transpose(2, 3)


class RowsAsChannels(Flow):
    """[B, 1, H, W] to [B, H, W], every row a channel; `log_det = 0`. Raises ValueError where x has more channels.

    >>> import torch
    >>> RowsAsChannels()(torch.zeros(2, 1, 8, 50))[0].shape
    torch.Size([2, 8, 50])
    """

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.out_shape(tuple(x.shape[1:]))
        return x.squeeze(1), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.unsqueeze(1)

    def out_shape(self, shape: Shape) -> Shape:
        if shape[0] != 1:
            raise ValueError(f"RowsAsChannels got {shape[0]} channels; it makes rows of one channel into channels")
        return shape[1:]

    def reach_places(self, shape: Shape) -> int:
        return 0


class PlacesAsRows(Flow):
    """[B, C, *S] to [B, C, T, 1], every place a row, for RowAutoregressive; `log_det = 0`.

    So each patch of an image (behind a Squeeze), or block of time, can move given those before it: row by row, from the
    upper left. A conditioning on the same grid becomes rows too; one for all places, [B, C_cond, 1, …], stays.

    Arguments:
        sizes: S. Raises ValueError where x has others.

    >>> import torch
    >>> z, _ = PlacesAsRows((2, 2))(torch.arange(4).view(1, 1, 2, 2))
    >>> z.tolist()
    [[[[0], [1], [2], [3]]]]
    """

    def __init__(self, sizes: Shape) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.factor = self.sizes[-1]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.out_shape(tuple(x.shape[1:]))
        return x.flatten(2).unsqueeze(3), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.reshape(*z.shape[:2], *self.sizes)

    def condition(self, cond: Tensor | None) -> Tensor | None:
        return cond if cond is None or tuple(cond.shape[2:]) != self.sizes else cond.flatten(2).unsqueeze(3)

    def out_shape(self, shape: Shape) -> Shape:
        channels, *sizes = shape
        if tuple(sizes) != self.sizes:
            raise ValueError(
                f"PlacesAsRows of {list(self.sizes)} places got {sizes}; the flow behind it fits those sizes"
            )
        return (channels, math.prod(sizes), 1)

    def reach_places(self, shape: Shape) -> int:
        return 0


def squeezed_shape(channels: int, sizes: list[int] | Shape, g: int) -> Shape:
    """(C·gᴿ, *(S/g)). Raises ValueError where a size is no multiple of g."""
    for size in sizes:
        if size % g:
            raise ValueError(f"length {size} is no multiple of the group of {g}; crop or pad it to one")
    return (channels * g ** len(sizes), *(size // g for size in sizes))


def squeeze(x: Tensor, g: int) -> Tensor:
    """[B, C, *S] to [B, C·gᴿ, *(S/g)], channels last in memory, as the coupling nets read it."""
    batch, channels, *sizes = x.shape
    squeezed_channels, *squeezed_sizes = squeezed_shape(channels, sizes, g)
    rank = len(sizes)
    split = [n for size in sizes for n in (size // g, g)]  # S1/g, g, S2/g, g
    phases, places = range(3, 3 + 2 * rank, 2), range(2, 2 + 2 * rank, 2)
    x = x.reshape(batch, channels, *split).permute(0, *places, 1, *phases)  # B, S1/g, S2/g, C, phases
    return x.reshape(batch, *squeezed_sizes, squeezed_channels).movedim(-1, 1)


def unsqueeze(z: Tensor, g: int) -> Tensor:
    """[B, C·gᴿ, *S] to [B, C, *(S·g)]: the inverse of `squeeze`."""
    batch, channels, *sizes = z.shape
    rank = len(sizes)
    z = z.reshape(batch, channels // g**rank, *([g] * rank), *sizes)  # B, C, phases, places
    order = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]  # place, phase, place, phase
    return z.permute(0, 1, *order).reshape(batch, channels // g**rank, *(size * g for size in sizes))
