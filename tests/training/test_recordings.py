"""A run's recordings: they may be moved; what is added, changed or lost is told at the resume, by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from waveglow.audio.files import OutputError
from waveglow.cli.main import main
from waveglow.config import ConfigError, from_mapping, merged
from waveglow.data.manifest import Clip, content_hash, read_manifest
from waveglow.data.prepare import prepare
from waveglow.models.checkpoint import steps_of
from waveglow.training import recordings as module
from waveglow.training.config import RunConfig
from waveglow.training.distributed import world
from waveglow.training.recordings import recordings

RATE = 22050
OTHERS = "the recordings aren't those that this run has trained on: "


@pytest.fixture
def voice(ljspeech, tmp_path) -> Path:
    """Four recordings in a folder of a user's, one of them at another rate."""
    folder = tmp_path / "voice"
    shutil.copytree(ljspeech / "wavs", folder)
    samples, _ = soundfile.read(folder / "DV001-0004.wav")
    soundfile.write(folder / "DV001-0004.wav", samples, 16000)
    return folder


@pytest.fixture
def clips(config_file, tmp_path) -> Callable[..., list[Clip]]:
    """The recordings that a run in tmp_path/run has of a folder or manifest, as it begins or resumes."""

    def find(data: Path, *, run: Path = tmp_path / "run", may_change: bool = False) -> list[Clip]:
        values = merged(yaml.safe_load(config_file.read_text()), {"data": {"manifest": str(data)}})
        with world("cpu") as here:
            return recordings(run, from_mapping(RunConfig, values), here, may_change=may_change)

    return find


def other(path: Path) -> None:
    soundfile.write(path, 0.2 * np.sin(np.arange(20_000) / 30), RATE)


def test_a_run_and_its_recordings_may_be_moved(clips, voice, tmp_path, capsys):
    before = clips(voice)
    shutil.move(voice, tmp_path / "elsewhere")
    shutil.move(tmp_path / "run", tmp_path / "far" / "run")
    moved = clips(tmp_path / "elsewhere", run=tmp_path / "far" / "run")
    assert all(Path(clip.path).is_file() for clip in moved)
    assert content_hash(moved) == content_hash(before)
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "copied")  # with times of its own
    for wav in (tmp_path / "copied").iterdir():
        os.utime(wav)
    shutil.rmtree(tmp_path / "elsewhere")
    copied = clips(tmp_path / "copied", run=tmp_path / "far" / "run")
    assert all(Path(clip.path).is_file() for clip in copied)
    assert content_hash(copied) == content_hash(before)
    assert "recordings changed" not in capsys.readouterr().err


def test_what_changed_in_the_folder_is_told_by_name_and_refused_unless_allowed(clips, voice, tmp_path, capsys):
    clips(voice)
    before = (tmp_path / "run" / "data" / "manifest.jsonl").read_bytes()
    other(voice / "new.wav")
    other(voice / "DV001-0001.wav")
    (voice / "DV001-0004.wav").unlink()
    changed = "1 added (new); 1 changed (DV001-0001); 1 lost (DV001-0004)"
    for _ in range(2):  # each time, for nothing is taken over
        with pytest.raises(ConfigError) as error:
            clips(voice)
        assert str(error.value) == (
            f"{voice}: {OTHERS}{changed}; restore them, or give --allow-data-change to go on with them as they are now"
        )
        assert (tmp_path / "run" / "data" / "manifest.jsonl").read_bytes() == before
    capsys.readouterr()
    assert {clip.name for clip in clips(voice, may_change=True)} == {"DV001-0001", "DV001-0002", "DV001-0003", "new"}
    assert capsys.readouterr().err.count(f"notice: {voice}: the recordings changed: {changed}\n") == 1
    clips(voice)
    assert "changed: " not in capsys.readouterr().err


def test_a_recording_that_was_mended_is_noticed(clips, voice):
    whole = (voice / "DV001-0002.wav").read_bytes()
    (voice / "DV001-0002.wav").write_bytes(whole[:5000])
    assert len(clips(voice)) == 3
    (voice / "DV001-0002.wav").write_bytes(whole)
    with pytest.raises(ConfigError, match=r"1 added \(DV001-0002\)"):
        clips(voice)


def test_an_untouched_folder_is_not_read_again(clips, voice, monkeypatch):
    first = clips(voice)
    monkeypatch.setattr(module, "prepare", None)
    assert clips(voice) == first


def test_a_kill_between_the_manifest_and_its_report_costs_nothing(clips, voice, tmp_path):
    first = clips(voice)
    report = tmp_path / "run" / "data" / "report.json"
    report.unlink()
    assert clips(voice) == first
    assert report.is_file()


def test_another_folder_is_another_corpus(clips, voice, ljspeech):
    clips(voice)
    with pytest.raises(ConfigError, match=r"1 changed \(DV001-0004\)"):
        clips(ljspeech / "wavs")


def test_a_full_disk_is_no_refused_recording(clips, voice, tmp_path):
    (tmp_path / "run" / "data").mkdir(parents=True)
    (tmp_path / "run" / "data" / "wavs").touch()  # where the converted one should go
    with pytest.raises(OutputError, match="can't be written"):
        clips(voice)
    assert not (tmp_path / "run" / "data" / "manifest.jsonl").exists()


def test_changes_of_a_manifest_are_told_by_name(clips, voice, tmp_path):
    prepare(voice, tmp_path / "data", sample_rate=RATE)
    clips(tmp_path / "data")
    other(voice / "new.wav")
    prepare(voice, tmp_path / "data", sample_rate=RATE)
    with pytest.raises(ConfigError) as error:
        clips(tmp_path / "data" / "manifest.jsonl")
    assert f"{OTHERS}1 added (new); restore" in str(error.value)
    assert len(clips(tmp_path / "data", may_change=True)) == len(clips(tmp_path / "data")) == 5


def test_the_command_tells_before_a_step_is_made(config_file, voice, tmp_path, capsys):
    """A held-out clip that no group of the model fits in; then, at the resume, a recording more."""

    def train(data: Path) -> int:
        return main(
            ["train", "--config", str(config_file), "--data", str(data), "--run-dir", str(tmp_path / "run"),
             "--device", "cpu", "--threads", "1", "train.steps=1"]
        )  # fmt: skip

    prepare(voice, tmp_path / "data", sample_rate=RATE)
    manifest = tmp_path / "data" / "manifest.jsonl"
    whole = manifest.read_text()
    soundfile.write(tmp_path / "click.wav", np.full(5, 0.1), RATE)
    entry = {"path": "../click.wav", "sample_rate": RATE, "frames": 5, "sha256": "0", "split": "valid"}
    manifest.write_text(f"{whole}{json.dumps(entry)}\n")
    assert train(manifest) == 2
    said = capsys.readouterr().err
    assert "click.wav (split 'valid'): has 5 samples, fewer than the model's group of 8" in said
    assert steps_of(tmp_path / "run") == []
    manifest.write_text(whole)  # nothing was trained on the other, so this may be
    assert train(manifest) == 0
    other(voice / "new.wav")
    assert train(voice) == 2
    assert f"{voice}: {OTHERS}1 added (new)" in capsys.readouterr().err
    assert len(read_manifest(tmp_path / "run" / "data" / "clips.jsonl")) == 4
