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

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch

from waveglow.cli.image.common import add_model, add_pictures, numbers, open_model, positive
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures.directions import moved, read_directions
from waveglow.pictures.grids import OUT_HELP, mended_text, output, show, table, to_pixels
from waveglow.pictures.inputs import open_pictures

ALPHAS = "-1,-.5,.5,1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_pictures(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help=OUT_HELP)
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
    opened = open_model(args)
    model = opened.model
    directions = read_directions(args.directions, opened)
    weights = dict(args.attribute)
    direction = directions.of(weights)
    found = open_pictures(opened, args, n=args.images)
    for line in found.failed:
        print(f"failed: {line}", file=sys.stderr)
    zs, _ = model.encode(found.x, found.y)
    had = directions.amounts(zs)
    x = moved(model, zs, direction, [0.0, *args.alphas], y=found.y).transpose(0, 1)  # (N, 1 + alphas, C, H, W)
    strips, facts, singles = [], [], {}
    for i, name in enumerate(found.names):
        again, counts = to_pixels(model, x[i, :1], f"{name}, decoded")
        strips += [found.pixels[i, None], again]
        amounts = {attribute: float(had[i, directions.names.index(attribute)]) for attribute in weights}
        row: dict[str, Any] = {"image": name, "had": amounts, "decoded": counts, "alphas": []}
        for alpha, result in zip(args.alphas, x[i, 1:], strict=True):
            pixels, counts = to_pixels(model, result[None], f"{name}, alpha {alpha:+g}")
            strips.append(pixels)
            row["alphas"].append({"alpha": alpha, **counts})
            singles[f"{i + 1}_{name}_{alpha:+g}"] = pixels[0]
        facts.append(row)
    columns = ["original", "decoded", *(f"{alpha:+g}" for alpha in args.alphas)]
    picture = table(torch.cat(strips), rows=found.names, columns=columns)
    made_of = {"directions": str(args.directions), "method": directions.facts["method"], "weights": weights}
    out.write(picture, {**opened.facts, **found.facts, **made_of, "failed": found.failed, "rows": facts}, singles)
    show(opened, out.picture.stem, picture)
    added = ", ".join(f"{name} × {weight:g}" for name, weight in weights.items())
    mended = mended_text([alpha for row in facts for alpha in row["alphas"]])
    print(f"{out.picture}: {len(facts)} pictures, {added}; {mended}; {out.json.name}")
    return 3 if found.failed else 0
