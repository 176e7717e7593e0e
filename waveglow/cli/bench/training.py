"""How fast a vocoder learns, that every form of the step learns the same, and what the memory modes cost and save.

First, for each model, the forward and backward pass of the likelihood, no optimizer, in several forms:
  plain-conv1d  what NVIDIA's code computes, as it does: contiguous 1-D convolutions in float32
  float32       this library's channels-last convolutions
  bf16          the same, the coupling nets in half precision, as `train.precision=bf16`
  compiled      bf16 with compiled coupling nets, as `train.compile=true`; only if asked for, for it takes minutes
  cuda-graphs   bf16 recorded and replayed, as `train.cuda_graphs=true`; on GPUs
The loss, in nats per sample, after the same few steps of Adam from the same weights on the same audio shows that they
learn alike; `largest difference` is that to the first row over the steps, the first step included. `of kernel` is the
share of what one big convolution (256 to 512 channels, 3 taps) reaches in the same numbers, both ways.

Then a small WaveGlow (32 channels, 4 layers) of several depths in the memory modes of `train.memory`: what autograd
keeps for the backward pass, in MiB per second of audio, counted exactly; and a step's time, that of `none` being 1.

  waveglow bench training
  waveglow bench training --models waveglow-256 --forms float32 bf16 --repeats 3
  waveglow bench training --models lapglow --plot memory.svg
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from waveglow.bench import memory, training
from waveglow.bench.step import FORMS
from waveglow.bench.table import Table
from waveglow.cli.bench.common import add_batch, add_common, add_models, opened_device, show
from waveglow.cli.values import positive
from waveglow.pages.figures import line_chart_svg


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_models(parser, *training.MODELS)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=training.DEFAULT, help="(the first three)")
    add_batch(parser, batch=2, segment=16000)
    parser.add_argument("--adam-steps", type=positive, default=10, help="of which losses are compared (10)")
    parser.add_argument("--flows", nargs="+", type=positive, help="for the memory modes (12 48; --plot 12 24 36 48)")
    parser.add_argument("--plot", type=Path, metavar="PATH.svg", help="draw memory against depth")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.plot and not args.plot.parent.is_dir():
        raise ValueError(f"--plot {args.plot}: there is no folder {args.plot.parent}")
    device = opened_device(args)
    return show(args, device, _tables(args, device))


def _tables(args: argparse.Namespace, device: torch.device) -> Iterator[Table]:
    sizes = {name: getattr(args, name) for name in ("forms", "batch", "adam_steps", "repeats")}
    yield from training.tables(args.models, segment_samples=args.segment, device=device, **sizes)
    flows = args.flows or ([12, 24, 36, 48] if args.plot else memory.FLOWS)
    by_depth = memory.table(flows, batch=args.batch, segment_samples=args.segment, repeats=args.repeats, device=device)
    if args.plot:
        svg = line_chart_svg(memory.curves(by_depth), x_label="flows", y_label="MiB kept per second of audio")
        args.plot.write_text(svg, encoding="utf-8")
    yield by_depth
