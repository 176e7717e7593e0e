"""How far a vocoder sees, which is what synthesis in pieces has to know in order to give what synthesis at once gives.

Computed from the layers: a kernel of k taps, d apart, reaches d·(k − 1)/2 places to each side, in every coupling and
transform on the way from the latents to a sample; a place has as many samples as the squeezes in front of it made it.
An autoregression over rows reaches that far once a row, since each row is made of the one above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from waveglow.flows.autoregressive import RowAutoregressive
from waveglow.flows.base import Flow
from waveglow.flows.compose import Chain, Split
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.reshape import Rows, Squeeze
from waveglow.models.flow_vocoder import FlowVocoder


class Reach(NamedTuple):
    """Mel frames before and after its own that a sample depends on, latents in the same stretch included."""

    before: int
    after: int


def reach(model: FlowVocoder) -> Reach:
    """That of a model, at most: parallel branches of a net are counted as if they followed each other."""
    samples = _samples(model.flow.parts(), Grid()).reach
    frames = math.ceil(samples / model.hop)
    before, after = model.conditioner.frames_seen()
    return Reach(frames + before, frames + after)


class Grid(NamedTuple):
    """Where a layer stands: samples to each side that those in front of it see, samples a place, rows of places."""

    reach: int = 0
    place: int = 1
    rows: int = 1


def _samples(layers: Iterable[Flow | Split], grid: Grid) -> Grid:
    """The grid behind the layers."""
    for layer in layers:
        if isinstance(layer, Chain):
            grid = _samples(layer.flows(), grid)
        elif isinstance(layer, (Squeeze, LappedSqueeze, Rows)):
            place = grid.place * layer.factor
            overlap = place if isinstance(layer, LappedSqueeze) else 0  # its blocks overlap their neighbours
            rows = layer.factor if isinstance(layer, Rows) else grid.rows
            grid = Grid(grid.reach + overlap, place, rows)
        else:
            times = grid.rows if isinstance(layer, RowAutoregressive) else 1
            grid = grid._replace(reach=grid.reach + grid.place * times * _places(layer))
    return grid


def _places(layer: nn.Module) -> int:
    convs = (module for module in layer.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d)))
    return sum(conv.dilation[-1] * (conv.kernel_size[-1] - 1) // 2 for conv in convs)
