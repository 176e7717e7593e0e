"""One report of all parts, once each `--shard I/N` of a verb has ended.

OUT is what the parts had. Of synth, resynth, mel and denoise it gets report.json, of evaluate its page and results; the
parts' reports stay. A part that has none is named: run it again, with --skip-existing, which leaves what is done.

  waveglow merge-reports wavs/
"""

import argparse
from pathlib import Path

from waveglow import batch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder of the parts' reports")


def run(args: argparse.Namespace) -> int:
    """Merge the reports, and print what became of all files."""
    if done := batch.merge_reports(args.out):
        return batch.tell(done)
    from waveglow.cli.evaluate import show
    from waveglow.evaluation import merged

    return show(args.out, merged(args.out))
