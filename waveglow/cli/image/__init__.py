"""Image flows: NICE, RealNVP and Glow, from pictures to pictures.

CKPT (-c) is a checkpoint directory, or a training run, which means its newest one. A whole round:

  waveglow image prepare --dataset celeba CelebA data/celeba-64
  waveglow image train --config recipes/celeba/conf/glow-64.yaml --data data/celeba-64 --run-dir runs/faces
  waveglow image evaluate -c runs/faces --data data/celeba-64 runs/faces/scores
  waveglow image sample -c runs/faces samples.png
  waveglow image interpolate -c runs/faces me.jpg you.jpg between.png
  waveglow image attributes -c runs/faces --data data/celeba-64 runs/faces/attributes
  waveglow image manipulate -c runs/faces --directions runs/faces/attributes --attribute Smiling me.jpg smile.png
  waveglow image report runs/faces

Without -c it is the small Glow of drawn faces that comes with the package, demo-faces.
"""

import re
from collections.abc import Sequence

VERBS = {
    "prepare": "cache a published image set, or a folder of pictures, for training",
    "train": "train an image flow; the same command resumes",
    "sample": "pictures out of noise, at several temperatures",
    "interpolate": "the way from one picture to another, through the latents",
    "attributes": "find the direction in the latents of each attribute, such as a smile",
    "manipulate": "add or remove attributes: held-out pictures, or your own photos",
    "evaluate": "how good is an image flow? bits per dimension, reconstruction",
    "report": "an HTML page about a training run: curves, verdict, all its pictures",
}


def completed(given: Sequence[str]) -> list[str]:
    """`--alphas -1,0` as `--alphas=-1,0`: what begins with a minus and is not one number, argparse takes for an option.

    >>> completed(["--alphas", "-1,0", "out.png"])
    ['--alphas=-1,0', 'out.png']
    """
    joined: list[str] = []
    for argument in given:
        if joined and re.fullmatch(r"--[a-z-]+", joined[-1]) and re.match(r"-[\d.][^,]*,", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
