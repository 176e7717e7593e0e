"""How fast training is fed: seconds of audio a second that the input pipeline delivers, and how many a step takes.

The dataset, sampler and loader are those of `waveglow train`: crops read by seeking, their mels computed on the way.
Nothing is done with the batches. Each run counts from the first batch, when the workers are up. Beside it stands the
forward and backward pass of lapglow's likelihood in bf16, on batches of the same size, no optimizer. Each is measured
alone; in training, the workers and the step share the machine.

CORPUS is a folder of recordings (checked first, as `waveglow prepare` does) or a manifest; without one, synthetic hums
are written into a temporary folder.

  waveglow bench input
  waveglow bench input data/manifest.jsonl --workers 0 2 4 --batch 8 --segment 16384
"""

import argparse
from pathlib import Path

from waveglow.bench import input
from waveglow.cli.bench.common import add_batch, add_common, opened_device, show
from waveglow.cli.values import positive, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", nargs="?", type=Path, metavar="CORPUS", help="folder or manifest (synthetic hums)")
    parser.add_argument("--workers", nargs="+", type=whole, default=[0, 1, 2], metavar="N", help="processes (0 1 2)")
    parser.add_argument("--batches", type=positive, default=24, help="that a run counts (24)")
    add_batch(parser, batch=8, segment=8192)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    sizes = {name: getattr(args, name) for name in ("workers", "batches", "batch", "repeats")}
    return show(args, device, input.tables(args.corpus, segment_samples=args.segment, device=device, **sizes))
