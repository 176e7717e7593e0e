"""The image flow that comes with the package."""

import pytest
import torch

from waveglow.models import checkpoint
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures import open_model, read_directions
from waveglow.pictures.directions import FILE

FACES = ("Smiling", "Eyeglasses", "Blond_Hair", "Pale_Skin", "Oval_Face", "Tilted")


def test_it_is_small_and_whole_and_says_what_it_is():
    loaded = checkpoint.load_image("demo-faces")
    assert loaded.path == DEFAULT_IMAGE_MODEL
    assert sum(path.stat().st_size for path in DEFAULT_IMAGE_MODEL.iterdir()) < 5_000_000
    assert {"step", "bits_per_dim", "data"} <= loaded.info.keys()
    card = (DEFAULT_IMAGE_MODEL / "README.md").read_text(encoding="utf-8")
    assert all(name in card for name in FACES)
    assert "/" not in str(loaded.info["data"]["dataset"])


def test_its_pictures_are_its_latents():
    model = checkpoint.load_image("demo-faces").model
    x = model.sample(4, temperature=0.7, seed=1)
    assert model.outside(x)["non_finite"] == 0
    zs, _ = model.encode(x)
    torch.testing.assert_close(model.decode(zs), x, atol=1e-2, rtol=0)
    assert model.to_pixels(x).float().std() > 20  # neither black nor grey


def test_its_directions_are_its_own_and_name_no_machine():
    directions = read_directions(DEFAULT_IMAGE_MODEL / FILE, open_model())
    assert tuple(directions.names) == FACES
    facts = directions.facts
    assert facts["checkpoint"] == facts["data"] == facts["dataset"] == "demo-faces"
    assert facts["data_version"].startswith("drawn by")


def test_an_image_model_is_no_voice():
    with pytest.raises(CheckpointError, match="is glow, a model of images; its commands are those of `waveglow image`"):
        checkpoint.load_vocoder("demo-faces")
    with pytest.raises(CheckpointError, match="is lapglow, a vocoder"):
        checkpoint.load_image("lapglow")
