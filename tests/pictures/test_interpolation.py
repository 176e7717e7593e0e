"""The way from one picture to another: its ends are the pictures, its steps the model's."""

import numpy as np
import pytest
import torch

from waveglow.data.image_sources import open_photo
from waveglow.pictures import held_out, interpolate, photos


@pytest.mark.parametrize("name", ["glow", "nice", "realnvp", "jet"])
def test_interpolation_of_held_out_images(opened, digits, held, cells, drawn, name):
    flow = opened(name, seed=1)
    found = interpolate(flow, held_out(flow, digits, n=4), steps=4)
    picture, model = cells(found.picture, 6), flow.model
    assert picture.shape == (4, 6, 8, 8)
    for row, entry in enumerate(found.facts["rows"]):
        assert entry["way"] == ("linear", "spherical")[row % 2]
        places = [int(entry[end].removeprefix("test-")) for end in ("from", "to")]
        pixels = held.pixels(places)
        x = model.dequantize(pixels, seed=places)
        between = model.interpolate(x[0], x[1], 4, spherical=row % 2 == 1)
        assert np.array_equal(picture[row, [0, 5]], pixels[:, 0].numpy())
        assert np.array_equal(picture[row, 1:5], drawn(model, between))
        decoded = drawn(model, model.decode(model.encode(x)[0]))
        assert np.mean(picture[row, [1, 4]] == decoded) > 0.95  # at the edge of a pixel's cell, rounding decides
        counts = {key: entry[key] for key in ("non_finite", "out_of_range")}
        assert counts == model.outside(between)
    ends = {entry[end] for entry in found.facts["rows"] for end in ("from", "to")}
    assert len(ends) == 4
    assert found.facts["data_hash"] == held.set.hash


def test_interpolation_of_photos(opened, two_photos, cells):
    flow = opened()
    found = interpolate(flow, photos(flow, two_photos), steps=3, ways=["spherical"])
    assert set(found.images) == {f"pair1_spherical_00{i}" for i in range(3)}
    assert found.facts["photos"] == [str(photo) for photo in two_photos]
    assert [(row["from"], row["to"]) for row in found.facts["rows"]] == [("photo0", "photo1")]
    picture = cells(found.picture, 5)
    originals = [open_photo(photo, 8, 1)[0].numpy() for photo in two_photos]
    assert np.array_equal(picture[0, [0, 4]], originals)  # of 8 bits; the model's have 4
    assert np.mean(picture[0, [1, 3]] == [original & 0xF0 for original in originals]) > 0.95


@pytest.mark.parametrize(("label", "y"), [([4], [4, 4]), ([4, 7], [4, 7])])
def test_photos_are_of_the_classes_that_are_said(opened, two_photos, cells, drawn, label, y):
    flow = opened("classes")
    found = interpolate(flow, photos(flow, two_photos, label=label), steps=3, ways=["linear"])
    x = flow.model.dequantize(torch.stack([open_photo(photo, 8, 1) for photo in two_photos]), seed=[0, 0])
    expected = flow.model.interpolate(x[0], x[1], 3, y=torch.tensor(y))
    assert np.array_equal(cells(found.picture, 5)[0, 1:4], drawn(flow.model, expected))
    assert found.facts["labels"] == y


def test_held_out_images_have_their_own_classes(opened, digits, held, cells, drawn):
    flow = opened("classes")
    pictures = held_out(flow, digits, n=4)
    found = interpolate(flow, pictures, steps=3)
    for i, row in enumerate(found.facts["rows"]):
        places = [int(row[end].removeprefix("test-")) for end in ("from", "to")]
        x, y = flow.model.dequantize(held.pixels(places), seed=places), held.labels[places]
        between = flow.model.interpolate(x[0], x[1], 3, spherical=row["way"] == "spherical", y=y)
        assert np.array_equal(cells(found.picture, 5)[i, 1:4], drawn(flow.model, between))


def test_what_cannot_be_interpolated(opened, digits):
    flow = opened()
    with pytest.raises(ValueError, match="3 pictures are given; it takes pairs"):
        interpolate(flow, held_out(flow, digits, n=3))
    pair = held_out(flow, digits, n=2)
    with pytest.raises(ValueError, match="unknown way 'sferical'; did you mean 'spherical'"):
        interpolate(flow, pair, ways=["sferical"])
    with pytest.raises(ValueError, match="steps is 1; it must be at least 2"):
        interpolate(flow, pair, steps=1)
