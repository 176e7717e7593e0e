"""A picture's file: read, cropped and resized."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from waveglow.audio.files import FileError, unusable
from waveglow.data.image_sources.source import Pixels

Content = Callable[[str], tuple[Path, bytes]]  # from a picture's name to its path, for messages, and its file's content
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHER_PICTURES = (".jfif", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
CLAIMED = 2**24  # pixels that a file may have however small it is: each takes 4 bytes, and what is done with it others
CELEBA_SHAPE, CELEBA_CROP = (178, 218), 148  # as RealNVP (Dinh et al., 2017, arXiv 1605.08803), there "approximately"
FITTED = (
    "cropped to the largest centred square (178×218, CelebA's aligned shape: the centred 148×148), "
    "resized by Pillow's antialiased bicubic filter"
)


def fitted(content: bytes, name: Path, *, size: int, channels: int) -> Pixels:
    """A PNG, JPEG or WebP file's picture, upright, cropped and resized: [channels, size, size].

    EXIF orientation is honoured; what is transparent becomes white. Raises FileError, with `name`.
    """
    image = _square(upright(content, name, channels=channels)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)  # [H, W, C] to [C, H, W]


def upright(content: bytes, name: Path, *, channels: int = 3) -> Image.Image:
    """A PNG, JPEG or WebP file's picture in grey or RGB, by its EXIF orientation. Raises FileError, with `name`."""
    try:
        # Named formats only: others run programs (EPS) or read further files.
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > max(CLAIMED, 100 * len(content)):
                raise FileError(
                    name, f"claims {image.width}×{image.height} pixels in {len(content)} bytes; save it anew"
                )
            if image.mode.startswith(("I", "F")):
                raise FileError(name, f"has more than 8 bits a channel (Pillow mode {image.mode}); save it with 8")
            return _flat(ImageOps.exif_transpose(image), channels)
    except FileError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise FileError(name, f"has more than {limit} million pixels; make it smaller first") from error
    except UnidentifiedImageError as error:
        raise FileError(name, "is no picture that can be read as PNG, JPEG or WebP") from error
    except Exception as error:  # decoders raise all kinds (SyntaxError, struct.error, ...) on damaged files
        raise FileError(name, f"is no picture that can be read as PNG, JPEG or WebP ({error})") from error


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """The picture in grey or RGB, on white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def _square(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = CELEBA_CROP if image.size == CELEBA_SHAPE else min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def read_file(path: Path) -> bytes:
    """A file's content. Raises FileError; never blocks on a FIFO."""
    if reason := unusable(path):
        raise FileError(path, reason)
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, f"can't be read ({error.strerror})") from error


def in_folder(folder: Path) -> Content:
    return lambda name: (folder / name, read_file(folder / name))


def reader(content: Content, names: Sequence[str], size: int) -> Callable[[int], Pixels]:
    def read(i: int) -> Pixels:
        name, data = content(names[i])
        return fitted(data, name, size=size, channels=3)

    return read


def readable(read: Callable[[int], Pixels]) -> Callable[[int], bool]:
    """Whether picture i can be used."""

    def test(i: int) -> bool:
        try:
            read(i)
        except FileError:
            return False
        return True

    return test
