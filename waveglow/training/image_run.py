"""A training run of an image flow: its settings, its images, and the loop over them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from waveglow.config import ConfigError, dump, from_mapping
from waveglow.data.images import ImageSet, read_images
from waveglow.models.checkpoint import Checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import build, resolved
from waveglow.training.engine import Trainer
from waveglow.training.image_config import ImageRunConfig
from waveglow.training.image_task import ImageTask
from waveglow.training.runs import fine_tuning, occupied, require_same_model, resume_from, settings

Initial = Checkpoint[FlowImage] | None


def configuration(
    run_dir: Path, *, file: Path | None = None, overrides: Mapping[str, Any] = {}, initial: Initial = None
) -> ImageRunConfig:
    """The settings of a run (`runs.settings`), with the images' size; weights to start from bring model and recipe.

    Raises ConfigError where they don't fit each other.
    """
    brought = None if initial is None else {"model": initial.model_config}
    suggested = fine_tuning(initial.info) if initial else {}
    values = settings(
        run_dir, file=file, overrides=overrides, brought=brought, conf="recipes/celeba/conf", suggested=suggested
    )
    config = from_mapping(ImageRunConfig, values)
    if config.data.folder:
        config = config.fitted(read_images(Path(config.data.folder)))
    asked = config.model_config()
    if initial is not None:
        require_same_model(asked, resolved(initial.model_config))
    return config


def train(
    config: ImageRunConfig,
    run_dir: Path,
    *,
    initial: Initial = None,
    resume: str = "auto",
    allow_data_change: bool = False,
    device: str | None = None,
) -> None:
    """Train in a run's directory until `train.steps`, or a signal, in every process that torchrun started.

    Arguments as of `vocoder_run.train`. Raises ConfigError, CheckpointError and DivergedError.
    """
    with occupied(run_dir, device=device) as here:
        if not config.data.folder:
            raise ConfigError("--data (data.folder) is not given; give a folder made by `waveglow image prepare`")
        images = read_images(Path(config.data.folder))
        from_checkpoint = resume_from(run_dir, resume, here)
        torch.manual_seed(config.train.seed)
        model = initial.model if initial and from_checkpoint is None else build(config.model_config())
        assert isinstance(model, FlowImage)
        if config.data.drop_label and not model.unlabelled:
            raise ConfigError(
                f"data.drop_label is {config.data.drop_label}; a {config.model['name']} of {model.n_classes} classes "
                "can't do without them, only tarflow and jet with n_classes can; leave it out"
            )
        task = ImageTask(
            images,
            seed=config.train.seed,
            flip=config.data.flip,
            n_bits=model.n_bits,
            batch_size=max(1, config.train.batch_size // (config.train.accumulate * here.size)),
            valid=config.valid,
            gaussian_std=config.data.gaussian_std,
            drop_label=config.data.drop_label,
        )
        trainer = Trainer(
            model.train().requires_grad_(),
            task,
            config,
            run=run_dir,
            world=here,
            data_hash=images.hash,
            resume=from_checkpoint,
            allow_data_change=allow_data_change,
            from_weights=initial is not None,
        )
        if here.is_first:
            dump(config, run_dir / "config.yaml")
            trainer.log.say(_greeting(model, task, images, config, run_dir, trainer.state.step))
        trainer.run()


def _greeting(
    model: FlowImage, task: ImageTask, images: ImageSet, config: ImageRunConfig, run_dir: Path, step: int
) -> str:
    channels, height, width = model.shape
    finer = f" (theirs have {images.bits}; set model.n_bits={images.bits})" if images.bits < model.n_bits else ""
    noise = (
        f" noise of {config.data.gaussian_std:g}: the training's nll_nats are those of noisy images and give no bits; "
        "bits_per_dim, of held-out images with uniform noise, bounds the pixels' and is higher than without it;"
        if config.data.gaussian_std
        else ""
    )
    return (
        f"{run_dir}: {config.model['name']}, {sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{images.dataset}, {len(task.dataset):,} images of {channels}×{height}×{width}, {model.n_bits} bits{finer}; "
        f"{len(task.numbers):,} held out;{noise} "
        f"steps {step} to {config.train.steps}, batch {config.train.batch_size}; "
        f"tensorboard --logdir {os.fspath(run_dir)}"
    )
