"""The way from one picture to another, through the latents (Glow, 2018, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from waveglow.config import nearest
from waveglow.pictures.grids import Drawing, table, to_pixels
from waveglow.pictures.inputs import Opened, Pictures

WAYS = ("linear", "spherical")


def interpolate(opened: Opened, pictures: Pictures, *, steps: int = 8, ways: Sequence[str] = WAYS) -> Drawing:
    """A row for each pair and way: the originals, and between them the steps, of which both ends are decoded too.

    Arguments:
        pictures: 2·P images; each two that follow one another are a pair.
        steps: of a way, both ends included; at least 2.
        ways: of WAYS. A linear way leads through the middle, where latents are short and pictures smooth; a spherical
            one turns from one to the other.

    Returns the picture; facts with the counts of mended values under "rows"; every step uint8 [C, H, W] by
    pair<number>_<way>_<step>. Raises ValueError where an argument doesn't fit.
    """
    if len(pictures.names) % 2:
        raise ValueError(f"{len(pictures.names)} pictures are given; it takes pairs")
    for way in ways:
        if way not in WAYS:
            raise ValueError(f"unknown way {way!r}{nearest(way, WAYS)}")
    rows, names = [], []
    facts: list[dict[str, Any]] = []
    singles: dict[str, Tensor] = {}
    for a in range(0, len(pictures.names), 2):
        y = None if pictures.y is None else pictures.y[a : a + 2]
        for way in ways:
            x = opened.model.interpolate(
                pictures.x[a], pictures.x[a + 1], steps, spherical=way == "spherical", y=y
            )  # (steps, C, H, W)
            start, end = pictures.names[a : a + 2]
            between, counts = to_pixels(opened.model, x, f"{start} to {end}, {way}")
            rows.append(torch.cat([pictures.pixels[a, None], between, pictures.pixels[a + 1, None]]))
            names.append(f"{a // 2 + 1} {way}")
            facts.append({"from": start, "to": end, "way": way, **counts})
            singles |= {f"pair{a // 2 + 1}_{way}_{step:03d}": image for step, image in enumerate(between)}
    columns = ["from", *(f"{t:.2f}" for t in torch.linspace(0, 1, steps)), "to"]
    picture = table(torch.cat(rows), rows=names, columns=columns)
    return Drawing(picture, {**opened.facts, **pictures.facts, "steps": steps, "rows": facts}, singles)
