"""All four benchmarks, in sizes that take some ten minutes on two quiet cores.

Called by its name, each has more to choose from.

  waveglow bench                       # the same as waveglow bench all
  waveglow bench all --threads 2 --json
"""

import argparse
from collections.abc import Iterator

import torch

from waveglow.bench import input, memory, streaming, synthesis, training
from waveglow.bench.table import Table
from waveglow.cli.bench.common import add_common, opened_device, show
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.vocoder import Vocoder

add_arguments = add_common


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    return show(args, device, _tables(args.repeats, device))


def _tables(repeats: int, device: torch.device) -> Iterator[Table]:
    yield from synthesis.tables(seconds=2.0, repeats=repeats, device=device)
    voice = Vocoder.load(DEFAULT_VOICE, device=device)
    yield from streaming.tables(voice, chunks=(8, 32, 128), contexts=(0, 8, 16, 32), repeats=repeats)
    yield from training.tables(segment_samples=8192, repeats=repeats, device=device)
    yield memory.table(segment_samples=8192, repeats=repeats, device=device)
    yield from input.tables(repeats=repeats, device=device)
