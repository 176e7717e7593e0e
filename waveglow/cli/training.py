"""The options of the verbs that train, and the settings that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from waveglow.config import merged, parse_overrides


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


def overrides(args: argparse.Namespace, *, data: str) -> Mapping[str, Any]:
    """What --data and KEY=VALUE set; `data` is the setting in the group `data` that --data stands for."""
    given = {"data": {data: str(args.data)}} if args.data else {}
    return merged(given, parse_overrides(args.overrides))
