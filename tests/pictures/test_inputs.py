"""What work with an image flow begins with: held-out images, photos and their classes."""

import numpy as np
import pytest
import torch
from PIL import Image

from waveglow.data.image_sources import open_photo
from waveglow.models import checkpoint
from waveglow.models.registry import build
from waveglow.pictures import held_out, open_data, open_model, photos


def test_an_opened_model_says_what_it_is(image_models):
    opened = open_model(image_models / "glow", device="cpu", seed=5)
    assert (opened.seed, opened.facts["seed"], opened.device) == (5, 5, torch.device("cpu"))
    assert opened.weights_sha256 == checkpoint.sha256(image_models / "glow" / "model.safetensors")
    assert not any(parameter.requires_grad for parameter in opened.model.parameters())
    with pytest.raises(ValueError, match="gpu can't be used"):
        open_model(image_models / "glow", device="gpu")


def test_held_out_images_are_drawn_by_the_seed(opened, digits, held):
    found, again, other = (held_out(opened(seed=seed), digits, n=6) for seed in (1, 1, 2))
    assert found.names == again.names
    assert found.names != other.names
    places = [int(name.removeprefix("test-")) for name in found.names]
    assert torch.equal(found.pixels, held.pixels(places))
    assert (found.y, found.facts["labels"], found.failed) == (None, None, [])


def test_data_that_cannot_be_used(opened, digits, tmp_path):
    with pytest.raises(ValueError, match="its test split has 180 images; 181 are asked for"):
        held_out(opened(), digits, n=181)
    large = build({"name": "glow", "n_levels": 2, "n_steps": 1, "n_hidden": 8, "image_size": 16, "channels": 3})
    with pytest.raises(ValueError, match="holds images of 1×8×8, this model takes 3×16×16"):
        open_data(digits, "test", large)


def test_photos_get_the_zeros_around_that_the_models_data_had(tmp_path):
    config = {"name": "glow", "n_levels": 2, "n_steps": 1, "n_hidden": 8, "image_size": 32, "channels": 1}
    checkpoint.save(tmp_path / "model", build(config), config, info={"data": {"dataset": "fashion-mnist"}})
    Image.new("L", (40, 40), 200).save(tmp_path / "200.png")
    [pixels] = photos(open_model(tmp_path / "model", device="cpu"), [tmp_path / "200.png"]).pixels
    assert torch.equal(pixels, open_photo(tmp_path / "200.png", 32, 1, dataset="fashion-mnist"))
    assert np.array_equal(pixels[0, :2].numpy(), np.zeros((2, 32)))


def test_a_photo_that_cannot_be_read_takes_its_class_with_it(opened, two_photos, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    paths = [two_photos[0], tmp_path / "bad.png", two_photos[1]]
    found = photos(opened("classes"), paths, label=[1, 2, 3])
    assert (found.names, found.y.tolist(), found.facts["labels"]) == (["photo0", "photo1"], [1, 3], [1, 3])
    [failed] = found.failed
    assert "bad.png: is no picture" in failed
    with pytest.raises(ValueError, match=r"bad\.png: is no picture"):
        photos(opened("classes"), paths[1:2], label=[1])


@pytest.mark.parametrize(
    ("model", "label", "message"),
    [
        ("classes", None, "a model of 10 classes"),
        ("classes", [10], "label is 10; this model has classes 0 to 9"),
        ("classes", [1, 2, 3], "label has 3 classes, there are 2 photos"),
        ("glow", [1], "label is 1; this model has no classes"),
    ],
)
def test_classes_that_are_not_there(opened, two_photos, model, label, message):
    with pytest.raises(ValueError, match=message):
        photos(opened(model), two_photos, label=label)
