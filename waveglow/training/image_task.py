"""Image flows for the engine: exact likelihood of dequantized images, and pictures of what was learned.

Shapes: pixels uint8 [B, C, H, W]; label int64 [B]; x [B, C, H, W], the flow's continuous domain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from waveglow.data.images import ImageExample, Images, ImageSet
from waveglow.data.pictures import grid, labelled, save_png
from waveglow.data.sampler import clip_index, permutation
from waveglow.flows.base import in_float64
from waveglow.models.flow_image import FlowImage
from waveglow.training.distributed import World
from waveglow.training.image_config import ImageValidConfig
from waveglow.training.log import RunLog
from waveglow.training.task import Batch, Wording, per_flow_log_dets, show_flow

SHOWN_PX = 32  # smaller images are enlarged

N = TypeVar("N", float, Tensor)

WORDING = Wording(
    sample="image",
    suspects="damaged images",
    rate="images_per_second",
    source="data.folder",
    lower="the width of the model's nets",
)


class ImageObjective(nn.Module):
    """Terms of the loss, by name; the module that DDP wraps.

    `nll_nats` is −log p(x) in nats per value, x being the pixels with fresh noise: a density's, which may be negative.
    `bits_per_dim` is the same in bits per value of the pixels; with Gaussian noise it says nothing of them, and is left
    out.

    Arguments:
        gaussian_std: of the noise about the middle of each pixel's step; 0 for uniform noise of one step.
        drop_label: the share of images whose class is withheld.
    """

    def __init__(self, model: FlowImage, *, gaussian_std: float = 0.0, drop_label: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.gaussian_std = gaussian_std
        self.drop_label = drop_label

    def forward(self, pixels: Tensor, label: Tensor) -> dict[str, Tensor]:
        """The terms, averaged over the batch; a model with classes is told the labels."""
        log_prob = self.model(self._noisy(pixels), self._told(label) if self.model.n_classes else None)
        nll_nats = -log_prob.mean() / math.prod(self.model.shape)
        bits = {} if self.gaussian_std else {"bits_per_dim": _bits(nll_nats.detach(), self.model)}
        return {"nll_nats": nll_nats, **bits}

    def _noisy(self, pixels: Tensor) -> Tensor:
        if not self.gaussian_std:
            return self.model.continuous(pixels, torch.rand(pixels.shape, device=pixels.device))
        x = self.model.continuous(pixels, torch.full(pixels.shape, 0.5, device=pixels.device))
        return x + self.gaussian_std * torch.randn_like(x)

    def _told(self, label: Tensor) -> Tensor:
        if not self.drop_label:
            return label
        return torch.where(torch.rand(label.shape, device=label.device) < self.drop_label, -1, label)


class ImageTask:
    """Images, and their classes where the model has some: maximum likelihood.

    Arguments:
        batch_size: images at a time in validation.
        gaussian_std, drop_label: as of ImageObjective.

    Raises ConfigError where the set has no training or held-out images.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        seed: int,
        flip: bool,
        n_bits: int,
        batch_size: int,
        valid: ImageValidConfig,
        gaussian_std: float = 0.0,
        drop_label: float = 0.0,
    ) -> None:
        self.dataset = Images(images, "train", seed=seed, flip=flip)
        self.held_out = Images(images, "valid", seed=seed, flip=False)
        self.numbers = permutation(0, 0, len(self.held_out))[: valid.images].tolist()  # of any class, whatever the seed
        self.batch_size = batch_size
        self.valid = valid
        self.gaussian_std, self.drop_label = gaussian_std, drop_label
        self.spec = None
        self.wording = WORDING
        facts = {"dataset": images.dataset, "version": images.version, "hash": images.hash}
        noise = {"gaussian_std": gaussian_std} if gaussian_std else {}
        self.info: Mapping[str, Any] = {"data": {**facts, "n_bits": n_bits, "flip": flip, **noise}}

    def inputs(self, batch: ImageExample) -> Batch:
        """(pixels [B, C, H, W], label [B])."""
        return batch.pixels, batch.label

    def objective(self, model: nn.Module) -> nn.Module:
        """Likelihood."""
        assert isinstance(model, FlowImage)
        return ImageObjective(model, gaussian_std=self.gaussian_std, drop_label=self.drop_label)

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """−log p in nats per value."""
        return terms["nll_nats"]

    def amount(self, batch: Batch) -> float:
        """Images in a batch."""
        return len(batch[0])

    def describe(self, numbers: Iterable[int]) -> str:
        """Images of training samples."""
        images = self.dataset
        return ", ".join(f"image {clip_index(images.seed, n, len(images))} (sample {n})" for n in numbers)

    def _batch(self, model: FlowImage, numbers: list[int]) -> tuple[Tensor, Tensor | None]:
        """(x, y) of held-out images, each with noise of its own that never changes; y None without classes."""
        device = next(model.parameters()).device
        x = model.dequantize(self.held_out.pixels(numbers), seed=numbers)
        return x.to(device), self.held_out.labels[numbers].to(device) if model.n_classes else None

    @torch.no_grad()
    def validate(self, model: nn.Module, world: World) -> dict[str, float]:
        """Exact held-out likelihood per value: `nll_nats` of the density, `bits_per_dim` of the pixels.

        With uniform noise, whatever noise training adds: only so is it a bound on that of the pixels.
        """
        assert isinstance(model, FlowImage)
        totals = torch.zeros(2, dtype=torch.float64)
        for numbers in _batches(self.numbers[world.rank :: world.size], self.batch_size):
            log_prob = model.log_prob(*self._batch(model, numbers))
            totals += totals.new_tensor([-float(in_float64(log_prob).sum()), len(numbers)])
        nll, images = world.sum(totals).tolist()
        nll_nats = nll / (images * math.prod(model.shape))
        return {"nll_nats": nll_nats, "bits_per_dim": _bits(nll_nats, model), "images": int(images)}

    @torch.no_grad()
    def show(self, model: nn.Module, run: Path, step: int, log: RunLog) -> dict[str, float]:
        """Grids of samples and of real images against their reconstruction; the flow's inner life on those.

        Returns `reconstruction_error`, max |decode(encode(x)) − x| of a batch (a pixel's step is 2^−n_bits), and how
        many of the samples' `sampled_values` are no finite number, or beyond black and white.
        """
        assert isinstance(model, FlowImage)
        folder = run / "samples" / f"step_{step:08d}"
        x, y = self._batch(model, self.numbers[: self.batch_size])
        with per_flow_log_dets(model) as log_dets:
            zs, _ = model.encode(x, y)
        again = model.decode(zs, y)
        columns = min(self.valid.samples, len(x))
        pictures = torch.cat([model.to_pixels(each[:columns]) for each in (x, again)])
        _keep(folder / "reconstruction.png", pictures, ["real", "rebuilt"], step, log)
        log_dets = {f"log_det_per_value/{name}": nats / math.prod(model.shape) for name, nats in log_dets.items()}
        show_flow(log, step, model=model, log_dets=log_dets, zs=zs)
        return {"reconstruction_error": float((again - x).abs().max()), **self._show_samples(model, folder, step, log)}

    def _show_samples(self, model: FlowImage, folder: Path, step: int, log: RunLog) -> dict[str, float]:
        """A row a temperature, a noise a column; the columns of a model with classes go through them."""
        n = self.valid.samples
        y = torch.arange(n) % model.n_classes if model.n_classes else None
        drawn = [model.sample(n, temperature=each, y=y) for each in self.valid.temperatures]
        told = None if y is None else y.to(drawn[0].device)
        rows = torch.cat([model.denoise(x, self.gaussian_std, told) for x in drawn])
        names = [f"T = {each:g}" for each in self.valid.temperatures]
        _keep(folder / "samples.png", model.to_pixels(rows), names, step, log)
        return {"sampled_values": rows.numel(), **model.outside(rows)}


def _keep(path: Path, pixels: Tensor, rows: list[str], step: int, log: RunLog) -> None:
    """A grid of pixels [N, C, H, W] with so many named rows, as a PNG file and in TensorBoard."""
    picture = labelled(grid(pixels, columns=len(pixels) // len(rows), cell=SHOWN_PX), rows=rows)
    log.safely(save_png, path, picture)
    log.picture(path.stem, picture, step)


def _bits(nll_nats: N, model: FlowImage) -> N:
    """Bits per value of the pixels: `likelihood.bits_per_dim` of a mean."""
    return nll_nats / math.log(2) + model.n_bits


def _batches(numbers: list[int], size: int) -> Iterable[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
