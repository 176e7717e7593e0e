"""The cartoon faces of recipes/celeba: repeatable, laid out as CelebA, and read back right from their pixels."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

SCRIPT = Path(__file__).parents[1] / "recipes" / "celeba" / "demo_faces.py"
HELD_OUT_SEED = 2024  # the reader's constants were chosen on others


@pytest.fixture(scope="module")
def demo_faces() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_faces", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def held_out(demo_faces) -> tuple[np.ndarray, np.ndarray]:
    """Prepared images [300, 3, 32, 32] and their attributes [300, 6]."""
    pictures, attributes = zip(*(demo_faces.render(HELD_OUT_SEED, number) for number in range(300)), strict=True)
    return np.stack([prepared(picture) for picture in pictures]), np.stack(attributes)


def cropped(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture).crop((15, 35, 163, 183))


def small(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cropped(picture).resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def prepared(picture: np.ndarray) -> np.ndarray:
    """What the recipe trains on: the centre crop at 32×32, with the levels of 5 bits, [3, 32, 32]."""
    return five_bits(small(picture))


def five_bits(image: np.ndarray) -> np.ndarray:
    return (image >> 3 << 3) + 4


def test_a_face_is_bitwise_repeatable_and_needs_no_others(demo_faces):
    picture, attributes = demo_faces.render(3, 7)
    demo_faces.render(3, 6)
    again, same = demo_faces.render(3, 7)
    np.testing.assert_array_equal(picture, again)
    np.testing.assert_array_equal(attributes, same)
    assert picture.shape == (218, 178, 3)
    assert picture.dtype == np.uint8
    assert attributes.shape == (len(demo_faces.ATTRIBUTES),)
    assert attributes.dtype == bool


@pytest.mark.parametrize("other", [(3, 8), (4, 7)])
def test_another_number_or_seed_is_another_face(demo_faces, other):
    assert (demo_faces.render(3, 7)[0] != demo_faces.render(*other)[0]).mean() > 0.5


def test_attributes_are_fair_and_independent(demo_faces):
    bits = np.array([demo_faces.sample_face(1, number)[:6] for number in range(4000)], dtype=float)
    four_sigma = 4 / np.sqrt(len(bits))
    np.testing.assert_allclose(bits.mean(0), 0.5, atol=four_sigma / 2)
    np.testing.assert_allclose(np.corrcoef(bits.T), np.eye(6), atol=four_sigma)


def test_what_is_no_attribute_varies_in_its_range_independently_of_them(demo_faces):
    faces = [demo_faces.sample_face(1, number) for number in range(4000)]
    bits, rest = np.array([face[:6] for face in faces]), np.array([face[6:12] for face in faces])
    lowest, highest = np.array(demo_faces.LOWEST), np.array(demo_faces.HIGHEST)
    assert (rest >= lowest).all()
    assert (rest <= highest).all()
    assert (rest.std(0) > 0.25 * (highest - lowest)).all()
    tints = np.array([face.tints.ravel() for face in faces])
    between = np.corrcoef(np.hstack([bits, rest, tints]).T)[:6, 6:]
    np.testing.assert_allclose(between, 0, atol=5 / np.sqrt(len(faces)))


def place(picture: np.ndarray, colour: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a colour."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).max(2) < 12)
    assert rows.size
    return rows, columns


@pytest.mark.parametrize("number", range(4))
def test_attributes_mean_what_their_names_say(demo_faces, number):
    """Measured without the reader, which would share a renderer's mistake."""
    plain = demo_faces.sample_face(2, number)._replace(tints=np.zeros((3, 3)), smiling=False, degrees=12.0)
    paints = (demo_faces.LIPS, demo_faces.INK, demo_faces.SHIRT)
    lips, ink, shirt = (tuple(demo_faces.FIXED_COLOURS[paint - demo_faces.FREE]) for paint in paints)

    def both(field: str) -> list[np.ndarray]:
        return [demo_faces.draw(plain._replace(**{field: value})) for value in (False, True)]

    for picture, bends_down in zip(both("smiling"), (True, False), strict=True):
        rows, columns = place(picture, lips)
        at_ends, in_middle = rows[np.abs(columns - columns.mean()) > 16], rows[np.abs(columns - columns.mean()) < 4]
        assert (at_ends.mean() > in_middle.mean()) == bends_down  # y points down
    without, having = (place(picture, ink)[0].size for picture in both("eyeglasses"))
    assert having > 3 * without
    for field, colours in ("blond_hair", demo_faces.HAIR_COLOURS), ("pale_skin", demo_faces.SKIN_COLOURS):
        for picture, colour in zip(both(field), colours, strict=True):
            assert place(picture, colour)[0].size > 1000
    assert np.less(demo_faces.HAIR_COLOURS[0], demo_faces.HAIR_COLOURS[1]).all()
    assert np.less(demo_faces.SKIN_COLOURS[0], demo_faces.SKIN_COLOURS[1]).all()
    ratios = []
    for picture in both("oval_face"):
        rows, columns = place(picture, demo_faces.SKIN_COLOURS[plain.pale_skin])
        ratios.append(np.ptp(rows) / np.ptp(columns))
    assert ratios[1] > 1.25 * ratios[0]
    middle = place(demo_faces.draw(plain), shirt)[1].mean()
    left, right = (place(picture, demo_faces.HAIR_COLOURS[plain.blond_hair])[1].mean() for picture in both("tilted"))
    assert left < middle < right


def test_the_folder_is_laid_out_as_celeba(demo_faces, tmp_path):
    assert demo_faces.main([str(tmp_path / "faces"), "--faces", "40", "--seed", "5"]) == 0
    lines = (tmp_path / "faces" / "list_attr_celeba.txt").read_text().split("\n")
    assert lines[0] == "40"
    assert lines[1] == "Smiling Eyeglasses Blond_Hair Pale_Skin Oval_Face Tilted "
    assert lines[42:] == [""]
    for number, line in enumerate(lines[2:42], start=1):
        assert re.fullmatch(r"\d{6}\.jpg( -1|  1){6}", line)
        name, *signs = line.split()
        picture, attributes = demo_faces.render(5, number)
        assert name == f"{number:06d}.jpg"
        assert [sign == "1" for sign in signs] == attributes.tolist()
        with Image.open(tmp_path / "faces" / "img_align_celeba" / name) as image:
            assert (image.size, image.mode, image.format) == ((178, 218), "RGB", "JPEG")
            assert np.abs(small(np.asarray(image)) - small(picture).astype(int)).mean() < 1
    assert len([*(tmp_path / "faces" / "img_align_celeba").iterdir()]) == 40


def test_one_face_of_twenty_validates_and_one_tests(demo_faces, tmp_path):
    demo_faces.write(tmp_path, 41, 0)
    rows = [row.split(" ") for row in (tmp_path / "list_eval_partition.txt").read_text().splitlines()]
    assert [name for name, _ in rows] == [f"{number:06d}.jpg" for number in range(1, 42)]
    assert [split for _, split in rows] == [*["0"] * 18, "1", "2"] * 2 + ["0"]


def test_a_larger_folder_begins_as_a_smaller_one(demo_faces, tmp_path):
    for name, faces in ("small", 20), ("large", 25):
        demo_faces.write(tmp_path / name, faces, 9)
    for file in "list_attr_celeba.txt", "list_eval_partition.txt":
        small, large = ((tmp_path / name / file).read_text().splitlines() for name in ("small", "large"))
        assert large[: len(small)][-20:] == small[-20:]
    small, large = (tmp_path / name / "img_align_celeba" / "000020.jpg" for name in ("small", "large"))
    assert small.read_bytes() == large.read_bytes()


def test_the_reader_is_right_on_faces_as_the_recipe_prepares_them(demo_faces, held_out):
    images, attributes = held_out
    assert ((demo_faces.read_attributes(images) == attributes).mean(0) >= 0.99).all()


def test_the_reader_is_right_on_blurred_and_noisy_faces(demo_faces, held_out):
    images, attributes = held_out
    noise = np.random.default_rng(0).normal(0, 0.05 * 255, images.shape)
    rough = gaussian_filter(images.astype(float), (0, 0, 0.6, 0.6)) + noise
    read = demo_faces.read_attributes(five_bits(rough.clip(0, 255).astype(np.uint8)))
    assert ((read == attributes).mean(0) >= 0.97).all()


@pytest.mark.parametrize("shift", list(itertools.product((-1, 1), (-2, 2))))
def test_the_reader_is_right_on_faces_that_moved(demo_faces, held_out, shift):
    images, attributes = held_out
    read = demo_faces.read_attributes(np.roll(images[:60], shift, axis=(2, 3)))
    assert ((read == attributes[:60]).mean(0) >= 0.97).all()


@pytest.mark.parametrize("size", [45, 64, 148])
def test_the_reader_reads_larger_images_by_averages(demo_faces, size):
    pictures, attributes = zip(*(demo_faces.render(8, number) for number in range(30)), strict=True)
    images = np.stack([cropped(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in pictures])
    noise = np.random.default_rng(0).normal(0, 0.1 * 255 * size / 32, images.shape)  # 10 % in an average at 32×32
    read = demo_faces.read_attributes((images + noise).clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(read, attributes)


def test_one_attribute_changed_is_one_reading_changed(demo_faces):
    fields = [name.lower() for name in demo_faces.ATTRIBUTES]
    faces = [demo_faces.sample_face(HELD_OUT_SEED, number) for number in range(20)]
    edits = [[face, *(face._replace(**{field: not getattr(face, field)}) for field in fields)] for face in faces]
    images = np.stack([prepared(demo_faces.draw(face)) for face in itertools.chain(*edits)])
    read = demo_faces.read_attributes(images).reshape(20, 7, 6)
    changed = read[:, :1] ^ read[:, 1:]
    np.testing.assert_array_equal(changed, np.broadcast_to(np.eye(6, dtype=bool), changed.shape))


@pytest.mark.parametrize("index", range(6))
def test_scores_rise_from_without_to_with(demo_faces, index):
    field = demo_faces.ATTRIBUTES[index].lower()
    faces = [demo_faces.sample_face(6, number) for number in range(10)]
    ends = [
        np.stack([prepared(demo_faces.draw(f._replace(**{field: value}))) for f in faces]) for value in (False, True)
    ]
    blends = [(ends[0] + (ends[1] - ends[0].astype(float)) * part).astype(np.uint8) for part in (0, 0.25, 0.75, 1)]
    without, quarter, three_quarters, having = (demo_faces.attribute_scores(blend)[:, index] for blend in blends)
    assert (without < quarter + 0.01).all()  # for one face the nearest drawing changes on the way
    assert (without + 0.2 < quarter).mean() >= 0.9
    assert (quarter < three_quarters).all()
    np.testing.assert_allclose(without, -1, atol=0.9)
    np.testing.assert_allclose(having, 1, atol=0.7)


def test_scores_do_not_depend_on_the_rest_of_the_batch(demo_faces, held_out):
    images = held_out[0]
    np.testing.assert_allclose(
        demo_faces.attribute_scores(images)[280:], demo_faces.attribute_scores(images[280:]), atol=1e-3
    )
    assert demo_faces.attribute_scores(images[:0]).shape == (0, 6)


def test_no_part_of_a_face_is_cut_off_by_its_window(demo_faces, monkeypatch):
    axes = demo_faces._axis(178, demo_faces.CELL), demo_faces._axis(218, demo_faces.CELL)
    ends = itertools.product(*zip(demo_faces.LOWEST[:2], demo_faces.HIGHEST[:2], strict=True), (False, True))
    faces = [demo_faces.Face(True, True, False, True, oval, True, x, y, *demo_faces.HIGHEST[2:]) for x, y, oval in ends]
    windowed = [demo_faces._shares(face, *axes, edge=0.2) for face in faces]
    monkeypatch.setattr(demo_faces, "_near", lambda *_: slice(None))
    for face, shares in zip(faces, windowed, strict=True):
        np.testing.assert_array_equal(shares, demo_faces._shares(face, *axes, edge=0.2))
        np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((2, 3, 32, 32), np.float32),
            r"images are float32 \[2, 3, 32, 32\]; they must be uint8 \[N, 3, H, W\]",
        ),
        (np.zeros((2, 32, 32, 3), np.uint8), r"images are uint8 \[2, 32, 32, 3\]; they must be uint8 \[N, 3, H, W\]"),
        (np.zeros((3, 32, 32), np.uint8), r"images are uint8 \[3, 32, 32\]"),
        (np.zeros((2, 3, 32, 64), np.uint8), r"images are \[32, 64\]; they must be square, of 32 pixels or more"),
        (np.zeros((2, 3, 28, 28), np.uint8), r"images are \[28, 28\]; they must be square, of 32 pixels or more"),
    ],
)
def test_images_of_another_kind_are_refused(demo_faces, images, message):
    with pytest.raises(ValueError, match=message):
        demo_faces.read_attributes(images)


@pytest.mark.parametrize(("seed", "number"), [(-1, 0), (0, -1), (2**64, 0), (0, 2**64)])
def test_a_seed_or_number_out_of_range_is_refused(demo_faces, seed, number):
    with pytest.raises(ValueError, match=f"seed {seed} and number {number} must lie from 0 to"):
        demo_faces.render(seed, number)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faces", "19"], "faces is 19; it must lie from 20, so that no split is empty, to 999999"),
        (["--faces", "1000000"], "faces is 1000000; it must lie from 20"),
        (["--seed", "-1"], "seed -1 and number 1 must lie from 0 to"),
    ],
)
def test_bad_arguments_are_one_sentence_and_write_nothing(demo_faces, tmp_path, capsys, arguments, message):
    assert demo_faces.main([str(tmp_path / "faces"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"demo_faces.py: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "faces").exists()


@pytest.mark.parametrize("known", [None, "1\nBald Young \n000001.jpg -1  1\n"])
def test_pictures_of_others_are_left_alone(demo_faces, tmp_path, capsys, known):
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "img_align_celeba" / "000001.jpg").write_bytes(b"a photo")
    if known:
        (tmp_path / "list_attr_celeba.txt").write_text(known)
    assert demo_faces.main([str(tmp_path), "--faces", "20"]) == 2
    assert "has pictures that were not drawn here; name another folder" in capsys.readouterr().err
    assert (tmp_path / "img_align_celeba" / "000001.jpg").read_bytes() == b"a photo"


def test_a_folder_drawn_here_is_drawn_anew(demo_faces, tmp_path):
    demo_faces.write(tmp_path, 20, 0)
    demo_faces.write(tmp_path, 20, 1)
    with Image.open(tmp_path / "img_align_celeba" / "000001.jpg") as image:
        assert np.abs(np.asarray(image) - demo_faces.render(1, 1)[0].astype(int)).mean() < 5
