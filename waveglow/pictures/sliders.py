"""Pictures with more and less of an attribute: photos that are changed, held-out images to look a direction over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from waveglow.data.images import Images
from waveglow.data.pictures import WHITE
from waveglow.pictures.directions import Directions, moved
from waveglow.pictures.grids import Drawing, table, to_pixels
from waveglow.pictures.inputs import Opened, Pictures, chosen, encoded, progress


def manipulate(
    opened: Opened,
    pictures: Pictures,
    directions: Directions,
    *,
    weights: Mapping[str, float],
    alphas: Sequence[float] = (-1.0, -0.5, 0.5, 1.0),
) -> Drawing:
    """A row for each picture: the original, what becomes of it when it's encoded and decoded, then every alpha.

    Arguments:
        directions: of these very weights, as `find_directions` and `read_directions` give them.
        weights: attributes that add up, each with its own weight.
        alphas: how much is added; 1 is what images with the attribute have over those without on average.

    Returns the picture; facts with, under "rows", how much of each attribute a picture had (0: as those without,
    1: as those with) and the counts of mended values; every result uint8 [C, H, W] by <number>_<name>_<alpha>.
    Raises ValueError for an unknown attribute.
    """
    zs, _ = opened.model.encode(pictures.x, pictures.y)
    had = directions.amounts(zs)
    by_alpha = moved(opened.model, zs, directions.of(weights), [0.0, *alphas], y=pictures.y)
    x = by_alpha.transpose(0, 1)  # (N, 1 + alphas, C, H, W)
    strips, facts, singles = [], [], {}
    for i, name in enumerate(pictures.names):
        again, counts = to_pixels(opened.model, x[i, :1], f"{name}, decoded")
        strips += [pictures.pixels[i, None], again]
        amounts = {attribute: float(had[i, directions.names.index(attribute)]) for attribute in weights}
        row: dict[str, Any] = {"image": name, "had": amounts, "decoded": counts, "alphas": []}
        for alpha, result in zip(alphas, x[i, 1:], strict=True):
            pixels, counts = to_pixels(opened.model, result[None], f"{name}, alpha {alpha:+g}")
            strips.append(pixels)
            row["alphas"].append({"alpha": alpha, **counts})
            singles[f"{i + 1}_{name}_{alpha:+g}"] = pixels[0]
        facts.append(row)
    columns = ["original", "decoded", *(f"{alpha:+g}" for alpha in alphas)]
    picture = table(torch.cat(strips), rows=pictures.names, columns=columns)
    source = None if directions.source is None else str(directions.source)
    made_of = {"directions": source, "method": directions.facts["method"], "weights": dict(weights)}
    return Drawing(
        picture, {**opened.facts, **pictures.facts, **made_of, "failed": pictures.failed, "rows": facts}, singles
    )


def sliders(
    opened: Opened,
    images: Images,
    directions: Directions,
    *,
    n: int = 3,
    alphas: Sequence[float] = (-1.0, -0.5, 0.0, 0.5, 1.0),
) -> Drawing:
    """A row for each attribute, in it n of the images, at random by the model's seed, at every alpha, set apart.

    Returns the picture, and facts with the images' numbers and the counts of mended values under "rows".
    """
    faces = chosen(len(images), n, seed=opened.seed)
    batch = next(encoded(opened, images, faces, batch_size=len(faces)))
    columns = [label for _ in faces for label in (*(f"{alpha:g}" for alpha in alphas), "")][:-1]
    strips, rows = [], []
    with progress(len(directions.names), "attribute") as bar:
        for name in directions.names:
            by_alpha = moved(opened.model, batch.zs, directions.of({name: 1.0}), alphas, y=batch.y)
            x = by_alpha.transpose(0, 1)  # (faces, alphas, …)
            pixels, counts = to_pixels(opened.model, x, name)
            apart = torch.full_like(pixels[:, :1], WHITE)
            strips.append(torch.cat([pixels, apart], dim=1).flatten(0, 1)[:-1])
            rows.append({"name": name, **counts})
            bar.update()
    picture = table(torch.cat(strips), rows=directions.names, columns=columns)
    return Drawing(picture, {"split": images.split, "images": faces, "alphas": list(alphas), "rows": rows})
