"""Autoregression over a few rows: all at once from data to latent, one after the other on the way back.

WaveFlow (Ping et al. 2020, arXiv:1912.01219, §3) folds a waveform to [B, 1, H, W] and moves each row given those above.
TarFlow (Zhai et al. 2024, arXiv:2412.06329, §3.2) does so with an image's patches: PlacesAsRows makes them rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from waveglow.flows.base import Flow, Retraced, Shape, net_reach
from waveglow.flows.coupling import FORMS, Coupling, RowsAboveMask


class RowNet(Protocol):
    """A network for RowAutoregressive, as WaveNet2d: row h of its output depends on rows 0 … h of x alone."""

    def __call__(self, x: Tensor, cond: Any) -> Tensor:
        """x [B, C, H, W] and the last H rows of cond [B, C_cond, ≥ H, W] to [B, 2C, H, W].

        A cond of one row, [B, C_cond, 1, W], is that of all rows. It is None in a flow without one.
        """

    def row(self, x: Tensor, cond: Any, past: Any) -> tuple[Tensor, Any]:
        """One row of the output, [B, 2C, 1, W], from that row of x and of cond, and the `past` to give with the next.

        `past`, which is None for the first row, is whatever the net must remember of the rows before, such as a
        Transformer's keys and values.
        """

    def reach_places(self) -> int:
        """How many columns to each side it looks for one row."""


class RowAutoregressive(Coupling):
    """Row h of [B, C, H, W] becomes `x_h · exp(log_s_h) + t_h`, with (log_s, t)_h a function of the rows above.

    `forward` computes all rows at once; `inverse` one after the other, keeping what the net computed of earlier rows.

    Arguments:
        net: a RowNet.
        mask: of the rows; whether the first one moves too.
        form, scale: as of Coupling.

    >>> from waveglow.nn import RowStack, WaveNet2d
    >>> stack = RowStack(1, cond_channels=80, n_channels=16, dilations=[(1, 1), (1, 2)])
    >>> layer = RowAutoregressive(WaveNet2d(stack, 2), RowsAboveMask(1))
    >>> x, cond = torch.randn(2, 1, 8, 50), torch.randn(2, 80, 8, 50)
    >>> torch.allclose(layer.inverse(layer(x, cond)[0], cond), x, atol=1e-5)
    True
    """

    mask: RowsAboveMask
    net: Any

    def __init__(self, net: RowNet, mask: RowsAboveMask, *, form: str = "s*x+t", scale: str = "exp") -> None:
        super().__init__(net, mask, form=form, scale=scale)  # type: ignore[arg-type]

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        above, moved = self.mask.split(z)
        rows, past = [above[:, :, :1]], None
        cond_rows = _rows_of(cond, moved.shape[2])
        for z_row, cond_row in zip(moved.split(1, dim=2), cond_rows, strict=True):
            output, past = self.net.row(rows[-1], cond_row, past)
            log_s, t = self._read(output.to(z.dtype))
            rows.append(FORMS[self.form].inverse(z_row, log_s, t))
        return self.mask.join(rows[0], torch.cat(rows[1:], dim=2))

    def reach_places(self, shape: Shape) -> int:
        """As in Flow: so far once a row, since each row is made of the one above."""
        return shape[1] * net_reach(self.net)

    def retrace(self, z: Tensor, cond: Tensor | None) -> Retraced:
        """As in Flow: here the net reads rows that moved too."""
        return Flow.retrace(self, z, cond)


def _rows_of(cond: Tensor | None, n: int) -> Sequence[Tensor | None]:
    """The last n rows of cond [B, C_cond, ≥ n, W], one by one; of a cond of one row, that one for each."""
    if cond is None or cond.shape[2] == 1:
        return [cond] * n
    return cond[:, :, -n:].split(1, dim=2)
