"""Inputs found in folders: the tree kept, nothing opened, clashes of output names refused before any work."""

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from waveglow.audio.files import (
    AUDIO_SUFFIXES,
    OutputError,
    find_inputs,
    folders_below,
    make_folder,
    utf8,
    write_atomically,
)
from waveglow.audio.io import load_audio


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


def test_each_real_folder_is_listed_once(tmp_path):
    touch(tmp_path, "deep/a.wav")
    (tmp_path / "deep/loop").symlink_to(tmp_path)
    assert [names for _, names in folders_below(tmp_path)] == [[], ["a.wav"]]


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


# ---- What is no data -------------------------------------------------------------------------------------------------


def test_nothing_is_taken_below_what_is_hidden(tmp_path):
    left = ("._a.wav", ".Trash/old.wav", ".ipynb_checkpoints/a-checkpoint.wav", "__MACOSX/deep/a.wav", "x/@eaDir/a.wav")
    touch(tmp_path, "a.wav", "x/b.wav", *left, ".notes.txt", "Thumbs.db")
    inputs = find_inputs([tmp_path], [".wav"])
    assert stems(inputs) == ["a", "x/b"]
    assert inputs.skipped == ()
    assert {path.relative_to(tmp_path).as_posix() for path, _ in inputs.passed_over} == set(left)
    assert inputs.passed_over_text() == f"5 passed over, hidden: {tmp_path / '.Trash/old.wav'}"


def test_a_hidden_folder_that_is_named_is_searched(tmp_path, monkeypatch):
    touch(tmp_path, ".cache/corpus/a.wav", ".cache/corpus/.b.wav")
    assert stems(find_inputs([tmp_path / ".cache"], [".wav"])) == ["corpus/a"]
    monkeypatch.chdir(tmp_path / ".cache")
    assert stems(find_inputs([Path(".")], [".wav"])) == ["corpus/a"]
    assert stems(find_inputs([Path("corpus/.b.wav")], [".wav"])) == [".b"]


def test_other_forms_of_recordings_are_taken_once(tmp_path):
    touch(tmp_path, "a.wav", "a.mp3", "b.ogg", "c.opus", "d.aiff", "e.MP3", "f/a.mp3", "a.m4a")
    inputs = find_inputs([tmp_path], AUDIO_SUFFIXES)
    assert stems(inputs) == ["a", "b", "c", "d", "e", "f/a"]
    assert inputs.skipped == ()
    assert {path.name: reason for path, reason in inputs.passed_over} == {
        "a.mp3": "another form of a recording that is there",
        "a.m4a": "another form of a recording that is there",
    }


def test_formats_that_cannot_be_decoded_are_named(tmp_path):
    touch(tmp_path, "a.wav", "b.m4a", "c.WMA", "notes.txt")
    inputs = find_inputs([tmp_path], AUDIO_SUFFIXES)
    assert stems(inputs) == ["a"]
    assert reasons(inputs) == {
        "b.m4a": ".m4a can't be decoded here; convert it to WAV, as ffmpeg does",
        "c.WMA": ".wma can't be decoded here; convert it to WAV, as ffmpeg does",
    }
    assert find_inputs([tmp_path], [".npy"]).skipped == ()


@pytest.mark.parametrize("suffix", [s for s in AUDIO_SUFFIXES if s not in (".rf64", ".oga")])
def test_all_the_formats_that_are_looked_for_can_be_read(tmp_path, suffix):
    tone = 0.3 * np.sin(np.arange(24_000) / 20)
    made = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    made = {"format": "AIFF", "subtype": "FLOAT"} if suffix in (".aif", ".aifc") else made
    soundfile.write(tmp_path / f"a{suffix}", tone, 24_000, **made)
    assert np.abs(load_audio(tmp_path / f"a{suffix}", strict=True).samples[2000:20_000] - tone[2000:20_000]).max() < 0.1


# ---- What can't be written -------------------------------------------------------------------------------------------


def test_a_failure_of_output_names_the_file(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "a", tmp_path / "file" / "a"):
        with pytest.raises(OutputError, match=f"{path}: can't be written") as error:
            write_atomically(path, b"new")
        assert error.value.errno in (errno.ENOENT, errno.ENOTDIR)
        assert pickle.loads(pickle.dumps(error.value)).filename == str(path)
    with pytest.raises(OutputError, match="file/deep: can't be written"):
        make_folder(tmp_path / "file" / "deep")
    assert not isinstance(error.value, ValueError)  # as what is wrong with an input is


def test_names_that_are_no_utf_8_are_escaped():
    name = os.fsdecode(b"caf\xe9")
    assert json.loads(utf8(json.dumps({"ä": name}, ensure_ascii=False))) == {"ä": name}
    assert utf8("ä") == "ä".encode()
