"""The coupling networks of WaveFlow and NanoFlow: WaveNets over rows and columns, causal from row to row.

Shapes: x [B, in_channels, H, W], cond [B, cond_channels, H, W]; where cond has more rows, its last H are used. Row h of
the output depends on rows 0 … h of x, so that rows can also be computed one after the other (`row`).
W. Ping et al., "WaveFlow: A Compact Flow-based Model for Raw Audio", 2020, arXiv:1912.01219, §3 and table 2;
S. Lee et al., "NanoFlow: Scalable Normalizing Flows with Sublinear Parameter Complexity", 2020, arXiv:2006.06280, §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from waveglow.nn.conv import GainedZeroConv, convolved_places, normed_conv, zero_conv
from waveglow.nn.gate import gated_tanh_unit

Past = list[list[Tensor]]  # for each layer, the rows of its input that later rows will see


class Flavour(NamedTuple):
    """What one flow adds to a stack that several share: for each layer, a bias before the gate and a gain behind it."""

    biases: Sequence[Tensor]  # (2C, 1, 1)
    gains: Sequence[Tensor]  # (C, 1, 1); the last layer has no residual, and needs none


class RowConv(nn.Conv2d):
    """3×3 convolution of [B, C, H, W] that sees a row and the two above it, and columns on both sides.

    Arguments:
        down, across: dilation over rows and over columns.
    """

    def __init__(self, channels: int, out_channels: int, *, down: int, across: int) -> None:
        super().__init__(channels, out_channels, 3, dilation=(down, across), padding=(0, across))
        self.down, self.across = down, across

    def forward(self, h: Tensor) -> Tensor:
        """All rows."""
        return super().forward(F.pad(h, (0, 0, 2 * self.down, 0)))

    def row(self, h: Tensor, past: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """The next row [B, out_channels, 1, W] of h [B, C, 1, W], and the last 2 · down rows, which later ones need."""
        past = past or [torch.zeros_like(h)] * (2 * self.down)
        taps = torch.cat([past[0], past[self.down], h], dim=2)
        padding = (0, self.across)
        return F.conv2d(taps, self.weight, self.bias, dilation=(1, self.across), padding=padding), [*past[1:], h]


class RowStack(nn.Module):
    """Gated, dilated 3×3 convolutions: x [B, in_channels, H, W] to the sum of their skips, [B, n_channels, H, W].

    Arguments:
        cond_channels: of cond.
        n_channels: of the residual and the skip connections.
        dilations: (over rows, over columns) of each layer.
        residual_gain: factor of the sum of a layer's input and its residual.

    >>> stack = RowStack(1, cond_channels=80, n_channels=16, dilations=[(1, 1), (1, 2)])
    >>> stack(torch.randn(2, 1, 8, 50), torch.randn(2, 80, 8, 50)).shape
    torch.Size([2, 16, 8, 50])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        cond_channels: int,
        n_channels: int,
        dilations: Sequence[tuple[int, int]],
        residual_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.residual_gain = residual_gain
        n_layers = len(dilations)
        self.start = normed_conv(in_channels, n_channels)
        self.cond = normed_conv(cond_channels, 2 * n_channels * n_layers)
        self.dilated = nn.ModuleList(
            weight_norm(RowConv(n_channels, 2 * n_channels, down=down, across=across)) for down, across in dilations
        )
        self.res_skip = nn.ModuleList(
            normed_conv(n_channels, 2 * n_channels if i < n_layers - 1 else n_channels) for i in range(n_layers)
        )

    def forward(self, x: Tensor, cond: Tensor, flavour: Flavour | None = None) -> Tensor:
        """All rows. Raises ValueError without a cond."""
        h = self.start(x.contiguous(memory_format=torch.channels_last))
        cond_parts = self._conditioning(cond, x.shape[2])
        skips = torch.zeros_like(h)
        for i, dilated in enumerate(self.dilated):
            h, skips = self._gated(i, dilated(h) + cond_parts[i], h, skips, flavour)
        return skips

    def row(self, x: Tensor, cond: Tensor, past: Past | None, flavour: Flavour | None = None) -> tuple[Tensor, Past]:
        """The next row, [B, n_channels, 1, W], and the `past` to give with the one after it (None with the first)."""
        h = self.start(x.contiguous(memory_format=torch.channels_last))
        cond_parts = self._conditioning(cond, 1)
        skips, seen = torch.zeros_like(h), []
        for i, dilated in enumerate(cast("list[RowConv]", list(self.dilated))):
            a, seen_here = dilated.row(h, past[i] if past else None)
            seen.append(seen_here)
            h, skips = self._gated(i, a + cond_parts[i], h, skips, flavour)
        return skips, seen

    def _conditioning(self, cond: Tensor | None, n_rows: int) -> tuple[Tensor, ...]:
        if cond is None:
            raise ValueError("RowStack got no conditioning, which it needs")
        cond = cond[:, :, -n_rows:].contiguous(memory_format=torch.channels_last)
        return self.cond(cond).chunk(len(self.dilated), dim=1)  # n_layers × (B, 2C, H, W)

    def _gated(self, i: int, a: Tensor, h: Tensor, skips: Tensor, flavour: Flavour | None) -> tuple[Tensor, Tensor]:
        """(The input of the layer behind i, the sum of the skips up to i)."""
        gated = gated_tanh_unit(a if flavour is None else a + flavour.biases[i])
        outputs = self.res_skip[i](gated).split(self.n_channels, dim=1)
        if len(outputs) == 2:
            residual = outputs[0] if flavour is None else outputs[0] * flavour.gains[i]
            h = (h + residual) * self.residual_gain
        return h, skips + outputs[-1]


class FlavourNet(nn.Module):
    """What one flow owns where several share a stack: an embedding that makes each layer's bias, and gains.

    Arguments:
        stack: the shared one.
        indicator: maps the embedding to the biases of all layers; shared too.

    >>> stack = RowStack(1, cond_channels=80, n_channels=16, dilations=[(1, 1), (1, 2)])
    >>> indicator = nn.Linear(512, 2 * 16 * 2)  # 2 halves of the gate, 16 channels, 2 layers
    >>> nets = [WaveNet2d(stack, 2, flavour=FlavourNet(stack, indicator)) for _ in range(8)]
    """

    biases: Tensor | None

    def __init__(self, stack: RowStack, indicator: nn.Linear) -> None:
        super().__init__()
        self.indicator: nn.Linear | None = indicator
        self.register_buffer("biases", None)
        self.embedding = nn.Parameter(torch.randn(indicator.in_features) / indicator.in_features**0.5)
        self.gains = nn.Parameter(torch.ones(len(stack.dilated) - 1, stack.n_channels))

    def forward(self) -> Flavour:
        """The biases and gains for the stack."""
        made = self.indicator(self.embedding) if self.biases is None else self.biases  # type: ignore[misc]
        biases = made.view(len(self.gains) + 1, -1, 1, 1)
        return Flavour(biases.unbind(), self.gains[:, :, None, None].unbind())

    @torch.no_grad()
    def fold_(self) -> None:
        """Keep the biases, and drop the embedding and the indicator that they are made of."""
        if self.indicator is not None:
            self.biases = self.indicator(self.embedding)
            self.indicator = self.embedding = None  # type: ignore[assignment]


class WaveNet2d(nn.Module):
    """A RowStack and a last 1×1 convolution: x [B, in_channels, H, W] to [B, out_channels, H, W], zeros at first.

    Arguments:
        stack: may be shared with other nets.
        gained: whether the last layer has a gain for each channel.
        flavour: this net's own part, where the stack is shared.

    >>> stack = RowStack(1, cond_channels=80, n_channels=16, dilations=[(1, 1), (1, 2)])
    >>> WaveNet2d(stack, 2)(torch.randn(2, 1, 8, 50), torch.randn(2, 80, 8, 50)).shape
    torch.Size([2, 2, 8, 50])
    """

    def __init__(
        self, stack: RowStack, out_channels: int, *, gained: bool = False, flavour: FlavourNet | None = None
    ) -> None:
        super().__init__()
        self.stack = stack
        self.end = (GainedZeroConv if gained else zero_conv)(stack.n_channels, out_channels)
        self.flavour = flavour

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        return self.end(self.stack(x, cond, self._flavour()))

    def reach_places(self) -> int:
        """How many columns to each side it looks for one row."""
        return convolved_places(self)

    def row(self, x: Tensor, cond: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """The next row, [B, out_channels, 1, W], and the `past` to give with the one after it (None with the first)."""
        skips, past = self.stack.row(x, cond, past, self._flavour())
        return self.end(skips), past

    def _flavour(self) -> Flavour | None:
        return None if self.flavour is None else self.flavour()
