"""Write one HTML file about a training run, with its curves, a verdict and the voice as it was heard.

The file needs no network and no script: audio and pictures are inside. It is written from what the training left in the
run's directory: `metrics.jsonl`, `samples/step_<n>/<clip>.wav`, `samples/reference/<clip>.wav` and `config.yaml`.

  waveglow report runs/ljspeech
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from waveglow.pages.run import write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="directory of the run")
    parser.add_argument("--out", type=Path, help="the HTML file to write (RUN_DIR/report.html)")


def run(args: argparse.Namespace, write: Callable[[Path, Path], None] = write_report) -> int:
    """Write it."""
    out = args.out or args.run_dir / "report.html"
    write(args.run_dir, out)
    print(out)
    return 0
