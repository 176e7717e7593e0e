"""`-c noise`: a vocoder of any mel convention, without weights."""

import json

import numpy as np
import pytest
import soundfile

from waveglow.audio.mel import preset
from waveglow.audio.signals import hum
from waveglow.cli.main import main
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.vocoder import Vocoder

SPEC = preset("vocos")


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "in.wav", hum(0.5, SPEC.sample_rate), SPEC.sample_rate)
    return tmp_path / "in.wav"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_mel_files_of_a_preset_and_of_a_file_of_ones_own(wav, tmp_path):
    (tmp_path / "mine.yaml").write_text("preset: vocos\n", encoding="utf-8")
    assert run("mel", "--preset", "vocos", wav, tmp_path / "a.npy") == 0
    for mel in ("vocos", tmp_path / "mine.yaml"):
        assert run("synth", "-c", "noise", "--mel", mel, tmp_path / "a.npy", tmp_path / "a.wav", "--refine", 8) == 0
        samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
        expected = Vocoder.of_noise(SPEC).synthesize(np.load(tmp_path / "a.npy"), refine=8)
        assert rate == SPEC.sample_rate
        np.testing.assert_allclose(samples, expected, atol=2**-15)


def test_evaluated(wav, tmp_path):
    out = tmp_path / "out"
    options = ["--metrics", "mel_l1", "--sigmas", "none", "--refine", 8]
    assert run("evaluate", "-c", "noise", "--mel", "vocos", wav.parent, out, *options) == 2  # OUT lies within
    (tmp_path / "clips").mkdir()
    wav.rename(tmp_path / "clips" / "in.wav")
    assert run("evaluate", "-c", "noise", "--mel", "vocos", tmp_path / "clips", out, *options) == 0
    means = {
        n: r["scores"]["mel_l1"]["mean"] for n, r in json.loads((out / "evaluation.json").read_text())["rows"].items()
    }
    assert means["vocoder"] < 0.5 * means["vocoder, not refined"]


def test_exported(wav, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    assert run("export", "onnx", "noise", tmp_path / "noise.onnx", "--mel", "vocos", "--refine", 2) == 0
    assert "SNR" in capsys.readouterr().out
    mel = Vocoder.of_noise(SPEC).mel(hum(0.5, SPEC.sample_rate), SPEC.sample_rate).numpy()
    expected = Vocoder.of_noise(SPEC).synthesize(mel, seed=5, refine=2).numpy()
    np.testing.assert_allclose(OnnxVocoder(tmp_path / "noise.onnx").synthesize(mel, seed=5), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-c", "noise"], 2, "-c noise takes any mel; say which with --mel"),
        (["-c", "noise", "--mel", "hifigam"], 2, "did you mean 'hifigan'"),
        (["-c", "noise", "--mel", "absent.yaml"], 2, "absent.yaml: can't be read"),
        (["-c", "noise", "--mel", "hifigan", "--fused"], 2, "noise has no conditioning to fuse; leave it out"),
        (["-c", "lapglow", "--mel", "hifigan"], 2, "has a convention of its own; leave --mel out"),
    ],
)
def test_one_clear_sentence(wav, tmp_path, capsys, options, code, message):
    assert run("resynth", *options, wav, tmp_path / "out.wav") == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()
