"""LSUN (Yu et al. 2015, arXiv:1506.03365): one category, its LMDB databases of training and validation pictures.

Prepared as RealNVP did (Dinh et al. 2017, arXiv:1605.08803, §4.1): the shorter side becomes 1.5 times the size (96 for
64), and a crop at a random place is taken; here one a picture, its place told by the picture's name.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from waveglow.audio.files import FileError
from waveglow.config import ConfigError
from waveglow.data.image_sources.picture import upright
from waveglow.data.image_sources.source import HELD_OUT, Part, Pixels, Published, Source, no_attributes, unlabelled
from waveglow.data.split import Split

PAGE = "https://www.yf.io/p/lsun"


def _lsun(source: Path, size: int) -> Source:
    train, test = (_database(source, ending) for ending in ("_train_lmdb", "_val_lmdb"))
    category = train.name.removesuffix("_train_lmdb")
    if test.name != f"{category}_val_lmdb":
        raise ConfigError(f"{source}: {train.name} and {test.name} are of two categories; give a folder of one")
    names, test_names = (_keys(path) for path in (train, test))
    n = max(1, len(names) - min(HELD_OUT, len(names) // 10))
    if n == len(names):
        raise ConfigError(f"{train}: has {len(names)} pictures; at least 10 are needed")
    parts: dict[Split, Part] = {
        "train": _part(train, names[:n], size),
        "valid": _part(train, names[n:], size),
        "test": _part(test, test_names, size),
    }
    version = (
        f"LSUN {category}; the shorter side resized to {3 * size // 2}, a {size}×{size} crop at a place that the "
        f"picture's name tells (RealNVP: a random one); test is its validation set, valid the last {len(names) - n} of "
        "train."
    )
    return Source(3, version, parts)


def _database(source: Path, ending: str) -> Path:
    """The folder of data.mdb whose name ends so: in `source`, or beside it where that is such a folder itself."""
    root = source.parent if (source / "data.mdb").is_file() else source
    found = sorted(path.parent for path in root.glob(f"*{ending}/data.mdb"))
    if root != source:
        category = source.name.removesuffix("_train_lmdb").removesuffix("_val_lmdb")
        found = [path for path in found if path.name == f"{category}{ending}"]
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise ConfigError(
            f"{root}: needs one folder NAME{ending} with a data.mdb in it, has {there}; get one category, such as "
            f"bedroom, from {PAGE} and unzip it"
        )
    return found[0]


def _opened(path: Path) -> Any:
    try:
        lmdb: Any = importlib.import_module("lmdb")
    except ImportError as error:
        raise ConfigError(f"LSUN is read by the package lmdb ({error}); pip install lmdb") from error
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1)
    except lmdb.Error as error:
        raise ConfigError(f"{path}: is no intact LMDB database ({error}); get it again from {PAGE}") from error


def _keys(path: Path) -> list[bytes]:
    with _opened(path) as database, database.begin() as view:
        return list(view.cursor().iternext(values=False))


def _part(path: Path, names: list[bytes], size: int) -> Part:
    read = _reader(path, names, size)
    return Part(read, unlabelled(len(names)), no_attributes(len(names)))


def _reader(path: Path, names: list[bytes], size: int) -> Callable[[int], Pixels]:
    def read(i: int) -> Pixels:
        with _opened(path) as database, database.begin() as view:  # a process may have it open but once
            content = view.get(names[i])
        name = path / names[i].decode("utf-8", "backslashreplace")
        if content is None:
            raise FileError(name, "isn't in the database any more")
        return _cropped(upright(content, name), size, names[i])

    return read


def _cropped(image: Image.Image, size: int, name: bytes) -> Pixels:
    """[3, size, size]: of a picture whose shorter side is 1.5 · size, at a place that its name tells."""
    ratio = 1.5 * size / min(image.size)
    width, height = (max(3 * size // 2, round(side * ratio)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    draw = np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8], "little"))
    left, top = (int(draw.integers(0, side - size + 1)) for side in (width, height))
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


LSUN = Published(_lsun, needs=f"the folder of NAME_train_lmdb and NAME_val_lmdb, one category of LSUN, from {PAGE}")
