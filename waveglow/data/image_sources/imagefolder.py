"""Any folder of pictures, or of one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from waveglow.config import ConfigError
from waveglow.data.image_sources.picture import FITTED, SUFFIXES, in_folder, reader
from waveglow.data.image_sources.source import Part, Published, Source, no_attributes, split_by_hash


def _imagefolder(source: Path, size: int) -> Source:
    files = sorted(path.relative_to(source).as_posix() for path in _pictures(source))
    if len(files) < 3:
        raise ConfigError(f"{source}: has {len(files)} pictures ({', '.join(SUFFIXES)}); at least 3 are needed")
    classes = sorted({file.partition("/")[0] for file in files if "/" in file})
    if "train" in classes and {"test", "val", "valid"} & set(classes):
        raise ConfigError(
            f"{source}: its folders are splits, not classes: {', '.join(classes)}; give one as the source"
        )
    place = {name: number for number, name in enumerate(classes)}
    labels = np.array([place.get(file.partition("/")[0], -1) if "/" in file else -1 for file in files], np.int64)

    def part(indices: list[int]) -> Part:
        names = [files[i] for i in indices]
        return Part(reader(in_folder(source), names, size), labels[indices], no_attributes(len(names)))

    parts = {split: part(indices) for split, indices in split_by_hash(files, 0.05).items()}
    version = (
        f"a folder of pictures; {FITTED} to {size}×{size}, transparency on white; 5 % valid, 5 % test by name hash."
    )
    return Source(3, version, parts, class_names=tuple(classes))


def _pictures(folder: Path) -> Iterator[Path]:
    """Files named like pictures, in linked folders too, hidden ones left out; each real folder once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders.sort()
        yield from (
            Path(parent, name) for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )


IMAGEFOLDER = Published(_imagefolder, needs="a folder of pictures, or of one folder a class")
