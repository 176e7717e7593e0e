"""How large every vocoder is, what a second of audio costs it, and how far it sees. Nothing is measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from waveglow.audio.mel import preset
from waveglow.export.fold import folded
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.reach import reach
from waveglow.models.registry import build_vocoder

SPEC = preset("nvidia/tacotron2")  # hop and sample rate of every published model
FRAMES = 8  # operations grow with their number, in proportion


@dataclass(frozen=True)
class Size:
    """Of one vocoder; seconds of mel that a sample depends on."""

    model: str
    parameters: int
    gmac_per_second: float
    group: int
    seen_before: float
    seen_after: float


def size_of(name: str) -> Size:
    """Of a vocoder of random weights; operations are counted while it speaks a few frames."""
    model = build_vocoder({"name": name})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model = folded(model)
    frame = SPEC.hop / SPEC.sample_rate
    before, after = reach(model)
    return Size(
        model=name,
        parameters=parameters,
        gmac_per_second=_gmac(model) / (FRAMES * frame),
        group=model.group,
        seen_before=before * frame,
        seen_after=after * frame,
    )


@torch.no_grad()
def _gmac(model: FlowVocoder) -> float:
    """Of FRAMES frames."""
    zs = [torch.zeros(1, *shape) for shape in model.latent_shapes(FRAMES * model.hop)]
    with FlopCounterMode(display=False) as counter:
        model.decode(zs, torch.zeros(1, model.n_mels, FRAMES))
    return counter.get_total_flops() / 2e9


def row(size: Size) -> str:
    """Below HEAD, for reading and for a page of Markdown."""
    return (
        f"| `{size.model}` | {size.parameters / 1e6:.2f} | {size.gmac_per_second:.2f} | {size.group} "
        f"| {size.seen_before:.2f} / {size.seen_after:.2f} |"
    )


HEAD = (
    "| model | parameters, millions | GMAC per second of audio | group, samples | seen before / after, seconds |\n"
    "|---|---|---|---|---|"
)
