"""Distances and tones whose values can be told beforehand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from waveglow.audio.mel import preset
from waveglow.audio.mel_spec import to_nats
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.metrics import Take
from waveglow.metrics.spectral import griffin_lim, load_mr_stft, mcd, mel_l1, tone_energy, tone_prominence

RATE = 22050


def noise(seconds: float, scale: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, round(seconds * RATE)).astype(np.float32)


def tone(seconds: float, hz: float, amplitude: float) -> np.ndarray:
    return (amplitude * np.sin(2 * math.pi * hz / RATE * np.arange(round(seconds * RATE)))).astype(np.float32)


@pytest.fixture(scope="module")
def mr_stft():
    pytest.importorskip("auraloss")
    return load_mr_stft()


@pytest.mark.parametrize("gain", [1.0, 2.0, 0.25])
def test_mr_stft_of_a_gain(mr_stft, gain):
    """Spectral convergence, relative to the reference, is |gain − 1|, and the log magnitudes differ by ln gain."""
    reference = noise(1, 0.1)
    expected = abs(gain - 1) + abs(math.log(gain))
    assert mr_stft(reference, np.float32(gain) * reference) == pytest.approx(expected, abs=1e-3)


def test_mr_stft_of_silence(mr_stft):
    with pytest.raises(ValueError, match="silence"):
        mr_stft(np.zeros(RATE, np.float32), noise(1, 0.1))


def test_mel_l1_is_the_mean_difference():
    reference = np.random.default_rng(0).normal(size=(80, 7))
    assert mel_l1(reference, reference) == 0
    assert mel_l1(reference, reference - 0.5) == pytest.approx(0.5)
    other = reference.copy()
    other[:20] += 2  # a quarter of the bins
    assert mel_l1(reference, other) == pytest.approx(0.5)


def test_mel_l1_of_a_gain():
    """The take's log-mel is natural, whatever the convention's logarithm."""
    for spec in (preset("hifigan"), replace(preset("hifigan"), log_base="10", mean=(-1.0,), std=(2.0,))):
        loud, louder = (Take(np.float32(gain) * noise(1, 0.1), spec, group=8).log_mel for gain in (1, math.e))
        assert mel_l1(loud, louder) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("k", "expected"), [(0, 0), (1, 1), (13, 1), (14, 0), (40, 0)])
def test_mcd_sees_the_cepstra_from_1_to_13(k, expected):
    """A cosine of 0.1 across the bins is Δc_k = 0.1, so 10 / ln 10 · √2 · 0.1 dB."""
    reference = np.random.default_rng(0).normal(size=(80, 7))
    cosine = 0.1 * np.cos(math.pi * k * (np.arange(80) + 0.5) / 80)[:, None]
    assert mcd(reference, reference + cosine) == pytest.approx(expected * 10 / math.log(10) * math.sqrt(2) * 0.1)
    assert mcd(reference, reference) == 0


def test_mcd_averages_frames():
    reference = np.zeros((80, 4))
    cosine = np.cos(math.pi * (np.arange(80) + 0.5) / 80)[:, None]
    output = np.concatenate([cosine, np.zeros((80, 3))], axis=1)
    assert mcd(reference, output) == pytest.approx(10 / math.log(10) * math.sqrt(2) / 4)


def test_mcd_is_the_rms_difference_of_smooth_envelopes_in_db():
    m = np.arange(80) + 0.5
    envelope = sum(a * np.cos(math.pi * k * m / 80) for k, a in [(1, 0.3), (4, -0.2), (11, 0.1)])
    decibels = 20 / math.log(10) * envelope
    assert mcd(np.zeros((80, 1)), envelope[:, None]) == pytest.approx(math.sqrt(np.mean(decibels**2)))


def prominence(amplitude: float, scale: float, n_fft: int = 4096) -> float:
    """dB of a tone's bin above white noise: (a Σw / 2)² against s² Σw², whose logarithm's mean is e^−γ lower."""
    tone_power, noise_power = (amplitude * n_fft / 4) ** 2, scale**2 * 3 / 8 * n_fft
    return 10 * math.log10(tone_power / noise_power) + 10 * np.euler_gamma / math.log(10)


@pytest.mark.parametrize(("group", "harmonics"), [(8, 3), (12, 5), (7, 3)])
def test_tones_at_all_harmonics_are_measured(group, harmonics):
    reference = noise(5, 0.01)
    output = reference + sum(tone(5, k * RATE / group, 0.02) for k in range(1, harmonics + 1))
    assert tone_energy(reference, output, group=group) == pytest.approx(prominence(0.02, 0.01), abs=1)


def test_prominence_needs_no_reference():
    tones = sum(tone(5, k * RATE / 8, 0.02) for k in range(1, 4))
    assert tone_prominence(noise(5, 0.01) + tones, 8) == pytest.approx(prominence(0.02, 0.01), abs=1)
    assert tone_prominence(noise(5, 0.01), 8) == pytest.approx(0, abs=1)


def test_a_louder_output_has_no_tones():
    assert tone_energy(noise(2, 0.01), noise(2, 0.1), group=8) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("group", "harmonics"), [(3, 1), (8, 3), (16, 7), (12, 5)])
def test_a_tone_at_one_harmonic_is_a_share(group, harmonics):
    reference = noise(5, 0.01)
    found = tone_energy(reference, reference + tone(5, RATE / group, 0.02), group=group)
    assert found == pytest.approx(prominence(0.02, 0.01) / harmonics, abs=0.5)


@pytest.mark.parametrize("hz", [RATE / 8 + 60, RATE / 8 + 700, 440])
def test_a_tone_elsewhere_is_none(hz):
    reference = noise(5, 0.01)
    assert tone_energy(reference, reference + tone(5, hz, 0.05), group=8) == pytest.approx(0, abs=0.5)


def test_tones_of_the_recording_are_no_fault():
    reference = noise(5, 0.01) + tone(5, RATE / 8, 0.02)
    assert tone_energy(reference, reference, group=8) == 0
    again = noise(5, 0.01, 1) + tone(5, RATE / 8, 0.02)
    assert tone_energy(reference, again, group=8) == pytest.approx(0, abs=0.5)
    assert tone_energy(reference, noise(5, 0.01, 2), group=8) < -5


def test_other_noise_has_no_tones():
    values = [tone_energy(noise(5, 0.01, seed), noise(5, 0.01, seed + 50), group=8) for seed in range(8)]
    assert max(map(abs, values)) < 2
    assert abs(np.mean(values)) < 0.5


def test_a_faint_tone_in_the_pauses_counts():
    """A mean of powers would hide it below the speech."""
    reference = np.concatenate([noise(2, 0.2), np.zeros(3 * RATE, np.float32)])
    output = reference + tone(5, RATE / 8, 0.002)
    assert tone_energy(reference, output, group=8) > 5


@pytest.mark.parametrize(("samples", "group"), [(4095, 8), (30_000, 2), (30_000, 1)])
def test_what_has_no_tone_energy(samples, group):
    clip = noise(2, 0.1)[:samples]
    with pytest.raises(ValueError, match="groups of"):
        tone_energy(clip, clip, group=group)


@pytest.mark.parametrize(("name", "n_samples"), [("hifigan", 20_000), ("nvidia/tacotron2", 20_224), ("vocos", 20_001)])
def test_griffin_lim_is_in_place(speech, name, n_samples):
    """Its log-mel is near the recording's, and nearer than when moved by a quarter of a hop."""
    spec, recording = preset(name), speech[:n_samples]
    log_mel = Take(recording, spec, group=8).log_mel
    audio = griffin_lim(log_mel, spec, n_samples, iterations=8)
    assert audio.shape == (n_samples,)
    assert audio.dtype == np.float32
    distance = {
        shift: mel_l1(log_mel, Take(np.roll(audio, shift), spec, group=8).log_mel)
        for shift in (-spec.hop // 4, 0, spec.hop // 4)
    }
    assert min(distance, key=distance.__getitem__) == 0
    assert distance[0] < 0.4


def test_griffin_lim_where_the_frames_end_before_the_recording(speech):
    spec = replace(preset("hifigan"), pad_right=0)
    n_samples = 10 * spec.hop + spec.n_fft - spec.pad_left - 1
    log_mel = Take(speech[:n_samples], spec, group=8).log_mel
    assert log_mel.shape[1] == 10
    assert griffin_lim(log_mel, spec, n_samples, iterations=1).shape == (n_samples,)


def test_griffin_lim_of_a_power_mel_follows_the_recordings_level():
    spec = preset("flowavenet")

    def level(scale: float) -> float:
        wav = noise(1, scale)
        log_mel = to_nats(MelSpectrogram(spec)(torch.from_numpy(wav)[None])[0].numpy(), spec)
        return float(np.std(griffin_lim(log_mel, spec, len(wav), iterations=8)[2000:-2000]))

    assert level(0.08) / level(0.02) == pytest.approx(4, rel=0.1)
