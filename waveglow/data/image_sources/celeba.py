"""CelebA (Liu et al. 2015, arXiv 1411.7766) as published: aligned pictures, attributes and splits."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from waveglow.audio.files import FileError
from waveglow.config import ConfigError
from waveglow.data.image_sources.picture import FITTED, Content, in_folder, read_file, reader
from waveglow.data.image_sources.source import SPLITS, Part, Published, Source, unlabelled

CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
ORIGIN = "origin.txt"  # one line beside the lists, in pictures of others: what they are, and whose
CELEBA_TERMS = "CelebA is for non-commercial research only; its pictures may not be sold, published or passed on"


def _celeba(source: Path, size: int) -> Source:
    root = source if source.is_dir() and source.name != "img_align_celeba" else source.parent
    root = root.parent if root.name == "Img" else root
    names, attributes = _celeba_attributes(_celeba_file(root, "list_attr_celeba.txt", "list_attr_celeba.csv"))
    partition = _celeba_partition(_celeba_file(root, "list_eval_partition.txt", "list_eval_partition.csv"))
    lacking = [name for name in partition if name not in attributes]
    if lacking:
        raise ConfigError(f"{root}: the list of attributes lacks {lacking[0]}, which that of the splits has")
    content = _celeba_pictures(root, source)
    parts = {}
    for code, split in enumerate(SPLITS):
        members = [name for name, its in partition.items() if its == code]
        table = np.array([attributes[name] for name in members], np.int8).reshape(-1, len(names))
        parts[split] = Part(reader(content, members, size), unlabelled(len(members)), table)
    what, ending = "CelebA, aligned and cropped", f"its published split. {CELEBA_TERMS}."
    if (root / ORIGIN).exists():
        what, ending = f"{' '.join(_lines(root / ORIGIN))}, in CelebA's layout", "the split of its list."
    version = f"{what}; {FITTED} to {size}×{size}; {ending}"
    return Source(3, version, parts, attribute_names=names)


def _celeba_file(root: Path, *names: str) -> Path:
    """The first of `names` where CelebA's download, its page's folders or torchvision put it."""
    folders = [root, *(root / folder for folder in ("Img", "Anno", "Eval", "celeba"))]
    for name in names:
        for folder in folders:
            if (folder / name).exists():
                return folder / name
    raise ConfigError(
        f"{' or '.join(names)} not found; looked in {root} and in Img, Anno, Eval and celeba below it; "
        f"get it from {CELEBA_PAGE}"
    )


def _celeba_attributes(path: Path) -> tuple[tuple[str, ...], dict[str, list[bool]]]:
    """Names of the attributes, and their values by picture: a count, the names, then `000001.jpg -1 1 ...`.

    Kaggle's .csv has commas, no count, and a name for the column of names.
    """
    lines = _lines(path)
    first = 2 if path.suffix == ".csv" else 3
    if path.suffix == ".csv" and lines:
        header, *rows = (line.replace(",", " ") for line in lines)
        lines = [str(len(rows)), " ".join(header.split()[1:]), *rows]
    if len(lines) < 3 or lines[0].strip() != str(len(lines) - 2):
        announced = repr(lines[0].strip()[:20]) if lines else "nothing"
        raise ConfigError(f"{path}: announces {announced} pictures and lists {max(0, len(lines) - 2)}; get it again")
    names = tuple(lines[1].split())
    if not names:
        raise ConfigError(f"{path}: names no attribute in its second line; get it again")
    table = {}
    for number, line in enumerate(lines[2:], first):
        picture, *values = line.split() or [""]
        if len(values) != len(names) or not set(values) <= {"1", "-1"} or not _plain(picture):
            raise ConfigError(f"{path}, line {number}: is no picture's name and {len(names)} values of 1 or -1")
        table[picture] = [value == "1" for value in values]
    return names, table


def _celeba_partition(path: Path) -> dict[str, int]:
    """0 train, 1 valid, 2 test, by picture: `000001.jpg 0`, or Kaggle's `image_id,partition` and `000001.jpg,0`."""
    table = {}
    for number, line in enumerate(_lines(path), 1):
        if path.suffix == ".csv" and number == 1:
            continue
        line = line.replace(",", " ") if path.suffix == ".csv" else line
        picture, *values = line.split() or [""]
        if len(values) != 1 or values[0] not in ("0", "1", "2") or not _plain(picture):
            raise ConfigError(f"{path}, line {number}: is no picture's name and 0, 1 or 2")
        table[picture] = int(values[0])
    return table


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path).decode("utf-8-sig").rstrip().splitlines()
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read as text ({error})") from error


def _plain(name: str) -> bool:
    """Whether a name stays inside its folder."""
    return name not in ("", ".", "..") and not set(name) & set("/\\")


def _celeba_pictures(root: Path, source: Path) -> Content:
    """The pictures in a folder or, unpacked one at a time, in a zip."""
    path = source if source.is_file() else _celeba_file(root, "img_align_celeba", "img_align_celeba.zip")
    if path.is_dir():
        return in_folder(path / path.name if (path / path.name).is_dir() else path)  # some copies nest it twice
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises nearly anything at a damaged file
        raise ConfigError(f"{path}: is no zip archive ({error}); get it again from {CELEBA_PAGE}") from error
    members = {info.filename.rpartition("/")[2]: info for info in archive.infolist()}
    return lambda name: (path / name, _member(archive, members.get(name), path / name))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, name: Path) -> bytes:
    if info is None:
        raise FileError(name, "isn't in the archive")
    if info.file_size > 1 << 28:  # a picture of CelebA has 10 KB; what unpacks to gigabytes is an attack
        raise FileError(name, f"would unpack to {info.file_size} bytes; 256 MiB is the limit")
    try:
        return archive.read(info)
    except Exception as error:  # as above, and its decoders
        raise FileError(name, f"can't be unpacked ({error})") from error


def download_celeba(folder: Path) -> Path:
    """CelebA by torchvision into `folder`/celeba, which is returned: a source for `prepare_images`.

    The terms, to be shown to the user, are CELEBA_TERMS. Raises ConfigError where torchvision isn't installed or the
    server refuses, with the steps by hand.
    """
    try:
        datasets: Any = importlib.import_module("torchvision.datasets")
    except (ImportError, RuntimeError) as error:  # RuntimeError: one built for another torch
        raise ConfigError(f"CelebA's download needs torchvision ({error}); pip install torchvision") from error
    try:
        datasets.CelebA(str(folder), split="all", download=True)
    except Exception as error:  # a quota's HTML page, gdown's own errors, no network: all end in the same steps
        raise ConfigError(
            f"CelebA's server refused the download ({error}); by hand: get img_align_celeba.zip (folder Img), "
            f"list_attr_celeba.txt (Anno) and list_eval_partition.txt (Eval) from {CELEBA_PAGE}, put the three into "
            f"{folder / 'celeba'} without unpacking, and give that folder as the source. {CELEBA_TERMS}."
        ) from error
    return folder / "celeba"


CELEBA = Published(
    _celeba,
    needs="the folder of img_align_celeba (or img_align_celeba.zip), list_attr_celeba.txt, list_eval_partition.txt "
    "(or Kaggle's .csv of these names)",
)
