"""The lapped squeeze: an orthonormal lapped transform (MDCT) in place of the reshape: channels are bands.

Neighbouring blocks of M samples are rotated into each other at their boundaries (the sine window of Princen and
Bradley, IEEE Trans. ASSP 34(5), 1986), then each block passes a DCT-IV: together the MDCT as Malvar's fast lapped
transform (IEEE Trans. ASSP 38(6), 1990). A clip's two ends are not rotated, so that nothing wraps around or is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from waveglow.flows.base import Flow, Shape, full_precision, zero_log_det
from waveglow.flows.reshape import squeezed_shape


class LappedSqueeze(Flow):
    """[B, C, T] to [B, C·M, T/M], channel index `c·M + band`; band k is centred at (k + ½)/M of half the sample rate.

    The map is orthonormal on the whole clip: `log_det = 0`, and the inverse is the transpose. Place t sees the samples
    from `(t − ½)·M` to `(t + 3/2)·M`. The conditioning stays as it is: it is given on the grid of z.
    Raises ValueError where T is no multiple of M.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.factor = bands
        n = torch.arange(bands, dtype=torch.float64, device="cpu") + 0.5
        angles = math.pi / 4 * (1 - n[: bands // 2] / (bands / 2))
        basis = math.sqrt(2 / bands) * torch.cos(math.pi / bands * n[:, None] * n)
        self.exact = {"basis": basis, "cos": angles.cos(), "sin": angles.sin()}  # float64; not every device has it
        for name, table in self.exact.items():
            self.register_buffer(name, table.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LappedSqueeze:
        super()._apply(fn, recurse)
        for name, table in self.exact.items():
            setattr(self, name, table.to(self.get_buffer(name)))  # a cast of a cast would have lost digits
        return self

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        channels, places = self.out_shape(tuple(x.shape[1:]))
        blocks = x.reshape(*x.shape[:2], places, self.factor)  # (B, C, T/M, M)
        bands = self._transform(self._rotate(blocks, 1))
        return bands.transpose(2, 3).reshape(len(x), channels, places), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        batch, channels, places = z.shape
        bands = z.reshape(batch, channels // self.factor, self.factor, places).transpose(2, 3)  # (B, C, T/M, M)
        blocks = self._rotate(self._transform(bands), -1)
        return blocks.reshape(batch, channels // self.factor, places * self.factor)

    def out_shape(self, shape: Shape) -> Shape:
        channels, *sizes = shape
        return squeezed_shape(channels, sizes, self.factor)

    def _transform(self, blocks: Tensor) -> Tensor:
        """DCT-IV of the last dimension: symmetric, and its own inverse."""
        with full_precision(blocks):
            return blocks @ self._table("basis", blocks)

    def _rotate(self, blocks: Tensor, direction: int) -> Tensor:
        """Rotate the samples on both sides of each inner boundary, mirror images, by ± the window's angle."""
        half = self.factor // 2
        if blocks.shape[2] < 2 or not half:
            return blocks
        cos, sin = self._table("cos", blocks), direction * self._table("sin", blocks)
        left, right = blocks[:, :, :-1, -half:].flip(-1), blocks[:, :, 1:, :half]  # outwards from the boundary
        left, right = cos * left - sin * right, cos * right + sin * left
        heads = torch.cat([blocks[:, :, :1, :half], right], dim=2)
        tails = torch.cat([left.flip(-1), blocks[:, :, -1:, -half:]], dim=2)
        return torch.cat([heads, blocks[..., half : self.factor - half], tails], dim=3)

    def _table(self, name: str, like: Tensor) -> Tensor:
        kept: Tensor = getattr(self, name)
        return kept if kept.dtype == like.dtype else self.exact[name].to(like)
