"""The terms that a vocoder is trained on."""

from dataclasses import replace

import pytest
import torch
from auraloss.freq import MultiResolutionSTFTLoss

from waveglow.audio.mel import preset
from waveglow.audio.refine import MelRefiner
from waveglow.config import ConfigError
from waveglow.flows.lapped import LappedSqueeze
from waveglow.models.registry import build
from waveglow.training.config import LossConfig
from waveglow.training.objective import RESOLUTIONS, VocoderObjective

T = 4096
SPEC = replace(preset("hifigan"), n_mels=4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = build(
        {"name": "lapglow", "n_mels": 4, "bands": 64, "n_high": 16, "n_flows": 2, "n_channels": 8, "n_cond": 8}
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return made


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return 0.1 * torch.randn(4, T), torch.randn(4, 4, T // 256), torch.ones(4)


def test_likelihood_alone_is_the_default_and_is_in_nats_per_sample(model, batch):
    terms = VocoderObjective(model, LossConfig(), SPEC)(*batch)
    assert terms.keys() == {"nll_nats"}
    torch.testing.assert_close(terms["nll_nats"], -model.log_prob(*batch[:2]).mean() / T)


@pytest.mark.parametrize(("share", "crops"), [(1.0, 4), (0.5, 2), (0.1, 1)])
def test_the_spectral_term_compares_samples_with_that_share_of_the_audio(model, batch, share, crops):
    audio, mel, _ = batch
    torch.manual_seed(2)
    terms = VocoderObjective(model, LossConfig(mr_stft=0.3, mr_stft_share=share, sigma=0.5), SPEC)(*batch)
    torch.manual_seed(2)
    zs = [0.5 * torch.randn(2 * crops, *shape) for shape in model.latent_shapes(T)]
    first, second = model.decode(zs, mel[:crops].repeat_interleave(2, 0)).unflatten(0, (crops, 2)).unbind(1)
    distance = MultiResolutionSTFTLoss(**RESOLUTIONS, w_sc=0.0)
    to_speech = distance(torch.cat([first, second])[:, None], audio[:crops].repeat(2, 1)[:, None])
    torch.testing.assert_close(terms["mr_stft"], to_speech)
    torch.testing.assert_close(terms["mr_stft_between"], distance(first[:, None], second[:, None]))


def test_samples_are_refined_to_the_mel_of_the_crop_before_they_are_judged(model, batch):
    audio, mel, _ = batch
    torch.manual_seed(2)
    terms = VocoderObjective(model, LossConfig(mr_stft=0.3, repulsion=0.0, refine=3), SPEC)(*batch)
    torch.manual_seed(2)
    sampled = model.decode([torch.randn(4, *shape) for shape in model.latent_shapes(T)], mel)
    refiner = MelRefiner(SPEC)
    refined = refiner(sampled, refiner.to_mel(audio), 3)
    distance = MultiResolutionSTFTLoss(**RESOLUTIONS, w_sc=0.0)
    torch.testing.assert_close(terms["mr_stft"], distance(refined[:, None], audio[:, None]))
    assert terms["mr_stft"] < distance(sampled[:, None], audio[:, None])


def test_without_repulsion_one_sample_is_drawn(model, batch):
    audio, mel, _ = batch
    torch.manual_seed(2)
    terms = VocoderObjective(model, LossConfig(mr_stft=0.3, repulsion=0.0), SPEC)(*batch)
    torch.manual_seed(2)
    sampled = model.decode([torch.randn(4, *shape) for shape in model.latent_shapes(T)], mel)
    distance = MultiResolutionSTFTLoss(**RESOLUTIONS, w_sc=0.0)
    torch.testing.assert_close(terms["mr_stft"], distance(sampled[:, None], audio[:, None]))
    assert "mr_stft_between" not in terms


def test_the_spectral_term_reaches_every_coupling_net(model, batch):
    VocoderObjective(model, LossConfig(mr_stft=1.0), SPEC)(*batch)["mr_stft"].backward()
    assert [n for n, p in model.named_parameters() if ".net." in n and (p.grad is None or not p.grad.any())] == []


def test_bands_that_recordings_lack_are_in_no_term(model, batch):
    audio, mel, _ = batch
    narrow, lapped = torch.full((4,), 0.75), LappedSqueeze(64)
    bands = lapped(audio.unsqueeze(1))[0]
    bands[:, 48:] = torch.randn_like(bands[:, 48:])
    other = lapped.inverse(bands).squeeze(1)
    objective = VocoderObjective(model, LossConfig(mr_stft=1.0), SPEC)
    torch.manual_seed(3)
    terms = objective(audio, mel, narrow)
    torch.manual_seed(3)
    again = objective(other, mel, narrow)
    assert all(torch.allclose(terms[name], again[name], rtol=1e-4) for name in terms)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mr_stft": -1.0},
        {"sigma": -0.1},
        {"mr_stft_share": 0.0},
        {"mr_stft_share": 1.5},
        {"repulsion": 0.6},
        {"refine": -1},
    ],
)
def test_weights_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"loss.{next(iter(wrong))}"):
        LossConfig(**wrong)


def test_the_share_of_judged_crops_is_that_of_the_batch_however_it_is_divided(trainer):
    """At sigma 0 samples are no random ones: parts of one crop, of two and the whole have the same spectral loss."""
    found = {}
    for accumulate in (1, 2, 4):
        made = trainer(
            "data.segment_samples=4096",
            "loss.mr_stft=1.0",
            "loss.mr_stft_share=0.25",
            "loss.sigma=0.0",
            accumulate=accumulate,
        )
        batches = made._loader()
        inputs = [made.task.inputs(made._next(batches)) for _ in range(accumulate)]
        assert sum(len(judged) for *_, judged in inputs) == 1
        terms = [made.objective(*each)["mr_stft"] for each in inputs]
        found[accumulate] = float(sum(terms).detach()) / accumulate
    assert found[2] == pytest.approx(found[1], rel=1e-5)
    assert found[4] == pytest.approx(found[1], rel=1e-5)
