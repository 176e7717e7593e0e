"""What the verbs of images share: options, and the model and the pictures that they name."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from waveglow.data.image_sources import SPLITS
from waveglow.devices import set_threads
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures.inputs import Opened, Pictures, held_out, open_model, photos


def add_model(parser: argparse.ArgumentParser) -> None:
    """Options of everything that runs an image flow."""
    parser.add_argument(
        "-c",
        "--checkpoint",
        type=Path,
        default=DEFAULT_IMAGE_MODEL,
        metavar="CKPT",
        help="checkpoint directory, training run, or a model of the package (demo-faces)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=seed, default=0, help="of all that is drawn; the same seed, the same result (0)")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Pictures to start from."""
    parser.add_argument("photos", type=Path, nargs="*", metavar="PHOTO", help="your own: PNG, JPEG, WebP")
    parser.add_argument(
        "--label",
        type=classes,
        metavar="K[,K]",
        help="class of the photos, for a model of classes: one for all, or one each",
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="or images of `waveglow image prepare`, at random")
    add_split(parser)


def add_split(parser: argparse.ArgumentParser) -> None:
    """Which images of --data."""
    parser.add_argument("--split", choices=SPLITS, default="test", help="of --data (test)")


def add_out(parser: argparse.ArgumentParser) -> None:
    """Where pictures go."""
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="picture.png, or a folder that also gets every image by itself"
    )


def add_batch_size(parser: argparse.ArgumentParser, *, default: int = 64) -> None:
    """How many images are in memory at once."""
    parser.add_argument(
        "--batch-size", type=positive, default=default, metavar="N", help=f"images in memory at once ({default})"
    )


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1")
    return int(text)


def seed(text: str) -> int:
    """A seed that leaves room for those that follow it."""
    if not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is no integer from 0 to 2**63 - 1")
    return int(text)


def classes(text: str) -> list[int]:
    """Classes between commas."""
    parts = text.split(",")
    if not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of classes, such as 3 or 3,5")
    return [int(part) for part in parts]


def numbers(text: str) -> list[float]:
    """Finite numbers between commas, each once."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of finite numbers, such as -1,0,1")
    return list(dict.fromkeys(values))


def opened_model(args: argparse.Namespace) -> Opened:
    """The image flow that the options of `add_model` name. Raises CheckpointError, ValueError."""
    if args.threads is not None:
        set_threads(args.threads)
    return open_model(args.checkpoint, device=args.device, seed=args.seed)


def opened_pictures(args: argparse.Namespace, opened: Opened, *, n: int) -> Pictures:
    """The photos, or n images of the split, that the options of `add_pictures` name.

    Raises ValueError where they name neither or both, no photo can be read, or the split has less than n images.
    """
    if bool(args.photos) == bool(args.data):
        raise ValueError("give either photos, or --data FOLDER, which `waveglow image prepare` has made")
    if args.data and args.label:
        raise ValueError("--label is the class of photos; images of --data have their own")
    if args.data:
        return held_out(opened, args.data, split=args.split, n=n)
    return photos(opened, args.photos, label=args.label)
