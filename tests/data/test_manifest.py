"""Manifests that can be moved, by hand too: what is read, what is told of a line that can't be, what changed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from waveglow.config import ConfigError
from waveglow.data.manifest import Clip, changes, content_hash, read_manifest, write_manifest
from waveglow.data.prepare import prepare

RATE = 22050


def clip(name: str) -> Clip:
    return Clip(f"/data/{name}.wav", RATE, 1000, name, "train")


CLIPS = [clip(f"LJ001-{number:04d}") for number in range(100)]

# ---- The file --------------------------------------------------------------------------------------------------------


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


def test_a_mark_at_the_start_empty_lines_and_windows_ends_are_passed_over(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{json.dumps(GOOD)}\r\n\r\n{json.dumps(GOOD)}\r\n\n".encode())
    assert [clip.path for clip in read_manifest(path)] == [str(tmp_path / "a.wav")] * 2
    path.write_text(f"\n{json.dumps(GOOD)}\n{{\n")
    with pytest.raises(ConfigError, match="line 3: Expecting"):
        read_manifest(path)


@pytest.mark.parametrize("first", ["LJ001-0001|Printing|Printing", "path,sample_rate", "hello", "[]"])
def test_another_file_is_told_from_a_manifest(tmp_path, first):
    path = tmp_path / "metadata.csv"
    path.write_text(f"{first}\nmore\n")
    with pytest.raises(ConfigError) as error:
        read_manifest(path)
    assert f"{path}: is no manifest, its first line is {first!r}; give the folder of the recordings" in str(error.value)


# ---- What changed ----------------------------------------------------------------------------------------------------


def test_moved_is_not_changed():
    moved = [replace(clip, path=clip.path.replace("/data", "/elsewhere")) for clip in CLIPS]
    assert changes(CLIPS, moved) == changes(CLIPS, moved[::-1]) == ""
    assert content_hash(CLIPS) == content_hash(moved)


def test_changes_are_told_in_numbers_and_names():
    edited = replace(CLIPS[3], sha256="edited")
    renamed = replace(CLIPS[4], path="/data/other.wav")
    now = [*CLIPS[:3], edited, renamed, *CLIPS[10:], clip("new")]
    lost = ", ".join(clip.name for clip in CLIPS[5:10])
    assert changes(CLIPS, now) == f"1 added (new); 1 changed (LJ001-0003); 5 lost ({lost})"
    assert changes(now, now[:-1]) == "1 lost (new)"
    assert changes([], CLIPS) == "100 added (LJ001-0000, LJ001-0001, LJ001-0002, LJ001-0003, LJ001-0004, …)"


def test_a_lost_copy_and_another_mel_are_changes():
    assert changes([CLIPS[0], CLIPS[0], CLIPS[1]], CLIPS[:2]) == "1 lost (LJ001-0000)"
    with_mel = replace(CLIPS[0], mel="a.npy", mel_sha256="1")
    assert changes([with_mel], [replace(with_mel, mel_sha256="2")]) == "1 changed (LJ001-0000)"


def test_no_manifest(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.jsonl: can't be read .*waveglow prepare"):
        read_manifest(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigError, match=r"empty.jsonl: is empty; make it with"):
        read_manifest(tmp_path / "empty.jsonl")
