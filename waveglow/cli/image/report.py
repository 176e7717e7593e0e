"""One HTML file about a training run of an image flow: curves, a verdict, and all of its pictures.

The pictures are those of training (RUN/samples, the first and the newest step) and whatever other PNG files lie in the
run's directory, such as the results of `waveglow image sample | interpolate | attributes | evaluate`; text files beside
them are shown too. The file needs no network and no script.

  waveglow image report runs/faces
"""

from __future__ import annotations

import argparse
from pathlib import Path

from waveglow.pages.pictures import write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="directory that `waveglow image train` wrote")
    parser.add_argument("--out", type=Path, help="the HTML file to write (RUN_DIR/report.html)")


def run(args: argparse.Namespace) -> int:
    """Write it."""
    out = args.out or args.run_dir / "report.html"
    write_report(args.run_dir, out)
    print(out)
    return 0
