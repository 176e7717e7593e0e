"""Can a vocoder of mel convention B be fed mels of convention A?

A and B are presets, checkpoints, voices of the package, or YAML files of one's own. Answers equal, convertible,
shifted (works, with audio half a hop late) or incompatible, in words; the exit code is 0, or 3 where they are
incompatible.

  waveglow mel-check tacotron2 runs/ljspeech
"""

import argparse

from waveglow.audio.mel import PRESETS, compare
from waveglow.export.onnx_runtime import mel_spec_of
from waveglow.models.mel_lookup import named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = f"a preset ({', '.join(PRESETS)}), a checkpoint, an .onnx or a YAML file"
    parser.add_argument("a", metavar="A", help=f"convention of the mels: {what}")
    parser.add_argument("b", metavar="B", help=f"convention of the vocoder: {what}")


def run(args: argparse.Namespace) -> int:
    """Compare the two."""
    found = compare(*(mel_spec_of(name) or named(name) for name in (args.a, args.b)))
    print(f"{found.kind}: {found.reason}")
    return 3 if found.kind == "incompatible" else 0
