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

import argparse
import sys
from pathlib import Path

from waveglow.cli.image.common import add_batch_size, add_model, opened_model
from waveglow.cli.values import numbers, positive
from waveglow.data.pictures import save_png
from waveglow.pictures.directions import FILE, find_directions
from waveglow.pictures.grids import mended_text, require_folder, show, write_json
from waveglow.pictures.inputs import open_data
from waveglow.pictures.sliders import sliders

ALPHAS = "-1,-.5,0,.5,1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    opened = opened_model(args)
    train, held_out = (open_data(args.data, split, opened.model) for split in ("train", "test"))
    found, constant = find_directions(opened, train, n=args.images, regress=args.regress, batch_size=args.batch_size)
    n = found.facts["images"]
    for name in constant:
        print(f"notice: {name}: all or none of {n} images have it; no direction", file=sys.stderr)
    found.save(args.out)
    drawn = sliders(opened, held_out, found, n=args.faces, alphas=args.alphas)
    save_png(args.out / "attributes.png", drawn.picture)
    show(opened, "attributes", drawn.picture)
    write_json(args.out / "directions.json", {**found.facts, "drawn": drawn.facts})
    print(found.text())
    print(f"{args.out}: {FILE}, directions.json, attributes.png; {mended_text(drawn.facts['rows'])}")
    return 0
