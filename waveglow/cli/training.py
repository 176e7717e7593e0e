"""What the verbs that train share: options, where settings come from, the lock of a run's directory, resuming."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock
import yaml

from waveglow.config import ConfigError, merged, parse_overrides, read_with_base, to_mapping
from waveglow.devices import usable_device
from waveglow.models import checkpoint
from waveglow.training import state as states
from waveglow.training.distributed import World, world

FINE_TUNING: dict[str, Any] = {"optim": {"lr": 1e-5}}


def add_arguments(parser: argparse.ArgumentParser, *, data: str) -> None:
    """Declare the options; `data` says what --data takes."""
    parser.add_argument("--run-dir", type=Path, required=True, help="directory of the run")
    parser.add_argument("--config", type=Path, help="YAML file (default: the run's own, or the checkpoint's model)")
    parser.add_argument("--data", type=Path, help=data)
    parser.add_argument(
        "--init-from", type=Path, metavar="CKPT", help="fine-tune: start from these weights, with a lower learning rate"
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|CKPT",
        help="auto: from the run's newest whole checkpoint, if any; never: only start anew (auto)",
    )
    parser.add_argument("--allow-data-change", action="store_true", help="resume although the data changed")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, such as train.batch_size=24")


def asked_for(
    args: argparse.Namespace,
    brought: Mapping[str, Any] | None,
    *,
    data: str,
    conf: str,
    suggested: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """The settings as a mapping: --config, else what the run goes on with; then --data and the overrides.

    Arguments:
        brought: what the weights of --init-from determine (a new run gets that, and a lower learning rate unless
            --config says one); None without --init-from.
        data: the setting in the group `data` that --data stands for.
        conf: where configurations are to be found.
        suggested: what those weights do best with, unless --config says otherwise.
    """
    own = args.run_dir / "config.yaml"
    goes_on = own.exists() and (brought is None or bool(checkpoint.steps_of(args.run_dir)))
    source = args.config or (own if goes_on else None)
    if source is None and brought is None:
        raise ConfigError(f"give --config FILE for a new run ({conf} has some), or --init-from CKPT")
    values = read_with_base(source) if source else {}
    if brought and (args.config or not goes_on):
        values = {**merged(merged(FINE_TUNING, suggested), values), **brought}
    if args.data:
        values = merged(values, {"data": {data: str(args.data)}})
    return merged(values, parse_overrides(args.overrides))


def require_same_model(asked: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises ConfigError where the model's numbers are set to others than those of the weights to start from."""
    for key in asked.keys() | given.keys():
        if asked.get(key) != given.get(key):
            raise ConfigError(
                f"model.{key} is {asked.get(key)!r}, the weights of --init-from have {given.get(key)!r}; "
                "drop the setting, or start without --init-from"
            )


def run(args: argparse.Namespace, config: object, train: Callable[[World], None]) -> int:
    """Print the configuration, or train in the run's directory, which no other training may use meanwhile."""
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
            train(here)
        finally:
            lock.release()
    return 0


def resume_from(args: argparse.Namespace, here: World) -> Path | None:
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
