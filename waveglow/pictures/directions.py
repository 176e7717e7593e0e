"""Directions of attributes in the latents of an image flow: how they are summed up, kept in a file and read again.

Shapes: A attributes; the latents of an image are [C_i, *S_i] at level i, all levels together D numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from waveglow.audio.files import write_atomically
from waveglow.config import from_json, nearest
from waveglow.data.images import Images
from waveglow.models.flow_image import FlowImage, Latents
from waveglow.pictures.inputs import Opened, chosen, data_facts, encoded

FILE = "directions.safetensors"
KEY = "waveglow"  # one key of metadata, since safetensors writes several in any order
RIDGE = 1e-3  # of an attribute's variance: attributes that nearly imply each other must not cancel out


def attributes_of(images: Images) -> tuple[list[str], Tensor]:
    """Names of the A attributes, and whether each image has each: float64 [N, A]. Classes do for attributes.

    Raises ValueError where the data have neither.
    """
    names, has = images.attributes()
    if names:
        return list(names), torch.from_numpy(has).double()
    classes = images.set.class_names
    if not classes:
        raise ValueError(
            f"{images.set.folder}: {images.set.dataset} has neither attributes nor classes; prepare celeba, or a "
            "folder of one folder a class"
        )
    return list(classes), (images.labels[:, None] == torch.arange(len(classes))).double()


class Sums:
    """Running sums over batches of latents z and attributes y, in float64: (A + 1)·D numbers, whatever the images."""

    def __init__(self, attributes: int, dims: int) -> None:
        self.n = 0
        self.y = torch.zeros(attributes, dtype=torch.float64)  # Σ y
        self.yy = torch.zeros(attributes, attributes, dtype=torch.float64)  # Σ y yᵀ
        self.z = torch.zeros(dims, dtype=torch.float64)  # Σ z
        self.yz = torch.zeros(attributes, dims, dtype=torch.float64)  # Σ y zᵀ

    def add(self, zs: Latents, y: Tensor) -> None:
        """A batch: latents [B, C_i, *S_i], and which image has which attribute, [B, A]."""
        z = torch.cat([level.flatten(1) for level in zs], dim=1).cpu().double()  # (B, D)
        self.n += len(y)
        self.y += y.sum(0)
        self.yy += y.T @ y
        self.z += z.sum(0)
        self.yz += y.T @ z

    def differences(self) -> Tensor:
        """Mean of z with each attribute less the mean without: [A, D]."""
        return self.yz / self.y[:, None] - (self.z - self.yz) / (self.n - self.y)[:, None]

    def slopes(self) -> Tensor:
        """Slopes of the least-squares fit of z to all y, cov(y)⁻¹·cov(y, z), slightly shrunk: [A, D]."""
        y, z = self.y / self.n, self.z / self.n
        cov_y, cov_yz = self.yy / self.n - torch.outer(y, y), self.yz / self.n - torch.outer(y, z)
        return torch.linalg.solve(cov_y + RIDGE * cov_y.diag().diag(), cov_yz)

    def only(self, kept: Tensor) -> Sums:
        """The same of the attributes at these places."""
        rest = Sums(len(kept), len(self.z))
        rest.n, rest.y, rest.yy, rest.z, rest.yz = self.n, self.y[kept], self.yy[kept][:, kept], self.z, self.yz[kept]
        return rest


@dataclass(frozen=True)
class Directions:
    """Directions of A attributes: `levels` [A, C_i, *S_i] and the mean latents `means` [C_i, *S_i].

    `facts` are what they were made from, and of each attribute how many images had it, and the direction's norm;
    `source` is the file or folder that they were read from.
    """

    levels: Latents
    means: Latents
    facts: dict[str, Any]
    source: Path | None = None

    @property
    def names(self) -> list[str]:
        """Of the attributes."""
        return [str(attribute["name"]) for attribute in self.facts["attributes"]]

    def to(self, device: torch.device) -> Directions:
        """The same, on a device."""
        return replace(
            self, levels=[level.to(device) for level in self.levels], means=[mean.to(device) for mean in self.means]
        )

    def of(self, weights: Mapping[str, float]) -> Latents:
        """The sum of weighted directions, [C_i, *S_i]. Raises ValueError for an unknown name."""
        for name in weights:
            if name not in self.names:
                raise ValueError(f"unknown attribute {name!r}{nearest(name, self.names)}")
        row = torch.tensor([weights.get(name, 0.0) for name in self.names])
        return [torch.tensordot(row.to(level), level, dims=1) for level in self.levels]

    def amounts(self, zs: Latents) -> Tensor:
        """How much images [B, C_i, *S_i] have of each attribute: 0 as those without, 1 as those with it have: [B, A].

        The projection on the direction, ⟨z − z̄, v⟩ / |v|², as OpenAI's demonstration of Glow had it.
        """
        away = torch.cat([(z - mean).flatten(1) for z, mean in zip(zs, self.means, strict=True)], dim=1)
        v = torch.cat([level.flatten(1) for level in self.levels], dim=1)  # (A, D)
        shares = [attribute["with"] / self.facts["images"] for attribute in self.facts["attributes"]]
        return away @ v.T / v.square().sum(1) + away.new_tensor(shares)

    def text(self) -> str:
        """A line for each attribute: how many images had it, how many had not, and the direction's norm."""
        width = max(9, *map(len, self.names))
        lines = [f"{'attribute':<{width}} {'with':>7} {'without':>8} {'|v|':>8}"]
        for found in self.facts["attributes"]:
            lines.append(f"{found['name']:<{width}} {found['with']:>7} {found['without']:>8} {found['norm']:>8.2f}")
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write directions.safetensors, whole or not at all; its metadata hold the facts."""
        tensors = {f"directions.{i}": level.contiguous() for i, level in enumerate(self.levels)}
        tensors |= {f"mean.{i}": mean.contiguous() for i, mean in enumerate(self.means)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, save(tensors, metadata={KEY: json.dumps(self.facts)}))


def find_directions(
    opened: Opened, images: Images, *, n: int = 2000, regress: bool = False, batch_size: int = 64
) -> tuple[Directions, list[str]]:
    """The direction of each attribute of the images, or of each class where they have no attributes.

    It is the mean of the latents, of all levels, of images that have it less the mean of those that have not (Glow,
    2018, §6).

    Arguments:
        n: images to encode, at random by the model's seed.
        regress: instead, the least-squares fit of the latents to all attributes at once, which tells apart those that
            go together.
        batch_size: images in memory at once.

    Returns the directions on the model's device, and the names of attributes that have none because all of the images,
    or none, have them. Raises ValueError where the data have neither attributes nor classes, or no attribute varies.
    """
    names, has = attributes_of(images)
    sums = Sums(len(names), math.prod(opened.model.shape))
    for batch in encoded(opened, images, chosen(len(images), n, seed=opened.seed), batch_size=batch_size):
        sums.add(batch.zs, has[batch.places])
    facts = {**opened.facts, **data_facts(images)}
    found, constant = from_sums(sums, names, opened.model, regress=regress, facts=facts)
    return found.to(opened.device), constant


def from_sums(
    sums: Sums, names: Sequence[str], model: FlowImage, *, regress: bool, facts: Mapping[str, Any]
) -> tuple[Directions, list[str]]:
    """Directions, and the attributes that have none because all images, or no image, had them. Raises ValueError."""
    varied = (sums.y > 0) & (sums.y < sums.n)
    if not varied.any():
        raise ValueError(f"each attribute is the same in all of {sums.n} images; encode more with --images")
    sums = sums.only(varied.nonzero()[:, 0])
    vectors = (sums.slopes() if regress else sums.differences()).float()  # (A, D)
    kept = [name for name, has in zip(names, varied, strict=True) if has]
    attributes = [
        {"name": name, "with": int(count), "without": sums.n - int(count), "norm": float(vector.norm())}
        for name, count, vector in zip(kept, sums.y, vectors, strict=True)
    ]
    method = "least-squares fit to all attributes" if regress else "difference of means"
    means = by_level(model, (sums.z / sums.n).float()[None])
    made_of = {**facts, "method": method, "images": sums.n, "attributes": attributes}
    found = Directions(by_level(model, vectors), [mean[0] for mean in means], made_of)
    return found, [name for name in names if name not in kept]


def by_level(model: FlowImage, flat: Tensor) -> Latents:
    """[N, D] as [N, C_i, *S_i] of every level."""
    shapes = model.latent_shapes()
    parts = flat.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def read_directions(path: Path, opened: Opened) -> Directions:
    """Directions of these very weights, on their device, from a file or its folder. Raises ValueError."""
    source = path
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: not found; `waveglow image attributes` makes it")
    try:
        with safe_open(path, framework="pt") as file:
            facts = from_json(file.metadata()[KEY])
            levels = range(len(opened.model.latent_shapes()))
            vectors, means = ([file.get_tensor(f"{kind}.{i}") for i in levels] for kind in ("directions", "mean"))
        found = Directions(vectors, means, facts, source)
        made_of, count = facts["weights_sha256"], len(found.names)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is no whole file of directions ({error}); make it again") from error
    if made_of != opened.weights_sha256:
        raise ValueError(
            f"{path}: was made with another checkpoint, {facts.get('checkpoint')}; its directions mean nothing to "
            f"{opened.path}: use that one, or run `waveglow image attributes` with this one"
        )
    shapes = opened.model.latent_shapes()
    if [tuple(mean.shape) for mean in found.means] != shapes or any(len(level) != count for level in found.levels):
        raise ValueError(f"{path}: its shapes are not those of the model's latents; make it again")
    return found.to(opened.device)


def moved(model: FlowImage, zs: Latents, direction: Latents, alphas: Sequence[float], *, y: Tensor | None) -> Tensor:
    """Images of latents [B, C_i, *S_i], moved by each alpha times the direction [C_i, *S_i]: x [A, B, C, H, W]."""
    return torch.stack([model.decode([z + a * d for z, d in zip(zs, direction, strict=True)], y) for a in alphas])
