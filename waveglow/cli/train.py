"""Train or fine-tune a vocoder. The same command resumes where a run stopped, and says so.

Settings come from a YAML file and from KEY=VALUE arguments; `--print-config` shows all of them. SIGTERM finishes the
step, saves and exits with 0.

  waveglow train --config recipes/ljspeech/conf/waveglow-small.yaml --data data/ljspeech --run-dir runs/ljspeech
  waveglow train --init-from universal/ --data my-voice/ --run-dir runs/my-voice optim.lr=3e-5 train.steps=20000
  torchrun --nproc-per-node 8 -m waveglow.cli.main train --config … --data … --run-dir … train.precision=bf16
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from waveglow.cli import training
from waveglow.config import ConfigError, dump, from_mapping
from waveglow.data.manifest import content_hash, prepare, read_manifest
from waveglow.devices import set_threads
from waveglow.models import checkpoint
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import build_vocoder, resolved
from waveglow.training.config import RunConfig
from waveglow.training.distributed import World
from waveglow.training.engine import Trainer
from waveglow.training.task import VocoderTask

Initial = checkpoint.Checkpoint[FlowVocoder] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    training.add_arguments(parser, data="manifest, folder with one, or any folder of recordings")


def run(args: argparse.Namespace) -> int:
    """Train."""
    if args.threads is not None:
        set_threads(args.threads)
    initial = checkpoint.load_vocoder(args.init_from) if args.init_from else None
    config = resolve_config(args, initial)
    return training.run(args, config, lambda here: _train(args, config, initial, here))


def resolve_config(args: argparse.Namespace, initial: Initial) -> RunConfig:
    """The run's settings (`asked_for`); weights to start from bring their model and mel convention."""
    brought, suggested = None, {}
    if initial is not None:
        if initial.mel_spec is None:
            raise ConfigError(f"{args.init_from} names no mel convention; convert it again with --mel PRESET")
        brought = {"model": initial.model_config, "mel": initial.mel_spec.to_dict()}
        suggested = {"valid": {"refine": initial.info.get("refine", 0)}}
    values = training.asked_for(args, brought, data="manifest", conf="recipes/ljspeech/conf", suggested=suggested)
    config = from_mapping(RunConfig, values)
    asked = config.model_config()
    if initial is not None:
        numbers = {"n_mels": asked["n_mels"], "hop": asked["hop"]}
        training.require_same_model(asked, resolved({**numbers, **initial.model_config}))
        if config.mel_spec() != initial.mel_spec:
            raise ConfigError("mel is another convention than that of the weights of --init-from; drop the setting")
    return config


def _train(args: argparse.Namespace, config: RunConfig, initial: Initial, here: World) -> None:
    resume = training.resume_from(args, here)
    torch.manual_seed(config.train.seed)
    model = initial.model if initial and resume is None else build_vocoder(config.model_config())
    clips = read_manifest(_manifest(args.run_dir, config, here))
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
        run=args.run_dir,
        world=here,
        data_hash=content_hash(clips),
        resume=resume,
        allow_data_change=args.allow_data_change,
    )
    if here.is_first:
        dump(config, args.run_dir / "config.yaml")
        trainer.log.say(_greeting(model, task, config, args.run_dir, trainer.state.step))
    trainer.run()


def _manifest(run_dir: Path, config: RunConfig, here: World) -> Path:
    """The manifest that data.manifest means; for a folder of recordings, one made in the run's directory."""
    given = Path(config.data.manifest)
    if not config.data.manifest or not given.exists():
        raise ConfigError(
            f"--data (data.manifest) is {config.data.manifest or 'not given'}; give a manifest or a folder"
        )
    if given.is_file():
        return given
    if (given / "manifest.jsonl").is_file():
        return given / "manifest.jsonl"
    own = run_dir / "data" / "manifest.jsonl"
    source = own.with_name("corpus.txt")
    if own.exists() and source.read_text(encoding="utf-8") != str(given.resolve()):
        raise ConfigError(f"{own} was made from another folder than {given}; use another --run-dir")
    if here.is_first and not own.exists():
        prepared = prepare(given, own.parent, sample_rate=config.mel_spec().sample_rate)
        source.write_text(str(given.resolve()), encoding="utf-8")
        for line in prepared.refused:
            print(f"refused: {line}", file=sys.stderr)
    here.barrier()
    return own


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
