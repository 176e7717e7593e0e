"""The state that a run resumes from: everything that the next step depends on, in the newest whole checkpoint.

A step's directory is a checkpoint that anyone can load (models/checkpoint.py; its weights are the averaged ones) with
two files more: train.safetensors (raw weights and optimizer) and train.json (step, seed, gradient scale, data). Data
order, noise and learning rate are functions of (seed, step) and need no state.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from waveglow.audio.mel import MelSpec
from waveglow.config import from_json
from waveglow.models.checkpoint import (
    STEPS,
    CheckpointError,
    model_writers,
    read_config,
    step_number,
    steps_of,
    write_json,
)
from waveglow.models.weights import fill_, own_state
from waveglow.models.whole_directory import recover, standing, verify, write_directory
from waveglow.training.optim import MovingAverage

TENSORS = "train.safetensors"
META = "train.json"


@dataclass
class TrainState:
    """The moving parts of a run. `average` holds the weights that are evaluated and exported."""

    model: nn.Module
    average: MovingAverage
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0


def step_directory(run: Path, step: int) -> Path:
    """Where the checkpoint after so many steps goes."""
    return run / STEPS / f"step_{step:08d}"


def save_state(
    run: Path,
    state: TrainState,
    *,
    model_config: Mapping[str, Any],
    mel_spec: MelSpec | None,
    info: Mapping[str, Any],
    fixed: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint of this step, then remove all but the newest `keep`. Raises OSError where the disk refuses.

    `fixed` are settings that a resumed run must share (`require_same`).
    """
    tensors = _flat(state)
    meta = {
        "step": state.step,
        "n_averaged": int(state.average.n_averaged),
        "scaler": state.scaler.state_dict(),
        "fixed": dict(fixed),
    }
    directory = step_directory(run, state.step)
    _require_space(run, tensors)
    writers = model_writers(state.average.module, model_config, mel_spec, info)
    writers[TENSORS] = lambda path: save_file(tensors, path)
    writers[META] = lambda path: write_json(path, meta)
    write_directory(directory, writers)
    for old in steps_of(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return directory


def _flat(state: TrainState) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in own_state(state.model).items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optim.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _require_space(run: Path, tensors: Mapping[str, Tensor]) -> None:
    needed = 2 * sum(tensor.nbytes for tensor in tensors.values())
    free = shutil.disk_usage(run).free
    if free < needed:
        raise OSError(28, f"{free >> 20} MiB are free, a checkpoint needs {needed >> 20} MiB to be written safely")


def newest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a run, and what is wrong with newer ones. Looks, and changes nothing."""
    problems: list[str] = []
    for directory in reversed(steps_of(run)):
        try:
            verify(directory)
            return directory, problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def recover_run(run: Path) -> list[str]:
    """Put right what a killed process left: directories amid their replacement (`recover`), unfinished ones, and
    damaged ones, a best or newer than the newest whole checkpoint, which are set aside as `*.corrupt`; says what is
    wrong there.

    For whoever holds the run's lock.
    """
    unfinished = {path.name.partition(".")[0] for path in (run / STEPS).glob("step_*.*-*")}
    for target in (run / "best", *(run / STEPS / name for name in unfinished)):
        recover(target)
    found, problems = newest(run)
    steps = steps_of(run)
    for damaged in steps[steps.index(found) + 1 :] if found else steps:
        set_aside(damaged, "corrupt")
    try:
        verify(run / "best")
    except CheckpointError as error:
        if (run / "best").exists():
            problems.append(str(error))
            set_aside(run / "best", "corrupt")
    return problems


def supersede(run: Path, step: int) -> None:
    """Set aside what a run learned after a step that it goes on from by its user's wish: newer checkpoints, a later
    best. They are renamed `*.superseded`.
    """
    newer = [each for each in steps_of(run) if step_number(each) > step]
    if newer and best_info(run).get("step", 0) > step:  # without newer ones it is of the branch that goes on
        set_aside(run / "best", "superseded")
    for each in newer:
        set_aside(each, "superseded")


def best_info(run: Path) -> dict[str, Any]:
    """What a run's best checkpoint tells of itself, its `step` and `nll_nats` among it; empty where there is none."""
    try:
        return dict(read_config(standing(run / "best")).get("info") or {})
    except CheckpointError:
        return {}


def set_aside(directory: Path, why: str) -> Path:
    """Rename a directory to `<name>.<why>`, or `<name>.<why>-2`, … where there is one already."""
    names = itertools.chain([why], (f"{why}-{i}" for i in itertools.count(2)))
    aside = next(p for name in names if not os.path.lexists(p := directory.with_name(f"{directory.name}.{name}")))
    os.rename(directory, aside)
    return aside


def chosen(run: Path, directory: Path) -> Path:
    """A checkpoint that the user names to resume from.

    Raises CheckpointError where it is damaged or holds weights alone, and where it is of another run than the one in
    `run`, whose checkpoints would be mixed with its.
    """
    verify(directory)
    if not (directory / META).is_file():
        raise CheckpointError(f"{directory}: holds weights alone, nothing to resume from; use it with --init-from")
    own = steps_of(run)
    if own and not _is_of(run, directory):
        raise CheckpointError(
            f"{directory}: is of another run, and {run} has checkpoints of its own up to {own[-1].name}; give another "
            f"--run-dir to go on from it, or none of --resume to go on with {run}"
        )
    return directory


def _is_of(run: Path, directory: Path) -> bool:
    return directory.resolve().parent == (run / STEPS).resolve()


def load_state(directory: Path, state: TrainState) -> None:
    """Fill `state` from a whole checkpoint directory (`newest`, `chosen`)."""
    meta = _meta(directory)
    tensors = load_file(directory / TENSORS)
    fill_(state.model, _with_prefix(tensors, "model."))
    fill_(state.average.module, load_file(directory / "model.safetensors"))
    optimizer = state.optimizer.state_dict()
    optimizer["state"] = {}
    for name, tensor in _with_prefix(tensors, "optim.").items():
        index, key = name.split(".", 1)
        optimizer["state"].setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict(optimizer)
    if meta["scaler"]:  # empty where the saved run had no need of one
        state.scaler.load_state_dict(meta["scaler"])
    state.average.n_averaged.fill_(meta["n_averaged"])
    state.step = meta["step"]


def _meta(directory: Path) -> dict[str, Any]:
    return dict(from_json((directory / META).read_text(encoding="utf-8")))


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def require_same(
    directory: Path,
    *,
    model_config: Mapping[str, Any],
    mel_spec: MelSpec | None,
    fixed: Mapping[str, Any],
    advice: Mapping[str, str] = {},
) -> None:
    """Raises CheckpointError where a checkpoint's model, mel convention or fixed settings are others than now.

    `advice` is what to do, beside the obvious, by the setting's name.
    """
    saved = read_config(directory)
    if saved["model"] != dict(model_config):
        changed = sorted(
            key
            for key in saved["model"].keys() | model_config.keys()
            if saved["model"].get(key) != model_config.get(key)
        )
        raise CheckpointError(
            f"{directory}: is of another model (model.{changed[0]} is {saved['model'].get(changed[0])!r} there, "
            f"{model_config.get(changed[0])!r} here); use another run directory"
        )
    if (MelSpec.from_dict(saved["mel"]) if saved["mel"] else None) != mel_spec:
        raise CheckpointError(f"{directory}: was trained on another mel convention; use another run directory")
    then = _meta(directory).get("fixed", {})
    for name, value in fixed.items():
        if then.get(name) != value:
            raise CheckpointError(
                f"{directory}: {name} was {then.get(name)!r} and is now {value!r}; keep it, or use another --run-dir"
                + advice.get(name, "")
            )
