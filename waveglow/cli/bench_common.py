"""What the benchmarks share: options, measuring in turns, and something to measure with."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from waveglow.cli.devices import set_threads, usable_device
from waveglow.config import nearest
from waveglow.models.registry import VOCODERS

MOST_DECIBELS = 200.0  # what is equal to the last bit is said to have

# ---- Options ---------------------------------------------------------------------------------------------------------


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark."""
    parser.add_argument("--repeats", type=positive, default=5, help="warm runs, of which the median counts (5)")
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


def snr(reference: Tensor, audio: Tensor) -> float:
    """Power of the reference above that of the difference, in decibels; at most MOST_DECIBELS.

    >>> round(snr(torch.ones(4), 1.1 * torch.ones(4)), 3)
    20.0
    """
    wanted, got = reference.detach().cpu().double(), audio.detach().cpu().double()
    noise = float((got - wanted).square().sum())
    power = float(wanted.square().sum())
    return min(MOST_DECIBELS, 10 * math.log10(max(power, 1e-300) / max(noise, 1e-300)))


def hum(length_seconds: float, sample_rate: int, *, voice: int = 0) -> npt.NDArray[np.float32]:
    """[T]: harmonics of a gliding pitch in four syllables a second, and a little noise; nobody's voice."""
    t = np.arange(max(1, round(length_seconds * sample_rate))) / sample_rate
    pitch = (110 + 15 * (voice % 8)) * (1 + 0.2 * np.sin(4.4 * t + voice))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    harmonics = sum(np.sin(n * phase) / n for n in range(1, 30))
    noise = np.random.default_rng(voice).standard_normal(len(t))
    audio = 0.1 * harmonics * (0.55 - 0.45 * np.cos(8 * np.pi * t)) + 0.003 * noise
    return np.asarray(audio, dtype=np.float32)


# ---- Telling ---------------------------------------------------------------------------------------------------------


def progress(what: str) -> None:
    """A line on stderr about what takes long."""
    print(f"… {what}", file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
