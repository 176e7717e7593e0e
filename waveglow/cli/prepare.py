"""Check recordings and list them in OUT/manifest.jsonl, with a held-out split.

CORPUS is LJSpeech's layout or any folder of .wav and .flac files. What is at another sample rate or has several
channels is converted into OUT/wavs; what can't be used is refused by name. --mels takes mel files of the same names,
such as those of an acoustic model run on the recordings' text (training on ground-truth-aligned mels).

  waveglow prepare LJSpeech-1.1 data/ljspeech
  waveglow prepare my-voice data/my-voice --sample-rate 24000 --mels acoustic-model-mels
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from waveglow.data.manifest import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of recordings")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for manifest.jsonl")
    parser.add_argument("--sample-rate", type=int, default=22050, metavar="HZ", help="of the manifest (22050)")
    parser.add_argument("--valid-fraction", type=float, default=0.05, help="share of the clips held out (0.05)")
    parser.add_argument("--mels", type=Path, help="folder of mel files with the recordings' names")


def run(args: argparse.Namespace) -> int:
    """Write the manifest."""
    prepared = prepare(
        args.corpus,
        args.out,
        sample_rate=args.sample_rate,
        valid_fraction=args.valid_fraction,
        mels=args.mels,
        progress=lambda files: tqdm(files, unit="file", disable=not sys.stderr.isatty()),
    )
    for line in prepared.refused:
        print(f"refused: {line}", file=sys.stderr)
    if prepared.notices:
        print(f"{len(prepared.notices)} notices, such as {prepared.notices[0]}", file=sys.stderr)
    print(f"{args.out / 'manifest.jsonl'}: {prepared.text()}")
    return 3 if prepared.refused else 0
