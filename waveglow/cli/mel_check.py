"""Can a vocoder of mel convention B be fed mels of convention A?

A and B are presets, checkpoints or voices of the package. Answers equal, convertible, shifted (works, with audio half
a hop late) or incompatible, in words; the exit code is 0, or 3 where they are incompatible.

  waveglow mel-check tacotron2 runs/ljspeech
"""

from __future__ import annotations

import argparse
from pathlib import Path

from waveglow.audio.mel import PRESETS, MelSpec, compare, preset
from waveglow.cli.mel import spec_of
from waveglow.models.checkpoint import voices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = f"a preset ({', '.join(PRESETS)}), a checkpoint or a voice"
    parser.add_argument("a", metavar="A", help=f"convention of the mels: {what}")
    parser.add_argument("b", metavar="B", help=f"convention of the vocoder: {what}")


def run(args: argparse.Namespace) -> int:
    """Compare the two."""
    found = compare(_spec(args.a), _spec(args.b))
    print(f"{found.kind}: {found.reason}")
    return 3 if found.kind == "incompatible" else 0


def _spec(name: str) -> MelSpec:
    return spec_of(Path(name)) if Path(name).exists() or name in voices() else preset(name)
