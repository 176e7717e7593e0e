"""Many files in, many out: what is no fault of an input ends the work, and the report is whole whatever happens."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from waveglow import batch
from waveglow.audio.files import OutputError, utf8
from waveglow.audio.io import AudioError
from waveglow.batch import Outcome, each_file, merge_reports
from waveglow.config import ConfigError
from waveglow.parts import Part


def copy(source: Path, target: Path, outcome: Outcome) -> None:
    """What a verb might do: refuse what it can't read, write the rest."""
    content = source.read_bytes()
    if not content:
        raise AudioError(source, "empty file")
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
    done = each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: copy)
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
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: full)
    assert tried == (["a.wav", "b.wav", "c.wav"] if place == "file" else ["a.wav", "b.wav", "d.wav"])
    assert (report(tmp_path / "out")["ok"], report(tmp_path / "out")["failed"]) == (
        len(tried) - 1 - (place == "file"),
        1,
    )


def test_a_bug_is_no_fault_of_an_input(wavs, tmp_path):
    def wrong(source: Path, target: Path, outcome: Outcome) -> None:
        copy(source, target, outcome)
        if source.name == "c.wav":
            int("three")

    with pytest.raises(ValueError, match="invalid literal"):
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: wrong)
    assert [entry["status"] for entry in report(tmp_path / "out")["files"]] == ["ok", "failed"]


def test_an_interruption_leaves_a_whole_report(wavs, tmp_path):
    def interrupted(source: Path, target: Path, outcome: Outcome) -> None:
        if source.name == "c.wav":
            raise KeyboardInterrupt
        copy(source, target, outcome)

    with pytest.raises(KeyboardInterrupt):
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: interrupted)
    assert [entry["status"] for entry in report(tmp_path / "out")["files"]] == ["ok", "failed"]


def test_a_name_that_is_no_utf_8_stands_in_the_report(wavs, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    (wavs / name).write_text("e")
    each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: copy)
    assert str(wavs / name) in {entry["input"] for entry in report(tmp_path / "out")["files"]}
    assert utf8(name) in (tmp_path / "out" / "report.json").read_bytes()


def test_an_empty_leftover_is_not_skipped(wavs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.npy").touch()
    (tmp_path / "out" / "c.npy").write_text("whole")
    done = each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: copy, skip_existing=True)
    assert (done.count("ok"), done.count("skipped"), done.count("failed")) == (2, 1, 1)
    assert (tmp_path / "out" / "a.npy").read_text() == "a"
    assert (tmp_path / "out" / "c.npy").read_text() == "whole"


@pytest.mark.parametrize("out", ["x.flac", "x.mp3", "x.npz", "x.json", "x.M4A"])
def test_what_looks_like_a_file_is_made_no_folder(wavs, tmp_path, out):
    with pytest.raises(ValueError, match=rf"{out} looks like a file; name a folder, or for one input a file .* \.wav"):
        each_file([wavs / "a.wav"], tmp_path / out, [".wav"], ".wav", lambda: copy)
    assert not (tmp_path / out).exists()


def test_several_inputs_go_to_no_single_file(wavs, tmp_path, monkeypatch):
    for inputs in ([wavs / "a.wav", wavs / "c.wav"], [wavs]):
        with pytest.raises(ValueError, match=r"both.npy looks like a file"):
            each_file(inputs, tmp_path / "both.npy", [".wav"], ".npy", lambda: copy)
    (tmp_path / "notes").touch()
    with pytest.raises(ValueError, match="notes is a file; name a folder"):
        each_file([wavs], tmp_path / "notes", [".wav"], ".npy", lambda: copy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the output - looks like a file"):
        each_file([wavs / "a.wav"], Path("-"), [".wav"], ".npy", lambda: copy)


def test_one_input_to_one_file_in_capitals(wavs, tmp_path):
    each_file([wavs / "a.wav"], tmp_path / "x.NPY", [".wav"], ".npy", lambda: copy)
    assert (tmp_path / "x.NPY").read_text() == "a"


def test_folders_may_have_dots(wavs, tmp_path):
    (tmp_path / "old.wav").mkdir()
    for out in ("v1.0", "out.2026", "old.wav"):
        assert each_file([wavs / "a.wav"], tmp_path / out, [".wav"], ".npy", lambda: copy).count("ok") == 1
        assert (tmp_path / out / "a.npy").is_file()
    assert batch.STATUSES == ("ok", "skipped", "failed")


def comparable(folder: Path) -> dict:
    """A report but for how long it took."""
    content = report(folder)
    for entry in content["files"]:
        del entry["took"]
        entry["output"] = Path(entry["output"]).name
    return {**content, "files": sorted(content["files"], key=lambda entry: entry["input"])}


def opened():
    return copy


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_merged_are_the_whole(wavs, tmp_path, count):
    (wavs / "e.m4a").touch()
    whole = each_file([wavs], tmp_path / "whole", [".wav"], ".npy", opened)
    for index in range(count, 0, -1):
        done = each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, part=Part(index, count))
        assert len(done.outcomes) <= -(-4 // count) + 1
    merged = merge_reports(tmp_path / "out")
    assert (merged is None) == (count == 1)
    assert comparable(tmp_path / "out") == comparable(tmp_path / "whole")
    assert batch.tell(merged or whole) == 3
    names = [path.name for path in sorted((tmp_path / "whole").iterdir()) if path.suffix == ".npy"]
    assert [path.name for path in sorted((tmp_path / "out").iterdir()) if path.suffix == ".npy"] == names


def test_processes_do_what_one_does(wavs, tmp_path):
    each_file([wavs], tmp_path / "one", [".wav"], ".npy", opened)
    done = each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, jobs=2)
    assert [Path(outcome.input).name for outcome in done.outcomes] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert comparable(tmp_path / "out") == comparable(tmp_path / "one")


def test_a_part_that_was_interrupted_is_run_again_and_leaves_what_is_done(wavs, tmp_path):
    def interrupted(source: Path, target: Path, outcome: Outcome) -> None:
        if source.name == "c.wav":
            raise KeyboardInterrupt
        copy(source, target, outcome)

    with pytest.raises(KeyboardInterrupt):
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", lambda: interrupted, part=Part(1, 2))
    each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, part=Part(2, 2))
    with pytest.raises(ConfigError, match="1 of their inputs are in none: a part was interrupted; run it again"):
        merge_reports(tmp_path / "out")
    again = each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, part=Part(1, 2), skip_existing=True)
    assert (again.count("skipped"), again.count("ok")) == (1, 1)
    assert len(merge_reports(tmp_path / "out").outcomes) == 4


def test_parts_of_other_inputs_are_not_merged(wavs, tmp_path):
    each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, part=Part(1, 2))
    (wavs / "aa.wav").write_text("aa")
    each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, part=Part(2, 2))
    with pytest.raises(ConfigError, match="is a part of other inputs or options"):
        merge_reports(tmp_path / "out")
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_report_that_is_none_is_not_merged(wavs, tmp_path):
    for index in (1, 2):
        each_file([wavs], tmp_path / "out", [".wav"], ".npy", opened, part=Part(index, 2))
    path = tmp_path / "out" / "report.2-of-2.json"
    path.write_text(path.read_text("utf-8").replace('"status"', '"state"'))
    with pytest.raises(ConfigError, match="the parts' reports can't be merged"):
        merge_reports(tmp_path / "out")
