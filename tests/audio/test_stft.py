"""The short-time transform is that of torch, both ways, for every convention."""

from dataclasses import replace

import pytest
import torch

from waveglow.audio.mel import PRESETS, MelSpec, preset
from waveglow.audio.stft import STFT

SHORT = {"sample_rate": 8000, "n_fft": 64, "hop": 16, "win": 48, "n_mels": 8, "fmax": 4000.0}
SHORT_WINDOW = replace(preset("hifigan"), name="short window", **SHORT, pad_left=24, pad_right=24)
SPECS = [SHORT_WINDOW, *(preset(name) for name in PRESETS if name != "espnet")]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request) -> MelSpec:
    torch.manual_seed(0)
    return request.param


def test_as_torch_has_it(spec):
    wav, gain = 0.1 * torch.randn(2, 40 * spec.hop), torch.tensor(1.0)
    window = torch.hann_window(spec.win, periodic=spec.window_periodic)
    options = (spec.n_fft, spec.hop, spec.win, window)
    X = torch.stft(wav, *options, center=False, return_complex=True)
    stft = STFT(spec)
    torch.testing.assert_close(stft(wav), X.transpose(1, 2), rtol=0, atol=1e-5)
    wanted = torch.istft(X, *options, center=True)
    cut = slice(spec.n_fft // 2, -spec.n_fft // 2)  # few frames reach the ends
    again = stft.inverse(X.transpose(1, 2), gain)[:, cut] / stft.weights(X.shape[-1])[:, cut]
    torch.testing.assert_close(again, wanted, rtol=0, atol=1e-6)
