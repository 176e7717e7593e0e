"""Add attributes to pictures, or take them away: your own photos, or held-out images.

--attribute is one that `waveglow image attributes` found; alpha 1 adds what images with it have over those without on
average, -1 takes it away. Several add up, each with its own weight. A row for each picture: the original, what becomes
of it when it's encoded and decoded, then every alpha. The JSON file beside it tells how much of the attribute each had
before (0: as those without, 1: as those with) and how many values were outside black to white.

Photos are cropped and resized as the data were; an aligned face, eyes and mouth where CelebA's are, goes best.
A model of classes is told theirs by --label.

  waveglow image manipulate -c runs/faces --directions attributes/ --attribute Smiling me.jpg smile.png
  waveglow image manipulate -c runs/faces --directions attributes/ --attribute Smiling=1.5 --attribute Young=-1 \\
      --alphas 0.5,1 me.jpg you.jpg both/
  waveglow image manipulate -c runs/faces --directions attributes/ --attribute Male --data data/celeba-64 faces.png
"""

import argparse
import math
import sys
from pathlib import Path

from waveglow.cli.image.common import add_model, add_out, add_pictures, opened_model, opened_pictures
from waveglow.cli.values import numbers, positive
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures.directions import read_directions
from waveglow.pictures.grids import mended_text, output
from waveglow.pictures.sliders import manipulate

ALPHAS = "-1,-.5,.5,1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_pictures(parser)
    add_out(parser)
    parser.add_argument(
        "--directions",
        type=Path,
        default=DEFAULT_IMAGE_MODEL,
        metavar="FILE",
        help="directions.safetensors, or its folder (those of demo-faces)",
    )
    parser.add_argument(
        "--attribute", type=_weighted, action="append", required=True, metavar="NAME[=WEIGHT]", help="what to add (1)"
    )
    parser.add_argument("--alphas", type=numbers, default=numbers(ALPHAS), metavar="LIST", help=f"({ALPHAS})")
    parser.add_argument("--images", type=positive, default=8, metavar="N", help="of --data (8)")


def _weighted(text: str) -> tuple[str, float]:
    name, equals, weight = text.partition("=")
    try:
        value = float(weight) if equals else 1.0
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is neither NAME nor NAME=WEIGHT, such as Smiling=1.5")
    return name, value


def run(args: argparse.Namespace) -> int:
    """Manipulate them."""
    out = output(args.out, "manipulated")
    opened = opened_model(args)
    weights = dict(args.attribute)
    directions = read_directions(args.directions, opened)
    directions.of(weights)  # ValueError for an unknown one, before the pictures
    found = opened_pictures(args, opened, n=args.images)
    for line in found.failed:
        print(f"failed: {line}", file=sys.stderr)
    drawn = manipulate(opened, found, directions, weights=weights, alphas=args.alphas)
    out.write(opened, drawn)
    added = ", ".join(f"{name} × {weight:g}" for name, weight in weights.items())
    rows = drawn.facts["rows"]
    mended = mended_text([alpha for row in rows for alpha in row["alphas"]])
    print(f"{out.picture}: {len(rows)} pictures, {added}; {mended}; {out.json.name}")
    return 3 if found.failed else 0
