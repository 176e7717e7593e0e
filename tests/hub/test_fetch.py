"""`hf:org/name@revision`: what is fetched, what is refused, and that the cache never holds what isn't whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from local_hub import TOKEN, Repository

import waveglow
from waveglow.audio.mel import preset
from waveglow.cli.main import main
from waveglow.hub import FILES, HubError, Reference, fetch
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CONFIG, WEIGHTS, CheckpointError
from waveglow.models.whole_directory import MANIFEST

NUMBERS = {"n_mels": 80, "n_channels": 8, "n_layers": 2, "n_flows": 4, "upsample_kernel": 256}
CARD = "README.md"


@pytest.fixture(scope="module")
def directory(tmp_path_factory, random_model) -> Path:
    """A sound checkpoint; to be read, not written."""
    model, config = random_model(**NUMBERS)
    path = tmp_path_factory.mktemp("model") / "tiny"
    checkpoint.save(path, model, config, mel_spec=preset("nvidia/tacotron2"), info={"step": 7})
    return path


@pytest.fixture(scope="module")
def files(directory) -> dict[str, bytes]:
    """What its repository has: its files, and others that nobody may fetch."""
    others = {"pytorch_model.bin": b"a pickle", "modeling.py": b"code", "optim.safetensors": b"state"}
    return {path.name: path.read_bytes() for path in directory.iterdir()} | {CARD: b"# tiny\n"} | others


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder, but empty folders."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def refused(reference: str, *words: str, ends: type[ValueError] = CheckpointError) -> None:
    """One line that names the reference and has these words."""
    with pytest.raises(ends) as error:
        checkpoint.load(reference)
    said = str(error.value)
    assert said.startswith(reference.partition("@")[0])
    assert "\n" not in said
    for word in words:
        assert word in said


def test_what_is_loaded_is_what_lies_in_the_repository(hub, files, directory, capsys, tmp_path):
    commit = hub.add("org/name", files)
    loaded, own = checkpoint.load("hf:org/name"), checkpoint.load(directory)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), own.model.parameters(), strict=True))
    assert (loaded.mel_spec, loaded.info) == (own.mel_spec, own.info)
    assert loaded.path == tmp_path / "cache" / "models--org--name" / "snapshots" / commit
    assert (
        capsys.readouterr().err
        == f"notice: hf:org/name@main is hf:org/name@{commit}; that name stays with these weights\n"
    )
    assert hub.fetched() == list(FILES)
    assert sorted(path.name for path in loaded.path.iterdir()) == sorted(FILES)


def test_a_vocoder_speaks_from_it_as_from_its_folder(hub, files, directory):
    hub.add("org/name", files)
    mel = torch.full((80, 4), -5.0)
    assert torch.equal(waveglow.load("hf:org/name").synthesize(mel), waveglow.load(directory).synthesize(mel))


def test_a_commit_in_the_cache_is_not_asked_for_again(hub, files, capsys):
    commit = hub.add("org/name", files)
    checkpoint.load(f"hf:org/name@{commit}")
    assert capsys.readouterr().err == ""
    hub.asked.clear()
    assert checkpoint.load(f"hf:org/name@{commit}").info == {"step": 7}
    assert hub.asked == []


def test_a_branch_that_moved_is_fetched_less_what_is_there(hub, files, monkeypatch):
    first = hub.add("org/name", files)
    checkpoint.load("hf:org/name")
    second = hub.add("org/name", {CARD: b"# better\n"})
    hub.asked.clear()
    loaded = checkpoint.load("hf:org/name")
    assert hub.fetched() == [CARD]
    assert loaded.path.name == second != first
    assert (loaded.path / CARD).read_bytes() == b"# better\n"
    assert (loaded.path.with_name(first) / CARD).read_bytes() == b"# tiny\n"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch("hf:org/name", check=str).name == second


def test_a_branch_a_tag_and_a_folder_of_revisions_are_found(hub, files):
    commit = hub.add("org/name", files, branch="refs/pr/1")
    assert checkpoint.load("hf:org/name@refs/pr/1").path.name == commit
    refused("hf:org/name", "has no such branch, tag or commit")


def test_the_cache_is_one_for_huggingface_hub_too(hub, files):
    import huggingface_hub

    commit = hub.add("org/name", files)
    path = checkpoint.load("hf:org/name").path
    cache = huggingface_hub.constants.HF_HUB_CACHE
    found = huggingface_hub.scan_cache_dir(cache)
    assert [str(warning) for warning in found.warnings] == []
    assert [(repo.repo_id, repo.nb_files) for repo in found.repos] == [("org/name", len(FILES))]
    for revision in ("main", commit):
        there = huggingface_hub.hf_hub_download(
            "org/name", WEIGHTS, revision=revision, local_files_only=True, cache_dir=cache
        )
        assert there == str(path / WEIGHTS)


def test_what_other_programs_fetched_in_part_is_completed(hub, files):
    import huggingface_hub

    commit = hub.add("org/name", files)
    cache = huggingface_hub.constants.HF_HUB_CACHE
    huggingface_hub.hf_hub_download("org/name", CONFIG, revision=commit, cache_dir=cache)
    hub.asked.clear()
    assert checkpoint.load(f"hf:org/name@{commit}").info == {"step": 7}
    assert sorted(hub.fetched()) == sorted({*FILES} - {CONFIG})


@pytest.mark.parametrize("missing", [MANIFEST, CARD])
def test_manifest_and_card_may_lack(hub, files, missing):
    hub.add("org/name", {name: content for name, content in files.items() if name != missing})
    assert checkpoint.load("hf:org/name").info == {"step": 7}


def test_a_manifest_of_more_files_than_are_fetched_passes(hub, files, directory):
    more = files[MANIFEST].replace(b'{\n "config', b'{"optim.safetensors": {"bytes": 5, "sha256": "0"},\n "config')
    assert more != files[MANIFEST]
    hub.add("org/name", {**files, MANIFEST: more})
    assert checkpoint.load("hf:org/name").info == {"step": 7}


def test_a_wrong_manifest_is_refused(hub, files):
    hub.add("org/name", {**files, CONFIG: files[CONFIG].replace(b'"step": 7', b'"step": 8')})
    with pytest.raises(CheckpointError, match=r"config.json: differs from its manifest"):
        checkpoint.load("hf:org/name")


@pytest.mark.parametrize("manifest", [True, False])
def test_a_cache_that_was_damaged_is_told_and_mended_by_removing_what_it_names(hub, files, manifest):
    hub.add("org/name", {name: content for name, content in files.items() if manifest or name != MANIFEST})
    blob = (checkpoint.load("hf:org/name").path / WEIGHTS).resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=f"is damaged, or missing; remove {blob} and load the model again"):
        checkpoint.load("hf:org/name")
    blob.unlink()
    assert checkpoint.load("hf:org/name").info == {"step": 7}


NOT_A_CHECKPOINT = [
    (
        {"pytorch_model.bin": b"x", CONFIG: b"{}"},
        "only pytorch_model.bin, a pickle, which can hold code and is never loaded",
    ),
    ({"waveglow.pt": b"x", CONFIG: b"{}"}, "`waveglow convert FILE OUT`"),
    ({"notes.txt": b"x"}, "has no config.json, so it is no checkpoint of waveglow; its files: notes.txt"),
    ({WEIGHTS: b"x"}, "has no config.json"),
    ({WEIGHTS: b"", CONFIG: b"{}"}, "its model.safetensors has 0 bytes"),
    ({WEIGHTS: b"x", CONFIG: b" " * (2**20 + 1)}, "its config.json has 1,048,577 bytes"),
]


@pytest.mark.parametrize(
    ("content", "words"), NOT_A_CHECKPOINT, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_no_checkpoint_is_refused_before_anything_is_fetched(hub, content, words, tmp_path):
    hub.add("org/name", content)
    refused("hf:org/name", words)
    assert hub.fetched() == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"sha": "../../../../x"}, "the hub gives '../../../../x' for its commit, which is none"),
        ({"siblings": [{"rfilename": n, "size": 1, "blobId": "../../x"} for n in FILES]}, "no hash or no size"),
        ({"siblings": [{"rfilename": n, "blobId": "0" * 40} for n in FILES]}, "no hash or no size"),
        ({"siblings": [{"rfilename": n, "size": 2**33, "blobId": "0" * 40} for n in FILES]}, "8,589,934,592 bytes"),
        ({"siblings": 3}, "what the hub answers can't be read"),
    ],
)
def test_a_listing_that_lies_is_refused_before_anything_is_fetched(hub, files, listed, words, tmp_path):
    hub.add("org/name", files)
    hub.listed = listed
    refused("hf:org/name", words)
    assert hub.fetched() == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "config", [b"{}", b'{"architectures": ["Llama"]}', b"[", b'{"format": 2, "model": {"name": "x"}, "mel": 0}']
)
def test_another_configuration_is_refused_before_the_weights_are_fetched(hub, files, config, tmp_path):
    hub.add("org/name", {**files, CONFIG: config})
    with pytest.raises(CheckpointError, match=r"^hf:org/name/config\.json: (is damaged|has format 2)"):
        checkpoint.load("hf:org/name")
    assert hub.fetched() == [CONFIG]
    assert tree(tmp_path / "cache") == {}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "other bytes", "too short", "too long"])
def test_a_broken_download_leaves_the_cache_as_it_was(hub, files, name, how, tmp_path):
    first = hub.add("org/name", files)
    fetch("hf:org/name", check=str)
    before = tree(tmp_path / "cache")
    content = files[name] + b" "
    hub.add("org/name", {name: content})
    if how == "cut":
        hub.cut.add(name)
    else:
        sent = {"other bytes": bytes(len(content)), "too short": content[:-3], "too long": content + b"xx"}
        hub.sent[name] = sent[how]
    words = {"cut": "can't be reached (peer closed connection", "other bytes": f"{name} came damaged"}
    with pytest.raises(HubError, match=re.escape(words.get(how, "broke off (Consistency check failed"))):
        fetch("hf:org/name", check=str)
    assert tree(tmp_path / "cache") == before
    assert checkpoint.load(f"hf:org/name@{first}").info == {"step": 7}


@pytest.mark.parametrize("reference", ["hf:org/name@main", "hf:org/name@" + "0" * 40])
def test_a_first_download_that_breaks_leaves_no_cache(hub, files, tmp_path, reference):
    hub.repositories["org/name"] = Repository({"0" * 40: files}, {"main": "0" * 40})
    hub.sent[WEIGHTS] = bytes(len(files[WEIGHTS]))
    refused(reference, "model.safetensors came damaged")
    assert tree(tmp_path / "cache") == {}
    hub.sent.clear()
    assert checkpoint.load(reference).info == {"step": 7}


def test_a_full_disk_is_what_the_system_says_and_leaves_no_cache(hub, files, tmp_path, monkeypatch, capsys):
    hub.add("org/name", files)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert main(["info", "hf:org/name"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert tree(tmp_path / "cache") == {}


MALFORMED = ["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:a/..", "hf:/etc/passwd", "hf://a/b", "hf:a/é", "hf:a--b/c"]
MALFORMED += ["hf:a/b?x", "hf:a/b#x", "hf:a b/c", "hf:a/b\n", "hf:a/b\\..", "hf:a/b.git", "hf:" + "a" * 97 + "/b"]
MALFORMED += ["hf:a/b@", "hf:a/b@../../x", "hf:a/b@-x", "hf:a/b@/x", "hf:a/b@x.."]


@pytest.mark.fault(29, "a name that leads out of the hub, as `hf:../x`", "exit 2", "names no model of the hub")
@pytest.mark.parametrize("reference", MALFORMED)
def test_fault_29_a_malformed_reference_is_refused_and_asks_nobody(hub, reference, capsys):
    assert main(["info", reference]) == 2
    said = capsys.readouterr().err
    assert "names no model of the hub; it is hf:org/name or hf:org/name@revision" in said
    assert said.count("\n") == 1
    with pytest.raises(ValueError, match="names no model of the hub"):
        Reference.parse(reference)
    assert hub.asked == []


def private(hub, files):
    hub.repositories["org/name"] = Repository(private=True)
    hub.add("org/name", files)


def gated(hub, files):
    hub.repositories["org/name"] = Repository(gated=True)
    hub.add("org/name", files)


def answers(what, at="/api/models"):
    def arrange(hub, files):
        hub.add("org/name", files)
        hub.answers[at] = what

    return arrange


WRONG = {
    "no such repository": (lambda hub, files: None, "the hub has no such repository, or it is private: check the name"),
    "private": (private, "the hub has no such repository, or it is private: check the name, or log in"),
    "gated": (gated, "is gated: ask for access on its page, then log in with `hf auth login`, or set HF_TOKEN"),
    "500": (answers(500), "the hub answers 500, try again later, and the cache"),
    "403": (answers(403), "the hub doesn't allow it (403"),
    "418": (answers(418), "the hub answers 418"),
    "a page of HTML": (answers("<html>log in</html>"), "is HF_ENDPOINT right?"),
    "JSON of another kind": (answers("[1]"), "is HF_ENDPOINT right?"),
    "a proxy before the files": (answers("hi", at="/org/name/resolve"), "is HF_ENDPOINT right?"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_the_hub_refuses_is_one_sentence_and_exit_4(hub, files, wrong, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    arrange, words = WRONG[wrong]
    arrange(hub, files)
    assert main(["info", "hf:org/name"]) == 4
    said = capsys.readouterr().err
    assert said.startswith("waveglow info: hf:org/name@")
    assert words in said
    assert said.count("\n") == 1
    assert tree(tmp_path / "cache") == {}


@pytest.mark.parametrize("arrange", [private, gated])
def test_a_token_opens_what_is_private_or_gated(hub, files, arrange, monkeypatch):
    arrange(hub, files)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    refused("hf:org/name")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch("hf:org/name", check=str)


@pytest.fixture
def no_network(hub, monkeypatch):
    """The hub's address answers nobody."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nobody)


@pytest.mark.fault(30, "no network, and the cache doesn't have it", "exit 4", "the hub can't be reached")
def test_fault_30_without_a_network_it_says_so(no_network, capsys):
    assert main(["info", "hf:org/name"]) == 4
    said = capsys.readouterr().err
    assert "hf:org/name@main: the hub can't be reached (" in said
    assert "doesn't have it" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("why", ["no network", "HF_HUB_OFFLINE", "500"])
def test_the_cache_stands_in(hub, files, why, monkeypatch, capsys, request):
    commit = hub.add("org/name", files)
    fetch("hf:org/name", check=str)
    hub.asked.clear()
    capsys.readouterr()
    if why == "no network":
        request.getfixturevalue("no_network")
    elif why == "500":
        hub.answers["/api/models"] = 500
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert checkpoint.load("hf:org/name").path.name == commit
    assert f"; taken from the cache: hf:org/name@{commit}" in capsys.readouterr().err
    assert checkpoint.load(f"hf:org/name@{commit}").path.name == commit
    assert capsys.readouterr().err == ""
    refused("hf:org/name@v2", "and the cache (")
    assert hub.fetched() == []


IN_A_PROCESS = """import sys
from waveglow import hub
print(hub.fetch('hf:org/name', check=str))
assert 'torch' not in sys.modules
"""


def test_the_environment_is_heeded_and_torch_is_not_needed(hub, files, tmp_path):
    """In a process of its own: huggingface_hub reads HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE when imported."""
    commit = hub.add("org/name", files)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "own")}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", IN_A_PROCESS]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=60)

    missing = run(HF_HUB_OFFLINE="1")
    assert "HubError: hf:org/name@main: HF_HUB_OFFLINE is set, and the cache" in missing.stderr
    assert hub.asked == []
    snapshot = str(tmp_path / "own" / "models--org--name" / "snapshots" / commit)
    assert run().stdout.splitlines() == [snapshot]
    hub.asked.clear()
    assert run(HF_HUB_OFFLINE="1").stdout.splitlines() == [snapshot]
    assert hub.asked == []


def test_without_huggingface_hub_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["info", "hf:org/name"]) == 2
    assert "needs huggingface_hub" in (said := capsys.readouterr().err)
    assert "pip install 'waveglow-vocoders[hub]'" in said


@pytest.mark.parametrize(
    "command",
    [
        "info {}",
        "mel-check {} nvidia/tacotron2",
        "mel -c {} wavs mels",
        "resynth -c {} wavs out --threads 1",
        "train --init-from {} --data wavs --run-dir run --print-config",
    ],
)
def test_verbs_take_it_where_a_checkpoint_is_named(hub, files, command, tmp_path, monkeypatch, capsys, ljspeech):
    commit = hub.add("org/name", files)
    monkeypatch.chdir(tmp_path)
    Path("wavs").mkdir()
    shutil.copy(ljspeech / "wavs" / "DV001-0001.wav", "wavs")
    assert main(command.format("hf:org/name").split()) == 0
    assert commit in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "is_one"),
    [
        (f"cache/models--a--b/snapshots/{'0' * 40}", True),
        (f"cache/models--a--b/other/{'0' * 40}", False),
        (f"cache/mine/snapshots/{'0' * 40}", False),
        ("cache/models--a--b/snapshots/mine", False),
        ("", False),
    ],
)
def test_only_a_commit_of_the_cache_may_go_without_a_manifest(folder, is_one, directory, tmp_path):
    path = tmp_path / folder
    shutil.copytree(directory, path, dirs_exist_ok=True)
    (path / MANIFEST).unlink()
    if is_one:
        assert checkpoint.load(path).info == {"step": 7}
    else:
        with pytest.raises(CheckpointError, match=r"MANIFEST\.json can't be read"):
            checkpoint.load(path)
