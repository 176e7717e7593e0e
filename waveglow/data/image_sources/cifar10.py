"""CIFAR-10 (Krizhevsky 2009), the binary version."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np

from waveglow.config import ConfigError
from waveglow.data.image_sources.picture import read_file
from waveglow.data.image_sources.source import HELD_OUT, Pixels, Published, Source, published_split

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR_BATCH, CIFAR_RECORD = 10_000, 1 + 3 * 32 * 32  # records a file; bytes a record: the class, then R, G and B planes


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
    parts = published_split(pixels[:n], labels[:n], pixels[n:], labels[n:], size)
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


CIFAR10 = Published(_cifar10, (32,), f"the folder of cifar-10-binary.tar.gz, from {CIFAR_PAGE}")
