"""Crops for training: the whole file's mel at their place, functions of (seed, number) alone, dequantized."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from waveglow.audio.io import AudioError
from waveglow.audio.mel import MelSpec, preset
from waveglow.audio.mel_files import MelError, write_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.config import ConfigError
from waveglow.data.manifest import Clip
from waveglow.data.prepare import prepare
from waveglow.data.sampler import StepSampler
from waveglow.data.speech import SpeechCrops, require_trainable, whole_clip
from waveglow.noise import HALF_STEP_16_BIT

RATE, HOP = 22050, 256
BOTH = pytest.mark.parametrize("spec", [preset("nvidia/tacotron2"), preset("hifigan")], ids=lambda spec: spec.name)
TACOTRON2, HIFIGAN = preset("nvidia/tacotron2"), preset("hifigan")


@pytest.fixture(scope="module")
def clips(ljspeech, tmp_path_factory) -> list[Clip]:
    return prepare(ljspeech, tmp_path_factory.mktemp("data"), sample_rate=RATE).clips


@pytest.fixture(scope="module")
def recording(ljspeech) -> np.ndarray:
    return soundfile.read(ljspeech / "wavs" / "DV001-0001.wav", dtype="float32")[0]


def saved(path: Path, samples: np.ndarray, rate: int = RATE, mel: Path | None = None) -> Clip:
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return Clip(str(path), rate, len(samples), "0" * 64, "train", mel and str(mel))


def whole_mel(samples: np.ndarray, spec: MelSpec) -> torch.Tensor:
    return MelSpectrogram(spec)(torch.from_numpy(samples)[None])[0]


def start_of(audio: torch.Tensor, samples: np.ndarray) -> int:
    """Where in the file a crop was taken: it differs from the file there by its dequantization noise alone."""
    n = len(audio)
    starts = [
        start
        for start in range(0, len(samples) - n + 1, HOP)
        if np.abs(audio.numpy() - samples[start : start + n]).max() <= 1.001 * HALF_STEP_16_BIT
    ]
    assert len(starts) == 1
    return starts[0]


# ---- Crops -----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("segment", [8 * HOP, 8 * HOP + 100, HOP - 3])
def test_a_crops_mel_is_the_whole_files_there(tmp_path, recording, spec, segment):
    """A file of three possible crops: at its start, in the middle, and at its end."""
    samples = recording[9000 : 9000 + segment + 2 * HOP + 77]
    dataset = SpeechCrops([saved(tmp_path / "a.wav", samples)], spec, segment_samples=segment, seed=0)
    expected, frames, starts = whole_mel(samples, spec), -(-segment // HOP), set()
    for number in range(20):
        audio, mel, told, _ = dataset[number]
        assert (audio.shape, mel.shape, told) == ((segment,), (80, frames), number)
        assert audio.dtype == mel.dtype == torch.float32
        start = start_of(audio, samples)
        starts.add(start)
        there = expected[:, start // HOP : start // HOP + frames]
        torch.testing.assert_close(mel[:, : there.shape[1]], there, rtol=0, atol=1e-5)
        assert there.shape[1] == frames or (spec is HIFIGAN and segment % HOP)  # its last frame is one of silence
    assert starts == {0, HOP, 2 * HOP}


@BOTH
def test_crops_lie_anywhere_in_a_long_file(tmp_path, recording, spec):
    clip = saved(tmp_path / "a.wav", recording)
    dataset = SpeechCrops([clip], spec, segment_samples=2048, seed=1)
    expected, starts = whole_mel(recording, spec), []
    for number in range(60):
        audio, mel, *_ = dataset[number]
        start = start_of(audio, recording)
        starts.append(start)
        torch.testing.assert_close(mel, expected[:, start // HOP :][:, :8], rtol=0, atol=1e-5)
    last = (len(recording) - 2048) // HOP * HOP
    assert min(starts) < 0.1 * last
    assert max(starts) > 0.9 * last
    assert len(set(starts)) > 30


def test_dequantization_noise_is_there_and_within_half_a_step(tmp_path):
    levels = np.linspace(-0.5, 0.5, 5000).astype(np.float32)
    clip = saved(tmp_path / "a.wav", levels)
    stored = soundfile.read(clip.path, dtype="float32")[0]
    dataset = SpeechCrops([clip], TACOTRON2, segment_samples=5000, seed=0)
    noise = np.concatenate([dataset[number].audio.numpy() - stored for number in range(4)]) / HALF_STEP_16_BIT
    assert np.abs(noise).max() <= 1.001
    assert abs(noise.mean()) < 0.05
    assert np.var(noise) == pytest.approx(1 / 3, rel=0.05)  # uniform on ±1
    assert abs(np.corrcoef(noise[:5000], noise[5000:10000])[0, 1]) < 0.05  # another sample, other noise


# ---- Repeatability ---------------------------------------------------------------------------------------------------


def same(a, b) -> bool:
    return torch.equal(a.audio, b.audio) and torch.equal(a.mel, b.mel) and a.number == b.number


def test_an_item_is_a_function_of_seed_and_number(clips):
    first, again, other = (SpeechCrops(clips, HIFIGAN, segment_samples=4096, seed=seed) for seed in (0, 0, 1))
    items = [first[number] for number in range(12)]
    assert all(same(again[number], items[number]) for number in reversed(range(12)))
    assert all(same(first[number], items[number]) for number in (3, 11, 3))
    assert not any(torch.equal(other[number].audio, items[number].audio) for number in range(12))
    assert len({item.audio.sum().item() for item in items}) == 12
    assert len(first) == 4
    assert sorted(first.clip_of(number).name for number in range(4, 8)) == sorted(clip.name for clip in clips)


def test_workers_change_nothing(clips):
    dataset = SpeechCrops(clips, HIFIGAN, segment_samples=2048, seed=0)
    loaded = {}
    for n_workers in (0, 2):
        sampler = StepSampler(1, 4, batch_size=4, accumulate=2)
        loaded[n_workers] = list(DataLoader(dataset, batch_sampler=sampler, num_workers=n_workers))
    assert len(loaded[0]) == len(loaded[2]) == 6
    for numbers, one, two in zip(StepSampler(1, 4, batch_size=4, accumulate=2), loaded[0], loaded[2], strict=True):
        assert one.number.tolist() == two.number.tolist() == numbers
        assert torch.equal(one.audio, two.audio)
        assert torch.equal(one.mel, two.mel)
        assert torch.equal(one.audio[1], dataset[numbers[1]].audio)


# ---- Short clips -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("n_samples", [1, 100, 1000, 4095])
def test_a_short_clip_is_followed_by_dithered_silence(tmp_path, recording, spec, n_samples):
    samples = recording[9000 : 9000 + n_samples]
    clip = saved(tmp_path / "a.wav", samples)
    dataset = SpeechCrops([clip], spec, segment_samples=4096, seed=0)
    assert dataset.short == 1
    audio, mel, *_ = dataset[5]
    assert (audio.shape, mel.shape) == ((4096,), (80, 16))
    assert np.abs(audio[:n_samples].numpy() - samples).max() <= 1.001 * HALF_STEP_16_BIT
    silence = audio[n_samples:].numpy()
    assert 0 < np.abs(silence).max() <= 1.001 * HALF_STEP_16_BIT
    padded = np.pad(samples, (0, 4096 - n_samples))
    torch.testing.assert_close(mel, whole_mel(padded, spec)[:, :16], rtol=0, atol=1e-5)


def test_short_clips_are_counted(clips):
    longest = max(clip.frames for clip in clips)
    assert SpeechCrops(clips, HIFIGAN, segment_samples=2048, seed=0).short == 0
    assert SpeechCrops(clips, HIFIGAN, segment_samples=longest, seed=0).short == 3
    assert SpeechCrops(clips, HIFIGAN, segment_samples=longest + 1, seed=0).short == 4


# ---- Mels of files ---------------------------------------------------------------------------------------------------


@BOTH
def test_mels_beside_the_wavs_are_used(tmp_path, recording, spec):
    """Those of an acoustic model: here half a neper louder than the recording's own."""
    theirs = whole_mel(recording, spec) + 0.5
    write_mel(tmp_path / "a.npy", theirs.numpy())
    clip = saved(tmp_path / "a.wav", recording, mel=tmp_path / "a.npy")
    dataset = SpeechCrops([clip], spec, segment_samples=2048, seed=0)
    for number in range(5):
        audio, mel, *_ = dataset[number]
        place = start_of(audio, recording) // HOP
        assert torch.equal(mel, theirs[:, place : place + 8])
    whole = whole_clip(clip, spec, place=0, seed=0, max_samples=5000, multiple=8)
    assert torch.equal(whole.mel, theirs[:, :20])


def test_a_short_clips_own_mel_is_followed_by_silence(tmp_path, recording):
    samples = recording[9000:10000]
    theirs = whole_mel(samples, HIFIGAN) + 0.5
    write_mel(tmp_path / "a.npy", theirs.numpy())
    clip = saved(tmp_path / "a.wav", samples, mel=tmp_path / "a.npy")
    mel = SpeechCrops([clip], HIFIGAN, segment_samples=4096, seed=0)[0].mel
    assert torch.equal(mel[:, :3], theirs)
    assert torch.equal(mel[:, 3:], torch.full((80, 13), HIFIGAN.silence))


def test_a_mel_that_is_too_short_is_refused(tmp_path, recording):
    frames = len(recording) // HOP
    write_mel(tmp_path / "a.npy", whole_mel(recording, HIFIGAN)[:, : frames - 1].numpy())
    clip = saved(tmp_path / "a.wav", recording, mel=tmp_path / "a.npy")
    message = rf"a.npy: has {frames - 1} frames, its recording of {len(recording)} samples needs {frames}"
    with pytest.raises(MelError, match=message):
        SpeechCrops([clip], HIFIGAN, segment_samples=2048, seed=0)[0]
    with pytest.raises(MelError, match=message):
        whole_clip(clip, HIFIGAN, place=0, seed=0, max_samples=5000, multiple=8)


def test_a_mel_of_another_convention_is_refused(tmp_path, recording):
    write_mel(tmp_path / "a.npy", whole_mel(recording, HIFIGAN).numpy() * 8.686)  # decibels
    clip = saved(tmp_path / "a.wav", recording, mel=tmp_path / "a.npy")
    with pytest.raises(MelError, match="looks like dB"):
        SpeechCrops([clip], HIFIGAN, segment_samples=2048, seed=0)[0]


# ---- What can't be used ----------------------------------------------------------------------------------------------


def test_another_sample_rate_is_refused(clips):
    other = replace(clips[2], sample_rate=16000)
    message = rf"{other.name}.wav has 16000 Hz, the mel convention 22050 Hz; .*--sample-rate 22050"
    with pytest.raises(ConfigError, match=message):
        SpeechCrops([*clips, other], HIFIGAN, segment_samples=2048, seed=0)
    with pytest.raises(ConfigError, match="24000 Hz"):
        SpeechCrops(clips, preset("vocos"), segment_samples=2048, seed=0)


def test_no_clips_are_refused():
    with pytest.raises(ConfigError, match="no training clips"):
        SpeechCrops([], HIFIGAN, segment_samples=2048, seed=0)


def test_a_file_that_changed_since_is_refused_by_name(tmp_path, recording):
    clip = saved(tmp_path / "a.wav", recording)
    saved(tmp_path / "a.wav", recording[:3000])
    dataset = SpeechCrops([clip], HIFIGAN, segment_samples=2048, seed=0)
    with pytest.raises(AudioError, match=r"a.wav: has 3000 samples"):
        list(map(dataset.__getitem__, range(20)))  # some crops lie in what is left


# ---- Whole clips for validation --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("n_samples", [1000, 2048, 5003])
def test_a_whole_clip(tmp_path, recording, spec, n_samples):
    samples = recording[9000 : 9000 + n_samples]
    clip = saved(tmp_path / "a.wav", samples)
    audio, mel, number, _ = whole_clip(clip, spec, place=3, seed=0, max_samples=100_000, multiple=8)
    own = whole_mel(samples, spec)
    expected = min(n_samples, own.shape[1] * HOP) // 8 * 8
    assert (len(audio), number) == (expected, 3)
    noise = audio.numpy() - samples[:expected]
    assert 0.9 * HALF_STEP_16_BIT < np.abs(noise).max() <= 1.001 * HALF_STEP_16_BIT
    assert torch.equal(mel, own[:, : -(-expected // HOP)])


def test_validation_noise_is_a_function_of_seed_and_place(clips):
    def audio(**changes: int) -> torch.Tensor:
        options = {"place": 0, "seed": 0, "max_samples": 2048, "multiple": 8, **changes}
        return whole_clip(clips[0], HIFIGAN, **options).audio

    assert torch.equal(audio(), audio())
    assert not torch.equal(audio(), audio(place=1))
    assert not torch.equal(audio(), audio(seed=1))
    training = SpeechCrops([clips[0]], HIFIGAN, segment_samples=2048, seed=0)
    stored = torch.from_numpy(soundfile.read(clips[0].path, dtype="float32")[0])
    crop = training[0].audio
    start = start_of(crop, stored.numpy())
    assert not torch.equal(audio() - stored[:2048], crop - stored[start : start + 2048])


def test_no_training_sample_has_the_noise_of_a_validated_clip(tmp_path, recording):
    """Else what is held out would be heard with noise that was trained on: the noise is all that differs here."""
    clip = saved(tmp_path / "a.wav", recording[:4096])
    quiet = recording[:4096]
    crops = SpeechCrops([clip], TACOTRON2, segment_samples=4096, seed=0)
    validated = whole_clip(clip, TACOTRON2, place=0, seed=0, max_samples=4096, multiple=8).audio.numpy() - quiet
    for number in range(3):
        trained = crops[number].audio.numpy() - quiet
        assert abs(np.corrcoef(validated, trained)[0, 1]) < 0.1


def test_a_whole_clip_is_cut_at_the_longest_wanted(clips):
    audio, mel, *_ = whole_clip(clips[0], TACOTRON2, place=0, seed=0, max_samples=5000, multiple=8)
    assert (audio.shape, mel.shape) == ((5000,), (80, 20))


def test_a_clip_shorter_than_a_group_is_refused(tmp_path, recording):
    clip = saved(tmp_path / "a.wav", recording[:7])
    with pytest.raises(AudioError, match=r"a.wav: has 7 samples, fewer than the model's group of 8"):
        whole_clip(clip, TACOTRON2, place=0, seed=0, max_samples=5000, multiple=8)


@pytest.mark.parametrize(("bandwidth", "share"), [(None, 1.0), (8000, 8000 / 11025), (99_999, 1.0)])
def test_an_example_tells_how_much_of_the_band_its_recording_fills(clips, bandwidth, share):
    narrow = [replace(clip, bandwidth=bandwidth) for clip in clips]
    dataset = SpeechCrops(narrow, TACOTRON2, segment_samples=2048, seed=0)
    whole = whole_clip(narrow[0], TACOTRON2, place=0, seed=0, max_samples=5000, multiple=8)
    assert dataset[0].bandwidth.item() == whole.bandwidth.item() == pytest.approx(share)


# ---- Before the first step -------------------------------------------------------------------------------------------


def test_what_was_prepared_can_be_trained_on(clips):
    require_trainable(clips, TACOTRON2, multiple=8)


def test_what_would_end_a_training_is_told_with_its_split(clips, recording, tmp_path):
    short = replace(saved(tmp_path / "short.wav", recording[:100]), split="valid")
    with pytest.raises(ConfigError) as error:
        require_trainable([*clips, short], TACOTRON2, multiple=256)
    assert str(error.value) == (
        f"1 of 5 clips can't be used, the first: {short.path} (split 'valid'): has 100 samples, fewer than the model's "
        "group of 256, and can't be held out; run `waveglow prepare` again, or take them out of the manifest"
    )
    require_trainable([*clips, short], TACOTRON2, multiple=100)
    for split in ("train", "test"):  # padded there; never looked at
        require_trainable([*clips, replace(short, split=split)], TACOTRON2, multiple=256)
    lost = replace(clips[0], path=str(tmp_path / "lost.wav"), split="train")
    with pytest.raises(ConfigError, match=r"2 of 6 clips .*lost.wav \(split 'train'\): doesn't exist"):
        require_trainable([*clips, lost, replace(lost, split="valid")], TACOTRON2, multiple=256)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda mel: mel[:, :-3], "needs 62"),
        (lambda mel: mel[:40], "one side must be the 80 mel bins"),
        (lambda mel: mel / np.log(10) * 20, "dB"),
        (lambda mel: np.where(mel == mel.max(), np.inf, mel), "NaN or infinite"),
        (None, "doesn't exist"),
    ],
    ids=["short", "bins", "dB", "inf", "lost"],
)
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_mels_are_checked_with_their_recordings(recording, tmp_path, damage, reason, suffix):
    clip = saved(tmp_path / "a.wav", recording[:16_000], mel=tmp_path / f"a{suffix}")
    mel = whole_mel(recording[:16_000], TACOTRON2).numpy()
    write_mel(clip.mel, mel)
    require_trainable([clip], TACOTRON2, multiple=8)
    if damage is None:
        Path(clip.mel).unlink()
    else:
        write_mel(clip.mel, damage(mel))
    with pytest.raises(ConfigError, match=rf"a.wav \(split 'train'\): its mel .*{reason}"):
        require_trainable([clip], TACOTRON2, multiple=8)


def test_of_many_mels_all_have_their_length_checked(recording, tmp_path):
    """The values of some are read; every header is."""
    good = saved(tmp_path / "a.wav", recording[:16_000], mel=tmp_path / "good.npy")
    mel = whole_mel(recording[:16_000], TACOTRON2).numpy()
    write_mel(tmp_path / "good.npy", mel)
    write_mel(tmp_path / "cut.npy", mel[:, :-4])
    many = [replace(good, path=str(tmp_path / "a.wav")) for _ in range(200)]
    many[101] = replace(good, mel=str(tmp_path / "cut.npy"), path=str(tmp_path / "b.wav"))
    soundfile.write(tmp_path / "b.wav", recording[:16_000], RATE)
    with pytest.raises(ConfigError, match=r"1 of 200 clips .*cut.npy: has 59 frames"):
        require_trainable(many, TACOTRON2, multiple=8)
