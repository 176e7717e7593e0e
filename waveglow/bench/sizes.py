"""How large every vocoder is, what a second of audio costs it, and how far it sees: known, and nothing is measured.

To count them anew takes half a minute and 4 GB (counting.py); a test holds these against that.
"""

from __future__ import annotations

from dataclasses import dataclass

from waveglow.audio.mel import preset

SPEC = preset("nvidia/tacotron2")  # hop and sample rate of every published model
FRAME_SECONDS = SPEC.hop / SPEC.sample_rate


@dataclass(frozen=True)
class Size:
    """Of one vocoder; seconds of mel that a sample depends on."""

    model: str
    parameters: int
    gmac_per_second: float
    group: int
    seen_before: float
    seen_after: float


# Parameters, GMAC a second of audio, samples a group, frames seen before and after.
_COUNTED = {
    "lapglow": (10_796_736, 0.932274, 256, 101, 101),
    "waveglow": (87_879_416, 206.9198901, 8, 99, 96),
    "waveglow-64": (17_595_752, 29.8008837, 8, 99, 96),
    "waveglow-128": (34_830_440, 73.9382805, 8, 99, 96),
    "waveglow-256": (87_879_272, 206.9198901, 8, 99, 96),
    "waveglow-512": (268_294_760, 651.7103733, 8, 99, 96),
    "waveglow-old": (268_294_760, 651.7103733, 8, 99, 96),
    "squeezewave": (23_665_184, 4.0288878, 128, 48, 48),
    "squeezewave-a128-c128": (7_165_472, 1.2103686, 128, 48, 48),
    "squeezewave-a128-c256": (23_665_184, 4.0288878, 128, 48, 48),
    "squeezewave-a256-c128": (7_928_864, 0.6708051, 256, 96, 96),
    "squeezewave-a256-c256": (24_723_488, 2.1054663, 256, 96, 96),
    "flowavenet": (179_408_436, 185.3215623, 256, 50, 50),
    "waveflow": (5_916_372, 121.2933015, 16, 2041, 2041),
    "waveflow-64": (5_916_372, 121.2933015, 16, 2041, 2041),
    "waveflow-96": (12_782_036, 262.7114175, 16, 2041, 2041),
    "waveflow-128": (22_252_756, 457.9809255, 16, 2041, 2041),
    "nanoflow": (3_847_524, 488.5122375, 16, 2041, 2041),
}
SIZES = {
    model: Size(model, parameters, gmac, group, before * FRAME_SECONDS, after * FRAME_SECONDS)
    for model, (parameters, gmac, group, before, after) in _COUNTED.items()
}


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
TABLE = "\n".join([HEAD, *map(row, SIZES.values())])
