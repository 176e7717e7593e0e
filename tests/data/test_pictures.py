"""Grids: every image at its place pixel by pixel, and labels that are there and change nothing."""

import numpy as np
import pytest
import torch
from PIL import Image

from waveglow.data.pictures import grid, labelled, save_png


def images(n: int, channels: int = 3, size: int = 4) -> torch.Tensor:
    return torch.randint(
        0, 200, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "columns"), [(5, 3), (6, 3), (2, 5), (1, 1)])
@pytest.mark.parametrize("gap", [0, 2])
def test_rows_are_filled_from_the_left(n, columns, gap, channels):
    pixels = images(n, channels)
    picture = grid(pixels, columns=columns, gap=gap)
    rows = -(-n // columns)
    assert picture.shape == (3, rows * (4 + gap) + gap, columns * (4 + gap) + gap)
    rest = picture.clone()
    for i in range(n):
        top, left = (gap + place * (4 + gap) for place in divmod(i, columns))
        assert torch.equal(picture[:, top : top + 4, left : left + 4], pixels[i].expand(3, -1, -1))
        rest[:, top : top + 4, left : left + 4] = 255
    assert (rest == 255).all()


@pytest.mark.parametrize(("cell", "side"), [(1, 4), (4, 4), (5, 8), (64, 64), (65, 68)])
def test_small_images_are_enlarged_by_a_whole_number(cell, side):
    pixels = images(2)
    picture = grid(pixels, columns=2, gap=1, cell=cell)
    assert picture.shape == (3, side + 2, 2 * side + 3)
    second = picture[:, 1 : 1 + side, side + 2 : 2 * side + 2].numpy()
    assert np.array_equal(second, pixels[1].numpy().repeat(side // 4, 1).repeat(side // 4, 2))


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(1, 3, 4, 4), images(1, 2), images(1)[0], images(1)[:0]],
    ids=["float", "2 channels", "3-D", "none"],
)
def test_what_is_no_images(wrong):
    with pytest.raises(ValueError, match="must be uint8 of"):
        grid(wrong, columns=1)


def test_no_columns():
    with pytest.raises(ValueError, match="columns is 0"):
        grid(images(1), columns=0)


def ink(region: torch.Tensor) -> int:
    return int((region < 128).sum())


def test_labels_stand_beside_their_rows_and_columns():
    picture = torch.full((3, 200, 300), 200, dtype=torch.uint8)
    with_both = labelled(picture, rows=["real", ""], columns=["", "one", ""])
    top, left = with_both.shape[1] - 200, with_both.shape[2] - 300
    assert torch.equal(with_both[:, top:, left:], picture)
    real, one = with_both[:, top : top + 100, :left], with_both[:, :top, left + 100 : left + 200]
    assert ink(real) > 20 < ink(one)
    assert ink(with_both) == ink(real) + ink(one)
    assert torch.equal(labelled(picture), picture)
    assert labelled(picture, rows=["a", "b"]).shape[1] == 200
    assert labelled(picture, columns=["a", "b"]).shape[2] == 300


def test_names_wider_than_their_columns_are_turned():
    picture = torch.full((3, 40, 80), 200, dtype=torch.uint8)
    flat, upright = (labelled(picture, columns=[name, "b"]) for name in ("a", "5_o_Clock_Shadow"))
    assert flat.shape[1] < 40 + 30
    assert upright.shape[1] > 40 + 80
    assert upright.shape[2] == flat.shape[2] == 80
    assert ink(upright[:, :, :40]) > ink(flat[:, :, :40])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_pixels(tmp_path, channels):
    pixels = images(1, channels, 7)[0, :, :5]
    save_png(tmp_path / "new" / "a.png", pixels)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(image).reshape(5, 7, channels), pixels.permute(1, 2, 0).numpy())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
