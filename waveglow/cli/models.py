"""Every vocoder that this version builds: its size, what a second of audio costs, and how far it sees.

Parameters are counted with weight norm; GMAC are the multiplications of convolutions and matrix products that a second
of audio takes, folded; seen before and after are what a sample depends on at most, and the latter is the delay of an
exact stream. Nothing is measured: the figures are the same on every machine. --images are the flows of the papers'
tables: parameters of our configurations (recipes/celeba/conf), and the bits per dimension that were published.

  waveglow models
  waveglow models --images
  waveglow models --json
"""

import argparse
import json
from dataclasses import asdict

from waveglow.bench import image_sizes, sizes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", action="store_true", help="image flows")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print a table, of Markdown, or JSON."""
    listed = [*map(asdict, image_sizes.IMAGE_SIZES if args.images else sizes.SIZES.values())]
    table = image_sizes.TABLE if args.images else sizes.TABLE
    print(json.dumps(listed, indent=1) if args.json else table)
    return 0
