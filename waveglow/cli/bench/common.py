"""What the benchmarks' verbs share: options, and the printing of tables."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path

import torch

from waveglow.bench.table import Table, machine
from waveglow.config import nearest
from waveglow.devices import set_threads, usable_device
from waveglow.models.registry import VOCODERS
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.vocoder import Vocoder


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark of medians."""
    parser.add_argument("--repeats", type=positive, default=5, help="warm runs, of which the median counts (5)")
    add_machine(parser)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where to compute, and how to print."""
    parser.add_argument("--threads", type=positive, help="CPU threads (default: what the environment says)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_models(parser: argparse.ArgumentParser, *names: str) -> None:
    """Vocoders of the registry, these ones by default."""
    parser.add_argument(
        "--models",
        nargs="+",
        type=vocoder_name,
        default=names,
        metavar="NAME",
        help=f"lapglow, waveglow-64, … ({' '.join(names)})",
    )


def add_voice(parser: argparse.ArgumentParser) -> None:
    """A voice that speaks, and in which numbers."""
    parser.add_argument(
        "-c", "--checkpoint", type=Path, default=DEFAULT_VOICE, help="checkpoint, training run or voice (lapglow)"
    )
    parser.add_argument("--precision", choices=("float32", "bf16", "fp16"), default="float32", help="of the nets")


def add_batch(parser: argparse.ArgumentParser, *, batch: int, segment: int) -> None:
    """Options of what a training step takes."""
    parser.add_argument("--batch", type=positive, default=batch, help=f"crops a step ({batch})")
    parser.add_argument(
        "--segment",
        type=positive,
        default=segment,
        metavar="SAMPLES",
        help=f"of a crop, rounded up to the model's group and hop ({segment})",
    )


def whole(text: str, least: int = 0) -> int:
    """A whole number."""
    if not (text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text} is no whole number >= {least}")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return whole(text, 1)


def seconds(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return value


def vocoder_name(text: str) -> str:
    """A vocoder of the registry."""
    if text not in VOCODERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no vocoder{nearest(text, VOCODERS)}")
    return text


def opened_device(args: argparse.Namespace) -> torch.device:
    """The device that the options name, the threads set. Raises ValueError where it can't be used."""
    if args.threads is not None:
        set_threads(args.threads)
    return torch.device(usable_device(args.device))


def opened_voice(args: argparse.Namespace, device: torch.device) -> Vocoder:
    """The voice that the options of `add_voice` name. Raises CheckpointError."""
    return Vocoder.load(args.checkpoint, precision=args.precision, device=device)


def show(args: argparse.Namespace, device: torch.device, tables: Iterable[Table]) -> int:
    """Print the machine and the tables, each when it is there, or all as JSON; returns the exit code."""
    here = machine(device)
    if args.json:
        print(json.dumps({**here, "tables": [table.plain() for table in tables]}, indent=1))
        return 0
    print(", ".join(f"{key} {value}" for key, value in here.items()), flush=True)
    for table in tables:
        print(f"\n{table.text()}", flush=True)
    return 0
