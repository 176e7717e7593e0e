"""What the calls on images compute, with the image flow that comes with the package."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from waveglow.models import checkpoint
from waveglow.pictures import open_model
from waveglow.serve import faces as module
from waveglow.serve.faces import Faces, Picture


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces.load(device="cpu")


@pytest.fixture(scope="module")
def plain():
    """The model as the package's other parts have it."""
    return checkpoint.load_image("demo-faces").model.requires_grad_(False)


def pixels(png: bytes) -> np.ndarray:
    """[3, H, W]"""
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image).transpose(2, 0, 1)


def close(png: bytes, expected: torch.Tensor) -> bool:
    """Whether nearly all pixels are those, for a folded model rounds otherwise at the edges of a pixel's cell."""
    return float((pixels(png) == expected.numpy()).mean()) > 0.99


def test_samples_are_the_models(faces, plain):
    found = faces.sample(3, temperature=0.7, seed=11)
    expected = plain.to_pixels(plain.sample(3, temperature=0.7, seed=[11, 12, 13]))
    assert [close(png, image) for png, image in zip(found, expected, strict=True)] == [True] * 3
    assert faces.sample(1, temperature=0.7, seed=12)[0] == faces.sample(2, temperature=0.7, seed=11)[1]


def test_weights_move_latents_along_directions(faces, plain):
    weights = {"Smiling": 3.5, "Blond_Hair": -0.5}
    found = faces.manipulate(Picture(seed=5, weights=tuple(weights.items())), details=True)
    zs = plain.draw(1, temperature=0.7, seed=[5])
    moved = [z + d for z, d in zip(zs, faces.directions.of(weights), strict=True)]
    assert close(found["original"], plain.to_pixels(plain.decode(zs))[0])
    assert close(found["picture"], plain.to_pixels(plain.decode(moved))[0])
    assert not close(found["picture"], plain.to_pixels(plain.decode(zs))[0])
    for level, expected in zip(found["latents"], moved, strict=True):
        torch.testing.assert_close(torch.from_numpy(level), expected[0])
    has = dict(zip(faces.directions.names, faces.directions.amounts(zs)[0].tolist(), strict=True))
    assert found["has"] == pytest.approx(has, abs=1e-5)
    assert found["bits_per_dim"] == pytest.approx(
        float(plain.bits_per_dim(torch.from_numpy(pixels(found["original"]))[None], seed=[0])), abs=1e-3
    )


def test_a_photo_is_encoded_and_comes_back_as_it_is(faces):
    photo = faces.sample(1, temperature=0.7, seed=3)[0]
    found = faces.manipulate(Picture(pixels=pixels(photo).tobytes()), details=True)
    assert found["original"] == found["picture"]
    assert (pixels(found["original"]) == pixels(photo)).mean() > 0.999


def test_the_way_leads_from_one_to_the_other(faces):
    start, end = Picture(seed=1), Picture(seed=2, weights=(("Eyeglasses", 1.0),))
    way = faces.interpolate(start, end, steps=5, way="spherical")
    assert [len(way), way[0], way[-1]] == [5, faces.manipulate(start)["picture"], faces.manipulate(end)["picture"]]
    assert len(set(way)) == 5


def test_a_slider_costs_one_decoding(faces, monkeypatch):
    """Latents are drawn and encoded once for each picture."""
    photo = pixels(faces.sample(1, temperature=0.7, seed=8)[0]).tobytes()
    counts = {"encode": 0, "decode": 0}
    for name in counts:
        act = getattr(faces.model, name)

        def counted(*given, act=act, name=name):
            counts[name] += 1
            return act(*given)

        monkeypatch.setattr(faces.model, name, counted)
    for alpha in (0.1, 0.2, 0.3):
        faces.manipulate(Picture(pixels=photo, weights=(("Tilted", alpha),)))
    assert counts == {"encode": 1, "decode": 3}


def test_latents_are_kept_of_the_last_pictures_only(faces, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    for seed in range(6):
        faces.latents(Picture(seed=seed))
    assert [key[0] for key in faces._latents] == [3, 4, 5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 3.0}, "temperature is 3; it must be from 0 to 2"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"weights": (("Smile", 1.0),)}, "unknown attribute 'Smile'; did you mean 'Smiling'"),
        ({"weights": (("Smiling", 11.0),)}, "the weight of 'Smiling' is 11; it must be from -10 to 10"),
    ],
)
def test_what_cant_be_is_refused(faces, change, said):
    with pytest.raises(ValueError, match=said):
        faces.manipulate(replace(Picture(), **change))


def test_a_model_of_classes_is_refused(image_models, faces):
    with pytest.raises(ValueError, match="classes"):
        Faces(open_model(image_models / "classes", device="cpu"), faces.directions)
