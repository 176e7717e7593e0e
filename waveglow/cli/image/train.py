"""Train or fine-tune an image flow. The same command resumes where a run stopped, and says so.

Settings come from a YAML file and from KEY=VALUE arguments; `--print-config` shows all of them. SIGTERM, or a
closed terminal, ends it saved, with 0 (2 where it could not save). Pictures are in RUN/samples and in TensorBoard.

  waveglow image prepare --dataset fashion-mnist data/fashion
  waveglow image train --config recipes/celeba/conf/glow-small.yaml --data data/fashion --run-dir runs/fashion
  waveglow image train --run-dir runs/fashion train.steps=50000
"""

import argparse

from waveglow.cli import train_options
from waveglow.models import checkpoint
from waveglow.training import image_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train_options.add_arguments(parser, data="folder of images, as `waveglow image prepare` makes it")


def run(args: argparse.Namespace) -> int:
    """Print the configuration, or train."""
    initial = checkpoint.load_image(args.init_from) if args.init_from else None
    return train_options.run(args, image_run, initial, data="folder")
