"""Pictures out of noise. A row for each temperature, a column for each noise, so that the temperature's effect shows.

The temperature multiplies the latents of every level: lower is smoother and more alike, 0 is the same picture always.
Image i has the noise of seed + i: `--seed 17 -n 1` draws again the one that a picture calls 17. A model of classes
takes turns, or draws --label. Beside the picture is a JSON file: how many values were outside black to white, how many
no numbers at all, and the seconds an image takes.

  waveglow image sample -c runs/faces samples.png
  waveglow image sample -c runs/faces samples.png -n 64 --temperatures 0.7
  waveglow image sample -c runs/faces samples/ -n 100 --temperatures 0.7,1 --seed 5
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from waveglow.cli.image.common import Opened, add_batch_size, add_model, numbers, open_model, positive, require_class
from waveglow.pictures.grids import OUT_HELP, output, show, square, table, to_pixels
from waveglow.pictures.inputs import progress

TEMPERATURES = "0,.25,.5,.6,.7,.8,.9,1"  # as openai/glow plots them
COLUMNS, ALONE = 8, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help=OUT_HELP)
    parser.add_argument(
        "-n", type=positive, metavar="N", help=f"noises ({COLUMNS}, or {ALONE} where there is one temperature)"
    )
    parser.add_argument(
        "--temperatures", type=numbers, default=numbers(TEMPERATURES), metavar="LIST", help=f"({TEMPERATURES})"
    )
    parser.add_argument("--label", type=int, metavar="K", help="class of all, for a model of classes (all in turn)")
    add_batch_size(parser)


def run(args: argparse.Namespace) -> int:
    """Draw them."""
    out = output(args.out, "samples")
    opened = open_model(args)
    alone = len(args.temperatures) == 1
    seeds = range(args.seed, args.seed + (args.n or (ALONE if alone else COLUMNS)))
    labels = _labels(opened, args.label, len(seeds))
    rows, images, seconds = [], [], 0.0
    with progress(len(args.temperatures) * len(seeds), "image") as bar:
        for temperature in args.temperatures:
            started = time.perf_counter()
            x = _drawn(opened, temperature, seeds, labels, args.batch_size)
            pixels, counts = to_pixels(opened.model, x, f"temperature {temperature:g}")
            seconds += time.perf_counter() - started  # to_pixels waits for the device
            rows.append({"temperature": temperature, **counts})
            images.append(pixels)
            bar.update(len(seeds))
    names = [str(seed) if labels is None else f"{seed}: class {labels[i]}" for i, seed in enumerate(seeds)]
    pixels = torch.cat(images)
    picture = square(pixels) if alone else table(pixels, rows=[f"T {t:g}" for t in args.temperatures], columns=names)
    singles = {
        f"t{t:g}_{seed}": image
        for t, row in zip(args.temperatures, images, strict=True)
        for seed, image in zip(seeds, row, strict=True)
    }
    facts = {
        **opened.facts,
        "seeds": list(seeds),
        "labels": None if labels is None else labels.tolist(),
        "rows": rows,
        "seconds_per_image": seconds / len(pixels),
    }
    out.write(picture, facts, singles)
    show(opened, out.picture.stem, picture)
    print(_text(rows))
    print(f"{out.picture}: {len(pixels)} images, {seconds / len(pixels):.3f} s each; {out.json.name}")
    return 0


def _labels(opened: Opened, label: int | None, n: int) -> torch.Tensor | None:
    """Class of each of n images [n], or None. Raises ValueError."""
    classes = opened.model.n_classes
    if label is None:
        return torch.arange(n) % classes if classes else None
    require_class(opened.model, label)
    return torch.full((n,), label)


def _drawn(
    opened: Opened, temperature: float, seeds: range, labels: torch.Tensor | None, batch_size: int
) -> torch.Tensor:
    """x [N, C, H, W] of these seeds."""
    parts = []
    for start in range(0, len(seeds), batch_size):
        some = slice(start, start + batch_size)
        y = None if labels is None else labels[some]
        part = opened.model.sample(len(seeds[some]), temperature=temperature, y=y, seed=seeds[some])
        parts.append(part)
    return torch.cat(parts)


def _text(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'temperature':>11} {'out of range':>13} {'not finite':>11}"]
    for row in rows:
        share = row["out_of_range"] / row["values"]
        lines.append(f"{row['temperature']:>11g} {share:>13.2%} {row['non_finite']:>11}")
    return "\n".join(lines)
