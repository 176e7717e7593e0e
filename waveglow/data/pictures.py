"""Many small images as one picture: grids, labels at their margins, PNG files.

Shapes: images are uint8 [N, C, H, W] with C = 1 (grey) or 3 (RGB); a picture is uint8 [3, H', W'].
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from waveglow.audio.files import make_folder, write_atomically

WHITE = 255
TEXT_PX, MARGIN_PX = 14, 6


def grid(pixels: Tensor, *, columns: int, gap: int = 2, cell: int = 1) -> Tensor:
    """Images [N, C, H, W] in rows filled from the left, as a picture; gaps, and places without an image, are white.

    Arguments:
        columns: images in a row.
        gap: pixels between images, and around all of them.
        cell: every pixel is repeated, a whole number of times, until an image has at least so many a side.

    Raises ValueError for images that are none, or are not uint8 in grey or RGB, and for less than one column.
    """
    _require_pictures(pixels)
    if columns < 1:
        raise ValueError(f"columns is {columns}; a row needs at least 1")
    scale = max(1, math.ceil(cell / min(pixels.shape[2:])))
    pixels = pixels.cpu().expand(-1, 3, -1, -1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    rows = math.ceil(len(pixels) / columns)
    padded = F.pad(pixels, (gap, 0, gap, 0, 0, 0, 0, rows * columns - len(pixels)), value=WHITE)
    table = padded.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)  # (3, rows, gap + H, columns, gap + W)
    return F.pad(table.flatten(3).flatten(1, 2), (0, gap, 0, gap), value=WHITE)


def labelled(picture: Tensor, *, rows: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> Tensor:
    """A picture [3, H', W'] of equal rows and columns, with their names at the left and on top: [3, H'', W''].

    The picture itself stands unchanged in the lower right corner. Names wider than their column are turned upright.
    """
    _, height, width = picture.shape
    lefts, tops = [_text(name) for name in rows or ()], [_text(name) for name in columns or ()]
    if any(text.width > width / len(tops) - 2 for text in tops):
        tops = [text.transpose(Image.Transpose.ROTATE_90) for text in tops]
    left = max((text.width for text in lefts), default=-MARGIN_PX) + MARGIN_PX
    top = max((text.height for text in tops), default=-MARGIN_PX) + MARGIN_PX
    canvas = Image.new("RGB", (left + width, top + height), "white")
    for i, text in enumerate(lefts):  # right-aligned, in the middle of the row
        middle = top + (i + 0.5) * height / len(lefts)
        canvas.paste(text, (left - MARGIN_PX // 2 - text.width, round(middle - text.height / 2)))
    for i, text in enumerate(tops):
        middle = left + (i + 0.5) * width / len(tops)
        canvas.paste(text, (round(middle - text.width / 2), top - MARGIN_PX // 2 - text.height))
    canvas.paste(Image.fromarray(_channels_last(picture)), (left, top))
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


def save_png(path: Path, picture: Tensor) -> None:
    """Write uint8 [1 or 3, H, W] as a PNG file, whole or not at all, and its folder. Raises OutputError, ValueError."""
    _require_pictures(picture[None])
    buffer = io.BytesIO()
    Image.fromarray(_channels_last(picture)).save(buffer, "PNG", optimize=True)
    make_folder(path.parent)
    write_atomically(path, buffer.getvalue())


def _text(text: str) -> Image.Image:
    """Black letters on white, cut to the text's width and the font's height."""
    font = ImageFont.load_default(TEXT_PX)
    width = math.ceil(font.getlength(text))
    image = Image.new("RGB", (max(width, 1), math.ceil(1.3 * TEXT_PX)), "white")
    ImageDraw.Draw(image).text((0, image.height / 2), text, fill="black", font=font, anchor="lm")
    return image


def _channels_last(picture: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """[1 or 3, H, W] to [H, W] or [H, W, 3]."""
    array = picture.cpu().permute(1, 2, 0).contiguous().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def _require_pictures(pixels: Tensor) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or not pixels.numel():
        raise ValueError(
            f"images are {pixels.dtype} of {list(pixels.shape)}; they must be uint8 of [N, 1 or 3, H, W], at least one"
        )
