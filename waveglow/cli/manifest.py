"""List recordings that lie elsewhere in OUT/manifest.jsonl, with a held-out split; none is copied.

SOURCE is a WebDataset or a lhotse Shar (a folder of uncompressed tars, or tars), or a lhotse CutSet or RecordingSet
(.jsonl, .jsonl.gz) of whole files. Each recording is checked as `waveglow prepare` does; one at another sample rate, a
piece of a recording, or what can't be read from any sample on, is refused by name.

  waveglow manifest data/shards data/imported
  waveglow manifest cuts_train.jsonl.gz data/imported --sample-rate 16000
"""

import argparse
from pathlib import Path

from waveglow.cli.prepare import add_manifest, told
from waveglow.data.importing import import_clips


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="folders, .tar, .jsonl, .jsonl.gz")
    add_manifest(parser)


def run(args: argparse.Namespace) -> int:
    """Write the manifest."""
    return told(import_clips(**vars(args)), args.out)
