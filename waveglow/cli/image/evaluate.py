"""How good is an image flow? Bits per dimension of held-out images, and what encoding and decoding leaves of them.

The bits are an upper bound on -log2 of the probability of an image's n_bits-bit pixels, per colour value, by uniform
dequantization; each image takes the noise of its own number, so that the result is the same at any batch size. Data
with zeros around them, such as Fashion-MNIST at 32×32, get the bits per original value too, since zeros cost little.

OUT gets evaluation.json, evaluation.txt and reconstruction.png: real images above the same encoded and decoded.

  waveglow image evaluate -c runs/faces --data data/celeba-64 runs/faces/scores
  waveglow image evaluate -c runs/faces --data data/celeba-64 quick/ --images 500 --split valid
"""

import argparse
import sys
from pathlib import Path

from waveglow.cli.image.common import add_batch_size, add_model, add_split, opened_model
from waveglow.cli.values import positive
from waveglow.pictures.bits import evaluate
from waveglow.pictures.grids import require_folder, show
from waveglow.pictures.inputs import open_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="of `waveglow image prepare`")
    add_split(parser)
    parser.add_argument("--images", type=positive, metavar="N", help="so many of the split, at random (all)")
    add_batch_size(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, and write the results."""
    require_folder(args.out)
    opened = opened_model(args)
    images = open_data(args.data, args.split, opened.model)
    found = evaluate(opened, images, n=args.images, batch_size=args.batch_size)
    found.write(args.out)
    show(opened, "reconstruction", found.picture)
    print(found.text())
    print(f"{args.out}: evaluation.json, evaluation.txt, reconstruction.png")
    if not found.finite:
        print("notice: some results aren't finite; means are without them", file=sys.stderr)
    return 0 if found.finite else 3
