"""What the benchmarks' verbs share: options, and the printing of tables."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch

from waveglow.bench.table import Table, as_json, as_text
from waveglow.cli import common
from waveglow.cli.values import positive
from waveglow.config import nearest
from waveglow.devices import set_threads, usable_device
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.models.registry import VOCODERS
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.opening import open_vocoder
from waveglow.vocoder import Vocoder


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark of medians."""
    parser.add_argument("--repeats", type=positive, default=5, help="warm runs, of which the median counts (5)")
    add_machine(parser)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where to compute, and how to print."""
    common.add_machine(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_models(parser: argparse.ArgumentParser, *names: str) -> None:
    """Vocoders of the registry, these ones by default."""
    parser.add_argument("--models", nargs="+", type=vocoder_name, default=names, help=f"vocoders ({' '.join(names)})")


def add_voice(parser: argparse.ArgumentParser) -> None:
    """A voice that speaks, and in which numbers."""
    parser.add_argument("-c", "--checkpoint", type=Path, default=DEFAULT_VOICE, help="voice or .onnx file (lapglow)")
    parser.add_argument("--precision", choices=("float32", "bf16", "fp16"), default="float32", help="of the nets")


def add_batch(parser: argparse.ArgumentParser, *, batch: int, segment: int) -> None:
    """Options of what a training step takes."""
    parser.add_argument("--batch", type=positive, default=batch, help=f"crops a step ({batch})")
    parser.add_argument("--segment", type=positive, default=segment, help=f"samples of a crop, at least ({segment})")


def vocoder_name(text: str) -> str:
    """A vocoder of the registry."""
    if text not in VOCODERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no vocoder{nearest(text, VOCODERS)}")
    return text


def opened_device(args: argparse.Namespace) -> torch.device:
    """The device that the options name, the threads set. Raises ValueError where it can't be used."""
    set_threads(args.threads)
    return torch.device(usable_device(args.device))


def opened_voice(args: argparse.Namespace) -> Vocoder | OnnxVocoder:
    """The voice that the options of `add_voice` name. Raises CheckpointError, OnnxFileError, ValueError."""
    return open_vocoder(args.checkpoint, device=args.device, threads=args.threads, precision=args.precision)


def show(args: argparse.Namespace, device: torch.device | str, tables: Iterable[Table]) -> int:
    """Print the machine and the tables, each when it is there, or all as JSON; returns the exit code."""
    for part in (as_json if args.json else as_text)(torch.device(device), tables):
        print(part, flush=True)
    return 0
