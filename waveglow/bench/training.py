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

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from waveglow.bench.common import (
    add_common,
    add_models,
    first_line,
    in_turns,
    opened_device,
    positive,
    progress,
    timed,
)
from waveglow.bench.kernels import counted, kernel_rates, kernel_table
from waveglow.bench.memory import memory_table, write_plot
from waveglow.bench.step import FORMS, LR, PRECISION, Step, add_batch, batch_for, new_model, seconds_of
from waveglow.bench.table import SKIPPED, Column, Row, Table, show
from waveglow.models.flow_vocoder import FlowVocoder

COLUMNS = (
    Column("form", "form"),
    Column("step_seconds", "step, s", ".3f"),
    Column("audio_seconds_per_second", "s audio / s", ".2f"),
    Column("relative_speed", "relative", ".2f"),
    Column("gflop_per_second", "GFLOP/s", ".0f"),
    Column("share_of_kernel", "of kernel", ".0%"),
    Column("first_loss", "first loss", ".5f"),
    Column("last_loss", "last loss", ".5f"),
    Column("largest_difference", "largest difference", ".1e"),
)

UNCOUNTED = ("compiled", "cuda-graphs")  # their operations are bf16's, and no counter sees them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models(parser, "lapglow", "waveglow-64")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS[:3]), help="(the first three)")
    add_batch(parser, batch=2, segment=16000)
    parser.add_argument("--adam-steps", type=positive, default=10, help="of which losses are compared (10)")
    parser.add_argument(
        "--flows",
        nargs="+",
        type=positive,
        metavar="N",
        help="depths for the memory modes (12 48; with --plot 12 24 36 48)",
    )
    parser.add_argument("--plot", type=Path, metavar="PATH.svg", help="draw memory against depth")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    return show(args, device, tables(args, device))


def tables(args: argparse.Namespace, device: torch.device) -> Iterator[Table]:
    """A table for each model, then one of the memory modes."""
    if args.plot and not args.plot.parent.is_dir():
        raise ValueError(f"--plot {args.plot}: there is no folder {args.plot.parent}")
    rates = kernel_rates(device, args.repeats, backward=True)
    yield kernel_table(rates, ", forward and backward")
    for name in args.models:
        progress(f"{name}: training steps")
        yield steps_table(name, args, device, rates)
    progress("memory modes")
    flows = args.flows or ([12, 24, 36, 48] if args.plot else [12, 48])
    table = memory_table(flows, args, device)
    if args.plot:
        write_plot(args.plot, table.rows)
    yield table


def steps_table(name: str, args: argparse.Namespace, device: torch.device, rates: Mapping[str, float]) -> Table:
    """Time and losses of a step in each form."""
    model = new_model({"name": name}).to(device)
    audio, mel = batch_for(model, args.batch, args.segment, device)
    steps, reasons = _steps(model, args.forms, audio, mel)
    took = in_turns({form: timed(step.run, device) for form, step in steps.items()}, args.repeats)
    eager = {form: steps[form] if form not in UNCOUNTED else Step(model, "bf16", audio, mel) for form in steps}
    speed = {form: counted(eager[form].run)[1] / own for form, (own,) in took.items()}
    losses = {form: Step(model, form, audio, mel).losses(args.adam_steps) for form in steps}
    first = next(iter(steps), "")
    rows: list[Row] = [
        {
            "model": name,
            "form": form,
            "step_seconds": own,
            "audio_seconds_per_second": seconds_of(audio) / own,
            "relative_speed": took[first][0] / own,
            "gflop_per_second": speed[form],
            "share_of_kernel": speed[form] / rates[PRECISION[form]],
            "losses": losses[form],
            "first_loss": losses[form][0],
            "last_loss": losses[form][-1],
            "largest_difference": max(abs(a - b) for a, b in zip(losses[form], losses[first], strict=True)),
        }
        for form, (own,) in took.items()
    ]
    rows += [{"model": name, "form": form, SKIPPED: reason} for form, reason in reasons.items()]
    title = f"{name}: forward and backward pass of {args.batch} x {audio.shape[1]} samples, no optimizer"
    note = f"losses: nats per sample, before and after {args.adam_steps} steps of Adam at {LR:g}"
    return Table(title, COLUMNS, rows, [note])


def _steps(model: FlowVocoder, forms: list[str], audio: Tensor, mel: Tensor) -> tuple[dict[str, Step], dict[str, str]]:
    """(The forms, run once; why others can't be)."""
    steps, reasons = {}, {}
    for form in forms:
        try:
            step = Step(model, form, audio, mel)
            step.run()
        except Exception as error:  # compilers have no type of their own for it
            if form != "compiled" and not isinstance(error, ValueError):
                raise
            reasons[form] = first_line(error)
            continue
        steps[form] = step
    return steps, reasons
