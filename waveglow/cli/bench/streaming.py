"""How soon and how fast a voice speaks while its mel is still arriving, and what less context costs in exactness.

First table, for chunks of so many mel frames: the first audio comes after the frames that it depends on have arrived
(`mel`, at the pace of speech) and have been decoded (`compute`); the pieces after it, with all their surroundings, are
`steady`. Second table, at chunks of 32 frames: with fewer frames decoded on both sides of a piece than the voice's own,
pieces come sooner and cost less, and are no longer exact; SNR is against synthesis at once (which is exact in float32).
Both without refinement and with as much as the voice's streams have.

  waveglow bench streaming
  waveglow bench streaming -c runs/mine --precision bf16 --chunks 8 16 32
"""

import argparse

from waveglow.bench import streaming
from waveglow.cli.bench.common import add_common, add_voice, opened_voice, show
from waveglow.cli.values import positive, seconds, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_voice(parser)
    chunks, contexts = streaming.CHUNKS, streaming.CONTEXTS
    parser.add_argument("--chunks", nargs="+", type=positive, default=chunks, metavar="FRAMES", help="(4 8 … 128)")
    parser.add_argument("--contexts", nargs="+", type=whole, default=contexts, metavar="FRAMES", help="(0 2 4 … 64)")
    parser.add_argument("--seconds", type=seconds, default=4.0, help="of audio whose exactness is measured (4)")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    vocoder = opened_voice(args)
    sizes = {name: getattr(args, name) for name in ("chunks", "contexts", "seconds", "repeats")}
    return show(args, vocoder.device, streaming.tables(vocoder, **sizes))
