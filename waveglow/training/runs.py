"""A run's directory: where its settings come from, its lock, and the checkpoint that it goes on from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from waveglow.config import ConfigError, from_mapping, merged, read_with_base
from waveglow.devices import usable_device
from waveglow.models import checkpoint
from waveglow.training.config import OptimConfig
from waveglow.training.distributed import World, world
from waveglow.training.state import best_info, chosen, newest, recover_run

FINE_TUNING_LR = 1e-5  # where the weights tell no recipe
FINE_TUNING_SHARE = 0.2  # of the learning rate, and of the steps to warm up to it, that they were trained with


def settings(
    run_dir: Path,
    *,
    file: Path | None,
    overrides: Mapping[str, Any],
    brought: Mapping[str, Any] | None,
    conf: str,
    suggested: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """The settings of a run as a mapping: those of `file`, else what the run goes on with; then the overrides.

    Arguments:
        brought: what the weights to start from determine, which a new run gets; None where it starts from none.
        conf: where configurations are to be found.
        suggested: what those weights do best with (`fine_tuning`), unless `file` says otherwise.

    Raises ConfigError where a new run has neither a file nor weights to start from.
    """
    own = run_dir / "config.yaml"
    goes_on = own.exists() and (brought is None or bool(checkpoint.steps_of(run_dir)))
    source = file or (own if goes_on else None)
    if source is None and brought is None:
        raise ConfigError(f"give --config FILE for a new run ({conf} has some), or --init-from CKPT")
    values = read_with_base(source) if source else {}
    if brought and (file or not goes_on):
        values = {**merged(suggested, values), **brought}
    return merged(values, overrides)


def fine_tuning(info: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for a run that starts from weights: the recipe that a checkpoint's `info` tells, at a lower rate."""
    recipe = info.get("recipe")
    if not recipe:
        return {"optim": {"lr": FINE_TUNING_LR}}
    if not isinstance(recipe, Mapping):
        raise ConfigError(f"the recipe of the weights is {recipe!r}; it must be a mapping of keys to values")
    optim = from_mapping(OptimConfig, recipe.get("optim", {}), "the weights' recipe: optim")
    gentle = {"lr": FINE_TUNING_SHARE * optim.lr, "warmup_steps": round(FINE_TUNING_SHARE * optim.warmup_steps)}
    return merged(recipe, {"optim": gentle})


def require_same_model(asked: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises ConfigError where the model's numbers are set to others than those of the weights to start from."""
    for key in asked.keys() | given.keys():
        if asked.get(key) != given.get(key):
            raise ConfigError(
                f"model.{key} is {asked.get(key)!r}, the weights of --init-from have {given.get(key)!r}; "
                "drop the setting, or start without --init-from"
            )


def about(path: Path) -> dict[str, Any]:
    """What a checkpoint or a run's newest one is; of a run, also under `better`, whether its best weights are better.

    Raises CheckpointError.
    """
    facts = checkpoint.load(path).about()
    best = best_info(path) if (path / checkpoint.STEPS).is_dir() else {}
    if not best or best.get("step") == facts.get("step"):
        return facts
    from waveglow.training.log import METRICS, number, read_metrics  # here, for TensorBoard takes seconds to load

    least, last = number(best, "nll_nats"), number(facts, "step")
    valid = [m for m in read_metrics(path / METRICS) if m.get("kind") == "valid" and m["step"] <= (last or 0)]
    measured = [(nats, m["step"]) for m in valid if (nats := number(m, "nll_nats")) is not None]
    if measured and least is not None and measured[-1][0] > least:
        nats, step = measured[-1]
        facts["better"] = (
            f"{path / 'best'}: {least:.4f} nats held out, after step {best.get('step')}; these weights had "
            f"{nats:.4f} after step {step}. Take it with -c {path / 'best'}"
        )
    return facts


@contextmanager
def occupied(run_dir: Path, *, device: str | None) -> Iterator[World]:
    """The processes of a run in its directory, which no other training may use meanwhile.

    Raises ConfigError where one does, ValueError where the device can't be used.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if device:
        usable_device(device)
    with world(device) as here:
        lock = filelock.FileLock(run_dir / ".lock")
        try:
            if here.is_first:
                lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ConfigError(
                f"{run_dir} is in use by another training; stop that, or use another --run-dir"
            ) from error
        try:
            yield here
        finally:
            lock.release()


def resume_from(run_dir: Path, resume: str, here: World) -> Path | None:
    """The checkpoint to go on from, None for a new run: the first process looks, the others follow.

    `resume` is "auto" (the newest whole one, if any), "never" or a checkpoint. Raises ConfigError.
    """
    found: Path | None = None
    if here.is_first:
        for problem in recover_run(run_dir):
            print(f"notice: {problem}", file=sys.stderr)
    if here.is_first and resume not in ("auto", "never"):
        found = chosen(run_dir, checkpoint.resolve(Path(resume)))
    elif here.is_first:
        found, _ = newest(run_dir)
        if found and resume == "never":
            raise ConfigError(
                f"{run_dir} has checkpoints, and --resume is never; use another --run-dir, or remove them"
            )
    return here.agree(found)
