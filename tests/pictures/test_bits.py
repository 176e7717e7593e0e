"""Bits per dimension of a split, errors of decoding, and what isn't finite."""

import json

import numpy as np
import pytest
import torch

from waveglow.data.images import Images
from waveglow.models.flow_image import FlowImage
from waveglow.pictures import bits, evaluate, open_model


@pytest.mark.parametrize("name", ["glow", "nice", "realnvp", "classes", "tarflow", "jet"])
def test_bits_per_dim_of_a_split(opened, held, cells, name):
    flow = opened(name)
    found = evaluate(flow, held, batch_size=50)
    facts, model, pixels = found.facts, flow.model, held.pixels(range(180))
    y = held.labels if flow.model.n_classes else None
    each = model.bits_per_dim(pixels, y, seed=range(180)).double()
    assert facts["bits_per_dim"] == pytest.approx(float(each.mean()), rel=1e-5)
    assert facts["standard_error"] == pytest.approx(float(each.std()) / 180**0.5, rel=1e-3)
    assert facts["median_bits_per_dim"] == pytest.approx(float(each.median()), rel=1e-5)
    assert facts["images_beyond_raw"] == int((each > 4).sum())
    assert (facts["images"], facts["images_not_finite"], facts["n_bits"], facts["split"]) == (180, 0, 4, "test")
    assert (facts["data_hash"], facts["data_version"]) == (held.set.hash, held.set.version)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    x = model.dequantize(pixels, seed=range(180))
    again = model.decode(model.encode(x, y)[0], y)
    errors = facts["reconstruction"]
    assert errors["max_abs"] == pytest.approx(float((again - x).abs().max()), rel=0.5, abs=1e-7)
    assert errors["mean_abs"] == pytest.approx(float((again - x).abs().mean()), rel=0.1, abs=1e-8)
    assert (errors["values"], errors["values_not_finite"]) == (180 * 64, 0)
    assert errors["values_changed"] <= 180 * 64 * 1e-3
    picture = cells(found.picture, 10)
    assert np.array_equal(picture[0], pixels[:10, 0].numpy())
    assert np.mean(picture[0] == picture[1]) > 0.99
    assert f"{facts['bits_per_dim']:.4f} ± {facts['standard_error']:.4f}" in found.text()
    assert "bits_per_original_dim" not in facts
    assert found.finite


def test_results_are_written(opened, held, tmp_path):
    found = evaluate(opened(), held, n=5)
    found.write(tmp_path / "out")
    expected = json.loads(json.dumps(found.facts), parse_constant=lambda _: None)  # no numbers are null
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8")) == expected
    assert (tmp_path / "out" / "evaluation.txt").read_text("utf-8") == f"{found.text()}\n"
    assert (tmp_path / "out" / "reconstruction.png").is_file()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file: is a file; name a folder"):
        found.write(tmp_path / "file")


def test_images_that_cost_more_than_raw_are_told_apart(opened, held, monkeypatch):
    monkeypatch.setattr(
        bits, "bits_per_dim", lambda log_prob, **_: torch.where(log_prob == log_prob.max(), 1000.0, 3.0)
    )
    found = evaluate(opened(), held, batch_size=180)
    facts = found.facts
    assert (facts["images_beyond_raw"], facts["bits_per_dim_within_raw"]) == (1, 3.0)
    assert (facts["median_bits_per_dim"], facts["bits_per_dim"]) == (3.0, pytest.approx(3 + 997 / 180))
    assert "1 images cost more than the 4 bits" in found.text()


def test_some_images_of_another_split(opened, digits):
    valid = Images(digits, "valid", seed=0, flip=False)
    found = evaluate(opened(seed=4), valid, n=20).facts
    assert (found["images"], found["split"]) == (20, "valid")
    again = evaluate(opened(seed=4), valid, n=20, batch_size=7).facts
    assert again["bits_per_dim"] == pytest.approx(found["bits_per_dim"], rel=1e-6)
    others = evaluate(opened(seed=5), valid, n=20).facts
    assert others["bits_per_dim"] != pytest.approx(found["bits_per_dim"], rel=1e-6)


def test_bits_per_original_value_of_padded_images(opened, held, monkeypatch):
    monkeypatch.setitem(bits.PADDED, "digits", 4)
    found = evaluate(opened(), held, n=5)
    original = found.facts["bits_per_original_dim"]
    assert original == pytest.approx(4 * found.facts["bits_per_dim"])
    assert f"{original:.4f} per value of 4×4" in found.text()
    assert bits.PADDED == {"fashion-mnist": 28, "mnist-5k": 28, "digits": 4}


def test_what_is_not_finite_is_counted_and_left_out(opened, held, monkeypatch):
    true = bits.bits_per_dim

    def with_infinity(log_prob, **numbers):
        each = true(log_prob, **numbers)
        return torch.where(torch.arange(len(each)) == 1, torch.inf, each)

    monkeypatch.setattr(bits, "bits_per_dim", with_infinity)
    decode = FlowImage.decode
    monkeypatch.setattr(FlowImage, "decode", lambda *args: decode(*args).index_fill(0, torch.tensor([2]), torch.nan))
    flow = opened()
    found = evaluate(flow, held)
    facts = found.facts
    each = flow.model.bits_per_dim(held.pixels(range(180)), seed=range(180)).double()
    kept = torch.tensor([place % 64 != 1 for place in range(180)])
    assert facts["images_not_finite"] == 3
    assert facts["bits_per_dim"] == pytest.approx(float(each[kept].mean()), rel=1e-5)
    assert facts["reconstruction"]["values_not_finite"] == 3 * 64
    assert facts["reconstruction"]["mean_abs"] < 1e-3
    assert not found.finite
    assert "3 images, left out of the mean" in found.text()


def test_decoded_values_out_of_range_are_counted(opened, held, monkeypatch):
    decode = FlowImage.decode
    monkeypatch.setattr(FlowImage, "decode", lambda *args: decode(*args) + 9)
    found = evaluate(opened(), held, n=10)
    assert found.facts["reconstruction"]["values_out_of_range"] == 640
    assert " 640 out of range, 0 not finite" in found.text()


def test_a_broken_model_has_no_bits(image_models, held, tmp_path):
    """As by a device that fails: weights that are NaN in the file are refused when it is opened."""
    broken = open_model(image_models / "glow", device="cpu")
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    found = evaluate(broken, held, n=4)
    found.write(tmp_path)
    facts = json.loads((tmp_path / "evaluation.json").read_text("utf-8"))
    assert (facts["images_not_finite"], facts["bits_per_dim"], facts["standard_error"]) == (4, None, None)
