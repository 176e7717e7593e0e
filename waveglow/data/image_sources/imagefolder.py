"""Any folder of pictures, or of one folder a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from waveglow.audio.files import folders_below, hidden
from waveglow.config import ConfigError
from waveglow.data.image_sources.picture import FITTED, OTHER_PICTURES, SUFFIXES, in_folder, readable, reader
from waveglow.data.image_sources.source import Part, Published, Source, no_attributes, split_by_hash


def _imagefolder(source: Path, size: int) -> Source:
    found = [(path.relative_to(source), is_hidden) for path, is_hidden in _files(source)]
    files = sorted(path.as_posix() for path, is_hidden in found if not is_hidden and _has(path, SUFFIXES))
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

    can_be_read = readable(reader(in_folder(source), files, size))
    parts = {split: part(indices) for split, indices in split_by_hash(files, 0.05, usable=can_be_read).items()}
    version = (
        f"a folder of pictures; {FITTED} to {size}×{size}, transparency on white; 5 % valid, 5 % test by name hash."
    )
    return Source(
        3,
        version,
        parts,
        class_names=tuple(classes),
        refused=tuple(
            f"{source / path}: can't be read; save it as PNG, JPEG or WebP"
            for path, is_hidden in found
            if not is_hidden and _has(path, OTHER_PICTURES)
        ),
        passed_over=sum(is_hidden and _has(path, SUFFIXES) for path, is_hidden in found),
    )


def _files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All files below, and whether they are hidden, or a folder that they are in."""
    for parent, names in folders_below(folder):
        above = any(map(hidden, parent.relative_to(folder).parts))
        yield from ((parent / name, above or hidden(name)) for name in names)


def _has(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


IMAGEFOLDER = Published(_imagefolder, needs="a folder of pictures, or of one folder a class")
