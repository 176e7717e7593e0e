"""Images for training: any published set cached once as 8-bit shards, then read by number, mirrored at random.

A cache folder holds `train-00000.npy` … (uint8 [N, C, H, W]), `labels.npz` and, written last, `images.json`. Pixels
are whole numbers 0 to 255; reduction to fewer bits and dequantization are the model's.

Shapes: pixels [C, H, W] with H = W = `size`; a split has N images and A binary attributes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from waveglow.audio.files import FileError, folders_below, make_folder, write_atomically
from waveglow.config import ConfigError, from_json, from_mapping, nearest
from waveglow.data.image_sources import (
    SPLITS,
    Part,
    Pixels,
    Source,
    checked_settings,
    open_source,
)
from waveglow.data.sampler import clip_index
from waveglow.data.split import Split
from waveglow.noise import Purpose, philox

INDEX, LABELS = "images.json", "labels.npz"
SHARD_IMAGES, SHARD_BYTES = 4096, 1 << 27  # a shard is written from memory: at most so many images and bytes

# ---- The cache -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSet:
    """A cache folder, as its images.json describes it; `hash` is the SHA-256 of all pixels and labels.

    `source` and `size` are the settings it was prepared with; `version` says what the pixels are, `bits` how many of a
    pixel's 8 they use, `files` what the source's files were (`_fingerprint`).
    """

    folder: Path
    dataset: str
    source: str | None
    size: int
    channels: int
    counts: dict[str, int]
    version: str
    hash: str
    shard_images: int
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    passed_over: int = 0
    bits: int = 8
    files: str = ""

    def text(self) -> str:
        """What it holds, in some lines."""
        counts = ", ".join(f"{n} {split}" for split, n in self.counts.items())
        shape = f"{self.channels}×{self.size}×{self.size}"
        hidden = f", {self.passed_over} hidden ones passed over" if self.passed_over else ""
        named = {"classes": self.class_names, "attributes": self.attribute_names}
        return "\n".join(
            [
                f"{self.folder}: {counts}, of {shape}; {len(self.refused)} refused{hidden}",
                f"version: {self.version}",
                *(f"{kind}: {', '.join(names)}" for kind, names in named.items() if names),
                f"hash: {self.hash}",
            ]
        )

    def __post_init__(self) -> None:
        counts = [self.counts.get(split) for split in SPLITS]
        if len(self.counts) != len(SPLITS) or not all(isinstance(n, int) and n >= 0 for n in counts):
            raise ConfigError(f"counts is {self.counts}; it must have a number for each of {', '.join(SPLITS)}")
        if min(self.size, self.channels, self.shard_images) < 1:
            raise ConfigError("size, channels and shard_images must be 1 or more")

    def shard(self, split: str, number: int) -> Pixels:
        """Images number·shard_images … of a split, memory-mapped: [≤ shard_images, C, H, W]. Raises ConfigError."""
        path = self.folder / _shard_name(split, number)
        n = min(self.shard_images, self.counts[split] - number * self.shard_images)
        expected = (n, self.channels, self.size, self.size)
        try:
            pixels: Pixels = np.lib.format.open_memmap(path, mode="r")  # it maps numbers only, never pickled objects
        except Exception as error:  # numpy's parser raises what a damaged header makes it raise
            raise ConfigError(f"{path}: can't be read ({error}); {_again(self.folder)}") from error
        if pixels.dtype != np.uint8 or pixels.shape != expected:
            raise ConfigError(
                f"{path}: holds {pixels.dtype} {list(pixels.shape)}, {INDEX} says uint8 {list(expected)}; "
                f"{_again(self.folder)}"
            )
        return pixels

    def shards(self, split: str) -> Iterator[Pixels]:
        """All images of a split, in order, shard by shard."""
        return (self.shard(split, number) for number in range(-(-self.counts[split] // self.shard_images)))

    def arrays(self) -> Iterator[npt.NDArray[Any]]:
        """All that the cache holds: of each split the shards, the labels and the attributes."""
        for split in SPLITS:
            yield from self.shards(split)
            yield self.labels(split)
            yield self.attributes(split)[1]

    def labels(self, split: str) -> npt.NDArray[np.int64]:
        """Classes [N], −1 where there are none. Raises ConfigError."""
        return self._labels(f"{split}_labels", np.int64, (self.counts[split],))

    def attributes(self, split: str) -> tuple[tuple[str, ...], npt.NDArray[np.int8]]:
        """Names of the A attributes, and their values, 0 or 1: [N, A]. Raises ConfigError."""
        shape = (self.counts[split], len(self.attribute_names))
        return self.attribute_names, self._labels(f"{split}_attributes", np.int8, shape)

    def _labels(self, key: str, dtype: type[np.integer[Any]], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        path = self.folder / LABELS
        try:
            with np.load(path, allow_pickle=False) as archive:
                array: npt.NDArray[Any] = np.asarray(archive[key])  # bytes, where the member is no array
        except Exception as error:  # as above, and zipfile's
            raise ConfigError(f"{path}: {key} can't be read ({error}); {_again(self.folder)}") from error
        if array.dtype != dtype or array.shape != shape:
            raise ConfigError(
                f"{path}: {key} is {array.dtype} {list(array.shape)}, {INDEX} says {dtype.__name__} {list(shape)}; "
                f"{_again(self.folder)}"
            )
        return array


def read_images(folder: Path, *, verify: bool = False) -> ImageSet:
    """The image set cached in a folder; the shapes of all files are checked, with `verify` every byte's hash too.

    Raises ConfigError where the folder is no finished cache or is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise ConfigError(f"{path}: not found, so {folder} holds no prepared images; prepare them first")
    try:
        entries = from_json(path.read_text(encoding="utf-8"))
        image_set = from_mapping(ImageSet, {**entries, "folder": folder})
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: can't be used ({error}); {_again(folder)}") from error
    for _ in image_set.arrays():
        pass  # each is opened, and its shape checked
    if verify and (found := _content_hash(image_set)) != image_set.hash:
        raise ConfigError(f"{folder}: its contents hash to {found}, {INDEX} says {image_set.hash!r}; {_again(folder)}")
    return image_set


def prepare_images(dataset: str, source: Path | None, out: Path, *, size: int | None = None) -> ImageSet:
    """Cache an image set below `out`; where that is done already with the same settings, do nothing.

    `dataset` is a name of image_sources.DATASETS; `source` its folder or archive (None for the default); `size` in
    pixels a side (None for the default). Pictures that can't be used are refused by name.

    Raises:
        ConfigError: an unknown set or size; something of the source missing or damaged; over half of its pictures
            refused; `out` prepared with other settings, damaged, or not to be written.
    """
    source, size = checked_settings(dataset, source, size)
    files = _fingerprint(source, out)
    if (out / INDEX).exists() and (known := _prepared_before(out, dataset, source, size, files)):
        return known
    opened = open_source(dataset, source, size)
    image_bytes = opened.channels * size**2
    image_set = ImageSet(
        folder=out,
        dataset=dataset,
        source=None if source is None else str(source),
        size=size,
        channels=opened.channels,
        counts=dict.fromkeys(SPLITS, 0),
        version=opened.version,
        hash="",
        shard_images=max(1, min(SHARD_IMAGES, SHARD_BYTES // image_bytes)),
        class_names=opened.class_names,
        attribute_names=opened.attribute_names,
        passed_over=opened.passed_over,
        files=files,
    )
    try:
        return _write(image_set, opened)
    except OSError as error:
        raise ConfigError(f"{out}: can't be written ({error.strerror or error}); nothing there is used") from error


def _fingerprint(source: Path | None, out: Path) -> str:
    """Two digests of the source's files: of names and sizes, and of times of change; empty where there are none."""
    if source is None or not source.exists():
        return ""
    below = [(parent, names) for parent, names in folders_below(source) if not parent.is_relative_to(out.resolve())]
    files = [parent / name for parent, names in below for name in names] if source.is_dir() else [source]
    states = [(os.path.relpath(file, source), file.lstat()) for file in files]
    named = [(name, state.st_size) for name, state in states]
    times = [state.st_mtime_ns for _, state in states]
    return " ".join(hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32] for facts in (named, times))


def _prepared_before(out: Path, dataset: str, source: Path | None, size: int, files: str) -> ImageSet | None:
    """What `out` holds; None where the source changed since. Raises ConfigError where it holds something else.

    A source that was moved is told by its names and sizes; one that isn't there any more can't have changed.
    """
    found = read_images(out)
    same_place = found.source == (None if source is None else str(source))
    moved = bool(files) and files.split()[0] == found.files.partition(" ")[0]
    if (found.dataset, found.size) != (dataset, size) or not (same_place or moved):
        raise ConfigError(
            f"{out}: holds {found.dataset} of {found.size}×{found.size} from {found.source or 'its package'}, not "
            f"{dataset} of {size}×{size} from {source or 'its package'}; choose another folder or delete this one"
        )
    if same_place and files and found.files and files != found.files:
        print(f"notice: {source} changed since {out} was prepared from it; prepared again", file=sys.stderr)
        return None
    return found


def _write(image_set: ImageSet, opened: Source) -> ImageSet:
    """All of it beside the folder, then into it: what is there stays until that is whole."""
    out = image_set.folder
    make_folder(out)
    beside = out / ".preparing"
    shutil.rmtree(beside, ignore_errors=True)  # of a preparation that was cut off
    beside.mkdir()
    try:
        made = _write_new(dataclasses.replace(image_set, folder=beside), opened)
        (out / INDEX).unlink(missing_ok=True)  # without which the folder counts for nothing
        for left in (path for split in SPLITS for path in out.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].npy")):
            left.unlink()
        for path in sorted(beside.iterdir(), key=lambda path: path.name == INDEX):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return dataclasses.replace(made, folder=out)


def _write_new(image_set: ImageSet, opened: Source) -> ImageSet:
    """Shards, labels and, last, the index."""
    out = image_set.folder
    refused: list[str] = []
    counts: dict[str, int] = {}
    tables: dict[str, npt.NDArray[Any]] = {}
    total = sum(len(part.labels) for part in opened.parts.values())
    patience = 0.1 if sys.stderr.isatty() else 30.0  # seconds: a log gets a line now and then, if it takes so long
    with tqdm(total=total, unit="image", mininterval=patience, delay=patience) as bar:
        for split, part in opened.parts.items():
            kept = _write_shards(image_set, split, _usable(part, bar, refused))
            counts[split] = len(kept)
            tables[f"{split}_labels"], tables[f"{split}_attributes"] = part.labels[kept], part.attributes[kept]
    first = f", first: {refused[0]}" if refused else ""
    if 2 * len(refused) > total or not counts["train"]:
        raise ConfigError(
            f"{image_set.source}: {len(refused)} of {total} pictures can't be used{first}; "
            f"at least half must be, and one of the training split"
        )
    emptied = next((split for split, part in opened.parts.items() if part.labels.size and not counts[split]), None)
    if emptied:
        raise ConfigError(f"{image_set.source}: none of the {emptied} split can be used{first}; mend one of them")
    np.savez(out / LABELS, **tables)  # type: ignore[arg-type]  # mypy takes them for allow_pickle
    image_set = dataclasses.replace(image_set, counts=counts, refused=(*opened.refused, *refused))
    image_set = dataclasses.replace(image_set, hash=_content_hash(image_set), bits=_bits(image_set))
    entries = {key: value for key, value in dataclasses.asdict(image_set).items() if key != "folder"}
    write_atomically(out / INDEX, json.dumps(entries, indent=2).encode())
    return image_set


def _bits(image_set: ImageSet) -> int:
    """How many of the highest bits the pixels use: 4 where all are multiples of 16."""
    used = [int(np.bitwise_or.reduce(shard, axis=None)) for split in SPLITS for shard in image_set.shards(split)]
    lowest = next((bit for bit in range(8) if any(value >> bit & 1 for value in used)), 0)
    return 8 - lowest


def _usable(part: Part, bar: tqdm[Any], refused: list[str]) -> Iterator[tuple[int, Pixels]]:
    """(index, picture) of those that can be read; what is wrong with the others goes to `refused`."""
    for i in range(len(part.labels)):
        bar.update()
        try:
            yield i, part.read(i)
        except FileError as error:
            refused.append(str(error))


def _write_shards(image_set: ImageSet, split: Split, pictures: Iterator[tuple[int, Pixels]]) -> list[int]:
    """Write a split; returns the indices it has, in order."""
    kept: list[int] = []
    number = 0
    while shard := list(islice(pictures, image_set.shard_images)):
        kept += [i for i, _ in shard]
        np.save(image_set.folder / _shard_name(split, number), np.stack([pixels for _, pixels in shard]))
        number += 1
    return kept


def _content_hash(image_set: ImageSet) -> str:
    """SHA-256 over each split's pixels, labels and attributes as they lie on disk, and over what gives them meaning."""
    digest = hashlib.sha256()
    for array in image_set.arrays():
        digest.update(array.reshape(-1).view(np.uint8).data)
    facts = [image_set.size, image_set.channels, [image_set.counts[split] for split in SPLITS]]
    digest.update(json.dumps([*facts, image_set.class_names, image_set.attribute_names]).encode())
    return digest.hexdigest()


def _shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}.npy"


def _again(folder: Path) -> str:
    return f"delete {folder} and prepare again"


# ---- The data set ----------------------------------------------------------------------------------------------------


class ImageExample(NamedTuple):
    """pixels uint8 [C, H, W]; label int64 [], −1 where there are no classes; the number that names it in messages."""

    pixels: Tensor
    label: Tensor
    number: int


class Images(Dataset[ImageExample]):
    """Images of one split: `images[g]` for training sample g, a function of (seed, g); `images.at(i)` for image i.

    With `flip`, half of the training samples are mirrored left to right. Raises ConfigError for an unknown or empty
    split.
    """

    def __init__(self, images: ImageSet | Path, split: str, *, seed: int, flip: bool) -> None:
        self.set = images if isinstance(images, ImageSet) else read_images(images)
        if split not in SPLITS:
            raise ConfigError(f"unknown split {split!r}{nearest(split, SPLITS)}")
        if self.set.counts[split] == 0:
            raise ConfigError(
                f"{self.set.folder}: its {split} split has no images; choose another split or more pictures"
            )
        self.split = split
        self.seed = seed
        self.flip = flip
        self.labels = torch.from_numpy(self.set.labels(split))  # [N]
        self._shards: dict[int, Pixels] = {}  # memory maps, opened when first read

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}  # a worker opens its own; a pickled map would carry its pixels along

    def __getitem__(self, number: int) -> ImageExample:
        example = self.at(clip_index(self.seed, number, len(self)))
        mirrored = self.flip and bool(philox(self.seed, Purpose.FLIP, number).integers(2))
        return example._replace(pixels=example.pixels.flip(-1) if mirrored else example.pixels, number=number)

    def at(self, i: int) -> ImageExample:
        """Image i of the split, never mirrored. Raises IndexError."""
        if not 0 <= i < len(self):
            raise IndexError(f"image {i} of {self.split}, which has 0 to {len(self) - 1}")
        number, place = divmod(i, self.set.shard_images)
        if number not in self._shards:
            self._shards[number] = self.set.shard(self.split, number)
        return ImageExample(torch.from_numpy(self._shards[number][place].copy()), self.labels[i], i)

    def pixels(self, indices: Iterable[int]) -> Tensor:
        """Images of these indices, never mirrored: uint8 [B, C, H, W]."""
        return torch.stack([self.at(int(i)).pixels for i in indices])

    def attributes(self) -> tuple[tuple[str, ...], npt.NDArray[np.int8]]:
        """Names of the A attributes, and their values, 0 or 1: [N, A]."""
        return self.set.attributes(self.split)
