"""Refinement as a graph computes it, by matrix products and a loop, is that of MelRefiner, for every convention."""

from dataclasses import replace

import pytest
import torch

from waveglow.audio.mel import PRESETS, MelSpec, preset
from waveglow.audio.refine import SCHEMES, MelRefiner
from waveglow.audio.stft import STFT
from waveglow.export.refinement import FactoredSTFT, GraphRefiner

SHORT = {"sample_rate": 8000, "n_fft": 64, "hop": 16, "win": 48, "n_mels": 8, "fmax": 4000.0}
SMALL = replace(preset("hifigan"), name="short window", **SHORT, pad_left=24, pad_right=24)
SPECS = [
    SMALL,
    replace(SMALL, name="hops that don't divide a window", n_fft=60, hop=17, win=60, pad_left=30, pad_right=30),
    replace(SMALL, name="fewer frames than hops", pad_left=0, pad_right=0),
    replace(SMALL, name="a prime number of bins", n_fft=61, win=61, hop=20, pad_left=30, pad_right=30),
    *(preset(name) for name in PRESETS if name != "espnet"),  # whose windows overlap too little
]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request) -> MelSpec:
    torch.manual_seed(0)
    return request.param


def test_two_products_are_the_transform(spec):
    overlap = -(-spec.n_fft // spec.hop)
    stft, hops = FactoredSTFT(spec), 0.1 * torch.randn(2, spec.hop, 8 + overlap - 1)
    wav = hops.transpose(1, 2).flatten(1)
    X, wanted = stft(hops), STFT(spec)(wav)[:, :8]
    power = wanted.abs().square().transpose(1, 2)[:, stft.bins]
    torch.testing.assert_close(stft.power(X), power, rtol=1e-4, atol=1e-5)
    assert set(stft.bins.tolist()) == set(range(spec.n_fft // 2 + 1))


def test_and_back(spec):
    hops = 0.1 * torch.randn(2, spec.hop, 24)
    stft = FactoredSTFT(spec)
    frames = hops.shape[-1] - stft.overlap + 1
    weights = stft.weights(frames)
    again = stft.inverse(stft(hops), torch.ones(2, len(stft.bins), frames))
    known = weights.expand_as(hops) > 1e-3
    torch.testing.assert_close((again / weights.clamp(min=1e-3))[known], hops[known], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_steps_are_those_of_the_refiner(spec, scheme):
    wav, frames = 0.1 * torch.randn(2, 24 * spec.hop), 24
    wav[1, : 12 * spec.hop] = 0
    refiner = MelRefiner(spec, scheme=scheme)
    asked = torch.nn.functional.pad(refiner.to_mel(wav.flip(0)), (0, 1), mode="replicate")[..., :frames]
    step, state = GraphRefiner(spec, scheme=scheme).step_towards(asked, wav.shape[-1]), (torch.tensor(0), wav, wav)
    for steps in (1, 2, 3):
        state = step(*state)
        torch.testing.assert_close(state[-1], refiner(wav, asked, steps), rtol=0, atol=1e-4)
