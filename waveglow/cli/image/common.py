"""What the verbs of images share: options, and the model and the pictures that they name."""

import argparse
from pathlib import Path

from waveglow.cli.common import add_machine
from waveglow.cli.values import classes, positive, seed_of_many
from waveglow.data.image_sources import SPLITS
from waveglow.devices import set_threads
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures.inputs import Opened, Pictures, open_model, open_pictures


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
    add_machine(parser)
    parser.add_argument("--seed", type=seed_of_many, default=0, help="the same seed, the same result (0)")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Pictures to start from."""
    parser.add_argument("photos", type=Path, nargs="*", metavar="PHOTO", help="your own: PNG, JPEG, WebP")
    parser.add_argument(
        "--label", type=classes, metavar="K[,K]", help="class of the photos, of a model of classes: one, or one each"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="or images of `waveglow image prepare`, at random")
    add_split(parser)


def add_split(parser: argparse.ArgumentParser) -> None:
    """Which images of --data."""
    parser.add_argument("--split", choices=SPLITS, default="test", help="of --data (test)")


def add_out(parser: argparse.ArgumentParser) -> None:
    """Where pictures go."""
    parser.add_argument("out", type=Path, metavar="OUT", help="picture.png, or a folder that gets every image as well")


def add_batch_size(parser: argparse.ArgumentParser, *, default: int = 64) -> None:
    """How many images are in memory at once."""
    parser.add_argument("--batch-size", type=positive, default=default, metavar="N", help=f"images at once ({default})")


def opened_model(args: argparse.Namespace) -> Opened:
    """The image flow that the options of `add_model` name. Raises CheckpointError, ValueError."""
    set_threads(args.threads)
    return open_model(args.checkpoint, device=args.device, seed=args.seed)


def opened_pictures(args: argparse.Namespace, opened: Opened, *, n: int) -> Pictures:
    """What the options of `add_pictures` name. Raises ValueError."""
    return open_pictures(opened, args.photos, label=args.label, data=args.data, split=args.split, n=n)
