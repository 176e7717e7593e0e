"""How far a vocoder sees, which is what synthesis in pieces has to know in order to give what synthesis at once gives.

Every layer says how many places to each side it looks (`Flow.reach_places`); what they reach adds up on the way from
the latents to a sample, a place having as many samples as the squeezes in front of it made it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from waveglow.models.flow_vocoder import FlowVocoder


class Reach(NamedTuple):
    """Mel frames before and after its own that a sample depends on, latents in the same stretch included."""

    before: int
    after: int


def reach(model: FlowVocoder) -> Reach:
    """That of a model, at most: parallel branches of a net are counted as if they followed each other.

    Raises NotImplementedError where a layer or a net of it does not say how far it looks.
    """
    samples = model.flow.reach_places((1, model.group))
    frames = math.ceil(samples / model.hop)
    before, after = model.conditioner.frames_seen()
    return Reach(frames + before, frames + after)
