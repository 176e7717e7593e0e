"""Train or fine-tune a vocoder. The same command resumes where a run stopped, and says so.

Settings come from a YAML file and from KEY=VALUE arguments; `--print-config` shows all of them. SIGTERM, and a
terminal that is closed, let it finish its step and save; it exits with 0 (2 where it could not save).

  waveglow train --config recipes/ljspeech/conf/waveglow-small.yaml --data data/ljspeech --run-dir runs/ljspeech
  waveglow train --init-from universal/ --data my-voice/ --run-dir runs/my-voice optim.lr=3e-5 train.steps=20000
  torchrun --nproc-per-node 8 -m waveglow.cli.main train --config … --data … --run-dir … train.precision=bf16
"""

import argparse

from waveglow.cli import train_options
from waveglow.models import checkpoint
from waveglow.training import vocoder_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train_options.add_arguments(parser, data="manifest, folder with one, or any folder of recordings")


def run(args: argparse.Namespace) -> int:
    """Print the configuration, or train."""
    initial = checkpoint.load_vocoder(args.init_from) if args.init_from else None
    return train_options.run(args, vocoder_run, initial, data="manifest")
