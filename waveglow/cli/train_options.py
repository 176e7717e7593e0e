"""The options of the verbs that train, and what they call."""

import argparse
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from waveglow.config import merged, parse_overrides, to_mapping
from waveglow.devices import set_threads
from waveglow.models.checkpoint import Checkpoint


def add_arguments(parser: argparse.ArgumentParser, *, data: str) -> None:
    """Declare the options; `data` says what --data takes."""
    parser.add_argument("--run-dir", type=Path, required=True, help="directory of the run")
    parser.add_argument("--config", type=Path, help="YAML file (default: the run's own, or the checkpoint's model)")
    parser.add_argument("--data", help=data)
    parser.add_argument("--init-from", type=Path, metavar="CKPT", help="fine-tune these weights, at a lower rate")
    parser.add_argument(
        "--resume", default="auto", metavar="auto|never|CKPT", help="auto: its newest checkpoint; never: anew (auto)"
    )
    parser.add_argument("--allow-data-change", action="store_true", help="resume although the data changed")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, such as train.batch_size=24")


def run(args: argparse.Namespace, kind: ModuleType, initial: Checkpoint[Any] | None, *, data: str) -> int:
    """Print the configuration, or train: `kind` does both. --data is `data`, a setting of the group `data`."""
    set_threads(args.threads)
    given = {"data": {data: str(args.data)}} if args.data else {}
    overrides = merged(given, parse_overrides(args.overrides))
    config = kind.configuration(args.run_dir, file=args.config, overrides=overrides, initial=initial)
    if args.print_config:
        print(yaml.safe_dump(to_mapping(config), sort_keys=False), end="")
        return 0
    kind.train(
        config,
        args.run_dir,
        initial=initial,
        resume=args.resume,
        allow_data_change=args.allow_data_change,
        device=args.device,
    )
    return 0
