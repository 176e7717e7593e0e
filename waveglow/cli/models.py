"""Every vocoder that this version builds: its size, what a second of audio costs, and how far it sees.

Parameters are counted with weight norm; GMAC are the multiplications of convolutions and matrix products that a second
of audio takes, folded; seen before and after are what a sample depends on at most, and the latter is the delay of an
exact stream. Nothing is measured: the figures are the same on every machine.

  waveglow models
  waveglow models --json
"""

import argparse
import json
from dataclasses import asdict

from waveglow.bench.sizes import HEAD, SIZES, row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print a table, of Markdown, or JSON."""
    if args.json:
        print(json.dumps([asdict(size) for size in SIZES.values()], indent=1))
        return 0
    print("\n".join([HEAD, *map(row, SIZES.values())]))
    return 0
