"""What work with an image flow writes: a picture, its numbers as JSON beside it, and each image by itself.

Shapes: images are uint8 [N, C, H, W]; a picture is uint8 [3, H', W'].
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from waveglow.audio.files import utf8, write_atomically
from waveglow.data.pictures import grid, labelled, save_png
from waveglow.models.flow_image import FlowImage
from waveglow.pictures.inputs import Opened

CELL_PX = 64  # smaller images are enlarged to it in pictures
OTHER_SUFFIXES = (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".pdf", ".svg")


@dataclass(frozen=True)
class Drawing:
    """A picture uint8 [3, H', W'], its numbers, and every image uint8 [C, H, W] in it by the name of its file."""

    picture: Tensor
    facts: dict[str, Any]
    images: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """A picture's file, and the folder for its images where one was named."""

    picture: Path
    folder: Path | None

    @property
    def json(self) -> Path:
        """The numbers beside the picture."""
        return self.picture.with_suffix(".json")

    def write(self, opened: Opened, drawing: Drawing) -> None:
        """Write it all, and `show` the picture. Raises OSError."""
        for name, image in drawing.images.items() if self.folder else ():
            save_png(self.picture.with_name(f"{name}.png"), image)
        save_png(self.picture, drawing.picture)
        write_json(self.json, drawing.facts)
        show(opened, self.picture.stem, drawing.picture)


def output(out: Path, name: str) -> Output:
    """Where a command's OUT leads: a PNG file, or a folder for `name`.png and every image.

    Raises ValueError for other kinds of files, and for a picture there that no such command has written.
    """
    if out.suffix.lower() in OTHER_SUFFIXES:
        raise ValueError(f"{out}: pictures are written as PNG; name a .png file, or a folder")
    if out.suffix.lower() != ".png":
        require_folder(out)
        return Output(out / f"{name}.png", out)
    found = Output(out, None)
    if out.exists() and not found.json.exists():  # a photo, if the last argument was forgotten
        raise ValueError(
            f"{out}: exists, and isn't from this command ({found.json.name} is missing); name another file"
        )
    return found


def require_folder(out: Path) -> None:
    """Raises ValueError where `out` is a file."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder for the results")


def table(images: Tensor, *, rows: Sequence[str], columns: Sequence[str]) -> Tensor:
    """Images [N, C, H, W], row by row, as a picture with these names."""
    return labelled(grid(images, columns=len(columns), cell=CELL_PX), rows=rows, columns=columns)


def square(images: Tensor) -> Tensor:
    """Images [N, C, H, W] as a picture about as wide as high."""
    return grid(images, columns=math.ceil(math.sqrt(len(images))), cell=CELL_PX)


def to_pixels(model: FlowImage, x: Tensor, what: str) -> tuple[Tensor, dict[str, int]]:
    """x [N, C, H, W] as pixels, and how many values had to be mended; stderr says where some were no numbers."""
    counts = {"values": x.numel(), **model.outside(x)}
    if counts["non_finite"]:
        lost = f"{counts['non_finite']} of {x.numel()} values aren't finite, drawn black"
        print(f"notice: {what}: {lost}; so far from the data the inverse overflowed, go less far", file=sys.stderr)
    return model.to_pixels(x).cpu(), counts


def mended_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the counts of several calls of `to_pixels` come to.

    >>> mended_text([{"values": 64, "non_finite": 1, "out_of_range": 2}] * 2)
    '3.12% of values out of range, 2 not finite'
    """
    values, beyond, lost = (sum(row[key] for row in rows) for key in ("values", "out_of_range", "non_finite"))
    return f"{beyond / values:.2%} of values out of range, {lost} not finite"


def show(opened: Opened, name: str, picture: Tensor) -> None:
    """A picture in TensorBoard too, where the checkpoint is a training run's: there under `pictures`, at its step."""
    boards = [folder / "tensorboard" for folder in list(opened.path.parents)[:2] if (folder / "tensorboard").is_dir()]
    if not boards:
        return
    from torch.utils.tensorboard import SummaryWriter  # a second of imports

    try:
        with SummaryWriter(str(boards[0] / "pictures")) as writer:
            writer.add_image(name, picture, opened.facts["step"] or 0)
    except OSError as error:
        print(f"notice: not in TensorBoard: {error}", file=sys.stderr)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write results, whole or not at all; numbers that aren't finite become null."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, utf8(f"{text}\n"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
