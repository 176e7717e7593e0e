"""Inputs found in folders: the tree kept, nothing opened, clashes of output names refused before any work."""

import os
from pathlib import Path

import pytest

from waveglow.audio.files import find_inputs, write_atomically


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def stems(inputs) -> list[str]:
    return [stem.as_posix() for _, stem in inputs.found]


def reasons(inputs) -> dict[str, str]:
    return {path.name: reason for path, reason in inputs.skipped}


def test_a_folder_keeps_its_tree_sorted(tmp_path):
    touch(tmp_path, "b.wav", "a/2.WAV", "a/1.flac", "notes.txt")
    inputs = find_inputs([tmp_path], [".wav", ".flac"])
    assert stems(inputs) == ["a/1", "a/2", "b"]
    assert [file for file, _ in inputs.found] == [tmp_path / "a/1.flac", tmp_path / "a/2.WAV", tmp_path / "b.wav"]
    assert inputs.skipped == ()


def test_a_named_file_is_taken_with_any_suffix_once(tmp_path):
    touch(tmp_path, "sound.oga")
    assert stems(find_inputs([tmp_path / "sound.oga"] * 2, [".wav"])) == ["sound"]


@pytest.mark.parametrize(
    "name", ["two words.wav", "-rf.wav", "new\nline.wav", "语音.wav", "x" * 250 + ".wav", "a.b.wav"]
)
def test_odd_names(tmp_path, name):
    touch(tmp_path, name)
    assert stems(find_inputs([tmp_path], [".wav"])) == [name[:-4]]


def test_a_loop_of_links_ends_with_a_reason(tmp_path):
    touch(tmp_path, "deep/a.wav")
    (tmp_path / "deep/loop").symlink_to(tmp_path)
    inputs = find_inputs([tmp_path], [".wav"])
    assert stems(inputs) == ["deep/a"]
    assert "link back" in reasons(inputs)["loop"]


def test_a_linked_folder_is_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.wav", "corpus/b.wav")
    (tmp_path / "corpus/linked").symlink_to(tmp_path / "elsewhere")
    assert stems(find_inputs([tmp_path / "corpus"], [".wav"])) == ["b", "linked/a"]


@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_skipped_unopened(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "broken.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    inputs = find_inputs([tmp_path, tmp_path / "absent.wav", tmp_path / "fifo.wav"], [".wav"])
    assert inputs.found == ()
    found = reasons(inputs)
    assert "FIFO" in found["fifo.wav"]
    assert "folder" in found["folder.wav"]
    assert "broken link" in found["broken.wav"]
    assert "device" in found["device.wav"]
    assert "doesn't exist" in found["absent.wav"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_skipped(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert "can't be listed" in reasons(find_inputs([tmp_path], [".wav"]))["closed"]


@pytest.mark.parametrize("names", [("a.wav", "a.flac"), ("a.wav", "A.wav"), ("\u00e9.wav", "e\u0301.wav")])
def test_two_inputs_for_one_output_are_refused(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(ValueError, match="would both be written") as refused:
        find_inputs([tmp_path], [".wav", ".flac"])
    assert all(str(tmp_path / name) in str(refused.value) for name in names)


def test_the_output_folder_is_outside_the_input(tmp_path):
    touch(tmp_path, "corpus/a.wav")
    with pytest.raises(ValueError, match="choose one outside"):
        find_inputs([tmp_path / "corpus"], [".wav"], out=tmp_path / "corpus2/../corpus/out")
    assert stems(find_inputs([tmp_path / "corpus"], [".wav"], out=tmp_path / "corpus2")) == ["a"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def crash(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]
    monkeypatch.undo()
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
