"""Decimal log-mels that are taken for natural ones: suspected by how little they move, never surely, and converted."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import waveglow
from waveglow.audio.mel import preset
from waveglow.audio.mel_diagnosis import diagnose_beside, suspect
from waveglow.audio.mel_files import read_mel
from waveglow.audio.mel_presets import assumed
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.signals import hum
from waveglow.cli.main import main

CLIPS = sorted((Path(__file__).parents[2] / "audio_samples" / "reference").glob("*.wav"))
SPEC = preset("hifigan")


def mel_of(samples: np.ndarray) -> np.ndarray:
    return MelSpectrogram(SPEC).of_any_length(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()


def recordings() -> list[np.ndarray]:
    read = (soundfile.read(path) for path in CLIPS)
    return [samples / np.abs(samples).max() for samples, rate in read if rate == SPEC.sample_rate]


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    found = recordings()
    assert len(found) >= 5
    return found


def noisy(samples: np.ndarray, snr_db: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(len(samples)) * np.sqrt(np.mean(samples**2)) * 10 ** (-snr_db / 20)
    return (samples + noise) / 1.5


@pytest.mark.parametrize("snr_db", [None, 30, 20, 10, 0])
@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_no_recording_is_suspected(clips, snr_db, gain):
    for samples in clips:
        assert suspect(mel_of(gain * (samples if snr_db is None else noisy(samples, snr_db))), SPEC) is None


def test_neither_noise_nor_tones_nor_silence_are():
    rng, n = np.random.default_rng(0), np.arange(66_150)
    for samples in (0.3 * rng.standard_normal(66_150), 0.5 * np.sin(0.05 * n), hum(3, 22050), np.zeros(66_150)):
        assert suspect(mel_of(samples), SPEC) is None


def test_most_decimal_ones_of_clean_speech_are(clips):
    found = [suspect(mel_of(samples) / np.log(10), SPEC) for samples in clips]
    assert sum(looks is not None for looks in found) > 0.6 * len(clips)
    assert all("may be log10" in looks and "not sure" in looks for looks in found if looks)


@pytest.fixture(scope="module")
def decimal(clips) -> tuple[np.ndarray, np.ndarray]:
    """A mel that is suspected in decimal logarithms, and as it should be."""
    mels = (mel_of(samples) for samples in clips)
    return next((mel / np.float32(np.log(10)), mel) for mel in mels if suspect(mel / np.log(10), SPEC))


def test_python_warns_and_goes_on(decimal):
    voice = waveglow.load("lapglow", refine=0)
    with pytest.warns(UserWarning, match="may be log10.*multiply it by ln 10.*check=False"):
        assert voice.synthesize(decimal[0]).isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        voice.synthesize(decimal[0], check=False)
        voice.synthesize(decimal[1])


def test_the_shell_says_so_and_converts_what_is_assumed(decimal, tmp_path, capsys):
    np.save(tmp_path / "mel.npy", decimal[0])
    assert main(["synth", "--refine", "0", str(tmp_path / "mel.npy"), str(tmp_path / "a.wav")]) == 0
    assert "may be log10" in (said := capsys.readouterr().err)
    assert "--assume log10" in said
    command = ["synth", "--refine", "0", "--assume", "log10", str(tmp_path / "mel.npy"), str(tmp_path / "b.wav")]
    assert main(command) == 0
    assert "may be" not in capsys.readouterr().err
    again = read_mel(tmp_path / "mel.npy", SPEC, assume=assumed("log10", SPEC))
    np.testing.assert_allclose(again, decimal[1], atol=1e-4)
    assert assumed("vocos", SPEC) == preset("vocos")


def test_decimal_silence_becomes_silence(tmp_path):
    np.save(tmp_path / "a.npy", np.full((80, 5), -10.0, np.float32))
    assert np.allclose(read_mel(tmp_path / "a.npy", SPEC, assume=assumed("log10", SPEC)), np.log(1e-5))


@pytest.mark.parametrize(
    ("slope", "says"),
    [
        (0.7, None),
        (1.5, None),
        (0.5, "like log10"),
        (0.434, "like log10"),
        (0.3, "normalized, or of another recording"),
        (2.5, "normalized, or of another recording"),
        (4.34, "like dB (10·log10)"),
        (8.69, "like dB (20·log10)"),
        (-1.0, "normalized, or of another recording"),
    ],
)
def test_a_mel_beside_its_recording_is_told_by_its_slope(slope, says):
    own = np.random.default_rng(0).normal(-6, 2, (4, 50))
    looks = diagnose_beside(slope * own + 3, own)
    expected = (
        says and f"looks {says}: its values follow those of the recording with a slope of {slope:.2f} instead of 1"
    )
    assert looks == expected


def test_a_mel_beside_silence_has_no_slope():
    assert diagnose_beside(np.zeros((4, 9)), np.full((4, 9), -11.5)) is None
