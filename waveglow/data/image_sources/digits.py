"""The digits of scikit-learn, 8×8."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from waveglow.config import ConfigError
from waveglow.data.image_sources.source import DIGITS, Published, Source, hashed_split


def _digits(source: Path, size: int) -> Source:
    try:
        datasets: Any = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise ConfigError(
            f"digits is read from the package scikit-learn ({error}); pip install scikit-learn"
        ) from error
    digits = datasets.load_digits()
    pixels = np.minimum(digits.images, 15).astype(np.uint8)[:, None] * 16  # [1797, 1, 8, 8]
    version = (
        "scikit-learn's digits, 8×8, stored as min(v, 15)·16 of its levels v = 0 to 16: exact in 4 bits, the two "
        "brightest levels merged; 10 % valid, 10 % test by hash of the row."
    )
    return Source(1, version, hashed_split(pixels, digits.target, size), class_names=DIGITS)


SKLEARN_DIGITS = Published(_digits, (8,))
