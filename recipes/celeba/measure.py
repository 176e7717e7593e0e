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
import sys
from pathlib import Path

import torch
from demo_faces import read_attributes
from torch import Tensor

from waveglow.cli.image.common import add_model, opened_model
from waveglow.cli.values import positive
from waveglow.data.images import Images
from waveglow.models.flow_image import FlowImage, Latents
from waveglow.pictures import Opened, open_data, read_directions

ALPHAS = (0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5)


@torch.no_grad()
def encoded(opened: Opened, images: Images, faces: int) -> tuple[Latents, Tensor]:
    """(latents [N, C_i, *S_i], attributes bool [N, A]) of the first so many faces."""
    places = torch.arange(min(faces, len(images)))
    model = opened.model
    batches = [model.encode(model.dequantize(images.pixels(p.tolist()), seed=p.tolist()))[0] for p in places.split(100)]
    return [torch.cat(level) for level in zip(*batches, strict=True)], torch.from_numpy(images.attributes()[1])[
        places
    ].bool()


@torch.no_grad()
def success(
    model: FlowImage, zs: Latents, has: Tensor, direction: Latents, attribute: int, alpha: float
) -> tuple[float, list[float]]:
    """(share of faces whose attribute flipped, share that kept each of the others)."""
    sign = torch.where(has[:, attribute], -1.0, 1.0).view(-1, 1, 1, 1)
    moved = [z + sign * alpha * d for z, d in zip(zs, direction, strict=True)]
    batches = zip(*(level.split(100) for level in moved), strict=True)
    pixels = torch.cat([model.to_pixels(model.decode(batch)) for batch in batches])
    changed = (has != torch.from_numpy(read_attributes(pixels.numpy()))).double().mean(0)
    return float(changed[attribute]), [1 - float(c) for i, c in enumerate(changed) if i != attribute]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="of the drawn faces, prepared")
    parser.add_argument("--directions", type=Path, required=True, metavar="DIR", help="of `waveglow image attributes`")
    parser.add_argument(
        "--tune", type=positive, default=200, metavar="N", help="validation faces to choose alpha by (200)"
    )
    parser.add_argument("--faces", type=positive, default=500, metavar="N", help="test faces of the table (500)")
    args = parser.parse_args()
    try:
        measure(args)
    except (ValueError, OSError) as error:
        print(f"measure.py: {error}", file=sys.stderr)
        sys.exit(2)


def measure(args: argparse.Namespace) -> None:
    """Print and write the table. Raises ValueError, OSError."""
    opened = opened_model(args)
    directions = read_directions(args.directions, opened)
    tuning, held_out = (
        encoded(opened, open_data(args.data, split, opened.model), faces)
        for split, faces in (("valid", args.tune), ("test", args.faces))
    )
    lines = [f"{'attribute':<12} alpha  flipped  least kept of the others"]
    rows = []
    for i, name in enumerate(directions.names):
        direction = directions.of({name: 1.0})
        tried = {alpha: success(opened.model, *tuning, direction, i, alpha) for alpha in ALPHAS}
        alpha = max(tried, key=lambda a: min(tried[a][0], *tried[a][1]))
        flipped, kept = success(opened.model, *held_out, direction, i, alpha)
        rows.append({"attribute": name, "alpha": alpha, "flipped": flipped, "kept": kept, "faces": len(held_out[1])})
        lines.append(f"{name:<12} {alpha:5.2f}  {flipped:7.1%}  {min(kept):.1%}")
        print(lines[-1] if i else "\n".join(lines), flush=True)
    (args.directions / "measured.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (args.directions / "measured.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
