"""Options that several verbs have, and the values they take."""

from __future__ import annotations  # Vocoder, which brings torch, is named only

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from waveglow import batch
from waveglow.cli.values import checked, non_negative, positive, seed, steps_of_refinement
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.opening import open_vocoder, settled
from waveglow.parts import AUTO_HELP, WHOLE, part

if TYPE_CHECKING:
    from waveglow.vocoder import Vocoder

T = TypeVar("T")
Opened = Callable[[argparse.Namespace], batch.Work]


def add_paths(parser: argparse.ArgumentParser, kind: str, out: str) -> None:
    """INPUT… OUT, as of cp."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar=kind, help="files, or folders searched recursively")
    parser.add_argument("out", type=Path, metavar="OUT", help=out)
    parser.add_argument("--skip-existing", action="store_true", help="leave outputs that are already there")
    add_shares(parser)


def add_shares(parser: argparse.ArgumentParser) -> None:
    """How the work is divided among machines and processes."""
    parser.add_argument(
        "--shard", type=checked(part), default=WHOLE, metavar="I/N", help=f"do part I of N; {AUTO_HELP}"
    )
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes, of one thread if several (1)")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where to compute."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads (as many as the environment says)")


def add_vocoder(parser: argparse.ArgumentParser) -> None:
    """Options of everything that runs a vocoder."""
    parser.add_argument(
        "-c",
        "--checkpoint",
        type=Path,
        default=DEFAULT_VOICE,
        help="checkpoint directory, training run (its newest one), voice (lapglow), hf:org/name, .onnx file, or noise",
    )
    parser.add_argument("--mel", metavar="CONVENTION", help="of -c noise alone: a preset, a checkpoint or a YAML file")
    add_machine(parser)
    parser.add_argument("--precision", choices=("float32", "bf16", "fp16"), default="float32", help="of the nets")
    parser.add_argument("--fused", action="store_true", help="a WaveGlow's conditioning as one map: faster, 2 GiB more")


def opened_vocoder(args: argparse.Namespace) -> Vocoder | OnnxVocoder:
    """The vocoder that they name. Raises CheckpointError, OnnxFileError, ValueError."""
    names = ("mel", "device", "threads", "precision", "fused")
    return open_vocoder(args.checkpoint, runtime=getattr(args, "runtime", None), **{n: getattr(args, n) for n in names})


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Options of synthesis."""
    parser.add_argument("--sigma", type=non_negative, default=0.7, help="spread of the noise; lower is smoother (0.7)")
    parser.add_argument("--seed", type=seed, default=0, help="of the noise: the same seed gives the same audio (0)")
    parser.add_argument(
        "--refine",
        type=steps_of_refinement,
        metavar="STEPS",
        help="onto the mel; 0: the flow alone (as it was validated)",
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


def each_file(args: argparse.Namespace, suffixes: Sequence[str], out_suffix: str, opened: Opened) -> int:
    """Run the files of `add_paths`, print what became of them, and return the exit code: 0, or 3 where one failed."""
    shares = {"skip_existing": args.skip_existing, "part": args.shard, "jobs": args.jobs}
    return batch.tell(batch.each_file(args.inputs, args.out, suffixes, out_suffix, each(args, opened), **shares))


def each(args: argparse.Namespace, opened: Callable[[argparse.Namespace], T]) -> Callable[[], T]:
    """What each process calls: `opened`, with one checkpoint for all and one thread if there are several."""
    if args.jobs > 1:
        args.checkpoint = args.checkpoint and settled(args.checkpoint)
        args.threads = 1 if getattr(args, "threads", None) is None else args.threads
    return partial(opened, args)
