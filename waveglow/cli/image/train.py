"""Train or fine-tune an image flow. The same command resumes where a run stopped, and says so.

Settings come from a YAML file and from KEY=VALUE arguments; `--print-config` shows all of them. SIGTERM finishes the
step, saves and exits with 0. Pictures of what was learned are in RUN/samples and in TensorBoard.

  waveglow image prepare --dataset fashion-mnist data/fashion
  waveglow image train --config recipes/celeba/conf/glow-small.yaml --data data/fashion --run-dir runs/fashion
  waveglow image train --run-dir runs/fashion train.steps=50000
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from waveglow.cli import training
from waveglow.config import ConfigError, dump, from_mapping
from waveglow.data.images import ImageSet, read_images
from waveglow.devices import set_threads
from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import build, resolved
from waveglow.training.distributed import World
from waveglow.training.engine import Trainer
from waveglow.training.image_config import ImageRunConfig
from waveglow.training.image_task import ImageTask

Initial = checkpoint.Checkpoint[FlowImage] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    training.add_arguments(parser, data="folder of images, as `waveglow image prepare` makes it")


def run(args: argparse.Namespace) -> int:
    """Train."""
    if args.threads is not None:
        set_threads(args.threads)
    initial = checkpoint.load_image(args.init_from) if args.init_from else None
    config = resolve_config(args, initial)
    return training.run(args, config, lambda here: _train(args, config, initial, here))


def resolve_config(args: argparse.Namespace, initial: Initial) -> ImageRunConfig:
    """The run's settings (`asked_for`), with the images' size; weights to start from bring their model."""
    brought = None if initial is None else {"model": initial.model_config}
    values = training.asked_for(args, brought, data="folder", conf="recipes/celeba/conf")
    config = from_mapping(ImageRunConfig, values)
    if config.data.folder:
        config = config.fitted(read_images(Path(config.data.folder)))
    asked = config.model_config()
    if initial is not None:
        training.require_same_model(asked, resolved(initial.model_config))
    return config


def _train(args: argparse.Namespace, config: ImageRunConfig, initial: Initial, here: World) -> None:
    if not config.data.folder:
        raise ConfigError("--data (data.folder) is not given; give a folder made by `waveglow image prepare`")
    images = read_images(Path(config.data.folder))
    resume = training.resume_from(args, here)
    torch.manual_seed(config.train.seed)
    model = initial.model if initial and resume is None else build(config.model_config())
    assert isinstance(model, FlowImage)
    task = ImageTask(
        images,
        seed=config.train.seed,
        flip=config.data.flip,
        n_bits=model.n_bits,
        batch_size=max(1, config.train.batch_size // (config.train.accumulate * here.size)),
        valid=config.valid,
    )
    trainer = Trainer(
        model.train().requires_grad_(),
        task,
        config,
        run=args.run_dir,
        world=here,
        data_hash=images.hash,
        resume=resume,
        allow_data_change=args.allow_data_change,
    )
    if here.is_first:
        dump(config, args.run_dir / "config.yaml")
        trainer.log.say(_greeting(model, task, images, config, args.run_dir, trainer.state.step))
    trainer.run()


def _greeting(
    model: FlowImage, task: ImageTask, images: ImageSet, config: ImageRunConfig, run_dir: Path, step: int
) -> str:
    channels, height, width = model.shape
    return (
        f"{run_dir}: {config.model['name']}, {sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{images.dataset}, {len(task.dataset):,} images of {channels}×{height}×{width}, {model.n_bits} bits; "
        f"{len(task.numbers):,} held out; steps {step} to {config.train.steps}, batch {config.train.batch_size}; "
        f"tensorboard --logdir {os.fspath(run_dir)}"
    )
