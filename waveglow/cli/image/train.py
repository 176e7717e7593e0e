"""Train or fine-tune an image flow. The same command resumes where a run stopped, and says so.

Settings come from a YAML file and from KEY=VALUE arguments; `--print-config` shows all of them. SIGTERM finishes the
step, saves and exits with 0. Pictures of what was learned are in RUN/samples and in TensorBoard.

  waveglow image prepare --dataset fashion-mnist data/fashion
  waveglow image train --config recipes/celeba/conf/glow-small.yaml --data data/fashion --run-dir runs/fashion
  waveglow image train --run-dir runs/fashion train.steps=50000
"""

from __future__ import annotations

import argparse

import yaml

from waveglow.cli import training
from waveglow.config import to_mapping
from waveglow.devices import set_threads
from waveglow.models import checkpoint
from waveglow.training.image_run import configuration, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    training.add_arguments(parser, data="folder of images, as `waveglow image prepare` makes it")


def run(args: argparse.Namespace) -> int:
    """Print the configuration, or train."""
    if args.threads is not None:
        set_threads(args.threads)
    initial = checkpoint.load_image(args.init_from) if args.init_from else None
    overrides = training.overrides(args, data="folder")
    config = configuration(args.run_dir, file=args.config, overrides=overrides, initial=initial)
    if args.print_config:
        print(yaml.safe_dump(to_mapping(config), sort_keys=False), end="")
        return 0
    train(
        config,
        args.run_dir,
        initial=initial,
        resume=args.resume,
        allow_data_change=args.allow_data_change,
        device=args.device,
    )
    return 0
