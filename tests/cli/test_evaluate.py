"""`waveglow evaluate`: what it writes, what it does not do twice, and what it says of what is missing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import waveglow
from waveglow.audio.mel import preset
from waveglow.cli.main import main
from waveglow.data.prepare import prepare
from waveglow.evaluation import rows as evaluation_rows
from waveglow.evaluation import scores as evaluation
from waveglow.metrics import METRICS
from waveglow.models import checkpoint
from waveglow.pages import evaluation as evaluation_page

RATE = 22050
FAST = ["mr_stft", "mel_l1", "tones", "nll", "rtf"]
NAMES = ["a", "b", "sub/c"]


def run(*arguments: object) -> int:
    """The exit code, also where argparse leaves by itself."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as left:
        return int(left.code or 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory, random_model) -> Path:
    """A checkpoint whose audio stays within full scale."""
    flow, config = random_model(n_channels=8, n_layers=2, n_flows=4, upsample_kernel=256)
    with torch.no_grad():
        flow.get_parameter("flow.levels.0.layers.1.log_scale").fill_(2)
    path = tmp_path_factory.mktemp("model") / "tiny"
    checkpoint.save(path, flow, config, mel_spec=preset("hifigan"))
    return path


@pytest.fixture(scope="module")
def recordings(ljspeech, tmp_path_factory) -> Path:
    """a.wav, b.flac and sub/c.wav, a second each, the last one at 16 kHz."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "sub").mkdir()
    for number, (name, rate) in enumerate([("a.wav", RATE), ("b.flac", RATE), ("sub/c.wav", 16_000)], 1):
        samples, _ = soundfile.read(ljspeech / "wavs" / f"DV001-000{number}.wav")
        soundfile.write(folder / name, samples[:rate], rate)
    return folder


@pytest.fixture(scope="module")
def peer(recordings, tmp_path_factory) -> Path:
    """Another vocoder's a and c, at 16 kHz, c at the top and a little longer."""
    folder = tmp_path_factory.mktemp("peer")
    for source, target, extra in [("a.wav", "a.wav", 0), ("sub/c.wav", "c.wav", 160)]:
        samples, rate = soundfile.read(recordings / source)
        again = np.interp(np.arange(16_000) / 16_000, np.arange(len(samples)) / rate, samples)
        soundfile.write(folder / target, np.pad(again, (0, extra)), 16_000)
    return folder


@pytest.fixture(scope="module")
def done(model, recordings, peer, tmp_path_factory) -> Path:
    """An evaluation; to be read, not written."""
    out = tmp_path_factory.mktemp("done") / "out"
    options = ["--also", f"peer={peer}", "--metrics", ",".join(FAST), "--sigmas", "1,0.5,0.7", "--seed", "3"]
    assert run("evaluate", "-c", model, recordings, out, *options) == 0
    return out


@pytest.fixture(scope="module")
def results(done) -> dict:
    return json.loads((done / "evaluation.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Griffin-Lim takes most of the time; `done`, made before this, has the real one."""
    quickly = lambda _, __, n_samples, **___: np.full(n_samples, 0.01, np.float32)  # noqa: E731
    monkeypatch.setattr(evaluation_rows, "griffin_lim", quickly)


def wavs(out: Path) -> list[str]:
    return sorted(path.relative_to(out / "wavs").as_posix() for path in (out / "wavs").rglob("*") if path.is_file())


def samples_of(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return samples


# ---- What is written -------------------------------------------------------------------------------------------------


def test_files(done):
    assert sorted(path.name for path in done.iterdir()) == [
        "cache.jsonl",
        "evaluation.json",
        "evaluation.md",
        "index.html",
        "wavs",
    ]
    full = [f"{row}/{name}.wav" for row in ("griffin-lim", "ground-truth", "vocoder") for name in NAMES]
    swept = [f"sigma={sigma}/{name}.wav" for sigma in ("0.5", "1") for name in NAMES]  # 0.7 is the vocoder's
    assert wavs(done) == sorted([*full, *swept, "peer/a.wav", "peer/sub/c.wav"])
    for name in wavs(done):
        assert len(samples_of(done / "wavs" / name)) == RATE


def test_refined_samples_stand_beside_refined_noise_and_the_flow_alone(model, recordings, tmp_path):
    refining = tmp_path / "refining"
    loaded = checkpoint.load_vocoder(model)
    checkpoint.save(refining, loaded.model, loaded.model_config, mel_spec=loaded.mel_spec, info={"refine": 3})
    options = ["--metrics", "mel_l1", "--sigmas", "1"]
    assert run("evaluate", "-c", refining, recordings, tmp_path / "out", *options) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert list(found["rows"]) == ["ground truth", "Griffin-Lim", "refined noise", "vocoder, not refined", "vocoder"]
    assert found["settings"]["refine"] == 3
    means = {name: row["scores"]["mel_l1"]["mean"] for name, row in found["rows"].items()}
    assert means["vocoder"] < means["vocoder, not refined"]
    original = samples_of(tmp_path / "out/wavs/ground-truth/a.wav")
    for folder, steps in (("vocoder", None), ("vocoder-not-refined", 0)):
        expected = waveglow.load(refining)(original, RATE, refine=steps).numpy()
        assert np.abs(samples_of(tmp_path / f"out/wavs/{folder}/a.wav") - expected).max() <= 0.6 / 32768


def test_the_wavs_are_those_of_the_vocoder(done, model, recordings):
    original, _ = soundfile.read(recordings / "a.wav", dtype="float32")
    np.testing.assert_array_equal(samples_of(done / "wavs/ground-truth/a.wav"), original)
    vocoder = waveglow.load(model)
    for folder, sigma in (("vocoder", 0.7), ("sigma=1", 1.0)):
        expected = vocoder(original, RATE, sigma=sigma, seed=3).numpy()
        assert np.abs(samples_of(done / f"wavs/{folder}/a.wav") - expected).max() <= 0.6 / 32768


def test_scores(results, done, model):
    assert list(results["rows"]) == ["ground truth", "Griffin-Lim", "vocoder", "peer"]
    assert [clip["clip"] for clip in results["clips"]] == NAMES
    for clip in results["clips"]:
        assert clip["seconds"] == 1
        assert set(clip["rows"]["vocoder"]) == set(FAST)
        assert set(clip["rows"]["Griffin-Lim"]) == {"mr_stft", "mel_l1", "tones"}
        assert clip["rows"]["ground truth"] == {"mr_stft": pytest.approx(0, abs=1e-6), "mel_l1": 0, "tones": 0}
        assert 0 < clip["rows"]["Griffin-Lim"]["mel_l1"] < clip["rows"]["vocoder"]["mel_l1"]
    vocoder = waveglow.load(model)
    truth = samples_of(done / "wavs/ground-truth/a.wav")
    counted = RATE // 256 * 256  # frames of the mel; a multiple of the group
    expected = -float(vocoder.log_prob(truth, RATE)) / counted
    assert results["clips"][0]["rows"]["vocoder"]["nll"] == pytest.approx(expected, rel=1e-5)
    assert results["clips"][0]["rows"]["vocoder"]["rtf"] > 0


def test_means(results):
    values = [clip["rows"]["Griffin-Lim"]["mel_l1"] for clip in results["clips"]]
    found = results["rows"]["Griffin-Lim"]["scores"]["mel_l1"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["interval"] == pytest.approx(4.302653 * np.std(values, ddof=1) / math.sqrt(3))  # t of 2 degrees
    assert (found["n"], found["unscored"]) == (3, 0)
    assert results["rows"]["peer"]["clips"] == 2
    assert results["rows"]["peer"]["scores"]["mel_l1"]["n"] == 2


def test_settings_and_circumstances(results, model, recordings):
    assert results["format"] == 1
    assert results["settings"]["checkpoint"] == str(model)
    assert results["settings"]["input"] == str(recordings)
    assert (results["settings"]["sigma"], results["settings"]["seed"]) == (0.7, 3)
    assert results["settings"]["sigmas"] == [0.5, 0.7, 1.0]
    assert results["settings"]["threads"] == torch.get_num_threads()
    folded = waveglow.load(model).model
    assert results["model"]["parameters"] == sum(p.numel() for p in folded.parameters())
    assert results["model"]["group"] == folded.group == 8
    assert set(results["metrics"]) == set(FAST)
    assert results["metrics"]["mr_stft"]["package"].startswith("auraloss 0")
    assert results["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert results["machine"]["device"] == "cpu"
    assert (results["failed"], results["unscored"], results["unavailable"]) == ([], [], {})


def test_the_sweep(results):
    assert results["sweep"]["clips"] == NAMES
    assert list(results["sweep"]["sigmas"]) == ["0.5", "0.7", "1"]
    at = {sigma: found["scores"]["mr_stft"]["mean"] for sigma, found in results["sweep"]["sigmas"].items()}
    assert at["0.7"] == results["rows"]["vocoder"]["scores"]["mr_stft"]["mean"]
    assert len(set(at.values())) == 3


def test_the_table(done, results):
    text = (done / "evaluation.md").read_text("utf-8")
    lines = text.splitlines()
    assert lines[0] == "|  | MR-STFT ↓ | mel-L1 ↓ | tones ↓ |"
    cells = [line.strip("| ").split(" | ") for line in lines[2:6]]
    assert [row[0] for row in cells] == ["ground truth", "Griffin-Lim", "vocoder", "peer (2 of 3 clips)"]
    score = results["rows"]["Griffin-Lim"]["scores"]["mel_l1"]
    assert cells[1][2] == f"{score['mean']:.3f} ± {score['interval']:.3f}"
    assert "3 clips, 3.0 s; means ± their 95 % intervals. The vocoder: tiny; " in text
    assert f"{results['model']['parameters']:,} parameters; sigma 0.7, seed 3; NLL " in text
    assert re.search(r"real-time factor [\d.]+ ± [\d.]+ on .+, \d+ threads?, float32\.", text)
    assert f"- mel-L1, nats: {METRICS['mel_l1'].about}" in lines


def test_a_peer_that_lacks_clips_is_told(model, recordings, peer, tmp_path, capsys):
    options = ["--also", f"peer={peer}", "--metrics", "mel_l1", "--sigmas", "none"]
    assert run("evaluate", "-c", model, recordings, tmp_path / "out", *options) == 0
    said = capsys.readouterr()
    assert "notice: peer has no b\n" in said.err
    assert "notice: sub/c: resampled from 16000 to 22050 Hz" in said.err
    assert "| peer (2 of 3 clips) |" in said.out
    assert json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))["missing"]["peer"] == ["b"]


# ---- The page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(done) -> str:
    return (done / "index.html").read_text("utf-8")


def test_the_page_needs_nothing_else(page):
    """Everything it names is inside, and its policy lets only its own script run."""
    assert page.startswith("<!doctype html>")
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_page_has_a_player_and_a_picture_for_every_take(page, done):
    players = re.findall(r'data-clip="([^"]+)" data-row="([^"]+)" src="data:audio/flac;base64,([^"]+)"', page)
    expected = [(name, row) for name in NAMES for row in ("ground truth", "Griffin-Lim", "vocoder", "peer")]
    expected.remove(("b", "peer"))
    assert [player[:2] for player in players] == expected
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(players[0][2])), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(heard, samples_of(done / "wavs/ground-truth/a.wav"))
    assert page.count('src="data:image/png;base64,') == len(expected)


def test_the_page_has_the_table_the_sweep_and_the_blind_test(page, results):
    score = results["rows"]["vocoder"]["scores"]["mr_stft"]
    assert f"<td>{score['mean']:.3f} ± {score['interval']:.3f}</td>" in page
    assert page.count("<svg") == 2  # PESQ and ESTOI weren't asked for
    assert page.count("<circle") == 2 * 3
    assert 'id="blind"' in page
    assert "<option selected>vocoder</option>" in page
    for part in set(re.findall(r"get\('([a-z-]+)'\)", evaluation_page.BLIND_TEST)):
        assert f'data-part="{part}"' in page, part


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    (tmp_path / "script.js").write_text(evaluation_page.BLIND_TEST, encoding="utf-8")
    subprocess.run([node, "--check", tmp_path / "script.js"], check=True, capture_output=True, timeout=60)


def test_of_many_clips_some_from_the_worst_to_the_best_have_players(results):
    rows = [{"vocoder": {"mr_stft": float(value)}} for value in np.random.default_rng(0).permutation(100)]
    clips = [{"clip": f"{number:03d}", "rows": row} for number, row in enumerate(rows)]
    shown = evaluation_page.clips_shown({**results, "clips": clips})
    assert [clip["rows"]["vocoder"]["mr_stft"] for clip in shown] == [0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99]
    assert evaluation_page.clips_shown({**results, "clips": clips[:40]}) == clips[:40]
    assert len(evaluation_page.clips_shown({**results, "clips": clips[:41]})) == 12


def test_names_are_escaped(model, recordings, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(recordings / "a.wav", folder / "<b>&.wav")
    shutil.copytree(folder, tmp_path / "peer")
    options = ["--also", f"<i>={tmp_path / 'peer'}", "--metrics", "mel_l1", "--sigmas", "none"]
    assert run("evaluate", "-c", model, folder, tmp_path / "out", *options) == 0
    page = (tmp_path / "out/index.html").read_text("utf-8")
    assert "&lt;b&gt;&amp;" in page
    assert not re.search("<b>|<i>", page)


# ---- What isn't done twice -------------------------------------------------------------------------------------------


class Counted:
    """Counts what is synthesized and scored, and can interrupt."""

    def __init__(self, monkeypatch, *, stop_at: int = -1) -> None:
        self.synthesized = self.scored = 0
        self.stop_at = stop_at
        synthesize, load = waveglow.vocoder.Vocoder.synthesize, METRICS["mel_l1"].load

        def synthesis(*args, **kwargs):
            self.synthesized += 1
            return synthesize(*args, **kwargs)

        def counted_load():
            score = load()

            def counted(reference, output):
                self.scored += 1
                if self.scored == self.stop_at:
                    raise KeyboardInterrupt
                return score(reference, output)

            return counted

        monkeypatch.setattr(waveglow.vocoder.Vocoder, "synthesize", synthesis)
        changed = {
            **METRICS,
            "mel_l1": evaluation.METRICS["mel_l1"].__class__(**{**vars(METRICS["mel_l1"]), "load": counted_load}),
        }
        monkeypatch.setattr(evaluation, "METRICS", changed)


OPTIONS = ["--metrics", "mel_l1", "--sigmas", "none"]


def test_an_interrupted_evaluation_goes_on(model, recordings, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        Counted(patch, stop_at=5)  # the truth, Griffin-Lim and the vocoder of a, and the truth of b, are scored
        assert run("evaluate", "-c", model, recordings, out, *OPTIONS) == 130
    assert capsys.readouterr().err == "waveglow evaluate: interrupted\n"
    with (out / "cache.jsonl").open("a") as file:
        file.write('["cut off in the mid')
    with monkeypatch.context() as patch:
        count = Counted(patch)
        assert run("evaluate", "-c", model, recordings, out, *OPTIONS) == 0
        assert (count.scored, count.synthesized) == (9 - 4, 3)  # two clips, and one run to warm up
    first = (out / "evaluation.json").read_bytes()
    with monkeypatch.context() as patch:
        count = Counted(patch)
        assert run("evaluate", "-c", model, recordings, out, *OPTIONS) == 0
        assert (count.scored, count.synthesized) == (0, 0)
    assert (out / "evaluation.json").read_bytes() == first
    assert run("evaluate", "-c", model, recordings, tmp_path / "new", *OPTIONS) == 0
    assert (tmp_path / "new/evaluation.json").read_bytes() == first


def test_what_changed_is_done_again(model, recordings, tmp_path, monkeypatch, random_model):
    out, folder = tmp_path / "out", tmp_path / "in"
    shutil.copytree(recordings, folder)
    moved = tmp_path / "moved"
    shutil.copytree(model, moved)
    other = tmp_path / "other"
    checkpoint.save(
        other,
        *random_model(seed=5, n_channels=8, n_layers=2, n_flows=4, upsample_kernel=256),
        mel_spec=preset("hifigan"),
    )
    assert run("evaluate", "-c", model, folder, out, *OPTIONS) == 0

    def work(*arguments, code: int = 0) -> tuple[int, int]:
        with monkeypatch.context() as patch:
            count = Counted(patch)
            assert run("evaluate", *arguments, *OPTIONS) == code
            return count.scored, count.synthesized

    assert work("-c", moved, folder, out) == (0, 0)  # the same weights elsewhere
    assert work("-c", moved, folder, out, "--seed", 1) == (3, 4)
    assert work("-c", moved, folder, out) == (0, 4)  # written over, and made as before: its scores are known
    assert work("-c", moved, folder, out, "--sigma", "0.5") == (3, 4)
    assert work("-c", moved, folder, out) == (0, 4)
    assert work("-c", other, folder, out) == (3, 4)
    (out / "wavs/vocoder/a.wav").unlink()
    assert work("-c", other, folder, out) == (0, 2)  # made again, and known
    soundfile.write(out / "wavs/griffin-lim/a.wav", np.zeros(99), RATE)
    assert work("-c", other, folder, out) == (0, 0)
    assert len(samples_of(out / "wavs/griffin-lim/a.wav")) == RATE
    samples, rate = soundfile.read(folder / "a.wav")
    soundfile.write(folder / "a.wav", samples[:-100], rate)
    assert work("-c", other, folder, out) == (3, 2)


def test_a_sweep_synthesizes_each_clip_once_a_sigma(model, recordings, tmp_path, monkeypatch):
    count = Counted(monkeypatch)
    options = ["--metrics", "mr_stft", "--sigmas", "0.5,0.7,1"]
    assert run("evaluate", "-c", model, recordings, tmp_path / "out", *options) == 0
    assert count.synthesized == 1 + 3 + 2 * 3  # to warm up, the vocoder's, and two sigmas besides its own


def test_a_score_of_another_version_is_not_taken(model, recordings, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run("evaluate", "-c", model, recordings, out, *OPTIONS) == 0
    with monkeypatch.context() as patch:
        count = Counted(patch)
        patch.setattr("waveglow.metrics.VERSION", 0)
        assert run("evaluate", "-c", model, recordings, out, *OPTIONS) == 0
        assert (count.scored, count.synthesized) == (9, 0)


# ---- What can't be scored --------------------------------------------------------------------------------------------


def test_clips_that_cannot_be_scored_are_null_and_counted(model, recordings, tmp_path, capsys):
    pytest.importorskip("pesq")
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(recordings / "a.wav", folder)
    soundfile.write(folder / "short.wav", np.full(2000, 0.1), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    options = ["--metrics", "pesq,mel_l1,tones", "--sigmas", "none"]
    assert run("evaluate", "-c", model, folder, tmp_path / "out", *options) == 0
    found = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    of = {clip["clip"]: clip["rows"]["vocoder"] for clip in found["clips"]}
    assert of["short"]["pesq"] is of["silent"]["pesq"] is of["short"]["tones"] is None
    assert min(of["a"]["pesq"], of["short"]["mel_l1"], of["silent"]["mel_l1"]) > 0
    assert {k: found["rows"]["vocoder"]["scores"]["pesq"][k] for k in ("interval", "n", "unscored")} == {
        "interval": None,
        "n": 1,
        "unscored": 2,
    }
    note = {"row": "vocoder", "clip": "silent", "metric": "pesq", "reason": "digital silence"}
    assert note in found["unscored"]
    assert "notice: vocoder: 2 clips without PESQ (first: " in capsys.readouterr().err


def test_a_metric_without_its_package_is_skipped(model, recordings, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert run("evaluate", "-c", model, recordings, tmp_path / "out", "--metrics", "pesq,mel_l1", "--sigmas", "1") == 0
    said = capsys.readouterr()
    assert said.err.count("pesq") == 1
    assert "notice: no PESQ: pesq is not installed; pip install 'waveglow-vocoders[eval]'\n" in said.err
    assert "PESQ" not in said.out
    found = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert list(found["unavailable"]) == ["pesq"]
    assert set(found["metrics"]) == {"mel_l1"}
    assert found["sweep"] == {"clips": [], "sigmas": {}}


def test_recordings_that_cannot_be_read_are_named(model, recordings, tmp_path, capsys):
    folder = tmp_path / "in"
    shutil.copytree(recordings, folder)
    (folder / "bad.wav").write_bytes(b"RIFF")
    (folder / "link.wav").symlink_to("nowhere.wav")
    options = ["--metrics", "mr_stft", "--sigmas", "1"]
    assert run("evaluate", "-c", model, folder, tmp_path / "out", *options) == 3
    said = capsys.readouterr()
    assert said.err.count("bad: ") == 1
    assert "broken link" in said.err
    assert "\n3 clips, 3.0 s" in said.out
    assert "| vocoder |" in said.out
    found = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert sorted(Path(note["clip"]).stem for note in found["failed"]) == ["bad", "link"]
    assert found["sweep"]["clips"] == NAMES
    assert next(clip for clip in found["clips"] if clip["clip"] == "bad")["rows"] == {}


def test_a_peers_clip_of_another_length_is_refused(model, recordings, peer, tmp_path, capsys):
    folder = tmp_path / "peer"
    shutil.copytree(peer, folder)
    soundfile.write(folder / "b.wav", np.full(16_000 + 1700, 0.1), 16_000)
    assert run("evaluate", "-c", model, recordings, tmp_path / "out", "--also", f"peer={folder}", *OPTIONS) == 3
    assert re.search(r"peer, b: .*1\.11 s against 1\.00 s of the recording", capsys.readouterr().err)
    found = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert "peer" not in found["clips"][1]["rows"]
    assert found["rows"]["peer"]["clips"] == 2


def test_samples_beyond_full_scale_are_told(model, recordings, tmp_path, capsys):
    assert run("evaluate", "-c", model, recordings, tmp_path / "out", "--sigma", "40", *OPTIONS) == 0
    assert re.search(r"notice: a: vocoder: \d+ samples beyond full scale were clipped", capsys.readouterr().err)


# ---- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "pesq,mel_l2"], "unknown metric 'mel_l2'; did you mean 'mel_l1'?"),
        (["--metrics", ""], "unknown metric ''; known: "),
        (["--sigmas", "0,x"], "'0,x' is no list of finite numbers"),
        (["--sigmas", "-1"], "sigma is -1.0; it must be a finite number >= 0"),
        (["--split", "test"], "is no manifest; leave it out"),
        (["--also", "peer"], "it is NAME=DIR"),
        (["--also", "=x"], "it is NAME=DIR"),
        (["--also", "peer=absent"], "absent is no folder"),
        (["--also", "Vocoder=."], "'vocoder' has that name"),
        (["--also", "ground truth=."], "'ground truth' has that name"),
        (["--also", "peer=PEER", "--also", "peer=PEER"], "'peer' has that name"),
        (["--also", "peer=EMPTY"], "has none of the clips, such as a.wav"),
    ],
    ids=str,
)
def test_wrong_arguments(model, recordings, peer, tmp_path, options, message, capsys):
    (tmp_path / "empty").mkdir()
    options = [o.replace("PEER", str(peer)).replace("EMPTY", str(tmp_path / "empty")) for o in options]
    assert run("evaluate", "-c", model, recordings, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [("absent", "no .wav, .flac, .mp3"), ("empty", "no .wav, .flac, .mp3"), ("a.wav", "is one recording")],
)
def test_wrong_inputs(model, recordings, tmp_path, source, message, capsys):
    (tmp_path / "empty").mkdir()
    shutil.copy(recordings / "a.wav", tmp_path)
    assert run("evaluate", "-c", model, tmp_path / source, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_results_among_the_recordings(model, recordings, capsys):
    assert run("evaluate", "-c", model, recordings, recordings / "out") == 2
    assert "lies in the input folder" in capsys.readouterr().err


def test_results_in_the_place_of_a_file(model, recordings, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert run("evaluate", "-c", model, recordings, tmp_path / "out") == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_nothing_that_can_be_read(model, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.wav").write_bytes(b"RIFF")
    assert run("evaluate", "-c", model, tmp_path / "in", tmp_path / "out", *OPTIONS) == 2
    assert "none of the recordings can be used; the first: " in capsys.readouterr().err


@pytest.fixture(scope="module")
def manifest(ljspeech, tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("data")
    prepare(ljspeech, data, sample_rate=RATE, valid_fraction=0.5)
    return data / "manifest.jsonl"


@pytest.mark.parametrize("split", [None, "valid", "train"])
def test_a_manifest(model, manifest, tmp_path, split):
    entries = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    expected = sorted(Path(e["path"]).stem for e in entries if e["split"] == (split or "valid"))
    assert 1 <= len(expected) <= 3
    options = ["--metrics", "nll", "--sigmas", "none", *(["--split", split] if split else [])]
    assert run("evaluate", "-c", model, manifest, tmp_path / "out", *options) == 0
    found = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert [clip["clip"] for clip in found["clips"]] == expected


def test_a_split_that_is_not_there(model, manifest, tmp_path, capsys):
    assert run("evaluate", "-c", model, manifest, tmp_path / "out", "--split", "best") == 2
    assert "has no split best; it has train, valid" in capsys.readouterr().err


def test_a_run_is_evaluated_at_one_of_its_checkpoints(model, recordings, tmp_path):
    shutil.copytree(model, tmp_path / "run" / "checkpoints" / "step_00000007")
    assert run("evaluate", "-c", tmp_path / "run", recordings, tmp_path / "out", *OPTIONS) == 0
    found = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert found["settings"]["checkpoint"] == str(tmp_path / "run")
    assert found["settings"]["checkpoint_found"].endswith("step_00000007")
    assert "The vocoder: step_00000007; " in (tmp_path / "out/evaluation.md").read_text("utf-8")


def test_a_bad_checkpoint(recordings, tmp_path, capsys):
    assert run("evaluate", "-c", tmp_path / "absent", recordings, tmp_path / "out") == 4
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- Parts -----------------------------------------------------------------------------------------------------------


def comparable(out: Path) -> dict:
    """What was measured, but for what only the clock knows."""
    content = json.loads((out / "evaluation.json").read_text("utf-8"))
    for row in content["rows"].values():
        row["scores"].pop("rtf", None)
    for clip in content["clips"]:
        for scores in clip["rows"].values():
            scores.pop("rtf", None)
    return content


def test_parts_are_what_one_machine_does(model, recordings, tmp_path, peer, capsys):
    folder = tmp_path / "recordings"
    shutil.copytree(recordings, folder)
    (folder / "b2.wav").write_bytes(b"RIFF")
    options = ["-c", model, folder, "--metrics", ",".join(FAST), "--sigmas", "0.5", "--also", f"peer={peer}"]
    assert run("evaluate", *options, tmp_path / "whole") == 3
    for index, code in [(1, 0), (2, 0), (3, 3), (5, 0), (4, 0)]:  # there are four clips, and part 3 has the bad one
        assert run("evaluate", *options, tmp_path / "out", "--shard", f"{index}/5") == code
    capsys.readouterr()
    assert run("merge-reports", tmp_path / "out") == 3
    assert "b2" in capsys.readouterr().err
    assert comparable(tmp_path / "out") == comparable(tmp_path / "whole")
    assert wavs(tmp_path / "out") == wavs(tmp_path / "whole")
    assert (tmp_path / "out" / "index.html").is_file()


def test_parts_of_other_settings_are_not_merged(model, recordings, tmp_path, capsys):
    options = ["-c", model, recordings, tmp_path / "out", "--metrics", "mel_l1", "--sigmas", "none"]
    assert run("evaluate", *options, "--shard", "1/2") == 0
    assert run("evaluate", *options, "--shard", "2/2", "--seed", "1") == 0
    assert run("merge-reports", tmp_path / "out") == 2
    assert "is a part of other inputs or options" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_do_what_one_thread_does(model, recordings, tmp_path, monkeypatch):
    monkeypatch.undo()  # Griffin-Lim's own, which the processes have
    options = ["-c", model, recordings, "--metrics", ",".join(FAST), "--sigmas", "0.5"]
    assert run("evaluate", *options, tmp_path / "one", "--threads", 1) == 0
    assert run("evaluate", *options, tmp_path / "out", "--jobs", 2) == 0
    assert comparable(tmp_path / "out") == comparable(tmp_path / "one")
