"""The transform by convolutions is the one by FFT, both ways, for every convention."""

from dataclasses import replace

import pytest
import torch

from waveglow.audio.mel import PRESETS, MelSpec, preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.refine import MelRefiner
from waveglow.audio.stft import STFT, ConvSTFT

SHORT = {"sample_rate": 8000, "n_fft": 64, "hop": 16, "win": 48, "n_mels": 8, "fmax": 4000.0}
SHORT_WINDOW = replace(preset("hifigan"), name="short window", **SHORT, pad_left=24, pad_right=24)
SPECS = [SHORT_WINDOW, *(preset(name) for name in PRESETS if name != "espnet")]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request) -> MelSpec:
    torch.manual_seed(0)
    return request.param


def inverse(stft: STFT | ConvSTFT, X: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """The waveform, less n_fft/2 samples at both ends, which few frames reach."""
    cut = slice(stft.spec.n_fft // 2, -stft.spec.n_fft // 2)
    return stft.inverse(X, gain)[:, cut] / stft.weights(X.shape[-2])[:, cut]


def test_by_convolutions_as_by_fft(spec):
    wav = 0.1 * torch.randn(2, 40 * spec.hop)
    X, pair = STFT(spec)(wav), ConvSTFT(spec)(wav)
    torch.testing.assert_close(pair, torch.stack([X.real, X.imag]), rtol=0, atol=5e-5)
    gain = torch.rand_like(X.real)
    torch.testing.assert_close(inverse(ConvSTFT(spec), pair, gain), inverse(STFT(spec), X, gain), rtol=0, atol=1e-6)


def test_by_fft_as_torch_has_it(spec):
    wav, gain = 0.1 * torch.randn(2, 40 * spec.hop), torch.tensor(1.0)
    window = torch.hann_window(spec.win, periodic=spec.window_periodic)
    options = (spec.n_fft, spec.hop, spec.win, window)
    X = torch.stft(wav, *options, center=False, return_complex=True)
    torch.testing.assert_close(STFT(spec)(wav), X.transpose(1, 2), rtol=0, atol=1e-5)
    wanted = torch.istft(X, *options, center=True)
    torch.testing.assert_close(inverse(STFT(spec), X.transpose(1, 2), gain), wanted, rtol=0, atol=1e-6)


def test_the_inverse_gives_the_waveform_back(spec):
    wav, cut = 0.1 * torch.randn(1, 40 * spec.hop), spec.n_fft // 2
    again = inverse(ConvSTFT(spec), ConvSTFT(spec)(wav), torch.tensor(1.0))
    torch.testing.assert_close(again, wav[:, cut : cut + again.shape[1]], rtol=0, atol=1e-6)


def test_mels_and_refinement_take_either(spec):
    plain, graph = MelRefiner(spec), MelRefiner(spec)
    graph.to_mel.stft = ConvSTFT(spec)
    wav = 0.1 * torch.randn(2, 40 * spec.hop)
    wav[1, : 20 * spec.hop] = 0
    asked = MelSpectrogram(spec)(wav.flip(0))
    torch.testing.assert_close(graph.to_mel(wav), plain.to_mel(wav), rtol=0, atol=2e-3)
    torch.testing.assert_close(graph(wav, asked, 2), plain(wav, asked, 2), rtol=0, atol=1e-4)
