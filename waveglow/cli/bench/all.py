"""All four benchmarks, in sizes that take some ten minutes on two quiet cores.

Called by its name, each has more to choose from.

  waveglow bench                       # the same as waveglow bench all
  waveglow bench all --threads 2 --json
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from types import ModuleType

import torch

from waveglow.bench import input, streaming, synthesis, training
from waveglow.bench.common import add_common, opened_device
from waveglow.bench.table import Table, show

SIZES: tuple[tuple[ModuleType, list[str]], ...] = (
    (synthesis, ["--seconds", "2"]),
    (streaming, ["--chunks", "8", "32", "128", "--contexts", "0", "8", "16", "32"]),
    (training, ["--segment", "8192"]),
    (input, []),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    return show(args, device, _tables(args, device))


def _tables(args: argparse.Namespace, device: torch.device) -> Iterator[Table]:
    for module, size in SIZES:
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        yield from module.tables(parser.parse_args(size, copy.copy(args)), device)
