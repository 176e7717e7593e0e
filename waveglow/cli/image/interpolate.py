"""The way from one picture to another through the latents: of two photos, or of pairs of held-out images.

A row begins and ends with the originals; between them are the steps, of which the first and the last are the originals
encoded and decoded. A linear way leads through the middle, where latents are short and pictures smooth; a spherical
one turns from one to the other. Photos are cropped and resized as the data were. A model of classes is told those of
the data, or of the photos by --label; on the way, a mix of both.

  waveglow image interpolate -c runs/faces me.jpg you.jpg between.png
  waveglow image interpolate -c runs/faces --data data/celeba-64 --pairs 4 between.png
  waveglow image interpolate -c runs/faces me.jpg you.jpg frames/ --way spherical --steps 30
"""

import argparse

from waveglow.cli.image.common import add_model, add_out, add_pictures, opened_model, opened_pictures
from waveglow.cli.values import positive
from waveglow.pictures.grids import mended_text, output
from waveglow.pictures.interpolation import WAYS, interpolate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_pictures(parser)
    add_out(parser)
    parser.add_argument("--pairs", type=positive, default=4, metavar="N", help="of images of --data (4)")
    parser.add_argument("--steps", type=positive, default=8, metavar="N", help="both ends included (8)")
    parser.add_argument("--way", choices=(*WAYS, "both"), default="both", help="through the latents (both, a row each)")


def run(args: argparse.Namespace) -> int:
    """Interpolate."""
    out = output(args.out, "interpolation")
    if args.photos and len(args.photos) != 2:
        raise ValueError(f"{len(args.photos)} photos are given; it takes two, then the output: A.png B.png OUT.png")
    if args.steps < 2:
        raise ValueError(f"--steps is {args.steps}; it must be at least 2, for the two ends")
    opened = opened_model(args)
    found = opened_pictures(args, opened, n=2 * args.pairs)
    if found.failed:
        raise ValueError("; ".join(found.failed))
    ways = WAYS if args.way == "both" else (args.way,)
    drawn = interpolate(opened, found, steps=args.steps, ways=ways)
    out.write(opened, drawn)
    rows = drawn.facts["rows"]
    print(f"{out.picture}: {len(rows)} rows of {args.steps} steps; {mended_text(rows)}; {out.json.name}")
    return 0
