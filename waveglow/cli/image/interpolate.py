"""The way from one picture to another through the latents: of two photos, or of pairs of held-out images.

A row begins and ends with the originals; between them are the steps, of which the first and the last are the originals
encoded and decoded. A linear way leads through the middle, where latents are short and pictures smooth; a spherical
one turns from one to the other. Photos are cropped and resized as the data were. A model of classes is told those of
the data, or of the photos by --label; on the way, a mix of both.

  waveglow image interpolate -c runs/faces me.jpg you.jpg between.png
  waveglow image interpolate -c runs/faces --data data/celeba-64 --pairs 4 between.png
  waveglow image interpolate -c runs/faces me.jpg you.jpg frames/ --way spherical --steps 30
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveglow.cli.image.common import add_model, add_pictures, open_model, positive
from waveglow.pictures.grids import OUT_HELP, mended_text, output, show, table, to_pixels
from waveglow.pictures.inputs import open_pictures

WAYS = ("linear", "spherical")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_pictures(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help=OUT_HELP)
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
    opened = open_model(args)
    found = open_pictures(opened, args, n=2 * args.pairs)
    if found.failed:
        raise ValueError("; ".join(found.failed))
    ways = WAYS if args.way == "both" else (args.way,)
    rows, names = [], []
    facts: list[dict[str, Any]] = []
    singles: dict[str, Tensor] = {}
    for a in range(0, len(found.names), 2):
        y = None if found.y is None else found.y[a : a + 2]
        for way in ways:
            spherical = way == "spherical"
            x = opened.model.interpolate(found.x[a], found.x[a + 1], args.steps, spherical=spherical, y=y)
            name = f"{found.names[a]} to {found.names[a + 1]}, {way}"
            steps, counts = to_pixels(opened.model, x, name)
            rows.append(torch.cat([found.pixels[a, None], steps, found.pixels[a + 1, None]]))
            names.append(f"{a // 2 + 1} {way}")
            facts.append({"from": found.names[a], "to": found.names[a + 1], "way": way, **counts})
            singles |= {f"pair{a // 2 + 1}_{way}_{step:03d}": image for step, image in enumerate(steps)}
    columns = ["from", *(f"{t:.2f}" for t in torch.linspace(0, 1, args.steps)), "to"]
    picture = table(torch.cat(rows), rows=names, columns=columns)
    out.write(picture, {**opened.facts, **found.facts, "steps": args.steps, "rows": facts}, singles)
    show(opened, out.picture.stem, picture)
    print(f"{out.picture}: {len(rows)} rows of {args.steps} steps; {mended_text(facts)}; {out.json.name}")
    return 0
