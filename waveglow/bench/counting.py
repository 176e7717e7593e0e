"""The sizes of vocoders, counted on models that are built for it."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from waveglow.bench.sizes import FRAME_SECONDS, Size
from waveglow.export.fold import folded
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.reach import reach
from waveglow.models.registry import build_vocoder

FRAMES = 8  # operations grow with their number, in proportion


def size_of(name: str) -> Size:
    """Of a vocoder of random weights; operations are counted while it speaks a few frames."""
    model = build_vocoder({"name": name})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model = folded(model)
    before, after = reach(model)
    return Size(
        model=name,
        parameters=parameters,
        gmac_per_second=_gmac(model) / (FRAMES * FRAME_SECONDS),
        group=model.group,
        seen_before=before * FRAME_SECONDS,
        seen_after=after * FRAME_SECONDS,
    )


@torch.no_grad()
def _gmac(model: FlowVocoder) -> float:
    """Of FRAMES frames."""
    zs = [torch.zeros(1, *shape) for shape in model.latent_shapes(FRAMES * model.hop)]
    with FlopCounterMode(display=False) as counter:
        model.decode(zs, torch.zeros(1, model.n_mels, FRAMES))
    return counter.get_total_flops() / 2e9
