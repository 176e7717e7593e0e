"""What work with an image flow begins with: the model, prepared data, photos, and the loop over encoded batches.

Shapes: pixels uint8 [B, C, H, W]; x [B, C, H, W] in the flow's domain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from waveglow.audio.files import FileError
from waveglow.data.image_sources import open_photo
from waveglow.data.images import Images
from waveglow.devices import usable_device
from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage, Latents
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.noise import Purpose, philox


@dataclass(frozen=True)
class Opened:
    """An image flow on its device, what results say of it, and what training noted of it."""

    model: FlowImage
    device: torch.device
    path: Path
    facts: dict[str, Any]
    info: dict[str, Any]

    @property
    def dataset(self) -> str | None:
        """The image set that it learned, if that is known."""
        data = self.info.get("data")
        return str(data.get("dataset")) if isinstance(data, dict) else None

    @property
    def gaussian_std(self) -> float:
        """Of the Gaussian noise that it learned images with, which its samples have too; 0 where there was none."""
        data = self.info.get("data")
        noise = data.get("gaussian_std") if isinstance(data, dict) else None
        return float(noise) if isinstance(noise, (int, float)) else 0.0

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file: latents mean something to these weights only."""
        return str(self.facts["weights_sha256"])

    @property
    def seed(self) -> int:
        """Of all that is drawn with it."""
        return int(self.facts["seed"])


def open_model(path: str | Path = DEFAULT_IMAGE_MODEL, *, device: str | None = None, seed: int = 0) -> Opened:
    """An image flow to work with.

    Arguments:
        path: a checkpoint directory, a training run (its newest one), or a model of the package.
        device: "cpu", "cuda", "cuda:1"; None is a GPU where there is one.
        seed: of all that is drawn with it; the same seed, the same result.

    Raises CheckpointError, and ValueError for a device that can't be used.
    """
    where = torch.device(usable_device(device))
    loaded = checkpoint.load_image(path)
    model = loaded.model.requires_grad_(False).to(where)
    facts = {
        "checkpoint": str(loaded.path),
        "weights_sha256": checkpoint.sha256(loaded.path / checkpoint.WEIGHTS),
        "model": loaded.model_config,
        "step": loaded.info.get("step"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_bits": model.n_bits,
        "device": str(where),
        "threads": torch.get_num_threads(),
        "seed": seed,
    }
    return Opened(model, where, loaded.path, facts, loaded.info)


def require_class(model: FlowImage, label: int) -> None:
    """Raises ValueError where --label is no class of the model."""
    if not 0 <= label < model.n_classes:
        rule = f"has classes 0 to {model.n_classes - 1}" if model.n_classes else "has no classes"
        raise ValueError(f"--label is {label}; this model {rule}")


def open_data(folder: Path, split: str, model: FlowImage) -> Images:
    """A split of prepared images of the model's shape. Raises ConfigError, ValueError."""
    images = Images(folder, split, seed=0, flip=False)
    found = (images.set.channels, images.set.size, images.set.size)
    if found != model.shape:
        raise ValueError(f"{folder}: holds images of {shape_text(found)}, this model takes {shape_text(model.shape)}")
    return images


def shape_text(shape: Sequence[int]) -> str:
    """
    >>> shape_text((3, 32, 32))
    '3×32×32'
    """
    return "×".join(map(str, shape))


def data_facts(images: Images) -> dict[str, Any]:
    """What results say of their data."""
    found = images.set
    return {
        "data": str(found.folder),
        "dataset": found.dataset,
        "data_version": found.version,
        "data_hash": found.hash,
        "split": images.split,
    }


def chosen(n: int, wanted: int | None, *, seed: int) -> list[int]:
    """`wanted` of n images at random, in order; all where there are not more, or None is wanted."""
    if wanted is None or wanted >= n:
        return list(range(n))
    return sorted(philox(seed, Purpose.ORDER, 0).permutation(n)[:wanted].tolist())


@dataclass(frozen=True)
class Pictures:
    """Some images to look at: pixels uint8 [N, C, H, W], x [N, C, H, W], names, facts; and what couldn't be read.

    y [N] are their classes, None for a model that has none.
    """

    pixels: Tensor
    x: Tensor
    y: Tensor | None
    names: list[str]
    facts: dict[str, Any]
    failed: list[str]


def open_pictures(
    opened: Opened,
    paths: Sequence[Path],
    *,
    label: Sequence[int] | None = None,
    data: Path | None = None,
    split: str = "test",
    n: int,
) -> Pictures:
    """Photos (`photos`), or n images of a split of prepared `data` (`held_out`).

    Raises ValueError where both are given or none, or as those do.
    """
    if bool(paths) == bool(data):
        raise ValueError("give either photos, or --data FOLDER, which `waveglow image prepare` has made")
    if data is None:
        return photos(opened, paths, label=label)
    if label:
        raise ValueError("--label is the class of photos; images of --data have their own")
    return held_out(opened, data, split=split, n=n)


def held_out(opened: Opened, folder: Path, *, split: str = "test", n: int) -> Pictures:
    """n images of a split of prepared data, at random by the model's seed.

    Raises ConfigError, and ValueError where the split has fewer, or images of another shape.
    """
    images = open_data(folder, split, opened.model)
    if len(images) < n:
        raise ValueError(f"{folder}: its {split} split has {len(images)} images; {n} are asked for")
    places = chosen(len(images), n, seed=opened.seed)
    pixels = images.pixels(places)
    x = opened.model.dequantize(pixels, seed=places).to(opened.device)
    y = _labels(opened, images, places)
    names = [f"{split}-{place}" for place in places]
    return Pictures(pixels, x, y, names, {**data_facts(images), "labels": _listed(y)}, [])


def _labels(opened: Opened, images: Images, places: list[int]) -> Tensor | None:
    """Classes [N] of images, for a model that takes them."""
    return images.labels[places].to(opened.device) if opened.model.n_classes else None


def _listed(y: Tensor | None) -> list[int] | None:
    return None if y is None else y.tolist()


def photos(opened: Opened, paths: Sequence[Path], *, label: Sequence[int] | None = None) -> Pictures:
    """Photos (PNG, JPEG, WebP), cropped and resized as the model's data were.

    Those that can't be read are in `failed`, a sentence each.

    Arguments:
        label: their class, for a model of classes: one for all, or one each.

    Raises ValueError where no photo can be read, or `label` doesn't fit.
    """
    classes = _classes(opened, label, len(paths))
    pixels, names, failed, read = [], [], [], []
    for place, path in enumerate(paths):
        try:
            pixels.append(open_photo(path, opened.model.shape[1], opened.model.shape[0], dataset=opened.dataset))
            names.append(path.stem)
            read.append(place)
        except FileError as error:
            failed.append(str(error))
    if not pixels:
        raise ValueError("; ".join(failed))
    # Every photo takes the noise that it would take alone.
    x = opened.model.dequantize(torch.stack(pixels), seed=[0] * len(pixels)).to(opened.device)
    y = None if classes is None else classes[read]
    facts = {"photos": [str(path) for path in paths], "labels": _listed(y)}
    return Pictures(torch.stack(pixels), x, y, names, facts, failed)


def _classes(opened: Opened, label: Sequence[int] | None, n: int) -> Tensor | None:
    """Classes [n] of n photos, as --label has them; None for a model that takes none. Raises ValueError."""
    if label is None:
        if opened.model.n_classes:
            raise ValueError(f"{opened.path}: a model of {opened.model.n_classes} classes; --label K says the photos'")
        return None
    for each in label:
        require_class(opened.model, each)
    if len(label) not in (1, n):
        raise ValueError(f"--label has {len(label)} classes, there are {n} photos; give one, or one each")
    return torch.tensor(list(label), device=opened.device).expand(n)


@dataclass(frozen=True)
class Encoded:
    """A batch of images, and their latents."""

    places: list[int]
    pixels: Tensor
    x: Tensor
    y: Tensor | None
    zs: Latents
    log_det: Tensor


def encoded(opened: Opened, images: Images, places: Sequence[int], *, batch_size: int) -> Iterator[Encoded]:
    """Batches of the images at these places, encoded, with a progress bar.

    Each image takes the dequantization noise of its own number in the split, whatever the batch.
    """
    model, device = opened.model, opened.device
    with progress(len(places), "image") as bar:
        for start in range(0, len(places), batch_size):
            some = list(places[start : start + batch_size])
            pixels = images.pixels(some)
            x = model.dequantize(pixels, seed=some).to(device)
            y = _labels(opened, images, some)
            zs, log_det = model.encode(x, y)
            yield Encoded(some, pixels, x, y, zs, log_det)
            bar.update(len(some))


def progress(total: int, unit: str) -> tqdm[Any]:
    """A bar with rate and time left; a log gets a line now and then, if it takes long."""
    patience = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, unit=unit, mininterval=patience, delay=patience)
