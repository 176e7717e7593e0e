"""WN: the WaveNet-like coupling network of WaveGlow (Prenger et al. 2018, arXiv:1811.00002, §2.3), and FloWaveNet's.

Dilated convolutions with gated tanh units, residual and skip connections; not causal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.nn.conv import (
    GainedZeroConv,
    conv,
    convolved_places,
    from_channels_last,
    normed_conv,
    to_channels_last,
    zero_conv,
)
from waveglow.nn.fused import FusedConditioning
from waveglow.nn.gate import eager_inference, gated_tanh_unit

NUMBERS_IN_CACHE = 2**22


class WaveNet(nn.Module):
    """x [B, in_channels, T] and cond [B, cond_channels, T] to [B, out_channels, T].

    The last convolution starts at zero, so that a coupling with this net starts as the identity.

    Arguments:
        in_channels, out_channels: of x and of the output.
        cond_channels: of cond; extra channels of it are ignored. 0 for a net that takes no cond.
        n_channels: of the residual and the skip connections.
        n_layers: how many dilated convolutions there are.
        kernel_size: of each of them; odd.
        dilation_cycle: dilations are 1, 2, 4, …, and start again at 1 after so many layers (None: never).
        weight_norm: whether all convolutions but the last have weight normalization.
        residual_gain: factor of the sum of a layer's input and its residual.
        start, end: what to use in place of the first and the last 1×1 convolution; maps [B, in_channels, 1, T] to
            [B, n_channels, 1, T], and [B, n_channels, 1, T] to [B, out_channels, 1, T].

    Raises ValueError, when it runs, for a cond where it was built without, and the other way round.

    >>> net = WaveNet(4, 8, cond_channels=80, n_channels=16, n_layers=3)
    >>> net(torch.randn(2, 4, 50), torch.randn(2, 80, 50)).shape
    torch.Size([2, 8, 50])
    >>> net.reach_places()  # to each side: dilations of 1, 2 and 4
    7
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        cond_channels: int,
        n_channels: int,
        n_layers: int,
        kernel_size: int = 3,
        dilation_cycle: int | None = None,
        weight_norm: bool = True,
        residual_gain: float = 1.0,
        start: nn.Module | None = None,
        end: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.residual_gain = residual_gain
        layer = normed_conv if weight_norm else conv
        self.cond_channels = cond_channels
        self.start = start or layer(in_channels, n_channels)
        self.cond: nn.Module | None = layer(cond_channels, 2 * n_channels * n_layers) if cond_channels else None
        self.dilated = nn.ModuleList(
            layer(n_channels, 2 * n_channels, kernel_size, dilation=2 ** (i % (dilation_cycle or n_layers)))
            for i in range(n_layers)
        )
        self.res_skip = nn.ModuleList(
            layer(n_channels, 2 * n_channels if i < n_layers - 1 else n_channels) for i in range(n_layers)
        )
        self.end = end or zero_conv(n_channels, out_channels)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        C = self.n_channels
        h = self.start(to_channels_last(x))  # (B, C, 1, T)
        cond_parts = self._conditioning(cond, x.shape[-1])
        layers, end = self._outputs()
        skips = []
        for i, (dilated, part, (weight, bias)) in enumerate(zip(self.dilated, cond_parts, layers, strict=True)):
            a = dilated(h)  # (B, 2C, 1, T)
            if part is not None:
                a += part
            output = F.conv2d(gated_tanh_unit(a), weight, bias)
            if i < len(layers) - 1:
                residual, output = output.tensor_split([C], dim=1)
                h = h + residual if self.residual_gain == 1 else (h + residual) * self.residual_gain
            skips.append(output)
        return from_channels_last(end(sum(skips[1:], start=skips[0])))

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return convolved_places(self)

    def _outputs(self) -> tuple[list[tuple[Tensor, Tensor]], nn.Module]:
        """(Weight and bias of each layer's 1×1 convolution, the module that the sum of the skips passes).

        A last layer that is linear and narrow is put into the skips' weights, end(Σ skip) = Σ end(skip): then the skips
        have its few output channels instead of C. The residual's weights come first; the last layer has no residual.
        """
        layers = [(cast(Tensor, layer.weight), cast(Tensor, layer.bias)) for layer in self.res_skip]
        if not isinstance(self.end, nn.Conv2d) or 2 * self.end.out_channels > self.n_channels:
            return layers, self.end
        with torch.autocast(self.end.weight.device.type, enabled=False):
            through = [
                _through(self.end.weight, weight, bias, C)
                for C, (weight, bias) in zip([self.n_channels] * (len(layers) - 1) + [0], layers, strict=True)
            ]
        weight, bias = through[-1]
        return [*through[:-1], (weight, bias + cast(Tensor, self.end.bias))], nn.Identity()

    @torch.no_grad()
    def fold_(self) -> None:
        """Put a narrow last layer into those before it for good, as `forward` otherwise does in every call."""
        layers, self.end = self._outputs()
        for layer, (weight, bias) in zip(self.res_skip, layers, strict=True):
            assert isinstance(layer, nn.Conv2d)
            layer.out_channels = len(bias)
            layer.weight, layer.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias.contiguous())

    def _conditioning(self, cond: Tensor | None, places: int) -> Iterable[Tensor | None]:
        """n_layers × (B, 2C, 1, T), or n_layers × None.

        In inference, where all of them together would not fit a CPU's caches, each is computed when its layer runs.
        """
        if (cond is None) != (self.cond is None):
            raise ValueError("this WaveNet was built " + ("for" if self.cond else "without") + " conditioning")
        if cond is None or self.cond is None:
            return [None] * len(self.dilated)
        if isinstance(self.cond, FusedConditioning):
            return self.cond(cond, places)
        h = to_channels_last(cond[:, : self.cond_channels])
        n = len(self.dilated)
        if not eager_inference() or h[:, 0].numel() * n * 2 * self.n_channels <= NUMBERS_IN_CACHE:
            return self.cond(h).chunk(n, dim=1)
        weights, biases = cast(Tensor, self.cond.weight).chunk(n), cast(Tensor, self.cond.bias).chunk(n)
        return (F.conv2d(h, weight, bias) for weight, bias in zip(weights, biases, strict=True))


def _through(end: Tensor, weight: Tensor, bias: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """weight [first + C, C, 1, 1] and bias [first + C] with `end` [out, C, 1, 1] applied to their last C rows.

    By one convolution: the rounding of a matrix product would depend on where in memory the weights lie.
    """
    rows = torch.cat([weight.flatten(1), bias[:, None]], dim=1)
    rows = torch.cat([rows[:first], F.conv2d(rows[None, first:, None], end)[0, :, 0]])  # [first + out, C + 1]
    return rows[:, :-1, None, None], rows[:, -1]


def deep_ended_wavenet(
    in_channels: int, out_channels: int, *, cond_channels: int, n_channels: int, n_layers: int
) -> WaveNet:
    """FloWaveNet's WaveNet (Kim et al. 2019, arXiv:1811.02155, §3.3 and appendix A), which differs at both ends.

    It begins with a convolution of 3 taps and a ReLU, has two more layers behind the skips' sum, and a residual gain of
    √½. Arguments are those of WaveNet.
    """
    start = nn.Sequential(normed_conv(in_channels, n_channels, 3), nn.ReLU())
    last = GainedZeroConv(n_channels, out_channels)
    return WaveNet(
        in_channels,
        out_channels,
        cond_channels=cond_channels,
        n_channels=n_channels,
        n_layers=n_layers,
        residual_gain=0.5**0.5,
        start=start,
        end=nn.Sequential(nn.ReLU(), normed_conv(n_channels, n_channels), nn.ReLU(), last),
    )
