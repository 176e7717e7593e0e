"""Options that several verbs have, and the values they take."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from waveglow.models.shipped import DEFAULT_VOICE


def add_paths(parser: argparse.ArgumentParser, kind: str, out: str) -> None:
    """INPUT… OUT, as of cp."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar=kind, help="files, or folders searched recursively")
    parser.add_argument("out", type=Path, metavar="OUT", help=out)
    parser.add_argument("--skip-existing", action="store_true", help="leave outputs that are already there")


def add_vocoder(parser: argparse.ArgumentParser) -> None:
    """Options of everything that runs a vocoder."""
    parser.add_argument(
        "-c",
        "--checkpoint",
        type=Path,
        default=DEFAULT_VOICE,
        help="checkpoint directory, a training run (its newest one), a voice of the package (lapglow), or noise",
    )
    parser.add_argument(
        "--mel",
        metavar="CONVENTION",
        help="of -c noise, which has no weights and takes any: a preset, a checkpoint or a YAML file",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--precision", choices=("float32", "bf16", "fp16"), default="float32", help="of the nets")
    parser.add_argument(
        "--fused",
        action="store_true",
        help="a WaveGlow's conditioning as one map: faster, for 1 to 2 GiB at 256 channels",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Options of synthesis."""
    parser.add_argument("--sigma", type=non_negative, default=0.7, help="spread of the noise; lower is smoother (0.7)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the noise: the same seed gives the same audio (0)")
    parser.add_argument(
        "--refine",
        type=steps_of_refinement,
        metavar="STEPS",
        help="that move the audio onto its mel; 0 is the flow alone (as the voice was validated)",
    )


def add_denoising(parser: argparse.ArgumentParser, option: str, *, default: float) -> None:
    """The strength of `Vocoder.denoise` as an option of that name."""
    parser.add_argument(
        option,
        type=non_negative,
        default=default,
        metavar="STRENGTH",
        help=f"take off the hum that the voice makes in silence: 0.1 is usual, 0.01 gentle, 0 none ({default:g})",
    )


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """What those options ask of a vocoder."""
    return {"sigma": args.sigma, "seed": args.seed, "refine": args.refine}


def steps_of_refinement(text: str) -> int:
    """A whole number of them."""
    from waveglow.audio.refine import MAX_STEPS  # not above: this module does without torch

    if not (text.isdecimal() and int(text) <= MAX_STEPS):
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 to {MAX_STEPS}")
    return int(text)


def non_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no finite number >= 0")
    return value


def _seed(text: str) -> int:
    value = int(text) if text.isdigit() else -1
    if not 0 <= value < 2**64:
        raise argparse.ArgumentTypeError(f"{text} is no integer from 0 to 2**64 - 1")
    return value
