"""Many files in, many out: what is no fault of an input ends the work, and the report is whole whatever happens."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from waveglow import batch
from waveglow.audio.files import OutputError, utf8
from waveglow.batch import Outcome, each_file


def copy(source: Path, target: Path, outcome: Outcome) -> None:
    """What a verb might do: refuse what it can't read, write the rest."""
    content = source.read_bytes()
    if not content:
        raise ValueError(f"{source}: empty file")
    target.write_bytes(content)


@pytest.fixture
def wavs(tmp_path) -> Path:
    (tmp_path / "in" / ".cache").mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        (tmp_path / "in" / f"{name}.wav").write_text(name)
    (tmp_path / "in" / "b.wav").write_text("")
    (tmp_path / "in" / ".cache" / "a.wav").touch()
    return tmp_path / "in"


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def test_a_bad_input_is_passed_and_hidden_ones_are_counted(wavs, tmp_path):
    done = each_file([wavs], tmp_path / "out", [".wav"], ".npy", copy)
    assert (done.count("ok"), done.count("failed")) == (3, 1)
    hidden = f"1 passed over, hidden: {wavs / '.cache' / 'a.wav'}"
    assert done.text() == f"3 ok, 1 failed; {tmp_path / 'out' / 'report.json'}; {hidden}"
    assert report(tmp_path / "out")["passed_over"] == hidden


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_full_disk_ends_the_work(wavs, tmp_path, place, monkeypatch):
    tried = []

    def full(source: Path, target: Path, outcome: Outcome) -> None:
        tried.append(source.name)
        if source.name == "c.wav":
            raise OutputError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        copy(source, target, outcome)

    if place == "folder":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "sub").touch()
        (wavs / "sub").mkdir()
        (wavs / "sub" / "e.wav").write_text("e")
        (wavs / "c.wav").unlink()
    with pytest.raises(OutputError, match="can't be written"):
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", full)
    assert tried == (["a.wav", "b.wav", "c.wav"] if place == "file" else ["a.wav", "b.wav", "d.wav"])
    assert (report(tmp_path / "out")["ok"], report(tmp_path / "out")["failed"]) == (
        len(tried) - 1 - (place == "file"),
        1,
    )


def test_an_interruption_leaves_a_whole_report(wavs, tmp_path):
    def interrupted(source: Path, target: Path, outcome: Outcome) -> None:
        if source.name == "c.wav":
            raise KeyboardInterrupt
        copy(source, target, outcome)

    with pytest.raises(KeyboardInterrupt):
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", interrupted)
    assert [entry["status"] for entry in report(tmp_path / "out")["files"]] == ["ok", "failed"]


def test_a_name_that_is_no_utf_8_stands_in_the_report(wavs, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    (wavs / name).write_text("e")
    each_file([wavs], tmp_path / "out", [".wav"], ".npy", copy)
    assert str(wavs / name) in {entry["input"] for entry in report(tmp_path / "out")["files"]}
    assert utf8(name) in (tmp_path / "out" / "report.json").read_bytes()


def test_an_empty_leftover_is_not_skipped(wavs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.npy").touch()
    (tmp_path / "out" / "c.npy").write_text("whole")
    done = each_file([wavs], tmp_path / "out", [".wav"], ".npy", copy, skip_existing=True)
    assert (done.count("ok"), done.count("skipped"), done.count("failed")) == (2, 1, 1)
    assert (tmp_path / "out" / "a.npy").read_text() == "a"
    assert (tmp_path / "out" / "c.npy").read_text() == "whole"


@pytest.mark.parametrize("out", ["x.flac", "x.mp3", "x.npz", "x.json", "x.M4A"])
def test_what_looks_like_a_file_is_made_no_folder(wavs, tmp_path, out):
    with pytest.raises(ValueError, match=rf"{out} looks like a file; name a folder, or for one input a file .* \.wav"):
        each_file([wavs / "a.wav"], tmp_path / out, [".wav"], ".wav", copy)
    assert not (tmp_path / out).exists()


def test_several_inputs_go_to_no_single_file(wavs, tmp_path, monkeypatch):
    for inputs in ([wavs / "a.wav", wavs / "c.wav"], [wavs]):
        with pytest.raises(ValueError, match=r"both.npy looks like a file"):
            each_file(inputs, tmp_path / "both.npy", [".wav"], ".npy", copy)
    (tmp_path / "notes").touch()
    with pytest.raises(ValueError, match="notes is a file; name a folder"):
        each_file([wavs], tmp_path / "notes", [".wav"], ".npy", copy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the output - looks like a file"):
        each_file([wavs / "a.wav"], Path("-"), [".wav"], ".npy", copy)


def test_one_input_to_one_file_in_capitals(wavs, tmp_path):
    each_file([wavs / "a.wav"], tmp_path / "x.NPY", [".wav"], ".npy", copy)
    assert (tmp_path / "x.NPY").read_text() == "a"


def test_folders_may_have_dots(wavs, tmp_path):
    (tmp_path / "old.wav").mkdir()
    for out in ("v1.0", "out.2026", "old.wav"):
        assert each_file([wavs / "a.wav"], tmp_path / out, [".wav"], ".npy", copy).count("ok") == 1
        assert (tmp_path / out / "a.npy").is_file()
    assert batch.STATUSES == ("ok", "skipped", "failed")
