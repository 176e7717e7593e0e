"""Preparing recordings: what is used, converted, refused and held out, and what is told of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from waveglow.audio import io
from waveglow.audio.files import Input, OutputError
from waveglow.audio.io import load_audio, read_segment
from waveglow.audio.mel import MelSpec, preset
from waveglow.audio.mel_files import write_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.config import ConfigError
from waveglow.data.beside import MelsBeside
from waveglow.data.manifest import Clip, read_manifest, write_manifest
from waveglow.data.prepare import is_of, prepare

RATE = 22050
TACOTRON2 = preset("nvidia/tacotron2")


def tone(n_samples: int = 2000, hz: float = 200, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(n_samples) / rate)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def names(clips: list[Clip]) -> list[str]:
    return sorted(clip.name for clip in clips)


# ---- What is found ---------------------------------------------------------------------------------------------------


def test_ljspeechs_layout(ljspeech, tmp_path):
    prepared = prepare(ljspeech, tmp_path / "data", sample_rate=RATE)
    assert (prepared.refused, prepared.notices) == ([], [])
    assert names(prepared.clips) == [f"DV001-{number:04d}" for number in range(1, 5)]
    for clip in prepared.clips:
        path = ljspeech / "wavs" / f"{clip.name}.wav"
        assert clip.path == str(path.resolve())
        assert (clip.sample_rate, clip.frames) == (RATE, soundfile.info(path).frames)
        assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert clip.mel is None
    assert sorted(clip.split for clip in prepared.clips) == ["train", "train", "train", "valid"]
    assert read_manifest(tmp_path / "data" / "manifest.jsonl") == prepared.clips
    assert sorted(os.listdir(tmp_path / "data")) == ["manifest.jsonl", "report.json"]


def test_beside_ljspeechs_wavs_nothing_is_taken(ljspeech, tmp_path):
    shutil.copytree(ljspeech, tmp_path / "corpus")
    write(tmp_path / "corpus" / "samples" / "extra.wav", tone())
    assert len(prepare(tmp_path / "corpus", tmp_path / "a", sample_rate=RATE).clips) == 4
    (tmp_path / "corpus" / "metadata.csv").unlink()  # now it is any folder
    assert len(prepare(tmp_path / "corpus", tmp_path / "b", sample_rate=RATE).clips) == 5


def test_any_folder_is_searched_through(tmp_path):
    for place in ("a.wav", "one/b.WAV", "one/two/c.flac", "notes.txt", "one/a.wav"):
        if place.endswith("txt"):
            (tmp_path / "corpus" / place).write_text("no recording")
        else:
            write(tmp_path / "corpus" / place, tone())
    prepared = prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE)
    found = [os.path.relpath(clip.path, tmp_path / "corpus") for clip in prepared.clips]
    assert sorted(found) == ["a.wav", "one/a.wav", "one/b.WAV", "one/two/c.flac"]


# ---- What is converted -----------------------------------------------------------------------------------------------


def test_other_rates_and_stereo_are_converted_and_the_originals_left(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "data"
    write(corpus / "as-is.wav", tone())
    write(corpus / "deep" / "fast.wav", tone(8820, rate=44100), 44100)
    write(corpus / "stereo.flac", np.stack([tone(), tone() / 3], axis=1))
    before = {path: path.read_bytes() for path in corpus.rglob("*.*")}
    prepared = prepare(corpus, out, sample_rate=RATE)
    clips = {clip.name: clip for clip in prepared.clips}
    assert clips["as-is"].path == str(corpus / "as-is.wav")
    assert clips["fast"].path == str(out / "wavs" / "deep" / "fast.wav")
    assert clips["stereo"].path == str(out / "wavs" / "stereo.wav")
    for name, frames, expected in [("fast", 4410, tone(4410)), ("stereo", 2000, tone() * 2 / 3)]:
        info, (samples, rate) = soundfile.info(clips[name].path), soundfile.read(clips[name].path)
        assert (rate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
        assert (clips[name].sample_rate, clips[name].frames) == (RATE, frames)
        assert clips[name].sha256 == hashlib.sha256(Path(clips[name].path).read_bytes()).hexdigest()
        assert np.abs(samples - expected)[300:-300].max() < 1e-3  # resampling rings at the edges
    assert {path: path.read_bytes() for path in corpus.rglob("*.*")} == before
    assert any("fast.wav: resampled from 44100 to 22050 Hz" in notice for notice in prepared.notices)
    assert any("stereo.flac: 2 channels, used: mix" in notice for notice in prepared.notices)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_narrow_recordings_get_their_bandwidth(tmp_path, rate):
    write(tmp_path / "corpus" / "narrow.wav", tone(rate=rate), rate)
    write(tmp_path / "corpus" / "wide.wav", tone(hz=300, rate=44100), 44100)
    write(tmp_path / "corpus" / "own.wav", tone(hz=400))
    clips = {clip.name: clip for clip in prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE).clips}
    assert {name: clip.bandwidth for name, clip in clips.items()} == {"narrow": rate // 2, "wide": None, "own": None}
    assert {clip.name: clip for clip in read_manifest(tmp_path / "data" / "manifest.jsonl")} == clips


def test_what_can_not_be_read_from_any_sample_on_is_converted(tmp_path):
    corpus = tmp_path / "corpus"
    speech = tone(RATE)
    made = {"a.mp3": {}, "b.ogg": {}, "c.aiff": {}, "d.wav": {"subtype": "GSM610"}, "e.wav": {"subtype": "IMA_ADPCM"}}
    corpus.mkdir()
    for name, options in made.items():
        soundfile.write(corpus / name, speech, RATE, **options)
    blank = write(corpus / "f.wav", speech)
    blank.write_bytes(blank.read_bytes()[:40] + bytes(4) + blank.read_bytes()[44:])  # as it is written to a pipe
    prepared = prepare(corpus, tmp_path / "data", sample_rate=RATE)
    assert prepared.refused == []
    paths = {clip.name: Path(clip.path).relative_to(tmp_path).as_posix() for clip in prepared.clips}
    assert paths == {**{name: f"data/wavs/{name}.wav" for name in "abdef"}, "c": "corpus/c.aiff"}
    for clip in prepared.clips:
        segment = read_segment(clip.path, 5000, 1000)
        np.testing.assert_array_equal(segment, load_audio(clip.path).samples[5000:6000])
        assert np.abs(segment - speech[5000:6000]).mean() < 0.05
        assert clip.frames >= RATE


@pytest.mark.parametrize("out", ["corpus", "corpus/data"])
def test_conversions_never_go_where_recordings_are_read(tmp_path, out):
    """They would be found as recordings the next time, or be written over recordings named wavs/…"""
    corpus = tmp_path / "corpus"
    write(corpus / "a.wav", tone(), 16000)
    write(corpus / "wavs" / "a.wav", tone(hz=300), 16000)
    before = {path: path.read_bytes() for path in corpus.rglob("*.wav")}
    with pytest.raises(ValueError, match="lies in the input folder"):
        prepare(corpus, tmp_path / out, sample_rate=RATE)
    assert {path: path.read_bytes() for path in corpus.rglob("*.wav")} == before


def test_conversions_never_replace_ljspeechs_wavs(ljspeech, tmp_path):
    corpus = shutil.copytree(ljspeech, tmp_path / "corpus")
    before = {path: path.read_bytes() for path in corpus.rglob("*.wav")}
    with pytest.raises(ValueError, match="lies in the input folder"):
        prepare(corpus, corpus, sample_rate=16000)
    assert {path: path.read_bytes() for path in corpus.rglob("*.wav")} == before
    assert len(prepare(corpus, corpus / "data", sample_rate=16000).clips) == 4


def test_a_name_with_a_dot_keeps_all_of_it(tmp_path):
    for name in ("v1.0", "v1.1"):
        write(tmp_path / "corpus" / f"{name}.wav", tone(), 16000)
    assert names(prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE).clips) == ["v1.0", "v1.1"]
    assert sorted(os.listdir(tmp_path / "data" / "wavs")) == ["v1.0.wav", "v1.1.wav"]


# ---- What is refused -------------------------------------------------------------------------------------------------


def test_unusable_files_are_named_and_the_others_kept(tmp_path):
    corpus = tmp_path / "corpus"
    for name in ("good", "fine"):
        write(corpus / f"{name}.wav", tone())
    write(corpus / "silent.wav", np.zeros(2000))
    write(corpus / "silent16k.wav", np.zeros(2000), 16000)
    write(corpus / "nan.wav", np.append(tone(), np.nan), subtype="FLOAT")
    write(corpus / "loud.wav", 9 * tone(), subtype="FLOAT")
    write(corpus / "cut.wav", tone())
    (corpus / "cut.wav").write_bytes((corpus / "cut.wav").read_bytes()[:-500])
    (corpus / "text.wav").write_text("no audio")
    (corpus / "empty.wav").touch()
    (corpus / "folder.wav").mkdir()
    (corpus / "link.wav").symlink_to("nowhere.wav")
    prepared = prepare(corpus, tmp_path / "data", sample_rate=RATE)
    assert names(prepared.clips) == ["fine", "good"]
    refused = dict(line.removeprefix(f"{corpus}/").split(": ", 1) for line in prepared.refused)
    reasons = {
        "silent.wav": "silence",
        "silent16k.wav": "silence",
        "nan.wav": "sample 2000 is nan",
        "loud.wav": "full scale is 1",
        "cut.wav": "truncated",
        "text.wav": "no audio",
        "empty.wav": "empty",
        "folder.wav": "a folder named like a file",
        "link.wav": "a broken link",
    }
    assert refused.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in refused[name]
    assert not list((tmp_path / "data").rglob("*.wav"))  # nothing of what is refused is left behind


@pytest.mark.parametrize("usable", [0, 1])
def test_two_recordings_are_needed(tmp_path, usable):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "broken.wav").write_text("no audio")
    for number in range(usable):
        write(tmp_path / "corpus" / f"{number}.wav", tone())
    with pytest.raises(
        ConfigError, match=rf"has {usable} usable recordings \(1 refused, first: .*broken.wav: .*at least 2"
    ):
        prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE)
    assert not (tmp_path / "data").exists()


# ---- Mels beside the wavs --------------------------------------------------------------------------------------------


def mels_of(corpus: Path, mels: Path, spec: MelSpec = TACOTRON2, *, to=lambda mel: mel) -> Path:
    """The recordings' mels, by their names; `to` makes something else of them."""
    for wav in corpus.rglob("*.wav"):
        path = mels / wav.relative_to(corpus).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = torch.from_numpy(load_audio(wav, sample_rate=spec.sample_rate).samples)
        write_mel(path, to(MelSpectrogram(spec).of_any_length(audio[None])[0].numpy()))
    return mels


@pytest.fixture
def speech(ljspeech, tmp_path) -> Path:
    """a.wav, b.wav and deep/c.wav, of 0.7 s."""
    for number, place in enumerate(("a.wav", "b.wav", "deep/c.wav"), 1):
        write(tmp_path / "speech" / place, soundfile.read(ljspeech / "wavs" / f"DV001-000{number}.wav")[0][:16_000])
    return tmp_path / "speech"


def test_mel_files_of_the_recordings_names(speech, tmp_path):
    mels, out = mels_of(speech, tmp_path / "mels"), tmp_path / "data"
    (mels / "b.npy").unlink()
    prepared = prepare(speech, out, sample_rate=RATE, mels=mels)
    assert {clip.name: clip.mel for clip in prepared.clips} == {
        "a": str(mels / "a.npy"),
        "c": str(mels / "deep" / "c.npy"),
    }
    assert len(prepared.refused) == 1
    assert f"{speech / 'b.wav'}: has no mel {mels / 'b.npy'} (or .npz, .pt, .safetensors)" in prepared.refused[0]
    assert read_manifest(out / "manifest.jsonl") == prepared.clips


@pytest.mark.parametrize("name", ["nvidia/tacotron2", "hifigan", "bigvgan-22k-80"])
def test_mels_may_be_of_any_preset_and_smoother_than_the_recording(speech, tmp_path, name):
    def predicted(mel):
        return 0.85 * mel + 0.15 * mel.mean(1, keepdims=True) + np.random.default_rng(0).normal(0, 0.3, mel.shape)

    mels = mels_of(speech, tmp_path / "mels", preset(name), to=predicted)
    assert prepare(speech, tmp_path / "data", sample_rate=RATE, mels=mels).refused == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda mel: mel[:, :-2], "has 61 frames, its recording of 16000 samples needs 62"),
        (lambda mel: np.pad(mel, ((0, 0), (0, 3))), "has 66 frames"),
        (lambda mel: mel[:70], "has shape [70, 63]"),
        (lambda mel: np.where(mel == mel.max(), np.nan, mel), "NaN"),
        (lambda mel: mel / np.log(10), "log10"),
        (lambda mel: mel / np.log(10) * 20, "dB"),
        (lambda mel: np.exp(mel), "un-logged"),
        (lambda mel: (mel + 11.5) / 12.3, "looks"),
        (lambda mel: mel[:, ::-1] * 0.1 - 5, "looks"),
    ],
    ids=["short", "long", "bins", "nan", "log10", "dB", "exp", "scaled", "another"],
)
def test_a_mel_that_cannot_be_its_recordings_is_refused_by_name(speech, tmp_path, damage, reason):
    mels = mels_of(speech, tmp_path / "mels")
    write_mel(mels / "b.npy", damage(np.load(mels / "b.npy")))
    prepared = prepare(speech, tmp_path / "data", sample_rate=RATE, mels=mels)
    assert names(prepared.clips) == ["a", "c"]
    assert [line.partition(": ")[0] for line in prepared.refused] == [str(mels / "b.npy")]
    assert reason in prepared.refused[0]


@pytest.mark.parametrize("name", ["nvidia/tacotron2", "hifigan", "bigvgan-22k-80"])
def test_the_preset_that_fits_best_is_taken_for_all(speech, tmp_path, name):
    mels = mels_of(speech, tmp_path / "mels", preset(name))
    beside = MelsBeside.of(mels, None, RATE)
    assert len(beside.candidates) > 2
    beside.of_clip(Input(speech / "a.wav", Path("a")), speech, load_audio(speech / "a.wav").samples)
    assert [spec.name for spec in beside.candidates] == [name]


def test_a_convention_may_be_named_and_must_be_where_no_preset_has_the_rate(speech, tmp_path):
    espnet = replace(TACOTRON2, name="decimal", log_base="10")
    mels = mels_of(speech, tmp_path / "mels", espnet)
    assert prepare(speech, tmp_path / "a", sample_rate=RATE, mels=mels, mel_spec=espnet).refused == []
    with pytest.raises(ConfigError, match=r"0 usable recordings .*log10"):
        prepare(speech, tmp_path / "b", sample_rate=RATE, mels=mels)
    with pytest.raises(ConfigError, match="the convention of the mels isn't known; name one of 16000 Hz with --mel"):
        prepare(speech, tmp_path / "c", sample_rate=16000, mels=mels)
    with pytest.raises(ConfigError, match="has 22050 Hz, the clips 16000 Hz"):
        prepare(speech, tmp_path / "c", sample_rate=16000, mels=mels, mel_spec=espnet)
    with pytest.raises(ConfigError, match="absent is no folder"):
        prepare(speech, tmp_path / "d", sample_rate=RATE, mels=tmp_path / "absent")


def test_mels_of_ljspeechs_layout_may_lie_below_wavs(ljspeech, tmp_path):
    """As `waveglow mel LJSpeech-1.1 mels` writes them."""
    mels = mels_of(ljspeech, tmp_path / "mels")
    assert (mels / "wavs" / "DV001-0001.npy").is_file()
    prepared = prepare(ljspeech, tmp_path / "data", sample_rate=RATE, mels=mels)
    assert [len(prepared.clips), prepared.refused] == [4, []]


# ---- The held-out split ----------------------------------------------------------------------------------------------


def split_of(clips: list[Clip]) -> dict[str, str]:
    return {f"{Path(clip.path).parent.name}/{clip.name}": clip.split for clip in clips}


def test_a_split_stays_when_recordings_are_added_and_copies_are_told(tmp_path):
    corpus = tmp_path / "corpus"
    for number in range(12):
        write(corpus / f"{number}.wav", tone(12_000, hz=100 + 10 * number))
    first = prepare(corpus, tmp_path / "data", sample_rate=RATE, valid_fraction=0.3)
    write_manifest(
        tmp_path / "data" / "manifest.jsonl",  # as another rule had it
        [replace(clip, split="valid" if clip.split == "train" else "train") for clip in first.clips],
    )
    shutil.copy(corpus / "3.wav", corpus / "again.wav")
    write(corpus / "near" / "3.wav", tone(12_000, hz=500))
    second = prepare(corpus, tmp_path / "data", sample_rate=RATE)
    now = split_of(second.clips)
    swapped = {"train": "valid", "valid": "train"}
    assert {name: now[name] for name in split_of(first.clips)} == {
        name: swapped[split] for name, split in split_of(first.clips).items()
    }
    assert now["corpus/again"] == now["corpus/3"]
    told = [line for line in second.notices if "are one recording" in line]
    assert len(told) == 1
    assert told[0].startswith(f"{corpus / '3.wav'}, {corpus / 'again.wav'} are one recording, in ")
    asked = prepare(corpus, tmp_path / "data", sample_rate=RATE, valid_fraction=0.3)
    assert all(split_of(asked.clips)[name] == split for name, split in split_of(first.clips).items())


def test_folders_of_the_same_names_are_not_held_out_alike(tmp_path):
    for number in range(60):
        write(
            tmp_path / "corpus" / f"{('near', 'far')[number % 2]}" / f"{number // 2}.wav", tone(2400, hz=100 + number)
        )
    clips = prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE, valid_fraction=0.5).clips
    near, far = ({c.name for c in clips if c.split == "valid" and place in c.path} for place in ("/near/", "/far/"))
    assert near != far


def test_copies_are_found_by_their_samples(tmp_path):
    corpus = tmp_path / "corpus"
    for number in range(6):
        write(corpus / f"{number}.wav", tone(12_000, hz=100 + 10 * number))
        write(corpus / "copies" / f"{number}.flac", soundfile.read(corpus / f"{number}.wav")[0])
    found = prepare(corpus, tmp_path / "data", sample_rate=RATE, valid_fraction=0.4)
    now = split_of(found.clips)
    assert all(now[f"corpus/{n}"] == now[f"copies/{n}"] for n in range(6))
    assert len([line for line in found.notices if "one recording" in line]) == 6


def test_only_what_can_be_validated_is_held_out(tmp_path):
    corpus = tmp_path / "corpus"
    for number in range(30):
        write(corpus / f"{number}.wav", tone(100 + number, hz=200 + number))
    write(corpus / "long.wav", tone(12_000))
    clips = prepare(corpus, tmp_path / "data", sample_rate=RATE, valid_fraction=0.5).clips
    assert [clip.name for clip in clips if clip.split == "valid"] == ["long"]


def test_a_test_split(ljspeech, tmp_path):
    prepared = prepare(ljspeech, tmp_path / "data", sample_rate=RATE, test_fraction=0.1)
    assert sorted(clip.split for clip in prepared.clips) == ["test", "train", "train", "valid"]
    assert "1 held out and 1 for tests, 0 refused" in prepared.text()


@pytest.fixture
def speakers(tmp_path) -> Path:
    """Twelve recordings of three speakers."""
    for number in range(12):
        write(tmp_path / "corpus" / ("anna", "ben", "carl")[number % 3] / f"{number:02}.wav", tone(3000, 200 + number))
    return tmp_path / "corpus"


def held_out(clips: list[Clip], split: str) -> list[str]:
    return sorted(f"{Path(clip.path).parent.name}/{clip.name}" for clip in clips if clip.split == split)


ANNAS, BENS = ["anna/00", "anna/03", "anna/06", "anna/09"], ["ben/01", "ben/04", "ben/07", "ben/10"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["anna"], ANNAS),
        (["anna/"], ANNAS),
        (["anna/*"], ANNAS),
        (["0[01]"], ["anna/00", "ben/01"]),
        (["ben/04.wav", "02"], ["ben/04", "carl/02"]),
        (["{corpus}/ben", "{corpus}/carl/02.wav"], [*BENS, "carl/02"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_recordings_and_folders_are_held_out_by_name(speakers, tmp_path, names, expected):
    given = [name.format(corpus=speakers) for name in names]
    clips = prepare(speakers, tmp_path / "data", sample_rate=RATE, valid_names=given).clips
    assert held_out(clips, "valid") == expected
    assert held_out(clips, "test") == []


def test_names_for_tests_leave_validation_to_the_hash(speakers, tmp_path):
    prepared = prepare(speakers, tmp_path / "data", sample_rate=RATE, test_names=["anna"])
    assert held_out(prepared.clips, "test") == ANNAS
    assert len(held_out(prepared.clips, "valid")) == 1
    both = prepare(
        speakers, tmp_path / "data", sample_rate=RATE, test_names=["anna"], valid_names=["ben"], valid_fraction=0.3
    )
    assert held_out(both.clips, "test") == ANNAS  # anew, whatever lay there
    assert {*BENS} < {*held_out(both.clips, "valid")}
    again = prepare(speakers, tmp_path / "data", sample_rate=RATE)
    assert again.clips == both.clips


def test_a_copy_goes_with_the_recording_that_is_named(speakers, tmp_path):
    shutil.copy(speakers / "anna" / "00.wav", speakers / "zoe.wav")
    clips = prepare(speakers, tmp_path / "data", sample_rate=RATE, valid_names=["anna"]).clips
    assert held_out(clips, "valid") == [*ANNAS, "corpus/zoe"]


def test_the_pieces_of_a_recording_that_is_named_are_held_out(speakers, tmp_path):
    book = tone(round(1.98 * RATE))
    for second in (0.95, 1.9):  # the second cut leaves a twelfth of a second
        book[round(second * RATE) :][: RATE // 50] *= 0.001
    write(speakers / "book.wav", book)
    clips = prepare(speakers, tmp_path / "data", sample_rate=RATE, valid_names=["book"], cut_seconds=1).clips
    assert held_out(clips, "valid") == ["book/0001", "book/0002"]
    clips = prepare(speakers, tmp_path / "data", sample_rate=RATE, valid_names=["anna"], cut_seconds=1).clips
    assert held_out(clips, "valid") == ANNAS
    assert len(clips) == 12 + 3


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"valid_names": ["ana"]}, r"no recording below .* is named 'ana'; did you mean 'anna'\?"),
        ({"valid_names": ["anna"], "test_names": ["anna/03"]}, "03.wav is held out by name for valid and for test"),
        ({"valid_names": ["*"]}, "held out by name leaves nothing to train on"),
        ({"valid_names": ["anna", "ben", "carl/0*"], "test_names": ["carl/1*"]}, "leaves nothing to train on"),
    ],
)
def test_names_that_cannot_be_held_out(speakers, tmp_path, names, said):
    with pytest.raises(ConfigError, match=said):
        prepare(speakers, tmp_path / "data", sample_rate=RATE, **names)
    assert not (tmp_path / "data").exists()


def test_what_is_named_and_too_short_to_measure_is_refused(speakers, tmp_path):
    write(speakers / "anna" / "breath.wav", tone(500))
    prepared = prepare(speakers, tmp_path / "data", sample_rate=RATE, valid_names=["anna"])
    assert held_out(prepared.clips, "valid") == ANNAS
    assert "breath.wav: is held out by name, and shorter than 0.1 s" in prepared.refused[0]


# ---- Cut recordings --------------------------------------------------------------------------------------------------


def test_a_long_recording_is_cut_where_it_is_quiet(tmp_path):
    speech = tone(40 * RATE, hz=150)
    pauses = [(3.2, 3.6), (7.0, 7.3), (11.9, 12.2), (16.0, 16.4)]
    for start, end in pauses:
        speech[round(start * RATE) : round(end * RATE)] *= 0.001
    write(tmp_path / "corpus" / "book.wav", speech)
    with pytest.raises(ConfigError, match=r"1 usable recordings.*--cut 10` makes clips of a long one"):
        prepare(tmp_path / "corpus", tmp_path / "none", sample_rate=RATE)
    prepared = prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE, cut_seconds=5)
    paths = [Path(clip.path).relative_to(tmp_path / "data").as_posix() for clip in prepared.clips]
    assert paths[:2] == ["wavs/book/0001.wav", "wavs/book/0002.wav"]
    assert sum(clip.frames for clip in prepared.clips) == 40 * RATE
    assert max(clip.frames for clip in prepared.clips) <= 5 * RATE
    ends = np.cumsum([clip.frames for clip in prepared.clips]) / RATE
    assert all(start < end < stop for end, (start, stop) in zip(ends, pauses, strict=False))
    pieces = np.concatenate([soundfile.read(clip.path)[0] for clip in prepared.clips])
    assert np.abs(pieces - speech).max() <= 1 / 32768
    assert {clip.split for clip in prepared.clips} == {"train", "valid"}
    assert any("cut into" in notice for notice in prepared.notices)


def test_a_recording_of_any_length_is_cut_in_the_memory_of_a_piece(tmp_path):
    """Fault 16. Held whole it would take 26 MB, and twice that while it is resampled."""
    long = np.concatenate([tone(RATE, hz=200 + second % 300) for second in range(300)])
    write(tmp_path / "corpus" / "book.wav", long, rate=16_000, subtype="PCM_U8")
    tracemalloc.start()
    prepared = prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE, cut_seconds=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(clip.frames for clip in prepared.clips) == round(len(long) * RATE / 16_000)
    assert peak < 12e6


def test_a_flac_of_unknown_length_that_is_short_is_not_cut(tmp_path, monkeypatch):
    write(tmp_path / "corpus" / "a.wav", tone())
    write(tmp_path / "corpus" / "b.wav", tone(hz=300))
    known = io.probe(tmp_path / "corpus" / "a.wav")
    monkeypatch.setattr("waveglow.data.prepare.probe", lambda path: replace(known, frames=1 << 62))
    prepared = prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE, cut_seconds=10)
    assert names(prepared.clips) == ["a", "b"]


def test_pieces_never_replace_another_recording(tmp_path):
    write(tmp_path / "corpus" / "a.wav", tone(3 * RATE))
    write(tmp_path / "corpus" / "a" / "0001.wav", tone(8000), 16000)
    with pytest.raises(ConfigError, match=r"two clips would be written as .*a/0001.wav"):
        prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE, cut_seconds=1)


@pytest.mark.parametrize("options", [{"cut_seconds": 0.5}, {"cut_seconds": 5, "mels": Path("mels")}])
def test_what_cannot_be_cut(ljspeech, tmp_path, options):
    with pytest.raises(ConfigError, match="can't be cut to"):
        prepare(ljspeech, tmp_path / "data", sample_rate=RATE, **options)


# ---- What is written -------------------------------------------------------------------------------------------------


def test_a_full_disk_is_no_fault_of_the_recordings(tmp_path, monkeypatch):
    """It ends there, with no manifest of those that fitted."""
    for number in range(4):
        write(tmp_path / "corpus" / f"{number}.wav", tone(hz=200 + number), 16000)
    written = []

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) > 2:
            raise OutputError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.write_bytes(content)

    monkeypatch.setattr(io, "write_atomically", full)
    with pytest.raises(OutputError, match=r"2.wav: can't be written \(No space left on device\)"):
        prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE)
    assert len(written) == 3
    assert not (tmp_path / "data" / "manifest.jsonl").exists()


def test_the_report_has_every_notice_and_refusal(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "data"
    for number in range(6):
        write(corpus / f"{number}.wav", tone(hz=200 + number), 16000)
    (corpus / "._0.wav").touch()
    (corpus / "bad.wav").touch()
    prepared = prepare(corpus, out, sample_rate=RATE)
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["notices"] == prepared.notices
    assert report["refused"] == prepared.refused == [f"{corpus / 'bad.wav'}: empty file"]
    assert sum("resampled from 16000" in notice for notice in report["notices"]) == 6
    assert any(f"1 passed over, hidden: {corpus / '._0.wav'}" in notice for notice in report["notices"])


def test_prepared_of_the_same_recordings_is_known(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "data"
    for name in "abc":
        write(corpus / f"{name}.wav", tone(12_000, hz=200 + ord(name)))
    (corpus / "bad.wav").touch()
    assert not is_of(out, corpus)
    prepare(corpus, out, sample_rate=RATE)
    assert is_of(out, corpus)
    report = (out / "report.json").read_bytes()
    (out / "report.json").unlink()  # as a kill between the two files leaves it
    assert not is_of(out, corpus)
    (out / "report.json").write_bytes(report)
    for change in (
        lambda: (corpus / "bad.wav").write_bytes((corpus / "a.wav").read_bytes()),  # mended
        lambda: write(corpus / "new.wav", tone()),
        lambda: (corpus / "b.wav").unlink(),
        lambda: write(corpus / "a.wav", tone(12_000, hz=500)),
    ):
        change()
        assert not is_of(out, corpus)
        prepare(corpus, out, sample_rate=RATE)
        assert is_of(out, corpus)
    corpus.rename(tmp_path / "moved")
    assert not is_of(out, tmp_path / "moved")


def test_names_that_are_no_utf_8(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "data"
    for name in ("a", "b"):
        write(corpus / f"{name}.wav", tone(hz=200 + ord(name)))
    latin = Path(os.fsdecode(os.fsencode(corpus) + b"/caf\xe9.wav"))
    shutil.copy(corpus / "a.wav", latin)
    (corpus / os.fsdecode(b"\xff.wav")).touch()
    prepared = prepare(corpus, out, sample_rate=RATE)
    assert len(prepared.refused) == 1
    assert str(latin) in {clip.path for clip in read_manifest(out / "manifest.jsonl")}
    assert all(load_audio(clip.path).samples.size for clip in prepared.clips)
    assert json.loads((out / "report.json").read_text("utf-8"))["refused"] == prepared.refused
    assert is_of(out, corpus)


# ---- The file --------------------------------------------------------------------------------------------------------


def test_paths_are_relative_so_that_a_folder_can_move(tmp_path):
    old = tmp_path / "old"
    write(old / "corpus" / "a.wav", tone())
    write(old / "corpus" / "sub" / "b ü.wav", tone(hz=300))
    write(old / "corpus" / "slow.wav", tone(), 16000)
    mels_of(old / "corpus", old / "mels")
    prepare(old / "corpus", old / "data", sample_rate=RATE, mels=old / "mels")
    entries = [json.loads(line) for line in (old / "data" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert {entry["path"] for entry in entries} == {"../corpus/a.wav", "../corpus/sub/b ü.wav", "wavs/slow.wav"}
    assert {entry["mel"] for entry in entries} == {"../mels/a.npy", "../mels/sub/b ü.npy", "../mels/slow.npy"}
    old.rename(tmp_path / "new")
    for clip in read_manifest(tmp_path / "new" / "data" / "manifest.jsonl"):
        assert clip.path.startswith(str(tmp_path / "new"))
        assert Path(clip.path).is_file()
        assert Path(clip.mel).is_file()
        assert ".." not in clip.path


@pytest.mark.parametrize(("more", "pieces"), [(0, 1), (1, 2)])
def test_a_recording_of_just_the_length_of_a_piece_is_left_whole(tmp_path, more, pieces):
    for name in ("a", "b"):
        write(tmp_path / "corpus" / f"{name}.wav", tone(RATE + more, hz=200 + ord(name)))
    clips = prepare(tmp_path / "corpus", tmp_path / "data", sample_rate=RATE, cut_seconds=1).clips
    assert len(clips) == 2 * pieces
