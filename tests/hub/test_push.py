"""`waveglow push`: what is sent is a whole checkpoint and its card, and is heard again by whoever loads it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml
from local_hub import TOKEN, Repository

from waveglow.audio.mel import preset
from waveglow.cli.main import main
from waveglow.hub import FILES
from waveglow.models import checkpoint
from waveglow.models.card import card
from waveglow.models.checkpoint import CONFIG, WEIGHTS
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL, DEFAULT_VOICE
from waveglow.models.whole_directory import MANIFEST

NUMBERS = {"n_mels": 80, "n_channels": 8, "n_layers": 2, "n_flows": 4, "upsample_kernel": 256}
CARD = "README.md"


@pytest.fixture(scope="module")
def models(tmp_path_factory, random_model):
    """Two sound checkpoints, `first` and `second`; to be read, not written."""
    folder = tmp_path_factory.mktemp("models")
    for step, name in enumerate(("first", "second"), 1):
        model, config = random_model(seed=step, **NUMBERS)
        info = {"step": step, "nll_nats": -2.5 - step}
        checkpoint.save(folder / name, model, config, mel_spec=preset("nvidia/tacotron2"), info=info)
    return folder


@pytest.fixture
def run(models, tmp_path):
    """A training run whose best weights aren't its newest."""
    shutil.copytree(models / "first", tmp_path / "run" / "best")
    newest = tmp_path / "run" / "checkpoints" / "step_00000002"
    shutil.copytree(models / "second", newest)
    (newest / "train.safetensors").write_bytes(b"state")
    return tmp_path / "run"


def push(*arguments: object) -> int:
    return main(["push", *map(str, arguments)])


def refused(capsys, code: int, *words: str) -> None:
    """`code` came with one line that has these words."""
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    for word in words:
        assert word in said.err
    assert said.out == ""


def only(hub) -> tuple[str, dict[str, bytes]]:
    """The one commit of the one repository."""
    (repository,) = hub.repositories.values()
    ((commit, files),) = repository.commits.items()
    return commit, files


def test_a_run_sends_its_best_and_whoever_loads_it_has_the_same_weights(hub, run, capsys):
    assert push(run, "me/voice", "--license", "CC-BY-4.0", "--yes") == 0
    commit, files = only(hub)
    assert capsys.readouterr().out.endswith(f"\n{hub.url}/me/voice\nhf:me/voice@{commit}\n")
    assert sorted(files) == sorted(FILES)
    loaded, own = checkpoint.load("hf:me/voice"), checkpoint.load(run / "best")
    assert loaded.info["step"] == 1
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), own.model.parameters(), strict=True))
    assert sorted(json.loads(files[MANIFEST])) == sorted({*FILES} - {MANIFEST})


def test_a_checkpoint_of_a_run_goes_without_its_state(hub, run):
    assert push(run / "checkpoints" / "step_00000002", "me/voice", "--license", "mit", "--yes") == 0
    assert sorted(only(hub)[1]) == sorted(FILES)
    assert checkpoint.load("hf:me/voice").info["step"] == 2


def test_without_yes_it_lists_and_asks_nobody(hub, models, capsys):
    assert push(models / "first", "me/voice", "--license", "mit") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(FILES)
    assert f"{(models / 'first' / WEIGHTS).stat().st_size:,} bytes" in lines[3]
    assert lines[-1] == "nothing is sent to me/voice yet; --yes sends it"
    assert hub.asked == []


def test_to_a_branch_of_a_private_repository(hub, models):
    assert push(models / "first", "hf:me/voice", "--license", "mit", "--private", "--revision", "v1", "--yes") == 0
    repository = hub.repositories["me/voice"]
    assert repository.private
    assert [*repository.branches] == ["v1"]
    assert checkpoint.load("hf:me/voice@v1").info["step"] == 1


def test_again_it_is_one_commit_more(hub, models):
    for name in ("first", "second"):
        assert push(models / name, "me/voice", "--license", "mit", "--yes") == 0
        assert checkpoint.load("hf:me/voice").info["step"] == {"first": 1, "second": 2}[name]
    assert len(hub.repositories["me/voice"].commits) == 2


def test_private_is_not_sent_to_a_public_repository(hub, models, capsys):
    hub.add("me/voice", {CARD: b"x"})
    assert push(models / "first", "me/voice", "--license", "mit", "--private", "--yes") == 2
    refused(capsys, 2, "is public, and --private was asked for")
    assert len(hub.repositories["me/voice"].commits) == 1


@pytest.mark.parametrize(
    "name", ["voice", "a/b/c", "../x", "me/voice@v1", "", "me/", "me/a b", "https://hf.co/me/voice"]
)
def test_a_malformed_name_is_refused_before_anything(hub, name, capsys, tmp_path):
    assert push(tmp_path / "nowhere", name, "--yes") == 2
    refused(capsys, 2, "names no repository; it is org/name")
    assert hub.asked == []


@pytest.mark.parametrize("branch", ["../x", "-x", "", "a b", "0" * 40])
def test_a_malformed_branch_is_refused_before_anything(hub, branch, capsys, tmp_path):
    assert push(tmp_path / "nowhere", "me/voice", f"--revision={branch}", "--yes") == 2
    assert hub.asked == []


def test_what_is_no_sound_checkpoint_is_not_sent(hub, run, capsys):
    (run / "checkpoints" / "step_00000002" / WEIGHTS).write_bytes(b"x")
    for path, words in [
        (run / "checkpoints" / "step_00000002", "differs from its manifest"),
        (run / "x", "does not exist"),
    ]:
        assert push(path, "me/voice", "--license", "mit", "--yes") == 4
        refused(capsys, 4, words)
    assert hub.asked == []


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda best: (best / CONFIG).write_bytes(b"{}")])
def test_a_run_without_a_whole_best_is_not_sent(hub, run, capsys, damage):
    damage(run / "best")
    assert push(run, "me/voice", "--license", "mit", "--yes") == 4
    refused(capsys, 4, "has no whole best/ yet; train on until it validates, or name one of checkpoints/")
    assert hub.asked == []


def test_without_a_licence_it_is_not_sent(hub, models, capsys):
    assert push(models / "first", "me/voice", "--yes") == 2
    refused(capsys, 2, "says nothing of its licence; give --license")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("token", "answers", "words"),
    [
        (None, {}, "sending needs a token; log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_of_nobody", {}, "log in with `hf auth login`, or set HF_TOKEN"),
        (TOKEN, {"/api/repos/create": 403}, "the hub doesn't allow it (403"),
        (TOKEN, {"/api/validate-yaml": 400}, "the hub doesn't take it (Invalid metadata in README.md"),
        (TOKEN, {"/me/voice.git/info/lfs": 500}, "the hub answers 500, try again later"),
        (TOKEN, {"/store": 403}, "the hub doesn't allow it (403"),
        (TOKEN, {"/api/models/me/voice/commit": 412}, "the hub answers 412"),
        (TOKEN, {"/api/models/me/voice/preupload": "<html>"}, "is HF_ENDPOINT right?"),
    ],
)
def test_what_the_hub_does_not_take_is_one_sentence(hub, models, capsys, monkeypatch, token, answers, words):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.answers = answers
    assert push(models / "first", "me/voice", "--license", "mit", "--yes") == 2
    refused(capsys, 2, "waveglow push: hf:me/voice@main: ", words)
    assert not any(repository.commits for repository in hub.repositories.values())


def test_offline_it_says_so(hub, models, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert push(models / "first", "me/voice", "--license", "mit", "--yes") == 2
    refused(capsys, 2, "hf:me/voice@main: HF_HUB_OFFLINE is set")


# ---- The card --------------------------------------------------------------------------------------------------------


def test_the_card_of_the_shipped_voice_has_its_scores_for_the_hub():
    from huggingface_hub import ModelCard

    loaded = checkpoint.load(DEFAULT_VOICE)
    own = (DEFAULT_VOICE / CARD).read_text(encoding="utf-8")
    made = ModelCard(card(loaded, "me/lapglow", own=own, licence=None, data=None))
    assert made.data.license == "cc-by-sa-3.0"
    assert own.rstrip() in made.content
    assert f"| fingerprint | {loaded.mel_spec.fingerprint} |\n" in made.content
    assert 'import waveglow\nvoc = waveglow.load("hf:me/lapglow")\n' in made.content
    scores = {(score.dataset_name, score.metric_name): score.metric_value for score in made.data.eval_results}
    rows = [line.split(" | ") for line in own.splitlines() if line.startswith("| vocoder |")]
    pesq = [float(row[1].split()[0]) for row in rows]
    assert [scores[title, "PESQ"] for title in ("test split", "LJSpeech-mini, unseen")] == pesq[:2]
    assert scores["held out while training", "nll_nats"] == loaded.info["nll_nats"] < 0
    assert scores["LJSpeech-mini, unseen", "NLL, nats per sample"] < 0
    assert scores["LJSpeech-mini, unseen", "F0 error"] > 0


def test_the_card_of_a_run_says_what_it_is(models):
    made = card(
        checkpoint.load(models / "first"), "me/voice", own="", licence="mit", data="Ten hours of Ann, who agreed."
    )
    head = yaml.safe_load(made.split("---\n")[1])
    assert head["license"] == "mit"
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "nll_nats", "name": "nll_nats", "value": -3.5}]
    assert "# voice\n\nA flow vocoder (waveglow, " in made
    assert "parameters of 1 steps)" in made
    assert "**Data.** Ten hours of Ann, who agreed." in made


def test_the_card_of_pictures_says_how_to_draw_them():
    loaded = checkpoint.load(DEFAULT_IMAGE_MODEL)
    own = (DEFAULT_IMAGE_MODEL / CARD).read_text(encoding="utf-8")
    made = card(loaded, "me/faces", own=own, licence="cc0-1.0", data=None)
    assert made.endswith("\n    waveglow image sample -c hf:me/faces samples.png\n")
    assert yaml.safe_load(made.split("---\n")[1])["pipeline_tag"] == "unconditional-image-generation"


def test_a_card_with_metadata_of_its_own_is_kept_and_a_licence_beside_it_refused(models):
    loaded, own = checkpoint.load(models / "first"), "---\nlicense: mit\n---\n# mine\n"
    assert card(loaded, "me/voice", own=own, licence=None, data=None) == own
    with pytest.raises(ValueError, match="its card has metadata of its own"):
        card(loaded, "me/voice", own=own, licence="mit", data=None)


def test_the_shipped_pictures_are_sent_and_drawn_again(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert push("demo-faces", "me/faces", "--license", "cc0-1.0", "--yes") == 0
    assert main(["image", "sample", "-c", "hf:me/faces", "theirs.png", "-n", "1", "--temperatures", "1"]) == 0
    assert main(["image", "sample", "ours.png", "-n", "1", "--temperatures", "1"]) == 0
    assert (tmp_path / "theirs.png").read_bytes() == (tmp_path / "ours.png").read_bytes()


def test_from_one_repository_to_another(hub, models):
    assert push(models / "first", "me/voice", "--license", "mit", "--yes") == 0
    assert push("hf:me/voice", "us/voice", "--yes") == 0
    assert isinstance(hub.repositories["us/voice"], Repository)
    assert checkpoint.load("hf:us/voice").info["step"] == 1
