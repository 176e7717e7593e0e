"""List recordings that lie elsewhere in OUT/manifest.jsonl, with a held-out split; none is copied.

SOURCE is a WebDataset or a lhotse Shar (a folder of uncompressed tars, or tars), or a lhotse CutSet or RecordingSet
(.jsonl, .jsonl.gz) of whole files. Each recording is checked as `waveglow prepare` does; one at another sample rate, a
piece of a recording, or what can't be read from any sample on, is refused by name.

  waveglow manifest data/shards data/imported
  waveglow manifest cuts_train.jsonl.gz data/imported --sample-rate 16000
"""

import argparse
from pathlib import Path

from waveglow.data.importing import import_clips
from waveglow.data.prepare import MANIFEST, REPORT, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="folders, .tar, .jsonl, .jsonl.gz")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for manifest.jsonl")
    parser.add_argument("--sample-rate", type=int, default=22050, metavar="HZ", help="of the recordings (22050)")
    parser.add_argument("--valid-fraction", type=float, metavar="SHARE", help="of the clips held out (0.05)")
    parser.add_argument("--test-fraction", type=float, default=0.0, metavar="SHARE", help="held out for tests (none)")


def run(args: argparse.Namespace) -> int:
    """Write the manifest."""
    imported = import_clips(**vars(args))
    tell(imported, args.out / REPORT)
    print(f"{args.out / MANIFEST}: {imported.text()}")
    return 3 if imported.refused else 0
