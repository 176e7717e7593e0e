"""recipes/ljspeech/prepare.py: the corpus downloaded, checked and unpacked, from an archive on this disk."""

import hashlib
import importlib.util
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The recipe as a module, in an empty folder, with the address and hash of a small archive."""
    spec = importlib.util.spec_from_file_location("ljspeech_prepare", ROOT / "recipes" / "ljspeech" / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    corpus = tmp_path / "served" / module.NAME
    (corpus / "wavs").mkdir(parents=True)
    (corpus / "wavs" / "LJ001-0001.wav").write_bytes(b"RIFF")
    (corpus / "metadata.csv").write_text("LJ001-0001|a|a\n", encoding="utf-8")
    archive = tmp_path / "served.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        tar.add(corpus, module.NAME)
    monkeypatch.setattr(module, "URL", archive.as_uri())
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.chdir(tmp_path)
    return module


def test_without_a_folder_the_corpus_is_downloaded_once(recipe, monkeypatch):
    folder = recipe.find("")
    assert folder == Path("data", "LJSpeech-1.1")
    assert (folder / "wavs" / "LJ001-0001.wav").read_bytes() == b"RIFF"
    monkeypatch.setattr(recipe, "URL", "file:///nowhere")
    assert recipe.find("") == folder


def test_what_an_interrupted_unpacking_left_is_no_corpus(recipe):
    left = Path("data", "unpacked", "LJSpeech-1.1", "wavs", "half.wav")
    left.parent.mkdir(parents=True)
    left.touch()
    assert [p.name for p in (recipe.find("") / "wavs").iterdir()] == ["LJ001-0001.wav"]
    assert sorted(p.name for p in Path("data").iterdir()) == ["LJSpeech-1.1", "LJSpeech-1.1.tar.bz2"]


@pytest.mark.parametrize(
    ("name", "value", "why"), [("URL", "file:///nowhere", "nowhere"), ("SHA256", "0" * 64, "hash")]
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(recipe, monkeypatch, name, value, why):
    monkeypatch.setattr(recipe, name, value)
    with pytest.raises(SystemExit, match=rf"can't be downloaded \(.*{why}.*\); get LJSpeech-1.1.tar.bz2 from"):
        recipe.find("")
    assert list(Path("data").iterdir()) == []
