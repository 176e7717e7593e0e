"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747), its four idx files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from waveglow.config import ConfigError
from waveglow.data.image_sources.source import HELD_OUT, Pixels, Published, Source, padded, published_split

FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_HELP = (
    "the Debian package has them: `apt-get download dataset-fashion-mnist && "
    "dpkg-deb -x dataset-fashion-mnist*.deb DIR`, then give DIR/usr/share/datasets/fashion-mnist as the source"
)


def _fashion_mnist(source: Path, size: int) -> Source:
    train, test = (_idx(source / f"{name}-images-idx3-ubyte.gz", 2051)[:, None] for name in ("train", "t10k"))
    labels, test_labels = (_idx(source / f"{name}-labels-idx1-ubyte.gz", 2049) for name in ("train", "t10k"))
    for pixels, classes in ((train, labels), (test, test_labels)):
        if len(pixels) != len(classes) or pixels.shape[2:] != (28, 28) or classes.max(initial=0) > 9:
            raise ConfigError(
                f"{source}: has {len(pixels)} images of {pixels.shape[2]}×{pixels.shape[3]} and {len(classes)} labels "
                f"up to {classes.max(initial=0)}; each image of 28×28 has one from 0 to 9; {FASHION_HELP}"
            )
    parts = published_split(train, labels, test, test_labels, size)
    version = f"Fashion-MNIST, 28×28{padded(size)}; valid is the last {HELD_OUT} of train."
    return Source(1, version, parts, class_names=FASHION)


def _idx(path: Path, magic: int) -> Pixels:
    """The array of an idx.gz file: magic number, whose last byte counts the axes, and sizes, big-endian; then bytes."""
    if not path.is_file():
        raise ConfigError(f"{path}: not found; {FASHION_HELP}")
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: is no intact gzip file ({error}); {FASHION_HELP}") from error
    header = 4 + 4 * (magic & 255)
    found = int.from_bytes(content[:4], "big")
    if found != magic or len(content) < header:
        raise ConfigError(f"{path}: begins with {found}, an idx file of this kind with {magic}; {FASHION_HELP}")
    shape = [int(axis) for axis in np.frombuffer(content[4:header], ">u4")]
    if len(content) - header != math.prod(shape):
        raise ConfigError(
            f"{path}: has {len(content) - header} bytes after its header, which announces {'×'.join(map(str, shape))}; "
            f"{FASHION_HELP}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


FASHION_MNIST = Published(_fashion_mnist, (32, 28), f"the idx files; {FASHION_HELP}", FASHION_FOLDER)
