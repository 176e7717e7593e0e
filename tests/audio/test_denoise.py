"""The bias denoiser takes a hum off and leaves the rest, whatever the audio's length, batch and number format."""

from __future__ import annotations

import math
import re

import pytest
import torch

from waveglow.audio.denoise import BiasDenoiser
from waveglow.metrics.spectral import tone_prominence

RATE, N_FFT = 22050, 1024
TONE_HZ = RATE / 8


def tone(samples: int, hz: float = TONE_HZ) -> torch.Tensor:
    return (0.01 * torch.sin(2 * math.pi * hz / RATE * torch.arange(samples, dtype=torch.float64))).float()


def hum(samples: int) -> torch.Tensor:
    """[T] of the three harmonics that a group of 8 samples has below half the sample rate."""
    return sum(tone(samples, k * TONE_HZ) for k in (1, 2, 3))


def chirp(samples: int) -> torch.Tensor:
    """[T] from 100 to 1900 Hz."""
    seconds = torch.arange(samples, dtype=torch.float64) / RATE
    return (0.3 * torch.sin(2 * math.pi * (100 + 900 * seconds / seconds[-1]) * seconds)).float()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def decibels(audio: torch.Tensor, reference: torch.Tensor) -> float:
    return 20 * math.log10(float(audio.norm() / reference.norm()))


@pytest.fixture(scope="module")
def denoiser() -> BiasDenoiser:
    return BiasDenoiser(hum(RATE))


def test_the_hum_goes_and_the_speech_stays(denoiser):
    clean = chirp(2 * RATE)
    noisy = clean + hum(2 * RATE)
    denoised = denoiser(noisy[None], 1.0)[0]
    assert tone_prominence(noisy.numpy(), 8) > 60
    assert abs(tone_prominence(denoised.numpy(), 8)) < 1
    assert decibels(noisy - clean, clean) > -30
    assert decibels(denoised - clean, clean) < -50


@pytest.mark.parametrize(("strength", "left"), [(0.25, 0.75), (0.9, 0.1), (1.0, 0.0), (3.0, 0.0)])
def test_the_strength_is_a_share_of_the_hum(denoiser, strength, left):
    audio = hum(RATE)
    denoised = denoiser(audio[None], strength)[0]
    inside = slice(N_FFT, -N_FFT)  # frames at the ends hold less of the hum than the bias is
    torch.testing.assert_close(denoised[inside], left * audio[inside], rtol=0, atol=1e-5)


def test_the_bias_is_the_mean_over_time():
    """A tone in half of the silence is subtracted by half, wherever it was."""
    samples = 40 * N_FFT
    audio = tone(RATE)
    for first in (0, samples // 2):
        silence = torch.zeros(samples)
        silence[first : first + samples // 2] = tone(samples // 2)
        denoised = BiasDenoiser(silence)(audio[None], 1.0)[0]
        assert float(denoised[N_FFT:-N_FFT].norm() / audio[N_FFT:-N_FFT].norm()) == pytest.approx(0.5, abs=0.03)


def test_a_louder_part_keeps_what_its_phase_was(denoiser):
    """What is subtracted is in phase with the audio, not with the silence."""
    shifted = hum(2 * RATE)[RATE // 7 :]
    denoised = denoiser(5 * shifted[None], 1.0)[0]
    torch.testing.assert_close(denoised[N_FFT:-N_FFT], 4 * shifted[N_FFT:-N_FFT], rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_fft", [256, 1024, 2048])
def test_any_size_of_the_transform(n_fft):
    audio = hum(RATE)
    denoised = BiasDenoiser(audio, n_fft=n_fft)(audio[None], 1.0)[0]
    assert decibels(denoised[n_fft:-n_fft], audio[n_fft:-n_fft]) < -60


def test_long_audio_is_denoised_in_pieces_of_bounded_size(denoiser, monkeypatch):
    audio = noise(2, 9 * N_FFT + 77)
    whole = denoiser(audio, 0.5)
    monkeypatch.setattr("waveglow.audio.denoise.PIECE_WINDOWS", 2)
    seen, stft = [], torch.stft
    monkeypatch.setattr(
        torch, "stft", lambda wav, *sizes, **rest: seen.append(wav.shape[-1]) or stft(wav, *sizes, **rest)
    )
    torch.testing.assert_close(denoiser(audio, 0.5), whole, rtol=0, atol=1e-6)
    assert seen == [4 * N_FFT] * 4 + [3 * N_FFT + 77]


# ---- Shapes and kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 100, 256, 1023, 1024, 5000])
def test_every_length_is_kept(denoiser, samples):
    audio = noise(3, samples)
    assert torch.equal(denoiser(audio, 0), audio)
    torch.testing.assert_close(denoiser(audio, 1e-9), audio, rtol=0, atol=1e-6)
    denoised = denoiser(audio, 0.5)
    assert denoised.shape == audio.shape
    assert 0 < float((denoised - audio).norm()) < float(audio.norm())


def test_clips_of_a_batch_are_apart(denoiser):
    audio = noise(3, 5000)
    together = denoiser(audio, 0.5)
    for row in range(3):
        torch.testing.assert_close(together[row], denoiser(audio[row : row + 1], 0.5)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_number_format_is_kept(denoiser, dtype):
    audio = noise(1, 5000).to(dtype)
    denoised = denoiser(audio, 0.5)
    assert denoised.dtype == dtype
    torch.testing.assert_close(denoised.float(), denoiser(audio.float(), 0.5), rtol=0.01, atol=1e-6)


def test_silence_stays_silence_and_gradients_are_finite():
    audio = torch.cat([torch.zeros(1, 5000), noise(1, 5000)], dim=1).requires_grad_()
    for silence in (hum(RATE), torch.zeros(RATE)):
        audio.grad = None
        denoised = BiasDenoiser(silence)(audio, 0.5)
        assert not denoised[:, : 5000 - N_FFT].any()
        denoised.square().sum().backward()
        assert torch.isfinite(audio.grad).all()
        assert audio.grad.any()


def test_it_moves_and_saves_as_a_module(denoiser):
    other = BiasDenoiser(noise(RATE))
    other.load_state_dict(denoiser.state_dict())
    audio = noise(1, 5000)
    assert torch.equal(other(audio, 0.5), denoiser(audio, 0.5))
    assert {buffer.device.type for buffer in BiasDenoiser(hum(RATE)).to("meta").buffers()} == {"meta"}


# ---- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "strength", "message"),
    [
        (noise(5000), 0.1, "audio has shape [5000]; it must be [B, T]"),
        (noise(1, 2, 5000), 0.1, "audio has shape [1, 2, 5000]"),
        (noise(1, 0), 0.1, "audio has shape [1, 0]; it must be [B, T] of at least one sample"),
        (noise(1, 5000), -0.1, "strength is -0.1; it must be a finite number >= 0"),
        (noise(1, 5000), math.nan, "strength is nan"),
        (noise(1, 5000), math.inf, "strength is inf"),
    ],
)
def test_what_cannot_be_denoised(denoiser, audio, strength, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        denoiser(audio, strength)


@pytest.mark.parametrize("silence", [noise(N_FFT - 1), noise(1, RATE), noise(0), torch.full((RATE,), math.nan)])
def test_what_is_no_silence(silence):
    with pytest.raises(ValueError, match=r"silence has shape .* at least n_fft = 1024 finite samples"):
        BiasDenoiser(silence)
