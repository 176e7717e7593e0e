"""Check recordings and list them in OUT/manifest.jsonl, with a held-out split.

CORPUS is LJSpeech's layout or any folder of recordings. Those at another sample rate or of several channels are
converted into OUT/wavs; those that can't be used are refused by name. Clips are held out by the hash of their names;
those prepared in OUT before keep their split, unless a share or names are given. OUT/report.json has all notices.
--mels takes mel files of the same names, such as those of an acoustic model, to train on.

  waveglow prepare LJSpeech-1.1 data/ljspeech
  waveglow prepare my-voice data/my-voice --sample-rate 24000 --mels acoustic-model-mels --mel vocos
  waveglow prepare audiobooks data/books --cut 10 --hold-out anna 'ben/*_09' --test carl   # whole folders, recordings
"""

import argparse
from pathlib import Path

from waveglow.audio.io import CHANNELS
from waveglow.cli.values import checked, seconds
from waveglow.data.prepare import MANIFEST, REPORT, Prepared, prepare, tell
from waveglow.data.shards import size
from waveglow.models.mel_lookup import named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of recordings")
    add_manifest(parser)
    for option, split, use in (("--hold-out", "valid", "validate on (by hash)"), ("--test", "test", "keep for tests")):
        what = f"recordings or folders to {use}"
        parser.add_argument(option, nargs="+", default=(), dest=f"{split}_names", metavar="NAME", help=what)
    parser.add_argument("--mels", type=Path, metavar="DIR", help="folder of mel files with the recordings' names")
    parser.add_argument("--mel", metavar="CONVENTION", help="of --mels: a preset, checkpoint or YAML file (a preset)")
    parser.add_argument("--cut", dest="cut_seconds", type=seconds, metavar="SECONDS", help="cut longer ones at pauses")
    parser.add_argument(
        "--shards", dest="shard_bytes", type=checked(size), metavar="SIZE", help="as tars, of 1024MB, …"
    )
    parser.add_argument("--channel", choices=CHANNELS, default="mix", help="of several channels (mix)")


def run(args: argparse.Namespace) -> int:
    """Write the manifest."""
    chosen = vars(args) | {"mel_spec": named(args.mel) if args.mel else None}
    del chosen["mel"]
    prepared = prepare(**chosen)
    return told(prepared, args.out)


def add_manifest(parser: argparse.ArgumentParser) -> None:
    """What is to be made."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for manifest.jsonl")
    parser.add_argument("--sample-rate", type=int, default=22050, metavar="HZ", help="of the manifest (22050)")
    parser.add_argument("--valid-fraction", type=float, metavar="SHARE", help="of the clips held out (0.05)")
    parser.add_argument("--test-fraction", type=float, default=0.0, metavar="SHARE", help="held out for tests (none)")


def told(prepared: Prepared, out: Path) -> int:
    """Print what is in a manifest; the exit code."""
    tell(prepared, out / REPORT)
    print(f"{out / MANIFEST}: {prepared.text()}")
    return 3 if prepared.refused else 0
