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

from waveglow.flows.base import Flow, Shape, full_precision, has_float64, zero_log_det
from waveglow.flows.reshape import squeezed_shape

Table = Callable[[int, torch.dtype, torch.device], Tensor]


class LappedSqueeze(Flow):
    """[B, C, T] to [B, C·M, T/M], channel index `c·M + band`; band k is centred at (k + ½)/M of half the sample rate.

    The map is orthonormal on the whole clip: `log_det = 0`, and the inverse is the transpose. Place t sees the samples
    from `(t − ½)·M` to `(t + 3/2)·M`. The conditioning stays as it is: it is given on the grid of z.

    Arguments:
        bands: M.

    Raises ValueError where T is no multiple of M.

    >>> tone = torch.sin(math.pi * 2.5 / 8 * torch.arange(80))  # in the middle of band 2 of 8
    >>> z, _ = LappedSqueeze(8)(tone.view(1, 1, 80))
    >>> z.shape, z.square().sum((0, 2)).argmax().item()
    (torch.Size([1, 8, 10]), 2)
    """

    filter_bank = True

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.factor = bands
        # Made when they are needed, for each dtype and device: a cast of a cast would have lost digits, and a model
        # that is built without memory for its weights should not have any for M × M cosines either.
        self.tables: dict[tuple[Table, torch.dtype, torch.device], Tensor] = {}

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

    def reach_places(self, shape: Shape) -> int:
        """As in Flow: a block overlaps its neighbours, whose latents are whole."""
        return self.factor

    def fold_(self) -> None:
        """Make the tables, so that an exported graph holds them as constants."""
        device = "meta" if torch.get_default_device().type == "meta" else "cpu"
        usual = torch.zeros((), dtype=torch.float32, device=device)
        self._table(dct_basis, usual)
        self._table(sine_window, usual)

    def _transform(self, blocks: Tensor) -> Tensor:
        """DCT-IV of the last dimension: symmetric, and its own inverse."""
        with full_precision(blocks):
            return blocks @ self._table(dct_basis, blocks)

    def _rotate(self, blocks: Tensor, direction: int) -> Tensor:
        """Rotate the samples on both sides of each inner boundary, mirror images, by ± the window's angle."""
        half = self.factor // 2
        if blocks.shape[2] < 2 or not half:
            return blocks
        cos, sin = self._table(sine_window, blocks)
        sin = direction * sin
        left, right = blocks[:, :, :-1, -half:].flip(-1), blocks[:, :, 1:, :half]  # outwards from the boundary
        left, right = cos * left - sin * right, cos * right + sin * left
        heads = torch.cat([blocks[:, :, :1, :half], right], dim=2)
        tails = torch.cat([left.flip(-1), blocks[:, :, -1:, -half:]], dim=2)
        return torch.cat([heads, blocks[..., half : self.factor - half], tails], dim=3)

    def _table(self, make: Table, like: Tensor) -> Tensor:
        key = (make, like.dtype, like.device)
        if key in self.tables:
            return self.tables[key]
        if torch.compiler.is_compiling() or _records(like.device):
            return make(self.factor, like.dtype, like.device)  # a part of the graph, which is not run yet
        with torch.inference_mode(False):  # a table made for synthesis must serve training too
            table = make(self.factor, like.dtype, like.device)
        if type(table) is Tensor:  # not where torch only works out shapes
            self.tables[key] = table
        return table


def _records(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def dct_basis(bands: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The DCT-IV's basis, [M, M], symmetric and orthonormal, computed in float64."""
    n = _float64_arange(bands, device) + 0.5
    return (math.sqrt(2 / bands) * torch.cos(math.pi / bands * n[:, None] * n)).to(dtype).to(device)


def sine_window(bands: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosine and sine of the angles by which samples at a boundary are rotated, [2, M // 2], outwards from it."""
    n = _float64_arange(bands // 2, device) + 0.5
    angles = math.pi / 4 * (1 - n / (bands / 2))
    return torch.stack([angles.cos(), angles.sin()]).to(dtype).to(device)


def _float64_arange(n: int, device: torch.device) -> Tensor:
    """0 … n − 1, on the CPU where the device has no float64."""
    return torch.arange(n, dtype=torch.float64, device=device if has_float64(device) else "cpu")
