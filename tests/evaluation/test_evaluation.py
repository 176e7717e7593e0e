"""`waveglow.evaluation`: the Python call is what the command line runs; its small parts."""

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from waveglow.audio.files import OutputError
from waveglow.audio.mel import preset
from waveglow.evaluation import Clip, evaluate, markdown
from waveglow.evaluation.cache import Cache
from waveglow.evaluation.means import mean_interval
from waveglow.evaluation.scores import evenly
from waveglow.evaluation.table import mean_text
from waveglow.models import checkpoint
from waveglow.vocoder import Vocoder

RATE = 22050


NUMBERS = {"n_channels": 8, "n_layers": 2, "n_flows": 4, "upsample_kernel": 256}


@pytest.fixture(scope="module")
def vocoder(random_model) -> Vocoder:
    flow, _ = random_model(**NUMBERS)
    return Vocoder(flow, preset("hifigan"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A second of noise, thrice."""
    for name in "abc":
        samples = 0.1 * np.random.default_rng(ord(name)).standard_normal(RATE)
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / f"{name}.wav", samples, RATE)
    return tmp_path / "in"


def test_a_folder_in_python(vocoder, folder, tmp_path):
    told: list[str] = []
    results = evaluate(
        vocoder, folder, tmp_path / "out", metrics=["mel_l1", "rtf"], sigmas=[], checkpoint="mine", tell=told.append
    )
    assert results == json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert (tmp_path / "out/evaluation.md").read_text("utf-8") == markdown(results) + "\n"
    scores = results["rows"]["vocoder"]["scores"]
    assert scores["mel_l1"]["n"] == scores["rtf"]["n"] == 3
    assert scores["mel_l1"]["mean"] > results["rows"]["ground truth"]["scores"]["mel_l1"]["mean"]
    assert results["settings"]["checkpoint"] == results["settings"]["checkpoint_found"] == "mine"
    assert told == []


def test_some_clips_in_python(vocoder, folder, tmp_path):
    clips = [Clip("one", folder / "b.wav")]
    results = evaluate(vocoder, clips, tmp_path / "out", metrics=["mel_l1"], sigmas=[])
    assert [clip["clip"] for clip in results["clips"]] == ["one"]
    assert (tmp_path / "out/wavs/vocoder/one.wav").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["pesk"]}, "unknown metric 'pesk'; did you mean 'pesq'"),
        ({"sigmas": [0.5, -1]}, "sigma is -1; it must be a finite number >= 0"),
        ({"sigmas": [math.nan]}, "sigma is nan"),
        ({"sigma": -1.0}, "sigma is -1"),
        ({"refine": -1}, "refine is -1"),
        ({"also": {"vocoder": "."}}, "vocoder=.: 'vocoder' has that name"),
        ({"also": {"..": "."}}, "a name needs a letter or a digit"),
        ({"also": {"peer": "absent"}}, "peer=absent: absent is no folder"),
        ({"split": "test"}, "is no manifest; leave it out"),
    ],
    ids=str,
)
def test_wrong_arguments_in_python(vocoder, folder, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        evaluate(vocoder, folder, tmp_path / "out", **{"metrics": ["mel_l1"], "sigmas": [], **arguments})
    assert not (tmp_path / "out").exists()


def test_the_cache_keeps_the_newest(tmp_path):
    cache = Cache(tmp_path / "cache.jsonl")
    cache.put(1, "a", [0.5])
    cache.put(2, "a", [0.5])
    cache.put({"value": "ü"}, "b")
    again = Cache(tmp_path / "cache.jsonl")
    assert (again.get("a", [0.5]), again.get("b"), again.get("a", [0.6])) == (2, {"value": "ü"}, None)


def test_a_cache_that_cannot_be_written_is_a_failure_of_output(tmp_path):
    cache = Cache(tmp_path / "cache.jsonl")
    (tmp_path / "cache.jsonl").unlink()
    (tmp_path / "cache.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"cache.jsonl: can't be written"):
        cache.put(1.0, "score")


def test_mean_interval():
    assert mean_interval([1.0, 3.0]) == {
        "mean": 2.0,
        "interval": pytest.approx(12.7062047 * math.sqrt(2) / math.sqrt(2)),  # t of 1 degree, s = √2
        "n": 2,
        "unscored": 0,
    }
    assert mean_interval([5.0, None]) == {"mean": 5.0, "interval": None, "n": 1, "unscored": 1}
    assert mean_interval([None]) == {"mean": None, "interval": None, "n": 0, "unscored": 1}


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ({"mean": -1.234, "interval": 0.056}, "−1.23 ± 0.06"),
        ({"mean": 2.0, "interval": None}, "2.00"),
        ({"mean": None, "interval": None}, "–"),
        (None, "–"),
    ],
)
def test_mean_text(score, text):
    assert mean_text(score, 2) == text


def test_clips_of_a_sweep_are_evenly_spread():
    clips = [Clip(str(number), Path()) for number in range(15)]
    assert [clip.name for clip in evenly(clips, 8)] == ["0", "2", "4", "6", "8", "10", "12", "14"]
    assert evenly(clips[:3], 8) == clips[:3]
    assert evenly(clips, 0) == []


def test_a_full_disk_ends_an_evaluation(vocoder, folder, tmp_path, monkeypatch):
    """Its clips are as good as they were; only what can't be read is failed."""
    made = []

    def full(path, content):
        made.append(path)
        if len(made) > 4:
            raise OutputError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(content)

    monkeypatch.setattr("waveglow.audio.io.write_atomically", full)
    with pytest.raises(OutputError, match=r"can't be written \(No space left"):
        evaluate(vocoder, folder, tmp_path / "out", metrics=["mel_l1"], sigmas=[])
    assert len(made) == 5
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_a_bug_is_no_failed_clip(vocoder, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vocoder, "synthesize", lambda *_, **__: int("three"))
    with pytest.raises(ValueError, match="invalid literal"):
        evaluate(vocoder, folder, tmp_path / "out", metrics=["mel_l1"], sigmas=[])


def test_against_another_checkpoint_differences_are_paired(vocoder, random_model, folder, tmp_path):
    """What differs from clip to clip cancels: the interval is that of the differences."""
    model, config = random_model(seed=1, **NUMBERS)
    checkpoint.save(tmp_path / "other", model, config, mel_spec=vocoder.mel_spec)
    results = evaluate(
        vocoder, folder, tmp_path / "out", metrics=["mr_stft", "nll"], sigmas=[], against=tmp_path / "other"
    )
    ours, theirs = ([clip["rows"][row] for clip in results["clips"]] for row in ("vocoder", "against"))
    for name in ("mr_stft", "nll"):
        by_hand = [a[name] - b[name] for a, b in zip(ours, theirs, strict=True)]
        found = results["against"]["paired"][name]
        assert found["mean"] == pytest.approx(sum(by_hand) / len(by_hand))
        assert found["interval"] == mean_interval(by_hand)["interval"]
        assert (found["better"], found["n"]) == (sum(d < 0 for d in by_hand), len(by_hand))
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert f"The vocoder less {tmp_path / 'other'}, clip by clip" in text
    itself = evaluate(vocoder, folder, tmp_path / "same", metrics=["mr_stft"], sigmas=[], against=tmp_path / "other")
    assert itself["rows"]["against"]["scores"]["mr_stft"] == results["rows"]["against"]["scores"]["mr_stft"]


def test_against_another_sample_rate_is_refused(vocoder, random_model, folder, tmp_path):
    model, config = random_model(**NUMBERS)
    checkpoint.save(tmp_path / "other", model, config, mel_spec=replace(vocoder.mel_spec, sample_rate=44100))
    with pytest.raises(ValueError, match="44100 Hz, the vocoder 22050 Hz"):
        evaluate(vocoder, folder, tmp_path / "out", metrics=["mr_stft"], sigmas=[], against=tmp_path / "other")
