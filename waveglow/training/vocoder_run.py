"""A training run of a vocoder: its settings, its recordings, and the loop over them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from waveglow.config import ConfigError, dump, from_mapping, merged
from waveglow.data.manifest import content_hash
from waveglow.models.checkpoint import Checkpoint
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import build_vocoder, resolved
from waveglow.training.config import RunConfig
from waveglow.training.engine import Trainer
from waveglow.training.recordings import recordings
from waveglow.training.runs import fine_tuning, occupied, require_same_model, resume_from, settings
from waveglow.training.task import VocoderTask

Initial = Checkpoint[FlowVocoder] | None


def configuration(
    run_dir: Path, *, file: Path | None = None, overrides: Mapping[str, Any] = {}, initial: Initial = None
) -> RunConfig:
    """The settings of a run (`runs.settings`); weights to start from bring their model, mel convention and recipe.

    Raises ConfigError where they don't fit each other.
    """
    brought, suggested = None, {}
    if initial is not None:
        if initial.mel_spec is None:
            raise ConfigError(f"{initial.path} names no mel convention; convert it again with --mel PRESET")
        brought = {"model": initial.model_config, "mel": initial.mel_spec.to_dict()}
        suggested = merged({"valid": {"refine": initial.info.get("refine", 0)}}, fine_tuning(initial.info))
    conf = "recipes/ljspeech/conf"
    values = settings(run_dir, file=file, overrides=overrides, brought=brought, conf=conf, suggested=suggested)
    config = from_mapping(RunConfig, values)
    asked = config.model_config()
    if initial is not None:
        numbers = {"n_mels": asked["n_mels"], "hop": asked["hop"]}
        require_same_model(asked, resolved({**numbers, **initial.model_config}))
        if config.mel_spec() != initial.mel_spec:
            raise ConfigError("mel is another convention than that of the weights of --init-from; drop the setting")
    return config


def train(
    config: RunConfig,
    run_dir: Path,
    *,
    initial: Initial = None,
    resume: str = "auto",
    allow_data_change: bool = False,
    device: str | None = None,
) -> None:
    """Train in a run's directory until `train.steps`, or a signal, in every process that torchrun started.

    Arguments:
        initial: weights for a new run to start from.
        resume: "auto", "never" or a checkpoint.
        allow_data_change: go on although the recordings changed.
        device: None is a GPU where there is one.

    Raises ConfigError, CheckpointError and DivergedError.
    """
    with occupied(run_dir, device=device) as here:
        from_checkpoint = resume_from(run_dir, resume, here)
        torch.manual_seed(config.train.seed)
        model = initial.model if initial and from_checkpoint is None else build_vocoder(config.model_config())
        may_change = allow_data_change or from_checkpoint is None
        clips = recordings(run_dir, config, here, may_change=may_change)
        task = VocoderTask(
            clips,
            config.mel_spec(),
            segment_samples=config.data.segment_samples,
            seed=config.train.seed,
            group=model.group,
            valid=config.valid,
            loss=config.loss,
        )
        trainer = Trainer(
            model.train().requires_grad_(),
            task,
            config,
            run=run_dir,
            world=here,
            data_hash=content_hash(clips),
            resume=from_checkpoint,
            allow_data_change=allow_data_change,
            from_weights=initial is not None,
        )
        if here.is_first:
            dump(config, run_dir / "config.yaml")
            trainer.log.say(_greeting(model, task, config, run_dir, trainer.state.step))
        trainer.run()


def _greeting(model: FlowVocoder, task: VocoderTask, config: RunConfig, run_dir: Path, step: int) -> str:
    crops = task.dataset
    hours = sum(clip.frames for clip in crops.clips) / crops.spec.sample_rate / 3600
    short = f", {crops.short} shorter than a crop (padded with dithered silence)" if crops.short else ""
    return (
        f"{run_dir}: {config.model['name']}, {sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{len(crops.clips)} clips, {hours:.2f} h{short}; {len(task.held_out)} held out; "
        f"steps {step} to {config.train.steps}, batch {config.train.batch_size} × {config.data.segment_samples} "
        f"samples; tensorboard --logdir {os.fspath(run_dir)}"
    )
