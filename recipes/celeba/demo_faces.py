"""Cartoon faces with known attributes, as a folder in CelebA's layout, so that the recipe needs no download.

    python recipes/celeba/demo_faces.py OUT [--faces 8000] [--seed 0]

OUT gets img_align_celeba/000001.jpg ... (178×218 as CelebA's are; JPEG's losses vanish in the resize to 32×32),
list_attr_celeba.txt with six attributes in place of forty, origin.txt, which says that nobody's terms are on them, and,
last of all, list_eval_partition.txt, which keeps one face of twenty for validation and one for test. Attributes are
drawn independently, each with probability 1/2:

    Smiling      or the mouth bends down      Pale_Skin    or brown
    Eyeglasses   round, with dark frames      Oval_Face    or round
    Blond_Hair   or dark brown                Tilted       to the right, or else to the left (no name of CelebA's)

Every random number comes from Philox keyed by (seed, number): a face does not depend on how many there are.
`attribute_scores` reads the attributes back from pixels alone, so that an edit of a picture can be measured.

Exit status: 0; 2 where nothing could be done.
"""

# Shapes: N images, A attributes, P paints, G guesses. Lengths are in cells, 32 of which span the centre crop of 148
# pixels; y points down. A shape is its signed distance [H, W], positive inside.

from __future__ import annotations

import argparse
import functools
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

Array = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Window = tuple[slice, slice]
Layer = tuple[int, float, Array]  # paint, opacity, shape

ORIGIN = "faces drawn by recipes/celeba/demo_faces.py, and nobody's"
ATTRIBUTES = ("Smiling", "Eyeglasses", "Blond_Hair", "Pale_Skin", "Oval_Face", "Tilted")
WIDTH, HEIGHT, CROP = 178, 218, 148  # pixels: CelebA's aligned faces, and the square that the recipe cuts out
CELLS = 32
CELL = CROP / CELLS  # pixels
JPEG_QUALITY = 95
FEWEST, MOST = 20, 999_999  # faces: one for each split, and six digits

# The ends of what varies and is no attribute: x, y, size, degrees, mouth and eyes of a Face.
LOWEST = -0.8, -0.6, 0.96, 4.0, 3.7, 0.92
HIGHEST = 0.8, 0.6, 1.04, 8.0, 4.4, 1.08

# A picture is linear in its paints' colours. The first three differ from face to face, the others are the same in all.
PAINTS = SKY, HAIR, SKIN, INK, WHITE, LIPS, BLUSH, SHIRT = range(8)
FREE = 3
HAIR_COLOURS = (72, 44, 36), (240, 200, 92)  # dark, blond
SKIN_COLOURS = (176, 122, 86), (248, 216, 194)  # brown, pale
SKY_COLOUR = 176, 208, 232
FIXED_COLOURS = np.array([[38, 32, 42], [252, 252, 250], [128, 16, 40], [232, 96, 88], [92, 116, 160]], np.float32)
TINT = np.array([[26], [6], [6]])  # ± levels, for each channel by itself
BRIGHTNESS = np.array([[0], [10], [10]])  # ± levels, for the three together

BEND = 1.7  # of the mouth: how far its middle lies from the line through its ends
EYE_SPACING, EYE_LEVEL = 4.2, -0.6
MOUTH_LEVEL = 5.5  # in oval faces too: halfway between two mouths lies no mouth
LENS, FRAME = 3.4, 0.6  # radius, and half the thickness

# What the reader compares an image with: edges as soft as a small flow's samples have, in few places.
SOFT_EDGE = 2.0
SHIFTS = -2.0, -1.0, 0.0, 1.0, 2.0  # wider than LOWEST and HIGHEST, since an edit may move a face
BATCH = 256
SHAPED = "Smiling", "Eyeglasses", "Oval_Face", "Tilted"
COLOURED = {"Blond_Hair": (HAIR, HAIR_COLOURS), "Pale_Skin": (SKIN, SKIN_COLOURS)}


class Face(NamedTuple):
    """What is drawn: the attributes, and within LOWEST and HIGHEST what is none.

    `tints` [3, 3] is added to the colours of sky, hair and skin.
    """

    smiling: bool
    eyeglasses: bool
    blond_hair: bool
    pale_skin: bool
    oval_face: bool
    tilted: bool
    x: float = 0.0
    y: float = 0.0
    size: float = 1.0
    degrees: float = 6.0
    mouth: float = 4.05  # half its width
    eyes: float = 1.0
    tints: Array = np.zeros((3, 3))

    @property
    def attributes(self) -> Bools:
        """[A]"""
        return np.array(self[: len(ATTRIBUTES)], dtype=np.bool_)

    @property
    def radii(self) -> tuple[float, float]:
        """Of the head, across and down."""
        return (8.2, 11.2) if self.oval_face else (9.8, 9.6)

    @property
    def colours(self) -> Array:
        """[P, 3]"""
        free = np.array([SKY_COLOUR, HAIR_COLOURS[self.blond_hair], SKIN_COLOURS[self.pale_skin]]) + self.tints
        return np.concatenate([free, FIXED_COLOURS]).clip(0, 255).astype(np.float32)

    def turned(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The head's own coordinates."""
        angle = math.radians(self.degrees if self.tilted else -self.degrees)
        cos, sin, x, y = math.cos(angle) / self.size, math.sin(angle) / self.size, x - self.x, y - self.y
        return cos * x + sin * y, cos * y - sin * x


def sample_face(seed: int, number: int) -> Face:
    """Face `number` of a seed. Raises ValueError unless 0 <= seed, number < 2**64."""
    if not (0 <= seed < 2**64 and 0 <= number < 2**64):
        raise ValueError(f"seed {seed} and number {number} must lie from 0 to 2**64 - 1")
    random = np.random.Generator(np.random.Philox(key=np.array([seed, number], dtype=np.uint64)))
    attributes = random.random(len(ATTRIBUTES)) < 0.5
    tints = random.uniform(-1, 1, (FREE, 3)) * TINT + random.uniform(-1, 1, (FREE, 1)) * BRIGHTNESS
    return Face(*attributes.tolist(), *random.uniform(LOWEST, HIGHEST).tolist(), tints=tints)


def render(seed: int, number: int) -> tuple[Pixels, Bools]:
    """Picture [218, 178, 3] in RGB and attributes [A] of one face. Raises ValueError as `sample_face` does."""
    face = sample_face(seed, number)
    return draw(face), face.attributes


def draw(face: Face) -> Pixels:
    """Picture [218, 178, 3] in RGB."""
    x, y = _axis(WIDTH, CELL), _axis(HEIGHT, CELL)
    colours, haze = face.colours[:, :, None, None] + np.float32(0.5), _haze(y)
    levels = np.tile(colours[SKY] + haze * (colours[WHITE] - colours[SKY]), WIDTH)  # (3, H, W)
    for paint, (rows, columns), cover in _layers(face, x, y, edge=1 / CELL):
        part = levels[:, rows, columns]
        part += cover * (colours[paint] - part)
    return levels.transpose(1, 2, 0).astype(np.uint8, order="C")


def _shares(face: Face, x: Array, y: Array, *, edge: float) -> Array:
    """How much of each paint is seen where, [P, H, W], adding up to 1."""
    shares = np.zeros((len(PAINTS), y.size, x.size), np.float32)
    shares[SKY], shares[WHITE] = 1 - _haze(y), _haze(y)
    for paint, (rows, columns), cover in _layers(face, x, y, edge=edge):
        shares[:, rows, columns] *= 1 - cover
        shares[paint, rows, columns] += cover
    return shares


def _axis(pixels: int, pixels_per_cell: float) -> Array:
    """The pixels' centres, in cells from the middle."""
    return ((np.arange(pixels) + 0.5 - pixels / 2) / pixels_per_cell).astype(np.float32)


def _haze(y: Array) -> Array:
    """The sky fades to white, [H, 1]."""
    return np.clip((y[:, None] + 16) / 40, 0, 0.8)


def _layers(face: Face, x: Array, y: Array, *, edge: float) -> Iterator[tuple[int, Window, Array]]:
    """From back to front: a paint, and how it covers a window. `edge` is the width of a soft edge in cells."""
    for part, middle, reach in (_body, face.y + 20, 14.0), (_head, face.y, 14.5), (_features, face.y, 10.5):
        rows, columns = _near(y, middle, reach), _near(x, face.x, reach)  # few pixels matter: 3 times faster
        for paint, opacity, inside in part(face, x[columns], y[rows, None]):
            yield paint, (rows, columns), np.clip(inside * (1 / edge) + 0.5, 0, opacity)


def _near(axis: Array, middle: float, reach: float) -> slice:
    start, stop = np.searchsorted(axis, (middle - reach, middle + reach))
    return slice(int(start), int(stop))


def _body(face: Face, x: Array, y: Array) -> Iterator[Layer]:
    x, y = x - face.x, y - face.y
    neck = _ellipse(x, y - 12.5, 3.6, 3.0)
    yield SHIRT, 1.0, _ellipse(x, y - 20.5, 13.5, 9.0)
    yield SKIN, 1.0, neck
    yield INK, 0.15, neck  # in the head's shadow


def _head(face: Face, x: Array, y: Array) -> Iterator[Layer]:
    (u, v), (a, b) = face.turned(x, y), face.radii
    head = _ellipse(u * (1 + 0.008 * v), v, a, b)  # narrower at the chin
    yield HAIR, 1.0, np.minimum(_ellipse(u, v + 1.8, a + 1.7, b + 0.6), 1.0 - v)
    yield SKIN, 1.0, _ellipse(np.abs(u) - a, v - 0.4, 1.6, 1.9)  # ears
    yield SKIN, 1.0, head
    yield HAIR, 1.0, np.minimum(head + 0.5, -0.5 * b - 0.045 * u * u - v)  # fringe


def _features(face: Face, x: Array, y: Array) -> Iterator[Layer]:
    (u, v), a = face.turned(x, y), face.radii[0]
    side = np.abs(u)
    across, down = side - EYE_SPACING, v - EYE_LEVEL
    yield BLUSH, 0.4, _ellipse(side - 0.68 * a, v - 3.4, 2.0, 1.4)  # cheeks
    yield BLUSH, 0.4, _ellipse(u, v - 1.9, 1.0, 0.8)  # nose
    lens = _ellipse(across, down, LENS, LENS)
    if face.eyeglasses:
        yield WHITE, 0.5, lens
    yield INK, 1.0, _ellipse(across, down, 1.45 * face.eyes, 1.8 * face.eyes)
    yield WHITE, 1.0, _ellipse(across + 0.4, down + 0.6, 0.4, 0.45)  # a glint
    if face.eyeglasses:
        bridge = np.minimum(0.5 - np.abs(down + 0.3), 1.0 - side)
        yield INK, 1.0, np.maximum(FRAME - np.abs(lens), bridge)
    yield LIPS, 1.0, _arc(u, v - MOUTH_LEVEL, face.mouth, BEND if face.smiling else -BEND, 0.8)


def _ellipse(x: Array, y: Array, a: float, b: float) -> Array:
    x, y = x / a, y / b
    return min(a, b) * (1 - np.sqrt(x * x + y * y))


def _arc(x: Array, y: Array, half_width: float, bend: float, half_thickness: float) -> Array:
    """A parabola's round stroke, about its middle: to first order in the distance from the curve."""
    at = np.clip(x / half_width, -1, 1)
    slope = 2 * bend / half_width * at
    off, past = (y - bend * (0.5 - at * at)) / np.sqrt(1 + slope * slope), x - half_width * at
    return half_thickness - np.sqrt(off * off + past * past)


def read_attributes(images: Pixels) -> Bools:
    """The more likely value of each attribute, [N, A], of images [N, 3, H, W] in RGB; see `attribute_scores`."""
    return attribute_scores(images) > 0


def attribute_scores(images: Pixels) -> Array:
    """Where images [N, 3, H, W] in RGB, H = W >= 32, lie between two drawings, [N, A]: about 1 with, -1 without.

    Analysis by synthesis: each image gets the nearest of few drawn faces, whose sky, hair and skin are coloured by
    least squares. That face is drawn without and with each attribute; the score tells how far the image is on the way.

    Raises:
        ValueError: if the images are not uint8, RGB and square, or too small.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}; they must be uint8 [N, 3, H, W]")
    if images.shape[2] != images.shape[3] or images.shape[2] < CELLS:
        raise ValueError(f"images are {list(images.shape[2:])}; they must be square, of {CELLS} pixels or more")
    guesses = _guesses()
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    none = np.zeros((0, len(ATTRIBUTES)), np.float32)
    return np.concatenate([none, *(_scores(np.stack([*map(_shrunk, batch)]), guesses) for batch in batches)])


def _shrunk(image: Pixels) -> Array:
    """[3, H, W] -> [3, 32·32]"""
    small = Image.fromarray(image.transpose(1, 2, 0)).resize((CELLS, CELLS), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1, 3).T


@functools.cache  # a constant, if one of a third of a second
def _guesses() -> Array:
    """Shares [2, 2, 2, 2, 25, P, 32·32] of faces without and with the attributes that SHAPED names, in 25 places."""
    axis = _axis(CELLS, 1.0)
    shares = [
        _shares(Face(smiling, glasses, False, False, oval, tilted, x, y), axis, axis, edge=SOFT_EDGE)
        for smiling, glasses, oval, tilted in itertools.product((False, True), repeat=len(SHAPED))
        for x, y in itertools.product(SHIFTS, repeat=2)
    ]
    return np.reshape(shares, (*[2] * len(SHAPED), len(SHIFTS) ** 2, -1, CELLS**2))


def _scores(images: Array, guesses: Array) -> Array:
    """[N, A] of images [N, 3, 32·32]."""
    best, colours = _fit(images, guesses.reshape(-1, *guesses.shape[-2:]))
    at = np.unravel_index(best, guesses.shape[:-2])
    scores = {}
    for axis, name in enumerate(SHAPED):
        elsewise = at[:axis] + at[axis + 1 :]
        without, having = (guess[elsewise] for guess in np.moveaxis(guesses, axis, 0))
        scores[name] = _way(images, colours @ without, colours @ having)
    for name, (paint, ends) in COLOURED.items():
        without, having = colours.copy(), colours.copy()
        without[..., paint], having[..., paint] = ends
        scores[name] = _way(images, without @ guesses[at], having @ guesses[at])
    return np.stack([scores[name] for name in ATTRIBUTES], axis=1)


def _fit(images: Array, guesses: Array) -> tuple[npt.NDArray[np.intp], Array]:
    """Which of the guesses [G, P, 32·32] leaves least of each image unexplained, [N], and its colours [N, 3, P]."""
    free, fixed = guesses[:, :FREE], FIXED_COLOURS.T @ guesses[:, FREE:]  # (G, 3, 32·32) both
    basis = np.linalg.qr(free.swapaxes(1, 2))[0].swapaxes(1, 2)
    rest = fixed - fixed @ basis.swapaxes(1, 2) @ basis
    # |image - rest|² - |basis · image|², less |image|², which is the same for all guesses
    misfit = (rest**2).sum((1, 2)) - 2 * images.reshape(len(images), -1) @ rest.reshape(len(rest), -1).T
    explained = (images.reshape(-1, CELLS**2) @ basis.reshape(-1, CELLS**2).T).reshape(len(images), 3, -1, FREE)
    best = (misfit - (explained**2).sum((1, 3))).argmin(1)
    free, missing = free[best], images - fixed[best]
    solved = np.linalg.solve(free @ free.swapaxes(1, 2), free @ missing.swapaxes(1, 2))  # (N, FREE, 3)
    same = np.broadcast_to(FIXED_COLOURS, (len(images), *FIXED_COLOURS.shape))
    return best, np.concatenate([solved, same], axis=1).swapaxes(1, 2)


def _way(images: Array, start: Array, end: Array) -> Array:
    """How far images [N, 3, 32·32] are on the way between two others, [N]: -1 at its start, 1 at its end."""
    way = end - start
    return 2 * ((images - (start + end) / 2) * way).sum((1, 2)) / (way**2).sum((1, 2))


def write(out: Path, faces: int, seed: int) -> None:
    """A folder in CelebA's layout; the list of splits comes last, so a folder that has one is whole.

    Raises:
        ValueError: if there are too few or too many faces, the seed is out of range, or `out` has pictures of others.
    """
    if not FEWEST <= faces <= MOST:
        raise ValueError(f"faces is {faces}; it must lie from {FEWEST}, so that no split is empty, to {MOST}")
    known, pictures, splits = out / "list_attr_celeba.txt", out / "img_align_celeba", out / "list_eval_partition.txt"
    header = " ".join(ATTRIBUTES) + " "  # CelebA's own line ends in a blank, too
    if pictures.exists() and not (known.is_file() and header in known.read_text(encoding="utf-8").split("\n")[:2]):
        raise ValueError(f"{out} has pictures that were not drawn here; name another folder")
    names = {number: f"{number:06d}.jpg" for number in range(1, faces + 1)}
    signs = {number: np.where(sample_face(seed, number).attributes, " 1", "-1") for number in names}
    pictures.mkdir(parents=True, exist_ok=True)
    splits.unlink(missing_ok=True)
    (out / "origin.txt").write_text(f"{ORIGIN}\n", encoding="utf-8")
    known.write_text(
        "\n".join([str(faces), header, *(" ".join([names[n], *signs[n]]) for n in names), ""]), encoding="utf-8"
    )
    np.empty(2**24, np.uint8)  # taken and freed: glibc then keeps what `draw` frees, for a third more faces a second
    for number, name in tqdm(names.items(), unit="face", disable=not sys.stderr.isatty()):
        Image.fromarray(render(seed, number)[0]).save(pictures / name, quality=JPEG_QUALITY)
    splits.write_text("".join(f"{name} {_split(number)}\n" for number, name in names.items()), encoding="utf-8")


def _split(number: int) -> int:
    """0 to train, 1 to validate, 2 to test. A face's split does not depend on how many there are, either."""
    return {19: 1, 0: 2}.get(number % FEWEST, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the folder; the exit status."""
    doc, raw = __doc__ or "", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="demo_faces.py", description=doc, formatter_class=raw)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the pictures and the two lists")
    parser.add_argument("--faces", type=int, default=8000, help=f"how many, from {FEWEST} (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other faces (%(default)s)")
    args = parser.parse_args(arguments)
    try:
        write(args.out, args.faces, args.seed)
    except (ValueError, OSError) as error:
        print(f"demo_faces.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
