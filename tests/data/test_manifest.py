"""Preparing recordings: what is used, converted, refused and held out; manifests that can be moved."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from waveglow.config import ConfigError
from waveglow.data.manifest import Clip, prepare, read_manifest, with_split, write_manifest

RATE = 22050


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
    assert os.listdir(tmp_path / "data") == ["manifest.jsonl"]


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


def test_progress_sees_every_file(ljspeech, tmp_path):
    seen = []

    def progress(inputs):
        for item in inputs:
            seen.append(item.file.name)
            yield item

    prepare(ljspeech, tmp_path / "data", sample_rate=RATE, progress=progress)
    assert len(seen) == 4


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


def test_mel_files_of_the_recordings_names(tmp_path):
    corpus, mels, out = (tmp_path / name for name in ("corpus", "mels", "data"))
    for place in ("a.wav", "b.wav", "deep/c.wav"):
        write(corpus / place, tone())
    for place in ("a.npy", "deep/c.safetensors", "c.npy"):
        (mels / place).parent.mkdir(parents=True, exist_ok=True)
        (mels / place).touch()
    prepared = prepare(corpus, out, sample_rate=RATE, mels=mels)
    assert {clip.name: clip.mel for clip in prepared.clips} == {
        "a": str(mels / "a.npy"),
        "c": str(mels / "deep" / "c.safetensors"),
    }
    assert len(prepared.refused) == 1
    assert f"{corpus / 'b.wav'}: has no mel {mels / 'b.npy'} (or .npz, .pt, .safetensors)" in prepared.refused[0]
    assert read_manifest(out / "manifest.jsonl") == prepared.clips


# ---- The held-out split ----------------------------------------------------------------------------------------------


def clip(name: str) -> Clip:
    return Clip(f"/data/{name}.wav", RATE, 1000, "0" * 64, "train")


CLIPS = [clip(f"LJ001-{number:04d}") for number in range(100)]


@pytest.mark.parametrize(("fraction", "held_out"), [(0.05, 5), (0.001, 1), (0.5, 50), (0.999, 99), (1.0, 99)])
def test_the_share_is_held_out_at_least_one_and_never_all(fraction, held_out):
    split = [clip.split for clip in with_split(CLIPS, fraction)]
    assert split.count("valid") == held_out
    assert split.count("train") == 100 - held_out


@pytest.mark.parametrize("n_clips", [2, 3])
@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_few_clips(n_clips, fraction):
    splits = {clip.split for clip in with_split(CLIPS[:n_clips], fraction)}
    assert splits == {"train", "valid"}


def held_out(clips: list[Clip], fraction: float = 0.1) -> set[str]:
    return {clip.name for clip in with_split(clips, fraction) if clip.split == "valid"}


def test_the_split_is_of_the_smallest_name_hashes():
    expected = sorted((clip.name for clip in CLIPS), key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:10]
    assert held_out(CLIPS) == set(expected)
    assert expected != sorted(expected)  # not the first files of the corpus
    assert held_out(CLIPS[::-1]) == set(expected)
    moved = [replace(clip, path=clip.path.replace("/data", "/elsewhere"), frames=7, sha256="1" * 64) for clip in CLIPS]
    assert held_out(moved) == set(expected)


def test_new_recordings_change_the_split_little():
    more = [*CLIPS, *(clip(f"LJ002-{number:04d}") for number in range(5))]
    assert len(held_out(more)) == len(held_out(CLIPS)) == 10
    assert len(held_out(more) & held_out(CLIPS)) >= 5  # only the new can displace old ones


def test_order_and_other_fields_stay():
    assert [replace(clip, split="train") for clip in with_split(CLIPS, 0.3)] == CLIPS


# ---- The file --------------------------------------------------------------------------------------------------------


def test_paths_are_relative_so_that_a_folder_can_move(tmp_path):
    old = tmp_path / "old"
    write(old / "corpus" / "a.wav", tone())
    write(old / "corpus" / "sub" / "b ü.wav", tone())
    write(old / "corpus" / "slow.wav", tone(), 16000)
    for name in ("a.npy", "sub/b ü.npy", "slow.npy"):
        (old / "mels" / name).parent.mkdir(parents=True, exist_ok=True)
        (old / "mels" / name).touch()
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


def test_a_manifest_read_from_another_folder(ljspeech, tmp_path, monkeypatch):
    prepare(ljspeech, tmp_path / "data", sample_rate=RATE)
    monkeypatch.chdir(tmp_path)
    clips = read_manifest(Path("data/manifest.jsonl"))
    monkeypatch.chdir(tmp_path / "data")
    assert {Path(clip.path).name for clip in read_manifest(Path("manifest.jsonl"))} == {
        Path(c.path).name for c in clips
    }


def test_writing_replaces_the_manifest_whole(tmp_path):
    path = tmp_path / "deep" / "manifest.jsonl"
    write_manifest(path, CLIPS)
    write_manifest(path, CLIPS[:3])
    assert read_manifest(path) == CLIPS[:3]
    assert os.listdir(path.parent) == ["manifest.jsonl"]


def test_a_test_split_is_kept(tmp_path):
    clips = [replace(clip, split=split) for clip, split in zip(CLIPS, ("train", "valid", "test"), strict=False)]
    write_manifest(tmp_path / "manifest.jsonl", clips)
    assert [clip.split for clip in read_manifest(tmp_path / "manifest.jsonl")] == ["train", "valid", "test"]


GOOD = {"path": "a.wav", "sample_rate": 22050, "frames": 5, "sha256": "0", "split": "train"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps({**GOOD, "speaker": 1}), "unknown key 'speaker'"),
        (json.dumps({**GOOD, "frame": 1}), "unknown key 'frame'; did you mean 'frames'"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "sha256"}), "lacks the key 'sha256'"),
        (json.dumps({**GOOD, "split": "dev"}), "split is 'dev'; allowed: 'train', 'valid', 'test'"),
        (json.dumps({**GOOD, "frames": "5"}), "frames is '5'"),
        (json.dumps({**GOOD, "path": 3}), "path is 3"),
        ("[1]", "mapping"),
        ("{", "Expecting"),
        ("", "Expecting value"),
        ("a.wav|some text", "Expecting value"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path, line, message):
    path = tmp_path / "manifest.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n{json.dumps(GOOD)}\n")
    with pytest.raises(ConfigError) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert message in str(error.value)


def test_no_manifest(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.jsonl: can't be read .*waveglow prepare"):
        read_manifest(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigError, match=r"empty.jsonl: is empty; make it with"):
        read_manifest(tmp_path / "empty.jsonl")
