"""Find the direction of each attribute in the latents: encode training images, compare those with and those without.

An attribute's direction is the mean of the latents, of all levels, of images that have it less the mean of those that
have not (Glow, 2018, §6). --regress tells attributes apart that go together, as beards and men do: the least-squares
fit of the latents to all attributes at once. Data without attributes, such as a folder of one folder a class, give a
direction for each class, against the rest.

OUT gets directions.safetensors, directions.json, and attributes.png: a row for each attribute, held-out images with
less and more of it.

  waveglow image attributes -c runs/faces --data data/celeba-64 runs/faces/attributes
  waveglow image attributes -c runs/faces --data data/celeba-64 both/ --regress --images 20000 --alphas -2,-1,0,1,2
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveglow.cli.image.common import (
    Opened,
    add_batch_size,
    add_model,
    numbers,
    open_model,
    positive,
)
from waveglow.data.images import Images
from waveglow.data.pictures import WHITE, save_png
from waveglow.pictures.directions import FILE, Directions, Sums, attributes_of, from_sums, moved
from waveglow.pictures.grids import mended_text, require_folder, show, table, to_pixels, write_json
from waveglow.pictures.inputs import chosen, data_facts, encoded, open_data, progress

ALPHAS = "-1,-.5,0,.5,1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="of `waveglow image prepare`")
    parser.add_argument("--images", type=positive, default=2000, metavar="N", help="to encode, of train (2000)")
    parser.add_argument("--regress", action="store_true", help="fit all attributes at once")
    parser.add_argument("--alphas", type=numbers, default=numbers(ALPHAS), metavar="LIST", help=f"to draw ({ALPHAS})")
    parser.add_argument("--faces", type=positive, default=3, metavar="N", help="held-out images to draw (3)")
    add_batch_size(parser)


def run(args: argparse.Namespace) -> int:
    """Find and draw them."""
    require_folder(args.out)
    opened = open_model(args)
    model = opened.model
    train, held_out = (open_data(args.data, split, model) for split in ("train", "test"))
    names, has = attributes_of(train)
    places = chosen(len(train), args.images, seed=args.seed)
    sums = Sums(len(names), math.prod(model.shape))
    for batch in encoded(opened, train, places, batch_size=args.batch_size):
        sums.add(batch.zs, has[batch.places])
    facts = {**opened.facts, **data_facts(train)}
    found, constant = from_sums(sums, names, model, regress=args.regress, facts=facts)
    for name in constant:
        print(f"notice: {name}: all or none of {sums.n} images have it; no direction", file=sys.stderr)
    found.save(args.out)
    faces = chosen(len(held_out), args.faces, seed=args.seed)
    picture, rows = _sliders(opened, found.to(opened.device), held_out, faces, args.alphas)
    save_png(args.out / "attributes.png", picture)
    show(opened, "attributes", picture)
    drawn = {"split": held_out.split, "images": faces, "alphas": args.alphas, "rows": rows}
    write_json(args.out / "directions.json", {**found.facts, "drawn": drawn})
    print(_text(found))
    print(f"{args.out}: {FILE}, directions.json, attributes.png; {mended_text(rows)}")
    return 0


def _sliders(
    opened: Opened, directions: Directions, held_out: Images, faces: list[int], alphas: list[float]
) -> tuple[Tensor, list[dict[str, Any]]]:
    """A row for each attribute, in it each face at every alpha, faces set apart; and the counts of mended values."""
    batch = next(encoded(opened, held_out, faces, batch_size=len(faces)))
    columns = [label for _ in faces for label in (*(f"{alpha:g}" for alpha in alphas), "")][:-1]
    images, rows = [], []
    with progress(len(directions.names), "attribute") as bar:
        for name in directions.names:
            by_alpha = moved(opened.model, batch.zs, directions.of({name: 1.0}), alphas, y=batch.y)
            x = by_alpha.transpose(0, 1)  # (faces, alphas, …)
            pixels, counts = to_pixels(opened.model, x, name)
            apart = torch.full_like(pixels[:, :1], WHITE)
            images.append(torch.cat([pixels, apart], dim=1).flatten(0, 1)[:-1])
            rows.append({"name": name, **counts})
            bar.update()
    return table(torch.cat(images), rows=directions.names, columns=columns), rows


def _text(directions: Directions) -> str:
    width = max(9, *map(len, directions.names))
    lines = [f"{'attribute':<{width}} {'with':>7} {'without':>8} {'|v|':>8}"]
    for found in directions.facts["attributes"]:
        lines.append(f"{found['name']:<{width}} {found['with']:>7} {found['without']:>8} {found['norm']:>8.2f}")
    return "\n".join(lines)
