"""What a published image set is, and what its readers share.

Shapes: a picture is uint8 [C, H, W] with H = W = `size`; a split has N pictures and A binary attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from waveglow.config import ConfigError
from waveglow.data.split import Split

Pixels = npt.NDArray[np.uint8]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
HELD_OUT = 5000  # of a published training set, its last images
DIGITS = tuple("0123456789")


class Part(NamedTuple):
    """One split: `read(i)` is picture i (raises FileError where it can't be used).

    labels [N] are classes, −1 where there are none; attributes [N, A] are 0 or 1.
    """

    read: Callable[[int], Pixels]
    labels: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Source:
    """An opened image set; `version` says in a sentence or two what the pixels are and how the splits were made.

    `refused` are files that were found and can't be pictures of it, each with the reason; `passed_over` counts hidden
    ones.
    """

    channels: int
    version: str
    parts: dict[Split, Part]
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    passed_over: int = 0


class Published(NamedTuple):
    """How a named set is opened: its sizes (the default first; none: any power of two from 8), and what `source` is."""

    open: Callable[[Path, int], Source]
    sizes: tuple[int, ...] = ()
    needs: str = ""  # what the source folder holds; empty for sets that come with a package and take no source
    default: Path | None = None


def split_by_hash(
    names: Sequence[str], fraction: float, *, usable: Callable[[int], bool] = lambda i: True
) -> dict[Split, list[int]]:
    """Indices of each split: the `fraction` of smallest name hashes is valid, the next test; at least one each.

    Only what is `usable` is held out; train has all the others.
    """
    order = sorted(
        range(len(names)), key=lambda i: hashlib.sha256(names[i].encode("utf-8", "surrogateescape")).digest()
    )
    n = max(1, round(fraction * len(names)))
    held_out = list(islice(filter(usable, order), 2 * n))
    valid, test = held_out[:n], held_out[n:]
    return {
        "train": sorted({*order} - {*held_out}),
        "valid": sorted(valid),
        "test": sorted(test),
    }


def hashed_split(pixels: Pixels, labels: npt.NDArray[Any], size: int) -> dict[Split, Part]:
    splits = split_by_hash([str(i) for i in range(len(pixels))], 0.1)
    return {split: array_part(pixels[indices], labels[indices], size) for split, indices in splits.items()}


def published_split(
    train: Pixels, labels: npt.NDArray[Any], test: Pixels, test_labels: npt.NDArray[Any], size: int
) -> dict[Split, Part]:
    n = len(train) - HELD_OUT
    if n < 1:
        raise ConfigError(f"the training set has {len(train)} images; more than the {HELD_OUT} of valid are needed")
    return {
        "train": array_part(train[:n], labels[:n], size),
        "valid": array_part(train[n:], labels[n:], size),
        "test": array_part(test, test_labels, size),
    }


def array_part(pixels: Pixels, labels: npt.NDArray[Any], size: int) -> Part:
    """Images in memory, [N, C, h, h], with zeros around them up to `size`."""
    margin = (size - pixels.shape[-1]) // 2
    around = ((0, 0), (margin, margin), (margin, margin))
    return Part(lambda i: np.pad(pixels[i], around), labels.astype(np.int64), no_attributes(len(labels)))


def padded(size: int) -> str:
    return f" with zeros around up to {size}×{size}" if size != 28 else ""


def unlabelled(n: int) -> npt.NDArray[np.int64]:
    return np.full(n, -1, np.int64)


def no_attributes(n: int) -> npt.NDArray[np.int8]:
    return np.zeros((n, 0), np.int8)
