"""Narrow recordings: bands that they lack come from the model, and cost nothing."""

import math

import pytest
import torch

from waveglow.flows.lapped import LappedSqueeze
from waveglow.models.bandwidth import filled, spliced
from waveglow.models.registry import build

T, BANDS = 2048, 16


@pytest.fixture(params=["normal", "heavy-tailed"])
def model(request):
    torch.manual_seed(0)
    sizes = {"n_mels": 4, "hop": 32, "bands": BANDS, "n_high": 8, "n_flows": 2, "n_channels": 8, "n_cond": 8}
    sizes["high_base"] = request.param
    made = build({"name": "lapglow", "n_early_size": 1, **sizes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return made.requires_grad_(False)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return 1e-4 * torch.randn(2, T), torch.randn(2, 4, T // 32)


def bands(audio):
    return LappedSqueeze(BANDS)(audio.unsqueeze(1))[0]


def test_bands_below_the_bandwidth_stay_and_those_above_are_the_models(model, batch):
    audio, mel = batch
    wide, _ = filled(model, audio, mel, torch.tensor([0.75, 1.0]))
    torch.testing.assert_close(bands(wide)[0, :12], bands(audio)[0, :12])
    torch.testing.assert_close(wide[1], audio[1])
    zs, _ = model.encode(wide, mel)
    drawn = zs[0][0, 4:]  # of the 8 highest bands, those from 12 on
    torch.testing.assert_close(drawn.abs(), torch.ones_like(drawn), rtol=0, atol=2e-3)
    assert abs(drawn.mean()) < 0.2
    assert model.encode(audio, mel)[0][0][0, 4:].std() < 0.01


def test_filled_bands_leave_no_gradient(model, batch):
    audio, mel = batch
    narrow = torch.full((2,), 0.5)
    prior = model.flow.parts()[0].flows()[1].requires_grad_()
    model.log_prob(filled(model, audio, mel, narrow)[0], mel).sum().backward()
    gradient = prior.net.end.weight.grad.flatten(1).norm(dim=1)
    assert gradient[8:].max() < 1e-3 * gradient[:8].min()


def test_bands_that_do_not_leave_first_are_never_touched(model, batch):
    audio, mel = batch
    wide, _ = filled(model, audio, mel, torch.tensor([0.1, 0.1]))
    torch.testing.assert_close(bands(wide)[:, :8], bands(audio)[:, :8])
    assert not torch.allclose(bands(wide)[:, 8:], bands(audio)[:, 8:])


def test_splicing_takes_one_side_of_each(model, batch):
    audio, _ = batch
    other = torch.randn(2, T)
    both = spliced(model, audio, other, torch.tensor([0.5, 0.75]))
    torch.testing.assert_close(bands(both)[0, :8], bands(audio)[0, :8])
    torch.testing.assert_close(bands(both)[0, 8:], bands(other)[0, 8:])
    torch.testing.assert_close(bands(both)[1, :12], bands(audio)[1, :12])


def test_what_is_taken_off_is_the_density_of_the_filled_bands(model, batch):
    """The likelihood of the other bands does not depend on what lies in those that leave first."""
    audio, mel = batch
    narrow = torch.full((2,), 0.5)
    wide, nats = filled(model, audio, mel, narrow)
    lapped, other = LappedSqueeze(BANDS), bands(audio)
    other[:, 8:] = 3.0 * torch.randn_like(other[:, 8:])
    loud, more = filled(model, lapped.inverse(other).squeeze(1), mel, narrow)
    torch.testing.assert_close(model.log_prob(wide, mel) - nats, model.log_prob(loud, mel) - more)
    first = model.flow.parts()[0].flows()[1]
    cond = model.conditioning(mel, T)
    log_s = first._log_s_and_t(bands(audio), cond)[0][:, 8:]
    missed = -math.log(0.98) if model.bases[0] == "heavy-tailed" else 0.0
    expected = (log_s - 0.5 - 0.5 * math.log(2 * math.pi) - missed).flatten(1).sum(1)
    torch.testing.assert_close(nats, expected, rtol=1e-3, atol=1e-2)


def test_early_outputs_after_couplings_are_not_taken_for_bands(batch):
    audio, mel = batch
    sizes = {"n_mels": 4, "hop": 32, "bands": BANDS, "n_high": 0, "n_flows": 2, "n_channels": 8, "n_cond": 8}
    model = build({"name": "lapglow", "n_early_every": 1, "n_early_size": 2, **sizes})
    assert filled(model, audio, mel, torch.full((2,), 0.5))[0] is audio


def test_a_model_without_bands_leaves_audio_as_it_is(batch):
    audio, mel = batch
    model = build({"name": "waveglow", "n_mels": 4, "hop": 32, "n_channels": 8, "n_layers": 2, "n_flows": 2})
    assert filled(model, audio, mel, torch.zeros(2))[0] is audio
    assert spliced(model, audio, torch.randn(2, T), torch.zeros(2)) is audio
