"""The vocoder without weights: noise of the energies that a mel tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from waveglow.audio.mel import preset
from waveglow.audio.mel_spec import MelSpec, from_nats, to_nats
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.models.noise import band_levels, noise_model
from waveglow.vocoder import Vocoder

STATISTICS = {"mean": (-4.0,), "std": (2.0,)}
CONVENTIONS = [
    *map(preset, ("nvidia/tacotron2", "hifigan", "vocos", "bigvgan-44k-512", "flowavenet")),
    replace(preset("hifigan"), name="log10, statistics", log_base="10", **STATISTICS),
    replace(preset("hifigan"), name="odd hop", hop=275, pad_left=374, pad_right=375),
]


def noise(spec: MelSpec, *, level: float, seconds: float = 2.0) -> torch.Tensor:
    samples = round(seconds * spec.sample_rate)
    return level * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))


def averaged(mel: torch.Tensor, spec: MelSpec) -> np.ndarray:
    """Natural log of the mean over frames, before any logarithm: [M, 1]."""
    return np.log(np.exp(to_nats(mel.double().numpy(), spec)).mean(1, keepdims=True))


@pytest.mark.parametrize("spec", CONVENTIONS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("level", [0.02, 0.2])
def test_the_mel_of_white_noise_tells_its_level_in_every_band(spec, level):
    mel = averaged(MelSpectrogram(spec)(noise(spec, level=level, seconds=6.0))[0], spec)
    A, b = band_levels(spec, 64)
    np.testing.assert_allclose(A @ from_nats(mel, spec)[:, 0] + b, np.log(level), atol=0.08)


@pytest.mark.parametrize("spec", CONVENTIONS, ids=lambda spec: spec.name)
def test_what_it_says_at_sigma_1_has_the_mel_that_was_asked_for(spec):
    wanted = MelSpectrogram(spec)(noise(spec, level=0.05))
    frames = wanted.shape[-1] // 2 * 2
    tilt = torch.linspace(-1, 1, spec.n_mels)[:, None]  # brighter than white
    wanted = wanted[..., :frames] + tilt / (spec.std or (1.0,))[0] / (1 if spec.log_base == "e" else np.log(10))
    said = Vocoder(noise_model(spec), spec).synthesize(wanted[0], sigma=1.0)
    found = MelSpectrogram(spec)(said[None])[0]
    assert np.abs(averaged(found, spec) - averaged(wanted[0], spec)).mean() < 0.1


def test_its_likelihood_is_that_of_its_own_samples():
    """In nats a sample, near the entropy of what it draws: ½ log 2πe and the mean of log σ."""
    spec = preset("hifigan")
    mel = MelSpectrogram(spec)(noise(spec, level=0.05))
    model = noise_model(spec)
    T = mel.shape[-1] * spec.hop
    zs = [torch.randn(1, *shape, generator=torch.Generator().manual_seed(1)) for shape in model.latent_shapes(T)]
    audio = model.decode(zs, mel)
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(0.05)
    assert float(-model.log_prob(audio, mel).detach()) / T == pytest.approx(entropy, abs=0.05)


@pytest.mark.parametrize("spec", CONVENTIONS, ids=lambda spec: spec.name)
def test_silence_stays_far_below_the_floor_that_hides_it(spec):
    """Refined as well: a mel on its floor asks for nothing more."""
    silence = MelSpectrogram(spec)(torch.zeros(1, spec.sample_rate // 2))[0]
    on_the_floor = np.exp(
        (band_levels(spec, 64)[0] @ silence.double().numpy() + band_levels(spec, 64)[1][:, None]).mean()
    )
    said = Vocoder(noise_model(spec), spec).synthesize(silence, sigma=1.0, refine=8)
    assert float(said.std()) < 0.05 * on_the_floor
