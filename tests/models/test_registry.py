"""From a name and numbers to a model: what is wrong is named, and any numbers that fit give a flow that inverts."""

from __future__ import annotations

import re

import pytest
import torch

from waveglow.config import ConfigError
from waveglow.export.fold import folded
from waveglow.models import checkpoint
from waveglow.models.registry import MODELS, build
from waveglow.models.weights import own_state

SMALL = {"n_mels": 4, "n_flows": 2, "n_layers": 2, "n_channels": 4}


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"name": "waveglow-265"}, ["model.name is 'waveglow-265'", "did you mean 'waveglow-256'?"]),
        ({"name": "tacotron"}, ["'tacotron'", "known: ", *MODELS]),
        ({}, ["model.name is None"]),
        ({"name": 3}, ["model.name is 3"]),
        ({"name": ["waveglow"]}, ["model.name is ['waveglow']"]),
        ({"name": "waveglow", "n_flow": 3}, ["'model.n_flow'", "did you mean 'n_flows'?"]),
        ({"name": "waveglow-256", "n_flow": 3}, ["'model.n_flow'", "did you mean 'n_flows'?"]),
        ({"name": "waveglow", "n_flows": "3"}, ["model.n_flows is '3'", "must be int"]),
        ({"name": "waveglow", "n_flows": 3.0}, ["model.n_flows is 3.0", "must be int"]),
        ({"name": "waveglow", "n_flows": True}, ["model.n_flows is True", "must be int"]),
        ({"name": "waveglow", "n_flows": None}, ["model.n_flows is None", "must be int"]),
        ({"name": "waveglow", "n_flows": 0}, ["model.n_flows is 0", "at least 1"]),
        ({"name": "waveglow", "n_channels": -8}, ["model.n_channels is -8", "at least 1"]),
        ({"name": "waveglow", "actnorm": 1}, ["model.actnorm is 1", "must be bool"]),
        ({"name": "waveglow", "lu": "yes"}, ["model.lu is 'yes'", "must be bool"]),
        ({"name": "waveglow", "upsample_kernel": "1024"}, ["model.upsample_kernel is '1024'", "must be int"]),
        ({"name": "waveglow", "upsample_kernel": 255}, ["255", "256", "gaps"]),
        ({"name": "waveglow", "kernel_size": 4}, ["kernel_size is 4", "odd"]),
        ({"name": "waveglow", "hop": 250}, ["hop is 250", "n_group is 8", "multiple"]),
        ({"name": "waveglow", "hop": 256, "n_group": 12}, ["hop is 256", "n_group is 12", "multiple"]),
        ({"name": "waveglow", "n_early_every": 1}, ["11 early outputs of 2 channels", "leave -14 of the 8"]),
        ({"name": "waveglow", "n_early_size": 4}, ["2 early outputs of 4 channels", "leave 0 of the 8"]),
        ({"name": "waveglow", "n_group": 1, "n_flows": 1}, ["leave 1 of the 1"]),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_named(config, parts):
    with pytest.raises(ConfigError) as error:
        build(config)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_two_channels_may_remain():
    model = build({"name": "waveglow", **SMALL, "n_flows": 12, "n_early_every": 3, "n_early_size": 2})
    assert model.latent_shapes(256) == [(2, 32)] * 4


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("waveglow-64", 17.60),
        ("waveglow-128", 34.83),
        ("waveglow-256", 87.88),
        ("waveglow-512", 268.29),
        ("waveglow-old", 268.29),
        ("squeezewave-a128-c128", 7.17),
        ("squeezewave-a128-c256", 23.67),
        ("squeezewave-a256-c128", 7.93),
        ("squeezewave-a256-c256", 24.72),
        ("waveflow-64", 5.91),
        ("waveflow-96", 12.78),
        ("waveflow-128", 22.25),
    ],
)
def test_the_published_sizes(name, millions):
    """Counts of the tensors with weight norm; those of the tables of WaveFlow's paper (arXiv:1912.01219) to its digits.

    Its WaveFlow counts leave out the residual half of the last layers, which nothing reads: so do we.
    """
    model = of_the_registry(name)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.0075)
    assert not any("log_scale" in key for key in model.state_dict())  # the published models have no ActNorm


def of_the_registry(name):
    with torch.device("meta"):
        return build({"name": name})


def test_the_published_size_of_flowavenet():
    """182.64 million with 49 residual convolutions, one at the end of each net, that nothing reads."""
    unused = 49 * (256 * 256 + 2 * 256)
    count = sum(p.numel() for p in of_the_registry("flowavenet").parameters())
    assert (count + unused) / 1e6 == pytest.approx(182.64, abs=0.005)


@pytest.mark.parametrize(("numbers", "millions"), [({}, 2.819), ({"n_flows": 16, "n_embedding": 1024}, 2.845)])
def test_the_published_size_of_nanoflow(numbers, millions):
    """For synthesis: weight norm folded, each flow's embedding made into its biases; with what nothing reads of the
    last layer: its residual half, and a gain for it in every flow."""
    count = sum(tensor.numel() for tensor in own_state(folded(build({"name": "nanoflow", **numbers}))).values())
    unused = 128 * 128 + 128 + numbers.get("n_flows", 8) * 128
    assert (count + unused) / 1e6 == pytest.approx(millions, abs=0.0005)


@pytest.mark.parametrize(
    "numbers",
    [
        {"n_channels": 64},
        {"n_channels": 128},
        {"n_channels": 256},
        {"n_channels": 512},
        {"hop": 200, "n_group": 8},
        {"hop": 300, "n_group": 20},
        {"hop": 25, "n_group": 5},
        {"hop": 7, "n_group": 7, "upsample_kernel": 7},
        {"n_flows": 5, "n_early_every": 2, "n_early_size": 3},
        {"n_flows": 1},
        {"kernel_size": 1},
        {"kernel_size": 5, "n_layers": 1},
        {"lu": True, "actnorm": False},
    ],
    ids=str,
)
def test_numbers_that_fit_give_a_flow_that_inverts_and_is_saved(numbers, random_model, tmp_path):
    model, config = random_model(**{**SMALL, "hop": 32, **numbers})
    frames = 3
    n_samples = frames * model.hop - model.group  # the last frame is used in part
    generator = torch.Generator().manual_seed(1)
    audio, mel = torch.randn(2, n_samples, generator=generator), torch.randn(2, 4, frames, generator=generator)
    with torch.no_grad():
        zs, log_det = model.encode(audio, mel)
        again = model.decode(zs, mel)
    assert [tuple(z.shape[1:]) for z in zs] == model.latent_shapes(n_samples)
    assert sum(z[0].numel() for z in zs) == n_samples
    assert (torch.cat([z.flatten(1) for z in zs], 1).sort().values - audio.sort().values).abs().max() > 0.1
    assert log_det.shape == (2,)
    torch.testing.assert_close(again, audio, rtol=0, atol=1e-4)
    checkpoint.save(tmp_path / "a", model, config)
    loaded = checkpoint.load(tmp_path / "a").model
    with torch.no_grad():
        assert torch.equal(loaded.encode(audio, mel)[1], log_det)


def test_a_new_model_is_an_identity_but_for_rotations():
    """log_det 0 and latents of the audio's energy: training starts at white noise's likelihood."""
    model = build({"name": "waveglow", **SMALL, "hop": 32})
    audio, mel = torch.randn(2, 64), torch.randn(2, 4, 2)
    with torch.no_grad():
        zs, log_det = model.encode(audio, mel)
    torch.testing.assert_close(log_det, torch.zeros(2), rtol=0, atol=1e-4)
    energy = sum(z.square().flatten(1).sum(1) for z in zs)
    torch.testing.assert_close(energy, audio.square().sum(1))


@pytest.mark.parametrize(
    ("audio", "mel", "message"),
    [
        ((1, 264), (1, 4, 8), "264 samples need 9 mel frames of 32 samples; got 8"),
        ((1, 60), (1, 4, 8), "length 60 is no multiple of the group of 8"),
        ((1, 64), (1, 5, 8), "mel has shape [1, 5, 8]; this model takes [B, 4, F]"),
        ((1, 64), (4, 8), "mel has shape [4, 8]; this model takes [B, 4, F]"),
    ],
)
def test_shapes_that_do_not_fit_the_model(audio, mel, message):
    model = build({"name": "waveglow", **SMALL, "hop": 32})
    with pytest.raises(ValueError, match=re.escape(message)):
        model.log_prob(torch.zeros(audio), torch.zeros(mel))


def test_too_few_latents():
    model = build({"name": "waveglow", **SMALL, "hop": 32})
    with pytest.raises(ValueError, match="got 2 latents; this flow has 1"):
        model.decode([torch.zeros(1, 2, 4), torch.zeros(1, 6, 4)], torch.zeros(1, 4, 1))
