"""Downsampled ImageNet (Chrabaszcz et al. 2017, arXiv:1707.08819), 32×32 or 64×64: the batches, in numpy's .npz format.

The set of the same name that RealNVP and Glow used (van den Oord et al. 2016) was made by another filter and is no
longer given out; bits per dimension of the two can't be compared, those of this one are lower.
"""

from __future__ import annotations

import zipfile
import zlib
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from waveglow.config import ConfigError
from waveglow.data.image_sources.source import HELD_OUT, Part, Pixels, Published, Source, no_attributes
from waveglow.data.split import Split

PAGE = "https://image-net.org/download-images.php"
BATCHES, CLASSES = 10, 1000


def _imagenet(source: Path, size: int) -> Source:
    train = [_found(source, f"train_data_batch_{i}.npz") for i in range(1, BATCHES + 1)]
    test = [_found(source, "val_data.npz")]
    train_labels, test_labels = ([_labels(path) for path in paths] for paths in (train, test))
    n = sum(map(len, train_labels)) - HELD_OUT
    if n < 1:
        raise ConfigError(f"{source}: its training batches have {n + HELD_OUT} images; more than {HELD_OUT} are needed")
    batches = _Batches(train, train_labels, size)
    every = np.concatenate(train_labels)
    parts: dict[Split, Part] = {
        "train": Part(batches.read, every[:n], no_attributes(n)),
        "valid": Part(lambda i: batches.read(n + i), every[n:], no_attributes(HELD_OUT)),
        "test": Part(_Batches(test, test_labels, size).read, test_labels[0], no_attributes(len(test_labels[0]))),
    }
    version = (
        f"ImageNet downsampled to {size}×{size} (Chrabaszcz et al. 2017, box filter), not the older set of "
        f"RealNVP's and Glow's tables; test is its validation set, valid the last {HELD_OUT} of train."
    )
    return Source(3, version, parts, class_names=tuple(str(i) for i in range(1, CLASSES + 1)))


def _found(source: Path, name: str) -> Path:
    folders = sorted({source, *(path for path in source.glob("*") if path.is_dir())}) if source.is_dir() else []
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"{source}: {name} not found; looked in it and in the folders in it for train_data_batch_1.npz to "
        f"train_data_batch_{BATCHES}.npz and val_data.npz; get them from {PAGE} (downsampled, npz format)"
    )


def _labels(path: Path) -> npt.NDArray[np.int64]:
    """Classes from 0; in the file they count from 1."""
    labels = _array(path, "labels").ravel()
    if labels.dtype.kind not in "iu" or (len(labels) and not 1 <= labels.min() <= labels.max() <= CLASSES):
        raise ConfigError(f"{path}: has labels that are not from 1 to {CLASSES}; get it again from {PAGE}")
    return labels.astype(np.int64) - 1


def _array(path: Path, name: str) -> npt.NDArray[np.generic]:
    try:
        with np.load(path, allow_pickle=False) as batch:
            found: npt.NDArray[np.generic] = batch[name]
            return found
    except KeyError as error:
        raise ConfigError(f"{path}: has no array {name!r}; get it again from {PAGE}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path}: is no intact .npz file of arrays ({error}); get it again from {PAGE}") from error


class _Batches:
    """Pictures of several files, of which one is in memory: they are read in order."""

    def __init__(self, paths: list[Path], labels: list[npt.NDArray[np.int64]], size: int) -> None:
        self.paths = paths
        self.ends = [*accumulate(map(len, labels))]
        self.size = size
        self.pixels = lru_cache(maxsize=1)(self._pixels)

    def read(self, i: int) -> Pixels:
        """Picture i of all."""
        file = int(np.searchsorted(self.ends, i, side="right"))
        return self.pixels(file)[i - (self.ends[file - 1] if file else 0)]

    def _pixels(self, file: int) -> Pixels:
        path, size = self.paths[file], self.size
        n = self.ends[file] - (self.ends[file - 1] if file else 0)
        data = _array(path, "data")
        if data.dtype != np.uint8 or data.shape != (n, 3 * size * size):
            raise ConfigError(
                f"{path}: has data of {data.dtype} {list(data.shape)}; {n} labelled images of {size}×{size} are uint8 "
                f"[{n}, {3 * size * size}]; is --size that of the files?"
            )
        return data.view(np.uint8).reshape(n, 3, size, size)


NEEDS = f"the folder of train_data_batch_1.npz … train_data_batch_{BATCHES}.npz and val_data.npz, from {PAGE}"
IMAGENET32 = Published(_imagenet, (32,), NEEDS)
IMAGENET64 = Published(_imagenet, (64,), NEEDS)
