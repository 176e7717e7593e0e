"""Pictures out of noise, at several temperatures of the latents (Glow, 2018, §6)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from waveglow.models.flow_image import FlowImage
from waveglow.pictures.grids import Drawing, square, table, to_pixels
from waveglow.pictures.inputs import Opened, progress, require_class

TEMPERATURES = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # as openai/glow plots them
COLUMNS, ALONE = 8, 64


def sample(
    opened: Opened,
    n: int | None = None,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    label: int | None = None,
    batch_size: int = 64,
    guidance: float = 0.0,
    denoise: float | None = None,
) -> Drawing:
    """A row for each temperature, a column for each noise; of one temperature, a picture as square as can be.

    Arguments:
        n: noises; image i has that of the model's seed + i. None are COLUMNS, or ALONE of one temperature.
        temperatures: what the latents of every level are multiplied by; lower is smoother.
        label: the class of all, for a model of classes; None are all in turn.
        batch_size: images in memory at once.
        guidance: how far to exaggerate what the class changes (`FlowImage.guided`).
        denoise: the standard deviation of Gaussian noise to take off (`FlowImage.denoise`); None is that which
            the model learned images with.

    Returns the picture; facts with the counts of mended values under "rows" and "seconds_per_image"; every image
    uint8 [C, H, W] by t<temperature>_<seed>. Raises ValueError for a class or a temperature that can't be.
    """
    alone = len(temperatures) == 1
    seeds = range(opened.seed, opened.seed + (n or (ALONE if alone else COLUMNS)))
    labels = _labels(opened, label, len(seeds))
    model = opened.model.guided(guidance)
    std = opened.gaussian_std if denoise is None else denoise
    rows, images, seconds = [], [], 0.0
    with progress(len(temperatures) * len(seeds), "image") as bar:
        for temperature in temperatures:
            started = time.perf_counter()
            x = _drawn(opened, model, temperature, seeds, labels, batch_size, std)
            pixels, counts = to_pixels(opened.model, x, f"temperature {temperature:g}")
            seconds += time.perf_counter() - started  # to_pixels waits for the device
            rows.append({"temperature": temperature, **counts})
            images.append(pixels)
            bar.update(len(seeds))
    names = [str(seed) if labels is None else f"{seed}: class {labels[i]}" for i, seed in enumerate(seeds)]
    pixels = torch.cat(images)
    picture = square(pixels) if alone else table(pixels, rows=[f"T {t:g}" for t in temperatures], columns=names)
    singles = {
        f"t{t:g}_{seed}": image
        for t, row in zip(temperatures, images, strict=True)
        for seed, image in zip(seeds, row, strict=True)
    }
    facts = {
        **opened.facts,
        "seeds": list(seeds),
        "labels": None if labels is None else labels.tolist(),
        "guidance": guidance,
        "denoised": std,
        "rows": rows,
        "seconds_per_image": seconds / len(pixels),
    }
    return Drawing(picture, facts, singles)


def _labels(opened: Opened, label: int | None, n: int) -> Tensor | None:
    """Class of each of n images [n], or None. Raises ValueError."""
    classes = opened.model.n_classes
    if label is None:
        return torch.arange(n) % classes if classes else None
    require_class(opened.model, label)
    return torch.full((n,), label)


def _drawn(
    opened: Opened,
    guided: FlowImage,
    temperature: float,
    seeds: range,
    labels: Tensor | None,
    batch_size: int,
    std: float,
) -> Tensor:
    """x [N, C, H, W] of these seeds."""
    parts = []
    for start in range(0, len(seeds), batch_size):
        some = slice(start, start + batch_size)
        y = None if labels is None else labels[some].to(opened.device)
        part = guided.sample(len(seeds[some]), temperature=temperature, y=y, seed=seeds[some])
        parts.append(opened.model.denoise(part, std, y))
    return torch.cat(parts)


def text(facts: Mapping[str, Any]) -> str:
    """What the facts of `sample` say of each temperature."""
    lines = [f"{'temperature':>11} {'out of range':>13} {'not finite':>11}"]
    for row in facts["rows"]:
        share = row["out_of_range"] / row["values"]
        lines.append(f"{row['temperature']:>11g} {share:>13.2%} {row['non_finite']:>11}")
    return "\n".join(lines)
