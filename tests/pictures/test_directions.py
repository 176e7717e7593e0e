"""Directions of attributes, what becomes of images that are moved along them, and how much of each they had."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from waveglow.data.image_sources import open_photo
from waveglow.data.images import Images
from waveglow.models import checkpoint
from waveglow.pictures import find_directions, held_out, manipulate, open_model, photos, read_directions, sliders
from waveglow.pictures.directions import FILE, Sums
from waveglow.pictures.inputs import chosen

N = 300


@pytest.fixture(scope="module")
def flow(image_models):
    return open_model(image_models / "glow", device="cpu")


@pytest.fixture(scope="module")
def train(digits):
    return Images(digits, "train", seed=0, flip=False)


@pytest.fixture(scope="module")
def directions(flow, train):
    """Of 300 images, in batches of unequal size."""
    return find_directions(flow, train, n=N, batch_size=77)[0]


def encoded_by(model, train):
    """x of the images that were encoded, and their labels."""
    places = chosen(len(train), N, seed=0)
    return model.dequantize(train.pixels(places), seed=places), train.labels[places]


def test_directions_are_differences_of_means_at_all_levels(flow, train, directions, image_models):
    x, labels = encoded_by(flow.model, train)
    facts = directions.facts
    assert len(x) == facts["images"] == N
    assert [tuple(level.shape) for level in directions.levels] == [(10, 2, 4, 4), (10, 8, 2, 2)]
    for digit, entry in enumerate(facts["attributes"]):
        expected = flow.model.attribute_direction(x[labels == digit], x[labels != digit])
        for level, direction in enumerate(expected):
            torch.testing.assert_close(directions.levels[level][digit], direction, atol=1e-5, rtol=1e-4)
        n = int((labels == digit).sum())
        norm = sum(float(d.square().sum()) for d in expected) ** 0.5
        assert entry == {"name": str(digit), "with": n, "without": N - n, "norm": pytest.approx(norm, rel=1e-4)}
    assert facts["method"] == "difference of means"
    assert facts["weights_sha256"] == checkpoint.sha256(image_models / "glow" / "model.safetensors")
    assert directions.text().splitlines()[4].split()[:2] == ["3", str(int((labels == 3).sum()))]


def test_directions_of_a_model_of_classes(image_models, train):
    flow = open_model(image_models / "classes", device="cpu")
    found, _ = find_directions(flow, train, n=N)
    x, labels = encoded_by(flow.model, train)
    of_3 = labels == 3
    expected = flow.model.attribute_direction(x[of_3], x[~of_3], y_pos=labels[of_3], y_neg=labels[~of_3])
    torch.testing.assert_close(found.of({"3": 1.0}), expected, atol=1e-5, rtol=1e-4)


def test_a_file_gives_the_same_directions_back(flow, directions, tmp_path):
    directions.save(tmp_path)
    for path in (tmp_path, tmp_path / FILE):
        again = read_directions(path, flow)
        assert (again.facts, again.source) == (directions.facts, path)
        for name in ("levels", "means"):
            torch.testing.assert_close(getattr(again, name), getattr(directions, name), atol=0, rtol=0)
    assert set(load_file(tmp_path / FILE)) == {"directions.0", "directions.1", "mean.0", "mean.1"}


def test_a_slope_tells_apart_what_goes_together():
    """Two attributes that mostly come together, of which the second alone moves z_1."""
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(4000, generator=generator) < 0.5
    b = torch.where(torch.rand(4000, generator=generator) < 0.9, a, ~a)
    y = torch.stack([a, b], dim=1).double()
    true = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]])
    z = (y.float() @ true + 0.1 * torch.randn(4000, 3, generator=generator))[:, :, None]
    sums = Sums(2, 3)
    for start in range(0, 4000, 900):
        sums.add([z[start : start + 900, :1], z[start : start + 900, 1:]], y[start : start + 900])
    assert (sums.slopes() - true).abs().max() < 0.05
    assert (sums.differences() - true).abs().max() > 0.5
    expected = z[a].mean(0) - z[~a].mean(0)
    torch.testing.assert_close(sums.differences()[0].float(), expected[:, 0], atol=1e-5, rtol=1e-5)


def test_the_regression_is_asked_for(flow, train, directions):
    fitted, _ = find_directions(flow, train, n=N, regress=True, batch_size=77)
    assert fitted.facts["method"] == "least-squares fit to all attributes"
    torch.testing.assert_close(fitted.means, directions.means, atol=0, rtol=0)
    assert not torch.allclose(fitted.levels[1], directions.levels[1], rtol=0.01)


def test_an_attribute_of_all_images_has_no_direction(flow, train):
    found, constant = find_directions(flow, train, n=6)
    assert 1 <= len(found.names) <= 6
    assert sorted([*found.names, *constant]) == list("0123456789")


def test_amounts_are_0_without_and_1_with(flow, train, directions):
    x, labels = encoded_by(flow.model, train)
    amounts = directions.amounts(flow.model.encode(x)[0])
    for digit in range(10):
        assert float(amounts[labels == digit, digit].mean()) == pytest.approx(1, abs=1e-3)
        assert float(amounts[labels != digit, digit].mean()) == pytest.approx(0, abs=1e-3)


def test_sliders(flow, held, directions, cells, drawn):
    found = sliders(flow, held, directions, n=2, alphas=[-1, 0, 2])
    picture, facts, model = cells(found.picture, 7), found.facts, flow.model
    assert picture.shape == (10, 7, 8, 8)
    assert (picture[:, 3] == 255).all()
    assert (facts["split"], facts["alphas"], len(facts["images"])) == ("test", [-1, 0, 2], 2)
    x = model.dequantize(held.pixels(facts["images"]), seed=facts["images"])
    for attribute in (0, 7):
        direction = directions.of({str(attribute): 1.0})
        for column, alpha in enumerate(facts["alphas"]):
            expected = drawn(model, model.manipulate(x, direction, alpha))
            assert np.array_equal(picture[attribute, [column, column + 4]], expected)
    assert [row["name"] for row in facts["rows"]] == [str(digit) for digit in range(10)]


def test_manipulation_of_held_out_images(flow, digits, held, directions, cells, drawn):
    pictures = held_out(flow, digits, n=3)
    found = manipulate(flow, pictures, directions, weights={"3": 2.0, "5": -1.0}, alphas=[-0.5, 0, 1])
    picture, facts, model = cells(found.picture, 5), found.facts, flow.model
    assert picture.shape == (3, 5, 8, 8)
    assert (facts["weights"], facts["directions"]) == ({"3": 2.0, "5": -1.0}, None)
    direction = [2 * level[3] - level[5] for level in directions.levels]
    places = [int(row["image"].removeprefix("test-")) for row in facts["rows"]]
    pixels = held.pixels(places)
    x = model.dequantize(pixels, seed=places)
    again = model.decode(model.encode(x)[0])
    assert np.array_equal(picture[:, 0], pixels[:, 0].numpy())
    assert np.array_equal(picture[:, 1], drawn(model, again))
    assert np.array_equal(picture[:, 3], picture[:, 1])
    assert [row["decoded"] for row in facts["rows"]] == [{"values": 64, **model.outside(each)} for each in again]
    for column, alpha in ((2, -0.5), (4, 1.0)):
        moved = model.manipulate(x, direction, alpha)
        assert np.array_equal(picture[:, column], drawn(model, moved))
        for i, row in enumerate(facts["rows"]):
            assert row["alphas"][column - 2] == {"alpha": alpha, "values": 64, **model.outside(moved[i])}
    assert set(found.images) == {
        f"{i}_test-{place}_{a}" for i, place in enumerate(places, 1) for a in ("-0.5", "+0", "+1")
    }


def test_a_photo_is_the_same_whatever_stands_before_it(flow, directions, two_photos, tmp_path, cells):
    (tmp_path / "bad.png").write_text("no picture")
    both, one = (
        manipulate(flow, photos(flow, paths), directions, weights={"3": 1.0}, alphas=[1])
        for paths in ([two_photos[0], tmp_path / "bad.png", two_photos[1]], two_photos[1:])
    )
    [failed] = both.facts["failed"]
    assert "bad.png: is no picture" in failed
    first, second = cells(both.picture, 3)
    assert np.array_equal(cells(one.picture, 3)[0], second)
    assert np.array_equal([first[0], second[0]], [open_photo(photo, 8, 1)[0].numpy() for photo in two_photos])
    had = one.facts["rows"][0]["had"]["3"]
    assert had == pytest.approx(both.facts["rows"][1]["had"]["3"], rel=1e-4)


def test_manipulation_and_sliders_of_classes(image_models, digits, held, train, cells, drawn):
    flow = open_model(image_models / "classes", device="cpu")
    found, _ = find_directions(flow, train, n=N)
    direction = found.of({"3": 1.0})
    pictures = held_out(flow, digits, n=4)
    places = [int(name.removeprefix("test-")) for name in pictures.names]
    assert pictures.facts["labels"] == held.labels[places].tolist()
    moved = manipulate(flow, pictures, found, weights={"3": 1.0}, alphas=[1])
    expected = drawn(flow.model, flow.model.manipulate(pictures.x, direction, 1.0, y=held.labels[places]))
    assert np.array_equal(cells(moved.picture, 3)[:, 2], expected)
    slid = sliders(flow, held, found, n=2, alphas=[0, 1])
    places = slid.facts["images"]
    x = flow.model.dequantize(held.pixels(places), seed=places)
    expected = drawn(flow.model, flow.model.manipulate(x, direction, 1.0, y=held.labels[places]))
    assert np.array_equal(cells(slid.picture, 5)[3, [1, 4]], expected)


def test_an_unknown_attribute(flow, digits, directions):
    with pytest.raises(ValueError, match="unknown attribute '33'; did you mean '3'"):
        manipulate(flow, held_out(flow, digits, n=1), directions, weights={"33": 1.0})
