"""CelebA-HQ (Karras et al. 2018, arXiv:1710.10196): a folder of its pictures, or tfrecords, read without TensorFlow.

The tfrecords are those that OpenAI gave out with Glow (`train/train-r08-s-0000-of-0120.tfrecords`, `validation/…`, the
number behind r being log2 of the size), or of the same layout: records of a `tf.train.Example` with "data", the pixels,
and "shape", [H, W, 3] or [3, H, W]. In a folder, the last 3 000 pictures by name are test, as many as Glow held out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from waveglow.audio.files import FileError
from waveglow.config import ConfigError
from waveglow.data.image_sources.picture import FITTED, SUFFIXES, in_folder, reader
from waveglow.data.image_sources.source import Part, Pixels, Published, Source, no_attributes, unlabelled
from waveglow.data.split import Split

PAGE = "https://github.com/openai/glow"
HELD_OUT_SHARE = 10  # a tenth is test, and as much valid
TERMS = "CelebA-HQ is for non-commercial research only"
MOST_BYTES = 1 << 28  # of a record; one of 1024×1024 has 3 MB


def _celeba_hq(source: Path, size: int) -> Source:
    return _of_records(source, size) if any(source.rglob("*.tfrecords")) else _of_pictures(source, size)


def _of_pictures(source: Path, size: int) -> Source:
    names = sorted((path.name for path in source.glob("*") if path.suffix.lower() in SUFFIXES), key=_in_order)
    if len(names) < 3:
        raise ConfigError(
            f"{source}: has {len(names)} pictures ({', '.join(SUFFIXES)}), and no .tfrecords; CelebA-HQ needs there "
            f"its pictures, such as 00000.png, or train and validation of Glow's tfrecords ({PAGE})"
        )
    n = max(1, len(names) // HELD_OUT_SHARE)
    splits: dict[Split, list[str]] = {"train": names[: -2 * n], "valid": names[-2 * n : -n], "test": names[-n:]}
    parts = {split: _part(reader(in_folder(source), some, size), len(some)) for split, some in splits.items()}
    version = (
        f"CelebA-HQ, a folder of {len(names)} pictures; {FITTED} to {size}×{size}; the last {n} by name are test, the "
        f"{n} before them valid. {TERMS}."
    )
    return Source(3, version, parts)


def _in_order(name: str) -> tuple[int, str]:
    """By number, then by name: `9.jpg` before `10.jpg`."""
    number = re.search(r"\d+", name)
    return (int(number[0]) if number else -1, name)


def _of_records(source: Path, size: int) -> Source:
    train, test = (_records(source, folder, size) for folder in ("train", "validation"))
    n = len(train) - max(1, len(train) // HELD_OUT_SHARE)
    if n < 1:
        raise ConfigError(f"{source}: its train records hold {len(train)} pictures; at least 2 are needed")
    parts: dict[Split, Part] = {
        "train": _part(_record_reader(train[:n], size), n),
        "valid": _part(_record_reader(train[n:], size), len(train) - n),
        "test": _part(_record_reader(test, size), len(test)),
    }
    version = (
        f"CelebA-HQ, tfrecords of {size}×{size} as they are; test is their validation set, valid the last "
        f"{len(train) - n} of train. {TERMS}."
    )
    return Source(3, version, parts)


def _part(read: Callable[[int], Pixels], n: int) -> Part:
    return Part(read, unlabelled(n), no_attributes(n))


Place = tuple[Path, int, int]  # of a record's content: its file, from which byte, how many


def _records(source: Path, folder: str, size: int) -> list[Place]:
    """The records of a split at this size, in the order of their files' names."""
    pattern = f"*-r{round(math.log2(size)):02d}-*.tfrecords"
    found = sorted((source / folder).glob(pattern))
    if not found:
        sizes = {2 ** int(r[1]) for path in source.rglob("*.tfrecords") if (r := re.search(r"-r(\d\d)-", path.name))}
        there = f"those of {' or '.join(map(str, sorted(sizes)))}" if sizes else "none so named"
        raise ConfigError(
            f"{source / folder}: has no {pattern}, which hold {size}×{size}; below {source} are {there}; give the "
            "folder of train and validation, and --size that is there"
        )
    return [place for path in found for place in _places(path)]


def _places(path: Path) -> Iterator[Place]:
    """The records of a file: the length (8 bytes, little-endian), its checksum (4), the content, its checksum (4)."""
    end, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < end:
            file.seek(at)
            length = int.from_bytes(file.read(8), "little")
            if at + 16 + length > end or length > MOST_BYTES:
                raise ConfigError(f"{path}: breaks off, or is no tfrecords file, at byte {at} of {end}; get it again")
            yield path, at + 12, length
            at += 16 + length


def _record_reader(places: list[Place], size: int) -> Callable[[int], Pixels]:
    def read(i: int) -> Pixels:
        path, at, length = places[i]
        with path.open("rb") as file:
            file.seek(at)
            content = file.read(length)
        name = path / f"byte {at}"
        try:
            return _pixels(_features(content), size)
        except (ValueError, IndexError, KeyError) as error:
            raise FileError(name, f"is no record of a picture of {size}×{size} ({error})") from error

    return read


def _pixels(features: dict[str, bytes | list[int]], size: int) -> Pixels:
    data, shape = features["data"], features["shape"]
    if not isinstance(data, bytes) or sorted(shape) != sorted((3, size, size)):
        raise ValueError(f"its shape is {list(shape)}")
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    return pixels if shape[0] == 3 else pixels.transpose(2, 0, 1)


# ---- Protocol buffers: a message is fields, each a number and what follows it, a varint or so many bytes -------------


def _features(example: bytes) -> dict[str, bytes | list[int]]:
    """Of a tf.train.Example {1: {1: map of name {1} to feature {2}}}: bytes {1: {1}} or whole numbers {3: {1}}."""
    found: dict[str, bytes | list[int]] = {}
    for _, features in _fields(example):
        for _, entry in _fields(_message(features)):
            key, feature = (_message(value) for _, value in sorted(_fields(_message(entry)), key=lambda f: f[0]))
            for kind, values in _fields(feature):
                listed = [value for _, value in _fields(_message(values))]
                if kind == 1:
                    found[key.decode()] = _message(listed[0])
                elif kind == 3:
                    found[key.decode()] = [number for value in listed for number in _numbers(value)]
    return found


def _message(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a message is due")
    return value


def _numbers(value: bytes | int) -> Iterator[int]:
    """One, or several packed."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, at = _varint(message, at)
        if tag & 7 == 0:
            yield tag >> 3, number
        elif tag & 7 == 2 and at + number <= len(message):
            yield tag >> 3, message[at : at + number]
            at += number
        else:
            raise ValueError("it is no protocol buffer")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(The number that begins there, the place behind it): 7 bits a byte, the lowest first."""
    number = 0
    for shift in range(0, 64, 7):
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("it is no protocol buffer")


CELEBA_HQ = Published(
    _celeba_hq, needs=f"a folder of CelebA-HQ's pictures, or of Glow's tfrecords, train and validation ({PAGE})"
)
