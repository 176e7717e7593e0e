"""Published image sets in the form they are distributed, read a picture at a time; never unpickled or extracted.

And a user's own photo, as if it were of one of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from waveglow.config import ConfigError, nearest
from waveglow.data.image_sources.celeba import CELEBA, CELEBA_PAGE, CELEBA_TERMS, download_celeba
from waveglow.data.image_sources.celebahq import CELEBA_HQ
from waveglow.data.image_sources.cifar10 import CIFAR10
from waveglow.data.image_sources.digits import SKLEARN_DIGITS
from waveglow.data.image_sources.fashion_mnist import FASHION_MNIST
from waveglow.data.image_sources.imagefolder import IMAGEFOLDER
from waveglow.data.image_sources.imagenet import IMAGENET32, IMAGENET64
from waveglow.data.image_sources.lsun import LSUN
from waveglow.data.image_sources.mnist_5k import MNIST_5K
from waveglow.data.image_sources.picture import fitted, read_file
from waveglow.data.image_sources.source import SPLITS, Part, Pixels, Source, split_by_hash

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CELEBA_PAGE",
    "CELEBA_TERMS",
    "DATASETS",
    "SPLITS",
    "Part",
    "Pixels",
    "Source",
    "checked_settings",
    "download_celeba",
    "open_photo",
    "open_source",
    "split_by_hash",
]

DATASETS = {
    "celeba": CELEBA,
    "cifar10": CIFAR10,
    "imagefolder": IMAGEFOLDER,
    "fashion-mnist": FASHION_MNIST,
    "mnist-5k": MNIST_5K,
    "digits": SKLEARN_DIGITS,
    "imagenet32": IMAGENET32,
    "imagenet64": IMAGENET64,
    "lsun": LSUN,
    "celeba-hq": CELEBA_HQ,
}


def checked_settings(dataset: str, source: Path | None, size: int | None) -> tuple[Path | None, int]:
    """The source and size that are meant, defaults filled in. Raises ConfigError for what the set doesn't have."""
    if dataset not in DATASETS:
        raise ConfigError(f"unknown image set {dataset!r}{nearest(dataset, DATASETS)}")
    published = DATASETS[dataset]
    source = source or published.default
    if published.needs and source is None:
        raise ConfigError(f"{dataset} needs a source: {published.needs}")
    if source is not None and not published.needs:
        raise ConfigError(f"{dataset} comes with a Python package and takes no source, given: {source}")
    size = size if size is not None else (*published.sizes, 64)[0]
    if published.sizes and size not in published.sizes:
        raise ConfigError(f"size is {size}; {dataset} has {' or '.join(map(str, published.sizes))}")
    if size < 8 or (size & (size - 1) and size not in published.sizes):
        raise ConfigError(f"size is {size}; it must be a power of two from 8, e.g. 32, 64, 128 or 256")
    return None if source is None else source.resolve(), size


def open_source(dataset: str, source: Path | None, size: int) -> Source:
    """An image set, opened; settings as `checked_settings` returns them.

    Raises ConfigError where something of it is missing or damaged; single pictures raise when they are read.
    """
    published = DATASETS[dataset]
    if source is not None and not source.exists():
        raise ConfigError(f"{source}: doesn't exist; {dataset} needs there {published.needs}")
    return published.open(source or Path(), size)


def open_photo(path: Path, size: int, channels: int, *, dataset: str | None = None) -> Tensor:
    """A user's own picture (PNG, JPEG, WebP), upright, cropped and resized as the data were: uint8 [C, size, size].

    With zeros around it where the pictures of `dataset` have them at that size. Raises FileError where it can't be read
    or is too large, ValueError unless channels is 1 or 3.
    """
    import torch
    import torch.nn.functional as F

    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}; pictures have 1 (grey) or 3 (RGB)")
    own_size = min(DATASETS[dataset].sizes, default=size) if dataset in DATASETS else size
    pixels = fitted(read_file(path), path, size=own_size, channels=channels)
    return F.pad(torch.from_numpy(pixels.copy()), [(size - own_size) // 2] * 4)
