"""Pictures out of noise. A row for each temperature, a column for each noise, so that the temperature's effect shows.

The temperature multiplies the latents of every level: lower is smoother and more alike, 0 is the same picture always.
Image i has the noise of seed + i: `--seed 17 -n 1` draws again the one that a picture calls 17. A model of classes
takes turns, or draws --label; --guidance 1.5 exaggerates what the class changes. A model that learned images with
Gaussian noise has it taken off again, or as much as --denoise says. Beside the picture is a JSON file: how many values
were outside black to white, how many no numbers at all, and the seconds an image takes.

  waveglow image sample -c runs/faces samples.png
  waveglow image sample -c runs/faces samples.png -n 64 --temperatures 0.7
  waveglow image sample -c runs/faces samples/ -n 100 --temperatures 0.7,1 --seed 5
"""

import argparse

from waveglow.cli.image.common import add_batch_size, add_model, add_out, opened_model
from waveglow.cli.values import numbers, positive
from waveglow.pictures import samples
from waveglow.pictures.grids import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_out(parser)
    at = ",".join(f"{t:g}" for t in samples.TEMPERATURES)
    n = f"noises ({samples.COLUMNS}, or {samples.ALONE} where there is one temperature)"
    parser.add_argument("-n", type=positive, metavar="N", help=n)
    parser.add_argument("--temperatures", type=numbers, default=numbers(at), metavar="LIST", help=f"({at})")
    parser.add_argument("--label", type=int, metavar="K", help="class of all, for a model of classes (all in turn)")
    parser.add_argument("--guidance", type=float, default=0.0, metavar="W", help="by the class; tarflow, jet (0)")
    parser.add_argument("--denoise", type=float, metavar="STD", help="noise to take off (what it learned with)")
    add_batch_size(parser)


def run(args: argparse.Namespace) -> int:
    """Draw them."""
    out = output(args.out, "samples")
    opened = opened_model(args)
    drawn = samples.sample(
        opened,
        args.n,
        temperatures=args.temperatures,
        label=args.label,
        batch_size=args.batch_size,
        guidance=args.guidance,
        denoise=args.denoise,
    )
    out.write(opened, drawn)
    n = len(drawn.facts["rows"]) * len(drawn.facts["seeds"])
    print(samples.text(drawn.facts))
    print(f"{out.picture}: {n} images, {drawn.facts['seconds_per_image']:.3f} s each; {out.json.name}")
    return 0
