"""How far a vocoder sees, which is what synthesis in pieces has to know in order to give what synthesis at once gives.

Computed from the layers: a kernel of k taps, d apart, reaches d·(k − 1)/2 places to each side, in every coupling and
transform on the way from the latents to a sample; a place has as many samples as the squeezes in front of it made it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from waveglow.flows.base import Flow
from waveglow.flows.compose import Sequence, Split
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.reshape import Squeeze
from waveglow.models.vocoder import FlowVocoder


class Reach(NamedTuple):
    """Mel frames before and after its own that a sample depends on, latents in the same stretch included."""

    before: int
    after: int


def reach(model: FlowVocoder) -> Reach:
    """That of a model, at most: parallel branches of a net are counted as if they followed each other."""
    samples, _ = _samples(model.flow.parts(), 1)
    frames = math.ceil(samples / model.hop)
    before, after = model.conditioner.frames_seen()
    return Reach(frames + before, frames + after)


def _samples(layers: Iterable[Flow | Split], place: int) -> tuple[int, int]:
    """(samples to each side, samples a place behind the layers) of layers whose places have `place` samples."""
    total = 0
    for layer in layers:
        if isinstance(layer, Sequence):
            inner, place = _samples(layer.flows(), place)
            total += inner
        elif isinstance(layer, (Squeeze, LappedSqueeze)):
            place *= layer.factor
            total += place if isinstance(layer, LappedSqueeze) else 0  # its blocks overlap their neighbours
        else:
            total += place * _places(layer)
    return total, place


def _places(layer: nn.Module) -> int:
    convs = (module for module in layer.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d)))
    return sum(conv.dilation[-1] * (conv.kernel_size[-1] - 1) // 2 for conv in convs)
