"""The synthetic voice of recipes/ljspeech: repeatable, laid out as LJSpeech, and speech-like in pitch and spectrum."""

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

SCRIPT = Path(__file__).parent / "demo_voice.py"
SAMPLE_RATE = 22050


@pytest.fixture(scope="module")
def clips(demo_voice):
    return [demo_voice.render(0, clip, SAMPLE_RATE)[0] for clip in range(1, 7)]


def band_energies(samples: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Power in one band, [frames] of 256 samples."""
    power = np.abs(librosa.stft(samples, n_fft=1024, hop_length=256)) ** 2
    frequencies = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=1024)
    return power[(low_hz <= frequencies) & (frequencies < high_hz)].sum(axis=0)


def test_a_clip_is_bitwise_repeatable(demo_voice, clips):
    samples, text = demo_voice.render(0, 1, SAMPLE_RATE)
    np.testing.assert_array_equal(samples, clips[0])
    assert text == demo_voice.render(0, 1, SAMPLE_RATE)[1]


@pytest.mark.parametrize(("seed", "clip"), [(0, 2), (1, 1)])
def test_clips_differ_by_seed_and_by_number(demo_voice, clips, seed, clip):
    samples, text = demo_voice.render(seed, clip, SAMPLE_RATE)
    assert text != demo_voice.render(0, 1, SAMPLE_RATE)[1]
    shortest = min(samples.size, clips[0].size)
    assert abs(np.corrcoef(samples[:shortest], clips[0][:shortest])[0, 1]) < 0.2


def test_clips_last_two_to_five_seconds_and_peak_near_a_half(clips):
    for samples in clips:
        assert samples.dtype == np.float32
        assert 2 <= samples.size / SAMPLE_RATE <= 5
        assert 0.48 <= np.abs(samples).max() <= 0.52


def test_pauses_hold_noise_of_70_db_below_full_scale(clips):
    for samples in clips:
        pause = samples[: SAMPLE_RATE // 20]
        assert 20 * np.log10(pause.std()) == pytest.approx(-70, abs=2)


def test_pitch_moves_within_its_range(demo_voice, clips):
    voiced_pitch = []
    for samples in clips:
        pitch = librosa.yin(samples, fmin=60, fmax=400, sr=SAMPLE_RATE, frame_length=1024, hop_length=256)
        low, high = band_energies(samples, 60, 1000), band_energies(samples, 4000, 11025)
        voiced_pitch.append(pitch[(low > 0.05 * low.max()) & (low > 10 * high)])
    pitch = np.concatenate(voiced_pitch)
    lowest, median, highest = np.percentile(pitch, [2, 50, 98])
    assert demo_voice.F0_LOWEST * 0.97 < lowest < median - 20
    assert median + 20 < highest < demo_voice.F0_HIGHEST * 1.03


def test_vowels_fricatives_and_pauses_alternate(clips):
    samples = np.concatenate(clips)
    low, high = band_energies(samples, 60, 2000), band_energies(samples, 4000, 10000)
    loud = low + high > 1e-4 * (low + high).max()
    vowels, fricatives = loud & (low > 10 * high), loud & (high > 3 * low)
    assert 0.4 < vowels.mean() < 0.9
    assert 0.03 < fricatives.mean() < 0.4
    assert 0.03 < (~loud).mean() < 0.4
    assert np.count_nonzero(np.diff(fricatives.astype(int)) == 1) >= 6


def test_formants_move(clips):
    """The centre of the first two formants' band wanders by hundreds of Hz between and within vowels."""
    power = np.abs(librosa.stft(clips[0], n_fft=1024, hop_length=256)) ** 2
    frequencies = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=1024)
    band = (frequencies > 500) & (frequencies < 3000)
    loud = power[band].sum(axis=0) > 0.01 * power[band].sum(axis=0).max()
    centre = (frequencies[band] @ power[band] / power[band].sum(axis=0))[loud]
    assert np.percentile(centre, 90) - np.percentile(centre, 10) > 300


def test_the_script_writes_ljspeechs_layout(demo_voice, tmp_path):
    options = ["--clips", "2", "--seed", "3", "--sample-rate", "16000"]
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path), *options], check=True)
    rows = [line.split("|") for line in (tmp_path / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    assert [name for name, _, _ in rows] == ["DV001-0001", "DV001-0002"]
    assert sorted(path.name for path in (tmp_path / "wavs").iterdir()) == ["DV001-0001.wav", "DV001-0002.wav"]
    for clip, (name, text, normalized) in enumerate(rows, start=1):
        info = soundfile.info(tmp_path / "wavs" / f"{name}.wav")
        assert (info.channels, info.subtype, info.samplerate) == (1, "PCM_16", 16000)
        samples, spoken = demo_voice.render(3, clip, 16000)
        assert text == normalized == spoken
        written, _ = soundfile.read(tmp_path / "wavs" / f"{name}.wav")
        np.testing.assert_allclose(written, samples, atol=1 / 32768)


@pytest.mark.parametrize(("clip", "rate", "message"), [(1, 4000, "sample_rate is 4000"), (-1, 22050, "clip_index -1")])
def test_bad_arguments_are_named(demo_voice, clip, rate, message):
    with pytest.raises(ValueError, match=message):
        demo_voice.render(0, clip, rate)
