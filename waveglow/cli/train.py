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
from typing import Any

import filelock
import torch
import yaml

from waveglow.cli.common import set_threads, usable_device
from waveglow.config import ConfigError, dump, from_mapping, merged, parse_overrides, read_with_base, to_mapping
from waveglow.data.manifest import content_hash, prepare, read_manifest
from waveglow.models import checkpoint
from waveglow.models.registry import build_vocoder, resolved
from waveglow.models.vocoder import FlowVocoder
from waveglow.training import state as states
from waveglow.training.config import RunConfig
from waveglow.training.distributed import World, world
from waveglow.training.engine import Trainer
from waveglow.training.task import VocoderTask

Initial = checkpoint.Checkpoint[FlowVocoder] | None

FINE_TUNING: dict[str, Any] = {"optim": {"lr": 1e-5}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--run-dir", type=Path, required=True, help="directory of the run")
    parser.add_argument("--config", type=Path, help="YAML file (default: the run's own, or the checkpoint's model)")
    parser.add_argument("--data", type=Path, help="manifest, folder with one, or any folder of recordings")
    parser.add_argument(
        "--init-from", type=Path, metavar="CKPT", help="fine-tune: start from these weights, with a lower learning rate"
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|CKPT",
        help="auto: from the run's newest whole checkpoint, if any; never: only start anew (auto)",
    )
    parser.add_argument("--allow-data-change", action="store_true", help="resume although the manifest changed")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, such as train.batch_size=24")


def run(args: argparse.Namespace) -> int:
    """Train."""
    if args.threads is not None:
        set_threads(args.threads)
    initial = checkpoint.load_vocoder(args.init_from) if args.init_from else None
    config = resolve_config(args, initial)
    if args.print_config:
        print(yaml.safe_dump(to_mapping(config), sort_keys=False), end="")
        return 0
    args.run_dir.mkdir(parents=True, exist_ok=True)
    if args.device:
        usable_device(args.device)
    with world(args.device) as here:
        lock = filelock.FileLock(args.run_dir / ".lock")
        try:
            if here.is_first:
                lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ConfigError(
                f"{args.run_dir} is in use by another training; stop that, or use another --run-dir"
            ) from error
        try:
            _train(args, config, initial, here)
        finally:
            lock.release()
    return 0


def resolve_config(args: argparse.Namespace, initial: Initial) -> RunConfig:
    """--config, else what the run goes on with, else the model of --init-from; then --data and the overrides.

    Weights to start from bring their model and mel convention, and a lower learning rate unless --config says one.
    """
    own = args.run_dir / "config.yaml"
    goes_on = own.exists() and (initial is None or bool(checkpoint.steps_of(args.run_dir)))
    source = args.config or (own if goes_on else None)
    if source is None and initial is None:
        raise ConfigError("give --config FILE for a new run (recipes/ljspeech/conf has some), or --init-from CKPT")
    values = read_with_base(source) if source else {}
    if initial and (args.config or not goes_on):
        if initial.mel_spec is None:
            raise ConfigError(f"{args.init_from} names no mel convention; convert it again with --mel PRESET")
        values = merged(FINE_TUNING, values)
        values |= {"model": initial.model_config, "mel": initial.mel_spec.to_dict()}
    if args.data:
        values = merged(values, {"data": {"manifest": str(args.data)}})
    config = from_mapping(RunConfig, merged(values, parse_overrides(args.overrides)))
    _require_fit(config, initial)
    return config


def _require_fit(config: RunConfig, initial: Initial) -> None:
    """Raises ConfigError where model or mel convention are set to others than those of the weights to start from."""
    asked = config.model_config()
    if initial is None:
        return
    given = resolved({"n_mels": asked["n_mels"], "hop": asked["hop"], **initial.model_config})
    for key in asked.keys() | given.keys():
        if asked.get(key) != given.get(key):
            raise ConfigError(
                f"model.{key} is {asked.get(key)!r}, the weights of --init-from have {given.get(key)!r}; "
                "drop the setting, or start without --init-from"
            )
    if config.mel_spec() != initial.mel_spec:
        raise ConfigError("mel is another convention than that of the weights of --init-from; drop the setting")


def _train(args: argparse.Namespace, config: RunConfig, initial: Initial, here: World) -> None:
    resume = _resume_from(args, here)
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


def _resume_from(args: argparse.Namespace, here: World) -> Path | None:
    """The checkpoint to go on from: the first process looks, the others follow."""
    found: Path | None = None
    if here.is_first and args.resume not in ("auto", "never"):
        found = states.chosen(args.run_dir, checkpoint.resolve(Path(args.resume)))
    elif here.is_first:
        found, problems = states.newest(args.run_dir)
        for problem in problems:
            print(f"notice: {problem}", file=sys.stderr)
        if found and args.resume == "never":
            raise ConfigError(
                f"{args.run_dir} has checkpoints, and --resume is never; use another --run-dir, or remove them"
            )
    return here.agree(found)


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
