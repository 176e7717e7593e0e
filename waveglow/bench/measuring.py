"""What the benchmarks share: actions that take turns, their medians, and a word about what takes long."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

CPU = torch.device("cpu")


def require_cuda(device: torch.device) -> None:
    """Raises ValueError where CUDA graphs can't be."""
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs need a GPU, and this runs on {device}")


def require_positive(name: str, *values: float) -> None:
    """Raises ValueError where one of a parameter's values isn't above 0."""
    for value in values:
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be above 0")


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

    The actions take turns, so that what else the machine does hits all alike. Raises ValueError where `repeats` is
    below 1.

    >>> in_turns({"a": lambda: (1.0, 2.0)}, repeats=3)
    {'a': [1.0, 2.0]}
    """
    require_positive("repeats", repeats)
    runs: dict[Any, list[Sequence[float]]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            figures = action()
            if turn:
                runs[name].append(figures)
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in runs.items()}


def progress(what: str) -> None:
    """A line on stderr about what takes long."""
    print(f"… {what}", file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
