"""The image flow of the page: faces drawn, changed by their attributes and turned into one another.

A picture is told by its seed and temperature, or by its pixels; either way its latents are kept for a while, so that a
slider costs one pass through the flow. Shapes: latents [1, C_i, *S_i] of each level, pixels uint8 [N, C, H, W].
"""

from __future__ import annotations

import io
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from waveglow.export.fold import folded
from waveglow.models.flow_image import Latents
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures.directions import Directions, read_directions
from waveglow.pictures.inputs import Opened, open_model
from waveglow.pictures.interpolation import WAYS
from waveglow.serve import photo_process, photos

KEPT = 64  # pictures whose latents are kept: 12 kB each of 32×32
MAX_PICTURES = 24  # of an answer
MAX_TEMPERATURE, MAX_WEIGHT = 2.0, 10.0
# What turns nearly every face, by the model's card; of the other attributes that is 1.
FULL = {"Smiling": 3.5}


@dataclass(frozen=True)
class Picture:
    """A face out of noise (`seed`, `temperature`) or `pixels` [C, H, W]; what is added to it of the attributes."""

    seed: int = 0
    temperature: float = 0.7
    pixels: bytes | None = None
    weights: tuple[tuple[str, float], ...] = ()


class Faces:
    """What the calls on images compute. Raises ValueError for a model of classes, which the page can't choose."""

    def __init__(self, opened: Opened, directions: Directions) -> None:
        if opened.model.n_classes:
            raise ValueError(f"{opened.path}: a model of {opened.model.n_classes} classes; the page takes one without")
        self.opened = replace(opened, model=folded(opened.model))
        self.model = self.opened.model
        self.directions = directions
        self._latents: OrderedDict[tuple[Any, ...], Latents] = OrderedDict()

    @classmethod
    def load(cls, path: str | Path = DEFAULT_IMAGE_MODEL, *, device: str | None = None) -> Faces:
        """The model at `path`, and the directions beside it. Raises CheckpointError, ValueError."""
        opened = open_model(path, device=device)
        return cls(opened, read_directions(opened.path, opened))

    def about(self) -> dict[str, Any]:
        """What the model is and knows: of each attribute its name, and how much of it turns a face."""
        channels, height, width = self.model.shape
        attributes = [{"name": name, "full": FULL.get(name, 1.0)} for name in self.directions.names]
        return {
            "name": self.opened.path.name,
            "parameters": self.opened.facts["parameters"],
            "channels": channels,
            "width": width,
            "height": height,
            "bits_per_dim": self._learned,
            "attributes": attributes,
            "limits": {
                "pictures": MAX_PICTURES,
                "temperature": MAX_TEMPERATURE,
                "weight": MAX_WEIGHT,
                "photo_bytes": photos.MAX_BYTES,
                "photo_pixels": photo_process.MAX_PIXELS,
            },
        }

    @property
    def _learned(self) -> float | None:
        """Bits per dimension of held-out pictures, as training measured them."""
        found = self.opened.info.get("bits_per_dim")
        return round(float(found), 3) if isinstance(found, (int, float)) else None

    @torch.inference_mode()
    def sample(self, n: int, *, temperature: float, seed: int) -> list[bytes]:
        """PNG files of n faces; face i is that of seed + i by itself."""
        _require("n", n, 1, MAX_PICTURES)
        _require("temperature", temperature, 0, MAX_TEMPERATURE)
        zs = self.model.draw(n, temperature=temperature, seed=[seed + i for i in range(n)])
        return [png(image) for image in self.model.to_pixels(self.model.decode(zs))]

    @torch.inference_mode()
    def manipulate(self, picture: Picture, *, details: bool = False) -> dict[str, Any]:
        """The picture with its weights added, and its latents then, [C_i, *S_i] of each level.

        `details` are of the picture without its weights: what the model sees of it ("original"), how much it has of
        each attribute ("has"), and what it costs ("bits_per_dim"); a slider needs none of them again.
        """
        zs = self.latents(replace(picture, weights=()))
        changed = self.moved(zs, picture)
        pixels = self.model.to_pixels(self.model.decode(changed))
        found: dict[str, Any] = {"picture": png(pixels[0]), "latents": [level[0].cpu().numpy() for level in changed]}
        if details:
            original = self.model.to_pixels(self.model.decode(zs)) if picture.weights else pixels
            has = self.directions.amounts(zs)[0].tolist()
            found["original"] = png(original[0])
            found["has"] = dict(zip(self.directions.names, has, strict=True))
            found["bits_per_dim"] = self.bits(original)
        return found

    @torch.inference_mode()
    def interpolate(self, start: Picture, end: Picture, *, steps: int, way: str) -> list[bytes]:
        """PNG files of the way from one picture to another, both included."""
        _require("steps", steps, 2, MAX_PICTURES)
        if way not in WAYS:
            raise ValueError(f"way is {way!r}; it must be one of {', '.join(WAYS)}")
        ends = [self.moved(self.latents(replace(each, weights=())), each) for each in (start, end)]
        zs = [torch.cat(pair) for pair in zip(*ends, strict=True)]
        path = self.model.path(zs, steps, spherical=way == "spherical")
        return [png(image) for image in self.model.to_pixels(self.model.decode(path))]

    def moved(self, zs: Latents, picture: Picture) -> Latents:
        """Latents with the picture's weights added. Raises ValueError for an unknown attribute, and too much of one."""
        for name, weight in picture.weights:
            _require(f"the weight of {name[:40]!r}", weight, -MAX_WEIGHT, MAX_WEIGHT)
        direction = self.directions.of(dict(picture.weights))
        return [z + d for z, d in zip(zs, direction, strict=True)]

    def latents(self, picture: Picture) -> Latents:
        """Of a picture as it is. Raises ValueError for a temperature that can't be."""
        if picture.pixels is None:
            _require("temperature", picture.temperature, 0, MAX_TEMPERATURE)
            seed, temperature = picture.seed, picture.temperature
            return self._kept((seed, temperature), lambda: self.model.draw(1, temperature=temperature, seed=[seed]))
        pixels = picture.pixels
        return self._kept((pixels,), lambda: self._encoded(pixels))

    def bits(self, pixels: Tensor) -> float:
        """Bits per dimension of pixels [1, C, H, W]."""
        return float(self.model.bits_per_dim(pixels.to(self.opened.device), seed=[0])[0])

    def _encoded(self, pixels: bytes) -> Latents:
        read = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(1, *self.model.shape)
        return self.model.encode(self.model.dequantize(read, seed=[0]).to(self.opened.device))[0]

    def _kept(self, key: tuple[Any, ...], make: Callable[[], Latents]) -> Latents:
        found = self._latents.pop(key, None)
        self._latents[key] = zs = make() if found is None else found
        while len(self._latents) > KEPT:
            self._latents.popitem(last=False)
        return zs


def png(pixels: Tensor) -> bytes:
    """Pixels uint8 [1 or 3, H, W] as a PNG file."""
    array = pixels.cpu().permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, "PNG")
    return buffer.getvalue()


def _require(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{name} is {value:g}; it must be from {least:g} to {most:g}")
