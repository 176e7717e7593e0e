"""What the verbs of images share: options, and the model on its device."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from waveglow.data.image_sources import SPLITS
from waveglow.devices import set_threads, usable_device
from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL

# ---- Options ---------------------------------------------------------------------------------------------------------


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


# ---- The model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """An image flow on its device, what results say of it, and the image set that it learned, if that is known."""

    model: FlowImage
    device: torch.device
    path: Path
    facts: dict[str, Any]
    dataset: str | None

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file: latents mean something to these weights only."""
        return str(self.facts["weights_sha256"])


def open_model(args: argparse.Namespace) -> Opened:
    """The image flow that the options name. Raises CheckpointError, ValueError."""
    if args.threads is not None:
        set_threads(args.threads)
    device = torch.device(usable_device(args.device))
    loaded = checkpoint.load_image(args.checkpoint)
    model = loaded.model.requires_grad_(False).to(device)
    facts = {
        "checkpoint": str(loaded.path),
        "weights_sha256": checkpoint.sha256(loaded.path / checkpoint.WEIGHTS),
        "model": loaded.model_config,
        "step": loaded.info.get("step"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_bits": model.n_bits,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "seed": args.seed,
    }
    data = loaded.info.get("data")
    dataset = str(data.get("dataset")) if isinstance(data, dict) else None
    return Opened(model, device, loaded.path, facts, dataset)


def require_class(model: FlowImage, label: int) -> None:
    """Raises ValueError where --label is no class of the model."""
    if not 0 <= label < model.n_classes:
        rule = f"has classes 0 to {model.n_classes - 1}" if model.n_classes else "has no classes"
        raise ValueError(f"--label is {label}; this model {rule}")
