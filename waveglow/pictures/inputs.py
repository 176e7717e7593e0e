"""What the verbs of images are given: prepared data, photos, and the loop over encoded batches.

Shapes: pixels uint8 [B, C, H, W]; x [B, C, H, W] in the flow's domain.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from waveglow.audio.files import FileError
from waveglow.cli.image.common import Opened, require_class
from waveglow.data.image_sources import open_photo
from waveglow.data.images import Images
from waveglow.models.flow_image import FlowImage, Latents
from waveglow.noise import Purpose, philox


def open_data(folder: Path, split: str, model: FlowImage) -> Images:
    """A split of prepared images of the model's shape. Raises ConfigError, ValueError."""
    images = Images(folder, split, seed=0, flip=False)
    found = (images.set.channels, images.set.size, images.set.size)
    if found != model.shape:
        raise ValueError(f"{folder}: holds images of {shape_text(found)}, this model takes {shape_text(model.shape)}")
    return images


def shape_text(shape: Sequence[int]) -> str:
    """
    >>> shape_text((3, 32, 32))
    '3×32×32'
    """
    return "×".join(map(str, shape))


def data_facts(images: Images) -> dict[str, Any]:
    """What results say of their data."""
    found = images.set
    return {
        "data": str(found.folder),
        "dataset": found.dataset,
        "data_version": found.version,
        "data_hash": found.hash,
        "split": images.split,
    }


def chosen(n: int, wanted: int | None, *, seed: int) -> list[int]:
    """`wanted` of n images at random, in order; all where there are not more, or None is wanted."""
    if wanted is None or wanted >= n:
        return list(range(n))
    return sorted(philox(seed, Purpose.ORDER, 0).permutation(n)[:wanted].tolist())


@dataclass(frozen=True)
class Pictures:
    """Some images to look at: pixels uint8 [N, C, H, W], x [N, C, H, W], names, facts; and what couldn't be read.

    y [N] are their classes, None for a model that has none.
    """

    pixels: Tensor
    x: Tensor
    y: Tensor | None
    names: list[str]
    facts: dict[str, Any]
    failed: list[str]


def open_pictures(opened: Opened, args: argparse.Namespace, *, n: int) -> Pictures:
    """The photos, or n images of the split, that the options of `add_pictures` name.

    Raises ValueError where they name neither or both, no photo can be read, or the split has less than n images.
    """
    if bool(args.photos) == bool(args.data):
        raise ValueError("give either photos, or --data FOLDER, which `waveglow image prepare` has made")
    if args.data and args.label:
        raise ValueError("--label is the class of photos; images of --data have their own")
    return _of_data(opened, args, n) if args.data else _photos(opened, args.photos, args.label)


def _of_data(opened: Opened, args: argparse.Namespace, n: int) -> Pictures:
    images = open_data(args.data, args.split, opened.model)
    if len(images) < n:
        raise ValueError(f"{args.data}: its {args.split} split has {len(images)} images; {n} are asked for")
    places = chosen(len(images), n, seed=args.seed)
    pixels = images.pixels(places)
    x = opened.model.dequantize(pixels, seed=places).to(opened.device)
    y = _labels(opened, images, places)
    names = [f"{args.split}-{place}" for place in places]
    return Pictures(pixels, x, y, names, {**data_facts(images), "labels": _listed(y)}, [])


def _labels(opened: Opened, images: Images, places: list[int]) -> Tensor | None:
    """Classes [N] of images, for a model that takes them."""
    return images.labels[places].to(opened.device) if opened.model.n_classes else None


def _listed(y: Tensor | None) -> list[int] | None:
    return None if y is None else y.tolist()


def _photos(opened: Opened, paths: Sequence[Path], label: list[int] | None) -> Pictures:
    classes = _classes(opened, label, len(paths))
    pixels, names, failed, read = [], [], [], []
    for place, path in enumerate(paths):
        try:
            pixels.append(open_photo(path, opened.model.shape[1], opened.model.shape[0], dataset=opened.dataset))
            names.append(path.stem)
            read.append(place)
        except FileError as error:
            failed.append(str(error))
    if not pixels:
        raise ValueError("; ".join(failed))
    # Every photo takes the noise that it would take alone.
    x = opened.model.dequantize(torch.stack(pixels), seed=[0] * len(pixels)).to(opened.device)
    y = None if classes is None else classes[read]
    facts = {"photos": [str(path) for path in paths], "labels": _listed(y)}
    return Pictures(torch.stack(pixels), x, y, names, facts, failed)


def _classes(opened: Opened, label: list[int] | None, n: int) -> Tensor | None:
    """Classes [n] of n photos, as --label has them; None for a model that takes none. Raises ValueError."""
    if label is None:
        if opened.model.n_classes:
            raise ValueError(f"{opened.path}: a model of {opened.model.n_classes} classes; --label K says the photos'")
        return None
    for each in label:
        require_class(opened.model, each)
    if len(label) not in (1, n):
        raise ValueError(f"--label has {len(label)} classes, there are {n} photos; give one, or one each")
    return torch.tensor(label, device=opened.device).expand(n)


@dataclass(frozen=True)
class Encoded:
    """A batch of images, and their latents."""

    places: list[int]
    pixels: Tensor
    x: Tensor
    y: Tensor | None
    zs: Latents
    log_det: Tensor


def encoded(opened: Opened, images: Images, places: Sequence[int], *, batch_size: int) -> Iterator[Encoded]:
    """Batches of the images at these places, encoded, with a progress bar.

    Each image takes the dequantization noise of its own number in the split, whatever the batch.
    """
    model, device = opened.model, opened.device
    with progress(len(places), "image") as bar:
        for start in range(0, len(places), batch_size):
            some = list(places[start : start + batch_size])
            pixels = images.pixels(some)
            x = model.dequantize(pixels, seed=some).to(device)
            y = _labels(opened, images, some)
            zs, log_det = model.encode(x, y)
            yield Encoded(some, pixels, x, y, zs, log_det)
            bar.update(len(some))


def progress(total: int, unit: str) -> tqdm[Any]:
    """A bar with rate and time left; a log gets a line now and then, if it takes long."""
    patience = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, unit=unit, mininterval=patience, delay=patience)
