"""Does a direction in the latents change one attribute, and leave the others alone? Measured on drawn faces.

Every held-out face is moved against what it is: with the attribute, away from it; without, towards it. What became of
it is read from its pixels by the reader that knows how the faces are drawn (demo_faces.py). How far to move is chosen
for each attribute on the validation faces; the table is of the test faces.

    python recipes/celeba/measure.py -c RUN --data RUN/data --directions RUN/attributes

Writes measured.txt and measured.json beside the directions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from demo_faces import read_attributes
from torch import Tensor

from waveglow.cli.image_common import Opened, add_model, open_model
from waveglow.cli.image_directions import Directions, read_directions
from waveglow.cli.image_inputs import open_data
from waveglow.data.images import Images

ALPHAS = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


def read_after(
    opened: Opened, images: Images, directions: Directions, attribute: int, alpha: float
) -> Iterator[Tensor]:
    """Of each batch, (attributes before, attributes read after): bool [2, B, A]."""
    model, has = opened.model, torch.from_numpy(images.attributes()[1]).bool()
    direction = directions.of({directions.names[attribute]: 1.0})
    for places in torch.arange(len(images)).split(100):
        before = has[places]
        zs, _ = model.encode(model.dequantize(images.pixels(places.tolist()), seed=places.tolist()))
        sign = torch.where(before[:, attribute], -1.0, 1.0).view(-1, 1, 1, 1)
        signed = [z + sign * alpha * d for z, d in zip(zs, direction, strict=True)]
        after = torch.from_numpy(read_attributes(model.to_pixels(model.decode(signed)).numpy()))
        yield torch.stack([before, after])


@torch.no_grad()
def success(
    opened: Opened, images: Images, directions: Directions, attribute: int, alpha: float
) -> tuple[float, list[float]]:
    """(share of faces whose attribute flipped, share that kept each of the others)."""
    before, after = torch.cat(list(read_after(opened, images, directions, attribute, alpha)), dim=1)
    changed = (before != after).double().mean(0)
    return float(changed[attribute]), [1 - float(c) for i, c in enumerate(changed) if i != attribute]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="of the drawn faces, prepared")
    parser.add_argument("--directions", type=Path, required=True, metavar="DIR", help="of `waveglow image attributes`")
    args = parser.parse_args()
    opened = open_model(args)
    directions = read_directions(args.directions, opened)
    valid, test = (open_data(args.data, split, opened.model) for split in ("valid", "test"))
    lines = [f"{'attribute':<12} alpha  flipped  least kept of the others"]
    rows = []
    for i, name in enumerate(directions.names):
        tried = {alpha: success(opened, valid, directions, i, alpha) for alpha in ALPHAS}
        alpha = max(tried, key=lambda a: min(tried[a][0], *tried[a][1]))
        flipped, kept = success(opened, test, directions, i, alpha)
        rows.append({"attribute": name, "alpha": alpha, "flipped": flipped, "kept": kept, "faces": len(test)})
        lines.append(f"{name:<12} {alpha:5.2f}  {flipped:7.1%}  {min(kept):.1%}")
        print(lines[-1] if i else "\n".join(lines), flush=True)
    (args.directions / "measured.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (args.directions / "measured.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
