"""How good is an image flow? Bits per dimension of held-out images, and what encoding and decoding leaves of them.

The bits are an upper bound on -log2 of the probability of an image's n_bits-bit pixels, per colour value, by uniform
dequantization (Theis et al., A note on the evaluation of generative models, 2016, §3.1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveglow.audio.files import write_atomically
from waveglow.data.images import Images
from waveglow.data.pictures import save_png
from waveglow.flows.base import in_float64
from waveglow.flows.likelihood import BASES, bits_per_dim
from waveglow.pictures.grids import require_folder, table, write_json
from waveglow.pictures.inputs import Encoded, Opened, chosen, data_facts, encoded

DRAWN = 10
PADDED = {"fashion-mnist": 28, "mnist-5k": 28}  # pixels a side as published; what is larger has zeros around it


@dataclass(frozen=True)
class Evaluation:
    """The numbers, and a picture uint8 [3, H', W'] of real images above the same encoded and decoded."""

    facts: dict[str, Any]
    picture: Tensor

    @property
    def finite(self) -> bool:
        """Whether all results are."""
        return not (self.facts["images_not_finite"] or self.facts["reconstruction"]["values_not_finite"])

    def text(self) -> str:
        """For reading."""
        return _text(self.facts)

    def write(self, folder: Path) -> None:
        """evaluation.json, evaluation.txt and reconstruction.png. Raises ValueError where `folder` is a file."""
        require_folder(folder)
        write_json(folder / "evaluation.json", self.facts)
        write_atomically(folder / "evaluation.txt", f"{self.text()}\n".encode())
        save_png(folder / "reconstruction.png", self.picture)


def evaluate(opened: Opened, images: Images, *, n: int | None = None, batch_size: int = 64) -> Evaluation:
    """Bits per dimension, and errors of encoding and decoding.

    Each image takes the noise of its own number, so that the result is the same at any batch size.

    Arguments:
        images: a split of prepared images, as `open_data` gives it.
        n: so many of them, at random by the model's seed; None are all.
        batch_size: images in memory at once.

    Facts are `bits_per_dim` with its `standard_error`, in bits per colour value; `bits_per_original_dim`, per value of
    the images as published, where zeros were put around them; errors under `reconstruction`, black to white being 1.
    """
    scores = Scores(opened)
    started = time.perf_counter()
    for batch in encoded(opened, images, chosen(len(images), n, seed=opened.seed), batch_size=batch_size):
        scores.add(batch)
    facts = {
        **opened.facts,
        **data_facts(images),
        **scores.results(),
        "dequantization": "uniform, seeded by each image's number",
        "seconds_per_image": (time.perf_counter() - started) / len(scores.bits),
    }
    facts |= _original(images, facts["bits_per_dim"])
    return Evaluation(facts, scores.picture())


class Scores:
    """What batches of encoded images say: bits of each, errors of decoding, and the first of them to look at."""

    def __init__(self, opened: Opened) -> None:
        self.model = opened.model
        self.places: list[int] = []
        self.bits: list[float] = []
        self.error_max = self.error_sum = 0.0
        self.values = self.changed = self.not_finite = self.out_of_range = 0
        self.real: list[Tensor] = []
        self.again: list[Tensor] = []

    def add(self, batch: Encoded) -> None:
        """Count a batch in."""
        model = self.model
        log_prob = BASES[model.base].log_prob(batch.zs) + batch.log_det  # as FlowImage.log_prob, of latents at hand
        self.bits += bits_per_dim(log_prob, dims=math.prod(model.shape), n_bits=model.n_bits).tolist()
        again = model.decode(batch.zs, batch.y)
        error = (again - batch.x).abs()
        finite = error.isfinite()
        real, decoded = model.to_pixels(batch.x), model.to_pixels(again)
        self.error_max = max(self.error_max, float(error[finite].max()) if finite.any() else 0.0)
        self.error_sum += float(in_float64(error[finite]).sum())
        self.values += error.numel()
        self.not_finite += int((~finite).sum())
        self.out_of_range += model.outside(again)["out_of_range"]
        self.changed += int((real != decoded).sum())
        if len(self.places) < DRAWN:
            self.real.append(real.cpu())
            self.again.append(decoded.cpu())
        self.places += batch.places

    @property
    def finite(self) -> Tensor:
        """Bits of the images that have some: float64 [N]."""
        bits = torch.tensor(self.bits, dtype=torch.float64)
        return bits[bits.isfinite()]

    def picture(self) -> Tensor:
        """The first images above the same decoded: uint8 [3, H', W']."""
        drawn = [torch.cat(rows)[:DRAWN] for rows in (self.real, self.again)]
        names = [str(place) for place in self.places[:DRAWN]]
        return table(torch.cat(drawn), rows=["real", "decoded"], columns=names)

    def results(self) -> dict[str, Any]:
        """The numbers; not-a-number where no image gives any."""
        n, within = len(self.finite), self.finite <= self.model.n_bits
        return {
            "images": len(self.bits),
            "images_not_finite": len(self.bits) - n,
            "bits_per_dim": float(self.finite.mean()),
            "standard_error": float(self.finite.std() / math.sqrt(n)) if n > 1 else math.nan,
            "median_bits_per_dim": float(self.finite.median()) if n else math.nan,
            "images_beyond_raw": int((~within).sum()),
            "bits_per_dim_within_raw": float(self.finite[within].mean()),
            "reconstruction": {
                "max_abs": self.error_max,
                "mean_abs": self.error_sum / max(1, self.values - self.not_finite),
                "values": self.values,
                "values_changed": self.changed,
                "values_out_of_range": self.out_of_range,
                "values_not_finite": self.not_finite,
            },
        }


def _original(images: Images, bits: float) -> dict[str, Any]:
    """Bits per value of the images as published, where zeros were put around them."""
    side = PADDED.get(images.set.dataset, images.set.size)
    if side == images.set.size:
        return {}
    return {"original_side": side, "bits_per_original_dim": bits * (images.set.size / side) ** 2}


def _text(results: Mapping[str, Any]) -> str:
    model, errors = results["model"], results["reconstruction"]
    rows = {
        "model": f"{model['name']}, {results['parameters']:,} parameters, {results['n_bits']} bits",
        "checkpoint": results["checkpoint"],
        "data": f"{results['data']}, {results['split']}, {results['images']} images",
        "version": results["data_version"],
        "hash": results["data_hash"],
        "bits/dim": f"{results['bits_per_dim']:.4f} ± {results['standard_error']:.4f} (standard error), "
        f"median {results['median_bits_per_dim']:.4f}",
    }
    if beyond := results["images_beyond_raw"]:
        rows["outliers"] = (
            f"{beyond} images cost more than the {results['n_bits']} bits of their raw values; "
            f"{results['bits_per_dim_within_raw']:.4f} without them"
        )
    if "original_side" in results:
        side, bits = results["original_side"], results["bits_per_original_dim"]
        rows["bits/original"] = f"{bits:.4f} per value of {side}×{side}"
    if results["images_not_finite"]:
        rows["not finite"] = f"{results['images_not_finite']} images, left out of the mean"
    rows["decoded"] = (
        f"off by {errors['max_abs']:.1e} at most, {errors['mean_abs']:.1e} on average (black to white is 1); "
        f"{errors['values_changed']} of {errors['values']} values changed, "
        f"{errors['values_out_of_range']} out of range, {errors['values_not_finite']} not finite"
    )
    rows["time"] = f"{results['seconds_per_image']:.4f} s an image, encoded and decoded, on {results['device']}"
    return "\n".join(f"{name:<14} {value}" for name, value in rows.items())
