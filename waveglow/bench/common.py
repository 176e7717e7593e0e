"""What the benchmarks share: options, measuring in turns, progress."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from waveglow.config import nearest
from waveglow.devices import set_threads, usable_device
from waveglow.models.registry import VOCODERS
from waveglow.models.shipped import DEFAULT_VOICE

# ---- Options ---------------------------------------------------------------------------------------------------------


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark of medians."""
    parser.add_argument("--repeats", type=positive, default=5, help="warm runs, of which the median counts (5)")
    add_machine(parser)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where to compute, and how to print."""
    parser.add_argument("--threads", type=positive, help="CPU threads (default: what the environment says)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="print JSON")


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


# ---- Measuring -------------------------------------------------------------------------------------------------------


def require_cuda(device: torch.device) -> None:
    """Raises ValueError where CUDA graphs can't be."""
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs need a GPU, and this runs on {device}")


def timed(action: Callable[[], object], device: torch.device) -> Callable[[], tuple[float]]:
    """The action as one that gives its own seconds, the device synchronized."""

    def run() -> tuple[float]:
        synchronize(device)
        started = time.perf_counter()
        action()
        synchronize(device)
        return (time.perf_counter() - started,)

    return run


def synchronize(device: torch.device) -> None:
    """Wait for what the device was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(actions: Mapping[Any, Callable[[], Sequence[float]]], repeats: int) -> dict[Any, list[float]]:
    """Medians of the figures that each action gives, after a run of each to warm up.

    The actions take turns, so that what else the machine does hits all alike.

    >>> in_turns({"a": lambda: (1.0, 2.0)}, repeats=3)
    {'a': [1.0, 2.0]}
    """
    runs: dict[Any, list[Sequence[float]]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            figures = action()
            if turn:
                runs[name].append(figures)
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in runs.items()}


# ---- Telling ---------------------------------------------------------------------------------------------------------


def progress(what: str) -> None:
    """A line on stderr about what takes long."""
    print(f"… {what}", file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
