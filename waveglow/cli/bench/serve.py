"""A server under load: latency, time to first byte, refused requests, memory.

The server is started for it, with its usual limits.

  waveglow bench serve -c runs/mine --threads 2 --clients 1 8 --requests 10000
"""

import argparse
from pathlib import Path

from waveglow.bench import serving
from waveglow.cli.bench.common import add_machine, opened_device, show
from waveglow.cli.values import positive, seconds
from waveglow.models.shipped import DEFAULT_VOICE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--checkpoint", type=Path, default=DEFAULT_VOICE, help="checkpoint, run, voice (lapglow)")
    parser.add_argument("--clients", nargs="+", type=positive, default=serving.CONCURRENCY, help="(1 4 16 64)")
    parser.add_argument("--seconds", type=seconds, default=2.0, help="of audio a request (2)")
    parser.add_argument("--level-seconds", type=seconds, default=20.0, help="for each number of clients (20)")
    parser.add_argument("--requests", type=positive, default=1000, help="by which memory is told (1000)")
    add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    sizes = {name: getattr(args, name) for name in ("clients", "seconds", "level_seconds", "requests")}
    return show(args, device, serving.tables(args.checkpoint, **sizes, threads=args.threads, device=args.device))
