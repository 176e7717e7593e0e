"""Samples: by temperature and noise, pixel by pixel, the same at any batch size."""

import dataclasses

import numpy as np
import pytest
import torch

from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.pictures import sample, samples


@pytest.mark.parametrize("name", ["glow", "nice", "realnvp", "jet"])
def test_samples_by_temperature_and_noise(opened, image_models, cells, drawn, name):
    flow = opened(name, seed=3)
    found = sample(flow, 5, temperatures=[0, 0.7, 1])
    picture, facts, model = cells(found.picture, 5), found.facts, flow.model
    assert picture.shape == (3, 5, 8, 8)
    assert (picture[0] == picture[0, :1]).all()
    for row, temperature in enumerate((0.0, 0.7, 1.0)):
        x = model.sample(5, temperature=temperature, seed=range(3, 8))
        assert np.array_equal(picture[row], drawn(model, x))
        assert facts["rows"][row] == {"temperature": temperature, "values": 320, **model.outside(x)}
    assert len(np.unique(picture[2], axis=0)) == 5
    assert facts["seeds"] == [3, 4, 5, 6, 7]
    assert (facts["labels"], facts["step"], facts["model"]["name"]) == (None, 7, name)
    assert facts["weights_sha256"] == checkpoint.sha256(image_models / name / "model.safetensors")
    assert 0 < facts["seconds_per_image"] < 1
    assert set(found.images) == {f"t{t}_{seed}" for t in ("0", "0.7", "1") for seed in range(3, 8)}
    assert torch.equal(found.images["t0.7_4"], model.to_pixels(model.sample(1, temperature=0.7, seed=[4]))[0])


def test_a_rerun_is_the_same_at_any_batch_size(opened):
    flow = opened()
    first, again, small = (sample(flow, batch_size=batch_size) for batch_size in (64, 64, 3))
    assert len(first.facts["seeds"]) == samples.COLUMNS
    assert torch.equal(first.picture, again.picture)
    assert torch.equal(first.picture, small.picture)


def test_one_temperature_is_as_square_as_can_be(opened):
    found = sample(opened(), temperatures=[0.7])
    assert len(found.images) == samples.ALONE
    assert found.picture.shape[1] == found.picture.shape[2]


@pytest.mark.parametrize(("label", "labels"), [(None, [0, 1, 2]), (4, [4, 4, 4])])
def test_samples_of_classes(opened, cells, drawn, label, labels):
    flow = opened("classes")
    found = sample(flow, 3, temperatures=[0.5, 1], label=label)
    x = flow.model.sample(3, temperature=1, y=torch.tensor(labels), seed=range(3))
    assert np.array_equal(cells(found.picture, 3)[1], drawn(flow.model, x))
    assert found.facts["labels"] == labels


def test_values_that_are_no_numbers_are_counted_and_said(opened, monkeypatch, capsys):
    x = torch.zeros(2, 1, 8, 8)
    x[0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, 0.5])  # 0.5 is one step beyond white
    monkeypatch.setattr(FlowImage, "sample", lambda *_, **__: x)
    found = sample(opened(), 2, temperatures=[0.7])
    assert found.facts["rows"] == [{"temperature": 0.7, "values": 128, "non_finite": 2, "out_of_range": 1}]
    assert "notice: temperature 0.7: 2 of 128 values aren't finite" in capsys.readouterr().err
    assert samples.text(found.facts).splitlines()[1].split() == ["0.7", "0.78%", "2"]


def test_samples_are_guided_and_denoised(opened):
    """As much as is asked for; where nothing is, by the noise that the model learned with."""
    flow = opened("tarflow")
    y = torch.arange(3)
    asked = sample(flow, 3, temperatures=[1], guidance=2.0, denoise=0.1)
    x = flow.model.denoise(flow.model.sample(3, temperature=1, y=y, seed=range(3), guidance=2.0), 0.1, y)
    assert torch.equal(torch.stack([asked.images[f"t1_{i}"] for i in range(3)]), flow.model.to_pixels(x))
    assert (asked.facts["guidance"], asked.facts["denoised"]) == (2.0, 0.1)
    trained = dataclasses.replace(flow, info={"data": {"gaussian_std": 0.1}})
    assert torch.equal(sample(trained, 3, temperatures=[1], guidance=2.0).picture, asked.picture)
    assert sample(flow, 3, temperatures=[1]).facts["denoised"] == 0.0
