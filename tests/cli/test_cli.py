"""The command line, in process: files in and out, what is said, and the exit code of every kind of fault."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import waveglow
from waveglow.audio.mel import preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.cli import info as info_verb
from waveglow.cli.main import VERBS, main
from waveglow.data.manifest import read_manifest
from waveglow.metrics.spectral import tone_prominence
from waveglow.models import checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"
RATE, HOP = 22050, 256
TACOTRON2 = preset("nvidia/tacotron2")
NUMBERS = {"n_channels": 8, "n_layers": 2, "n_flows": 4, "upsample_kernel": HOP}


def run(*arguments: object) -> int:
    """The exit code, also where argparse leaves by itself."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as left:
        return int(left.code or 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory, random_model) -> Path:
    """A checkpoint whose audio stays within full scale."""
    flow, config = random_model(**NUMBERS)
    with torch.no_grad():
        flow.get_parameter("flow.levels.0.layers.1.log_scale").fill_(2)
    path = tmp_path_factory.mktemp("model") / "tiny"
    checkpoint.save(path, flow, config, mel_spec=TACOTRON2, info={"step": 12000, "nll_bits": 7.5})
    return path


@pytest.fixture
def wavs(ljspeech, tmp_path) -> Path:
    """a.wav and sub/b.flac, half a second each, the second after digital silence."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "sub/b.flac"), 1):
        samples, rate = soundfile.read(ljspeech / "wavs" / f"DV001-000{number}.wav")
        samples[: 3000 * (number - 1)] = 0
        soundfile.write(folder / name, samples[:11_111], rate)
    return folder


@pytest.fixture
def mels(wavs, tmp_path) -> Path:
    """a.npy and sub/b.npy, 44 frames each."""
    assert run("mel", "--preset", "nvidia/tacotron2", wavs, tmp_path / "mels") == 0
    (tmp_path / "mels" / "report.json").unlink()
    return tmp_path / "mels"


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def of_file(folder: Path, name: str) -> dict:
    """The report's entry of one input."""
    return next(file for file in report(folder)["files"] if Path(file["input"]).name == name)


def samples_of(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return samples


def is_audio(path: Path, expected: torch.Tensor) -> bool:
    """Whether a 16-bit file holds these samples."""
    samples = samples_of(path)
    return samples.shape == expected.shape and np.abs(samples - expected.numpy()).max() <= 0.6 / 32768


# ---- The command itself ----------------------------------------------------------------------------------------------


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"waveglow {waveglow.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview(arguments, capsys):
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    for verb, summary in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(summary)}$", shown, re.MULTILINE)
    assert "exit codes: 0 ok, 2 usage, 3 some inputs failed, 4 bad checkpoint" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example_and_the_exit_codes(verb, capsys):
    assert run(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: waveglow {verb}")
    assert re.search(rf"^  waveglow {verb}\b", shown, re.MULTILINE)
    assert "exit codes: 0 ok, 2 usage" in shown


@pytest.mark.parametrize(("verb", "near"), [("sinth", "synth"), ("resynt", "resynth"), ("mel_check", "mel-check")])
def test_an_unknown_verb_names_the_nearest(verb, near, capsys):
    assert run(verb) == 2
    assert capsys.readouterr().err == f"waveglow: unknown command '{verb}'; did you mean '{near}'?\n"


@pytest.mark.parametrize("arguments", [["--bogus"], ["info"], ["info", "x", "--bogus"], ["synth", "a.npy"]])
def test_wrong_options(arguments, capsys):
    assert run(*arguments) == 2
    assert "usage: waveglow" in capsys.readouterr().err


def test_version_starts_without_torch():
    """It takes a tenth of a second then, and works where torch doesn't."""
    command = [sys.executable, "-X", "importtime", "-m", "waveglow.cli.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"waveglow {waveglow.__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "waveglow.config" in imported
    assert not imported & {"torch", "numpy", "soundfile"}


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (torch.OutOfMemoryError("no memory"), 2)])
def test_what_ends_a_command(error, code, model, monkeypatch, capsys):
    monkeypatch.setattr(info_verb, "run", lambda _: (_ for _ in ()).throw(error))
    assert run("info", model) == code
    assert capsys.readouterr().err.startswith("waveglow info: ")


@pytest.mark.parametrize(
    ("bug", "error"), [(lambda _: [][0], IndexError), (lambda _: np.zeros(3) + np.zeros(4), ValueError)]
)
def test_a_bug_is_not_hidden(bug, error, model, monkeypatch):
    monkeypatch.setattr(info_verb, "run", bug)
    with pytest.raises(error):
        main(["info", str(model)])


# ---- mel, synth, resynth ---------------------------------------------------------------------------------------------


def test_mels_of_a_folder(model, wavs, tmp_path, capsys):
    assert run("mel", "-c", model, wavs, tmp_path / "out") == 0
    assert tree(tmp_path / "out") == ["a.npy", "report.json", "sub/b.npy"]
    for source, target in [("a.wav", "a.npy"), ("sub/b.flac", "sub/b.npy")]:
        expected = MelSpectrogram(TACOTRON2)(torch.from_numpy(samples_of(wavs / source))[None])[0].numpy()
        np.testing.assert_array_equal(np.load(tmp_path / "out" / target), expected)
    assert capsys.readouterr().out.startswith("2 ok; 1.0 s of audio, real-time factor ")


def test_synth_of_a_folder(model, mels, tmp_path, capsys):
    assert run("synth", "-c", model, mels, tmp_path / "out", "--sigma", "0.6", "--seed", "7") == 0
    assert tree(tmp_path / "out") == ["a.wav", "report.json", "sub/b.wav"]
    vocoder = waveglow.load(model)
    for stem in ("a", "sub/b"):
        expected = vocoder.synthesize(np.load(mels / f"{stem}.npy"), sigma=0.6, seed=7)
        assert is_audio(tmp_path / "out" / f"{stem}.wav", expected)
    found = report(tmp_path / "out")
    assert (found["ok"], found["skipped"], found["failed"]) == (2, 0, 0)
    first = of_file(tmp_path / "out", "a.npy")
    assert first["input"] == str(mels / "a.npy")
    assert first["output"] == str(tmp_path / "out" / "a.wav")
    assert first["seconds"] == pytest.approx(44 * HOP / RATE)
    assert first["took"] > 0
    assert (first["status"], first["reason"], first["notices"]) == ("ok", "", [])
    said = capsys.readouterr()
    assert re.search(r"2 ok; 1\.0 s of audio, real-time factor \d+\.\d{3}; .*report\.json\n", said.out)
    assert said.err == ""


def test_resynth_of_a_folder(model, wavs, tmp_path):
    assert run("resynth", "-c", model, wavs, tmp_path / "out") == 0
    assert tree(tmp_path / "out") == ["a.wav", "report.json", "sub/b.wav"]
    vocoder = waveglow.load(model)
    for source, target in [("a.wav", "a.wav"), ("sub/b.flac", "sub/b.wav")]:
        assert is_audio(tmp_path / "out" / target, vocoder(samples_of(wavs / source), RATE))


@pytest.mark.parametrize(("length", "n_samples"), [("exact", 11_111), ("frames", 44 * HOP), (None, 11_111)])
def test_the_length_of_a_copy(model, wavs, tmp_path, length, n_samples):
    options = [] if length is None else ["--length", length]
    assert run("resynth", "-c", model, wavs / "a.wav", tmp_path / "copy.wav", *options) == 0
    assert len(samples_of(tmp_path / "copy.wav")) == n_samples


@pytest.mark.parametrize("length", ["exact", "frames"])
@pytest.mark.parametrize("n_samples", [1, 100])
def test_a_copy_of_a_very_short_recording(model, tmp_path, length, n_samples):
    soundfile.write(tmp_path / "short.wav", np.full(n_samples, 0.1), RATE)
    assert run("resynth", "-c", model, tmp_path / "short.wav", tmp_path / "copy.wav", "--length", length) == 0
    assert len(samples_of(tmp_path / "copy.wav")) == (n_samples if length == "exact" else 3 * HOP)


def test_other_rates_and_stereo_are_copied_with_a_notice(model, tmp_path, capsys):
    soundfile.write(tmp_path / "in.wav", np.random.default_rng(0).normal(0, 0.1, (8000, 2)), 16000)
    assert run("resynth", "-c", model, tmp_path / "in.wav", tmp_path / "out.wav", "--channel", "left") == 0
    assert len(samples_of(tmp_path / "out.wav")) == 11_025
    said = capsys.readouterr().err
    assert "in.wav: 2 channels, used: left" in said
    assert "in.wav: resampled from 16000 to 22050 Hz" in said


def test_one_file_to_one_file(model, wavs, tmp_path):
    """Folders are made, no report is written."""
    out = tmp_path / "new"
    assert run("mel", "-c", model, wavs / "a.wav", out / "deep" / "mel.npy") == 0
    assert run("synth", "-c", model, out / "deep" / "mel.npy", out / "wav" / "audio.wav") == 0
    assert run("resynth", "-c", model, wavs / "sub" / "b.flac", out / "copy.wav") == 0
    assert tree(out) == ["copy.wav", "deep/mel.npy", "wav/audio.wav"]


def test_several_files_to_a_folder(model, mels, tmp_path):
    assert run("synth", "-c", model, mels / "a.npy", mels / "sub" / "b.npy", tmp_path / "out") == 0
    assert tree(tmp_path / "out") == ["a.wav", "b.wav", "report.json"]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_every_kind_of_mel_file(model, wavs, tmp_path, suffix):
    assert run("mel", "-c", model, wavs, tmp_path / "mels", "--format", suffix) == 0
    assert tree(tmp_path / "mels") == [f"a{suffix}", "report.json", f"sub/b{suffix}"]
    assert run("mel", "-c", model, wavs / "a.wav", tmp_path / f"one{suffix}") == 0
    assert run("synth", "-c", model, tmp_path / "mels", tmp_path / "out") == 0
    assert run("synth", "-c", model, tmp_path / f"one{suffix}", tmp_path / "one.wav") == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "out" / "a.wav").read_bytes()


def test_skip_existing_leaves_what_is_there(model, mels, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.wav").write_text("mine")
    assert run("synth", "-c", model, mels, out, "--skip-existing") == 0
    assert (out / "a.wav").read_text() == "mine"
    assert len(samples_of(out / "sub" / "b.wav")) == 44 * HOP
    assert (report(out)["ok"], report(out)["skipped"]) == (1, 1)
    assert of_file(out, "a.npy")["status"] == "skipped"
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 ok, 1 skipped; ")
    assert run("synth", "-c", model, mels, out) == 0
    assert len(samples_of(out / "a.wav")) == 44 * HOP


def test_samples_beyond_full_scale_are_clipped_with_a_notice(model, mels, tmp_path, capsys):
    assert run("synth", "-c", model, mels / "a.npy", tmp_path / "a.wav", "--sigma", "40") == 0
    said = re.search(
        r"a\.npy: \d+ samples beyond full scale were clipped, the peak was (\S+);", capsys.readouterr().err
    )
    assert float(said[1]) > 1


@pytest.mark.parametrize("verb", ["synth", "resynth"])
def test_normalize_lowers_a_clip_beyond_full_scale_as_a_whole(verb, model, mels, wavs, tmp_path, capsys):
    source = mels / "a.npy" if verb == "synth" else wavs / "a.wav"
    assert run(verb, "-c", model, source, tmp_path / "cut.wav", "--sigma", "40") == 0
    assert run(verb, "-c", model, source, tmp_path / "whole.wav", "--sigma", "40", "--normalize") == 0
    assert "lowered by" in capsys.readouterr().err
    cut, whole = samples_of(tmp_path / "cut.wav"), samples_of(tmp_path / "whole.wav")
    assert np.abs(whole).max() == pytest.approx(0.95, abs=1e-4)
    uncut = np.abs(cut) < 0.99
    factor = float(whole[uncut] @ cut[uncut] / (cut[uncut] @ cut[uncut]))
    assert factor < 0.9
    if verb == "synth":  # a normalized recording has another mel
        np.testing.assert_allclose(whole[uncut], factor * cut[uncut], atol=2e-4)


def test_normalize_leaves_a_clip_within_full_scale_alone(model, mels, tmp_path):
    for options in ((), ("--normalize",)):
        assert (
            run("synth", "-c", model, mels / "a.npy", tmp_path / f"{len(options)}.wav", "--sigma", "0", *options) == 0
        )
    assert (tmp_path / "0.wav").read_bytes() == (tmp_path / "1.wav").read_bytes()


# ---- Denoising -------------------------------------------------------------------------------------------------------


@pytest.fixture
def humming(model, wavs) -> Path:
    """The recordings with the model's own hum below them: a.wav and sub/b.wav."""
    vocoder = waveglow.load(model)
    hum = vocoder.synthesize(vocoder.mel(np.zeros(60 * HOP, np.float32), RATE), sigma=0, refine=0).numpy()
    for source, target in [("a.wav", "a.wav"), ("sub/b.flac", "sub/b.wav")]:
        speech = samples_of(wavs / source)
        soundfile.write(wavs / target, speech + 0.2 * hum[HOP : HOP + len(speech)], RATE)
    (wavs / "sub" / "b.flac").unlink()
    return wavs


def test_denoise_of_a_folder(model, humming, tmp_path, capsys):
    (humming / "text.wav").write_text("no audio")
    assert run("denoise", "-c", model, humming, tmp_path / "out", "--strength", "0.2") == 3
    assert tree(tmp_path / "out") == ["a.wav", "report.json", "sub/b.wav"]
    vocoder, said = waveglow.load(model), capsys.readouterr()
    for name in ("a.wav", "sub/b.wav"):
        noisy = samples_of(humming / name)
        assert is_audio(tmp_path / "out" / name, vocoder.denoise(noisy, 0.2))
        found = of_file(tmp_path / "out", Path(name).name)
        measured = found["measured"]
        assert measured["tones_before_db"] == pytest.approx(tone_prominence(noisy, 8))
        assert measured["tones_after_db"] == pytest.approx(tone_prominence(samples_of(tmp_path / "out" / name), 8))
        assert measured["tones_after_db"] < measured["tones_before_db"] - 20
        assert found["seconds"] == pytest.approx(11_111 / RATE)
        tones = "tones stand out by {tones_before_db:.1f} dB before, {tones_after_db:.1f} dB after".format(**measured)
        assert found["notices"] == [tones]
        assert f"{name}: {tones}" in said.err
    assert re.search(r"failed: .*text\.wav: no audio", said.err)
    assert said.out.startswith("2 ok, 1 failed; ")


def test_the_recording_below_a_hum_comes_back(model, ljspeech, humming, tmp_path):
    assert run("denoise", "-c", model, humming / "a.wav", tmp_path / "a.wav", "--strength", "0.2") == 0
    speech = samples_of(ljspeech / "wavs" / "DV001-0001.wav")[:11_111]
    error = [float(np.square(samples_of(path) - speech).mean()) for path in (humming / "a.wav", tmp_path / "a.wav")]
    assert error[1] < error[0] / 10


def test_the_usual_strength_of_denoise(model, humming, tmp_path):
    for name, options in [("usual", []), ("same", ["--strength", "0.1"]), ("none", ["--strength", "0"])]:
        assert run("denoise", "-c", model, humming / "a.wav", tmp_path / f"{name}.wav", *options) == 0
    assert (tmp_path / "usual.wav").read_bytes() == (tmp_path / "same.wav").read_bytes()
    np.testing.assert_array_equal(samples_of(tmp_path / "none.wav"), samples_of(humming / "a.wav"))


def test_denoise_of_other_rates_and_short_files(model, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    soundfile.write(tmp_path / "in" / "short.wav", np.full(100, 0.1), RATE)
    assert run("denoise", "-c", model, tmp_path / "in", tmp_path / "out") == 0
    assert len(samples_of(tmp_path / "out" / "a.wav")) == 11_025
    assert len(samples_of(tmp_path / "out" / "short.wav")) == 100
    said = capsys.readouterr().err
    assert "a.wav: resampled from 16000 to 22050 Hz" in said
    assert "short.wav: tones not measured: 100 samples in groups of 8: it takes 4096 samples" in said
    assert of_file(tmp_path / "out", "short.wav")["measured"] == {}


def test_what_is_synthesized_can_be_denoised(model, mels, wavs, tmp_path):
    vocoder, mel = waveglow.load(model), np.load(mels / "a.npy")
    assert run("synth", "-c", model, mels / "a.npy", tmp_path / "a.wav", "--denoise", "0.3") == 0
    assert is_audio(tmp_path / "a.wav", vocoder.denoise(vocoder.synthesize(mel), 0.3))
    assert not is_audio(tmp_path / "a.wav", vocoder.synthesize(mel))
    assert run("resynth", "-c", model, wavs / "a.wav", tmp_path / "copy.wav", "--denoise", "0.3") == 0
    assert is_audio(tmp_path / "copy.wav", vocoder.denoise(vocoder(samples_of(wavs / "a.wav"), RATE), 0.3))


@pytest.mark.parametrize("strength", ["-1", "nan", "inf", "strong"])
def test_a_strength_out_of_range(model, wavs, tmp_path, strength, capsys):
    assert run("denoise", "-c", model, wavs, tmp_path / "out", "--strength", strength) == 2
    assert f"--strength: {strength} is no finite number >= 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- Mels in other layouts and conventions ---------------------------------------------------------------------------


def test_either_layout(model, mels, tmp_path):
    mel = np.load(mels / "a.npy")
    np.save(tmp_path / "turned.npy", mel.T)
    np.save(tmp_path / "batch.npy", mel[None])
    for name, options in [("turned", []), ("turned", ["--layout", "TC"]), ("batch", ["--layout", "CT"])]:
        assert run("synth", "-c", model, tmp_path / f"{name}.npy", tmp_path / "out.wav", *options) == 0
        assert is_audio(tmp_path / "out.wav", waveglow.load(model).synthesize(mel))


def test_a_square_mel_is_refused_until_its_layout_is_told(model, mels, tmp_path, capsys):
    mel = np.concatenate([np.load(mels / "a.npy")] * 2, axis=1)[:, :80]
    np.save(tmp_path / "square.npy", mel)
    assert run("synth", "-c", model, tmp_path / "square.npy", tmp_path / "out.wav") == 3
    assert "as many frames as mel bins, 80; say which with --layout CT or --layout TC" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()
    assert run("synth", "-c", model, tmp_path / "square.npy", tmp_path / "out.wav", "--layout", "CT") == 0
    assert is_audio(tmp_path / "out.wav", waveglow.load(model).synthesize(mel))


def test_a_decimal_mel_is_named_and_refused(model, mels, tmp_path, capsys):
    np.save(tmp_path / "decimal.npy", np.load(mels / "sub" / "b.npy") / np.log(10))
    assert run("synth", "-c", model, tmp_path / "decimal.npy", tmp_path / "out.wav") == 3
    said = capsys.readouterr().err
    assert "looks like log10 of floor 1e-5" in said
    assert "--assume PRESET" in said
    assert not (tmp_path / "out.wav").exists()


def test_an_assumed_convention_that_is_shifted_is_taken_with_a_notice(model, mels, tmp_path, capsys):
    assert run("synth", "-c", model, mels, tmp_path / "out", "--assume", "hifigan") == 0
    assert is_audio(tmp_path / "out" / "a.wav", waveglow.load(model).synthesize(np.load(mels / "a.npy")))
    assert of_file(tmp_path / "out", "a.npy")["notices"][0].startswith("shifted: frames shifted by 128 samples (hop/2)")
    assert "a.npy: shifted: frames shifted" in capsys.readouterr().err


def test_an_assumed_convention_that_is_incompatible_is_refused(model, mels, tmp_path, capsys):
    assert run("synth", "-c", model, mels / "a.npy", tmp_path / "out.wav", "--assume", "vocos") == 3
    assert "sample_rate 24000 against 22050" in capsys.readouterr().err
    assert run("synth", "-c", model, mels / "a.npy", tmp_path / "out.wav", "--assume", "hifigann") == 2
    assert "'hifigann'; did you mean 'hifigan'?" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


# ---- What fails ------------------------------------------------------------------------------------------------------


def test_broken_mels_are_named_and_the_others_done(model, mels, tmp_path, capsys):
    mel = np.load(mels / "a.npy")
    (mels / "text.npy").write_text("no mel")
    np.save(mels / "nan.npy", np.where(mel > mel.mean(), np.nan, mel))
    np.save(mels / "narrow.npy", mel[:40])
    (mels / "link.npy").symlink_to("nowhere.npy")
    assert run("synth", "-c", model, mels, tmp_path / "out") == 3
    assert tree(tmp_path / "out") == ["a.wav", "report.json", "sub/b.wav"]
    found = report(tmp_path / "out")
    assert (found["ok"], found["failed"], len(found["files"])) == (2, 4, 6)
    reasons = {"text.npy": "no valid .npy", "nan.npy": "NaN", "narrow.npy": "80 mel bins", "link.npy": "broken link"}
    said = capsys.readouterr()
    for name, reason in reasons.items():
        assert of_file(tmp_path / "out", name)["status"] == "failed"
        assert reason in of_file(tmp_path / "out", name)["reason"]
        assert re.search(rf"failed: .*{name}: .*{reason}", said.err)
    assert said.out.splitlines()[-1].startswith("2 ok, 4 failed; ")


@pytest.mark.parametrize("verb", ["mel", "resynth", "denoise"])
def test_broken_recordings_are_named_and_the_others_done(model, wavs, tmp_path, verb, capsys):
    (wavs / "text.wav").write_text("no audio")
    (wavs / "empty.flac").touch()
    assert run(verb, "-c", model, wavs, tmp_path / "out") == 3
    assert (report(tmp_path / "out")["ok"], report(tmp_path / "out")["failed"]) == (2, 2)
    said = capsys.readouterr().err
    assert re.search(r"failed: .*text\.wav: no audio", said)
    assert re.search(r"failed: .*empty\.flac: empty", said)


def test_a_named_input_that_is_missing(model, mels, tmp_path, capsys):
    assert run("synth", "-c", model, mels / "a.npy", mels / "absent.npy", tmp_path / "out") == 3
    assert "absent.npy: doesn't exist" in capsys.readouterr().err
    assert tree(tmp_path / "out") == ["a.wav", "report.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sigma", "nan"], "--sigma"),
        (["--sigma", "-1"], "--sigma"),
        (["--sigma", "loud"], "--sigma"),
        (["--denoise", "-1"], "--denoise"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "1.5"], "--seed"),
        (["--seed", 2**64], "--seed"),
        (["--threads", "0"], "--threads is 0; it must be at least 1"),
        (["--device", "gpu"], "--device gpu"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--precision", "int8"], "--precision"),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["synth", "resynth"])
def test_options_out_of_range_are_usage_errors(model, wavs, mels, tmp_path, verb, options, message, capsys):
    source = mels if verb == "synth" else wavs
    assert run(verb, "-c", model, source, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_threads_are_set(model, mels, tmp_path):
    before = torch.get_num_threads()
    try:
        assert run("synth", "-c", model, mels / "a.npy", tmp_path / "a.wav", "--threads", before + 1) == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("verb", ["synth", "resynth", "denoise", "mel"])
def test_no_inputs(model, tmp_path, verb, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").touch()
    assert run(verb, "-c", model, tmp_path / "empty", tmp_path / "out") == 2
    assert f"waveglow {verb}: no " in (said := capsys.readouterr().err)
    assert str(tmp_path / "empty") in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", [".", "out", "sub/out"])
def test_an_output_folder_in_the_input(model, wavs, out, capsys):
    before = tree(wavs)
    assert run("resynth", "-c", model, wavs, wavs / out) == 2
    assert "lies in the input folder" in capsys.readouterr().err
    assert tree(wavs) == before


@pytest.mark.parametrize("several", [False, True], ids=["file to file", "files to their folder"])
def test_an_input_is_never_written_over(model, wavs, monkeypatch, several, capsys):
    """`cd recordings; waveglow resynth *.wav .`"""
    shutil.copy(wavs / "a.wav", wavs / "b.wav")
    monkeypatch.chdir(wavs)
    before = (wavs / "a.wav").read_bytes()
    arguments = ["a.wav", "b.wav", "."] if several else [wavs / "a.wav", "a.wav"]
    assert run("resynth", "-c", model, *arguments) == 2
    assert "a.wav is an input too" in capsys.readouterr().err
    assert (wavs / "a.wav").read_bytes() == before
    assert (wavs / "b.wav").read_bytes() == before


@pytest.fixture
def bad(model, tmp_path) -> Path:
    """Bad checkpoints by the name of their fault."""
    loaded = checkpoint.load(model)
    checkpoint.save(tmp_path / "bad" / "no mel", loaded.model, loaded.model_config)
    (tmp_path / "bad" / "file").write_bytes(b"PK")
    (tmp_path / "bad" / "empty").mkdir()
    shutil.copytree(model, tmp_path / "bad" / "damaged")
    (tmp_path / "bad" / "damaged" / "model.safetensors").write_bytes(b"")
    return tmp_path / "bad"


FAULTS = [
    ("absent", "does not exist", ["synth", "resynth", "denoise", "mel", "info"]),
    ("file", "is a file", ["synth", "resynth", "denoise", "mel", "info", "mel-check"]),
    ("empty", "can't be read", ["synth", "resynth", "denoise", "mel", "info", "mel-check"]),
    ("damaged", "differs from its manifest", ["synth", "resynth", "denoise", "info"]),  # the others read no weights
    ("no mel", "says nothing of its mel convention", ["synth", "resynth", "denoise", "mel", "mel-check"]),
]


@pytest.mark.parametrize(("fault", "message", "verb"), [(*f[:2], verb) for f in FAULTS for verb in f[2]])
def test_a_bad_checkpoint(bad, wavs, mels, tmp_path, capsys, fault, message, verb):
    files = {
        "synth": ["-c", bad / fault, mels, tmp_path / "out"],
        "resynth": ["-c", bad / fault, wavs, tmp_path / "out"],
        "denoise": ["-c", bad / fault, wavs, tmp_path / "out"],
        "mel": ["-c", bad / fault, wavs, tmp_path / "out"],
        "mel-check": ["hifigan", bad / fault],
        "info": [bad / fault],
    }
    capsys.readouterr()
    assert run(verb, *files[verb]) == 4
    said = capsys.readouterr().err
    assert said.startswith(f"waveglow {verb}: {bad / fault}")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# ---- convert ---------------------------------------------------------------------------------------------------------


def assert_golden(path: Path) -> None:
    file, loaded = load_file(GOLDEN / "nvidia_waveglow_layout_c.safetensors"), checkpoint.load(path)
    folded = waveglow.load(path).model
    with torch.no_grad():
        zs, _ = loaded.model.encode(file["audio"], file["mel"])
        torch.testing.assert_close(torch.cat(zs, 1), file["z"], rtol=1e-5, atol=1e-5)
        drawn = [0.7 * file[f"infer_noise.{i}"] for i in (2, 1, 0)]
        torch.testing.assert_close(folded.decode(drawn, file["mel"]), file["infer_audio"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["module", "legacy", "training"])
def test_convert_nvidias_pickles(kind, tmp_path, capsys):
    source = GOLDEN / f"nvidia_waveglow_pickled_{kind}.pt"
    assert run("convert", source, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "notice: the model has 8 mels and hop 256, nvidia/tacotron2 80 and 256: no mel convention" in said
    assert re.search(r"out: waveglow, [\d,]+ parameters; .*n_flows 12, .*n_channels 16", said)
    assert_golden(tmp_path / "out")
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.mel_spec is None
    assert loaded.info == {"converted_from": source.name, **({"iteration": 7} if kind == "training" else {})}


def test_convert_safetensors_with_arguments(tmp_path):
    golden = load_file(GOLDEN / "nvidia_waveglow_layout_b.safetensors")
    save_file(
        {k.removeprefix("state."): t for k, t in golden.items() if k.startswith("state.")}, tmp_path / "b.safetensors"
    )
    options = ["--family", "nvidia-waveglow", "--set", "n_flows=12", "--set", "WN_config={n_layers: 3}"]
    assert run("convert", tmp_path / "b.safetensors", tmp_path / "out", *options) == 0
    assert_golden(tmp_path / "out")


def nvidia_names(path: Path) -> Path:
    """A state dict of 80 mels in NVIDIA's layout, of the shapes that `waveglow` infers."""
    state = {"upsample.weight": torch.randn(80, 80, 1024) / 100, "upsample.bias": torch.zeros(80)}
    for k in range(2):
        state[f"convinv.{k}.conv.weight"] = torch.linalg.qr(torch.randn(8, 8)).Q[..., None].contiguous()
        for name, shape in {"start": (4, 4, 1), "end": (8, 4, 1), "cond_layer": (8, 640, 1)}.items():
            state |= {f"WN.{k}.{name}.weight": torch.randn(shape) / 10, f"WN.{k}.{name}.bias": torch.zeros(shape[0])}
        for name, shape in {"in_layers.0": (8, 4, 3), "res_skip_layers.0": (4, 4, 1)}.items():
            state |= {f"WN.{k}.{name}.weight": torch.randn(shape) / 10, f"WN.{k}.{name}.bias": torch.zeros(shape[0])}
    torch.save({"state_dict": state}, path)
    return path


@pytest.mark.parametrize(("option", "name"), [([], "nvidia/tacotron2"), (["--mel", "hifigan"], "hifigan")])
def test_a_converted_checkpoint_synthesizes(mels, tmp_path, option, name):
    assert run("convert", nvidia_names(tmp_path / "a.pt"), tmp_path / "model", *option) == 0
    assert checkpoint.load(tmp_path / "model").mel_spec.name == name
    assert run("synth", "-c", tmp_path / "model", mels / "a.npy", tmp_path / "a.wav", "--sigma", "0.1") == 0
    assert samples_of(tmp_path / "a.wav").std() > 0.01


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pt", None, "can't be read"),
        ("text.pt", b"no checkpoint", "no file of torch.save"),
        ("half.pt", (GOLDEN / "nvidia_waveglow_pickled_module.pt").read_bytes()[:9999], "damaged"),
        ("text.safetensors", b"no checkpoint", "no readable safetensors"),
        ("absent.safetensors", None, "no readable safetensors"),
    ],
)
def test_unreadable_files_are_bad_checkpoints(tmp_path, name, content, message, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert run("convert", tmp_path / name, tmp_path / "out") == 4
    assert f"{tmp_path / name}: " in (said := capsys.readouterr().err)
    assert message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mel", "hifigam"], "did you mean 'hifigan'?"),
        (["--set", "n_flow=3"], "did you mean 'n_flows'?"),
        (["--set", "n_flows"], "key.subkey=value"),
        (["--set", "WN_config=3"], "WN_config is 3"),
        (["--set", "WN_config={n_layers"], "WN_config"),
        (["--set", "n_group=16"], "--set"),
        (["--family", "glow"], "--family"),
    ],
    ids=str,
)
def test_wrong_arguments_of_convert(tmp_path, options, message, capsys):
    source = GOLDEN / "nvidia_waveglow_pickled_module.pt"
    assert run("convert", source, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_convert_writes_over_nothing(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert run("convert", GOLDEN / "nvidia_waveglow_pickled_module.pt", tmp_path / "out") == 2
    assert "exists already; name a new directory" in capsys.readouterr().err
    assert tree(tmp_path / "out") == ["mine"]


def test_another_models_checkpoint(tmp_path, capsys):
    torch.save({"encoder.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    assert run("convert", tmp_path / "other.pt", tmp_path / "out") != 0
    assert "the family can't be told from these tensors" in capsys.readouterr().err


# ---- info, mel-check, prepare ----------------------------------------------------------------------------------------


def test_info_as_text(model, capsys):
    assert run("info", model) == 0
    shown = capsys.readouterr().out
    parameters = sum(p.numel() for p in checkpoint.load(model).model.parameters())
    for line in [
        rf"checkpoint +{re.escape(str(model))}",
        rf"parameters +{parameters:,}",
        r"  n_channels +8",
        r"  hop +256",
        r"  name +nvidia/tacotron2",
        r"step +12,000",
        r"nll_bits +7\.5",
    ]:
        assert re.search(rf"^{line}$", shown, re.MULTILINE), line


def test_info_as_json(model, capsys):
    assert run("info", model, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == {"name": "waveglow", **NUMBERS}
    assert facts["mel"] == TACOTRON2.to_dict()
    assert facts["mel_fingerprint"] == TACOTRON2.fingerprint
    assert (facts["step"], facts["nll_bits"]) == (12000, 7.5)


def test_info_of_a_run_names_its_newest_checkpoint(model, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "run" / "checkpoints" / "step_00000007")
    assert run("info", tmp_path / "run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"].endswith("step_00000007")


@pytest.fixture(scope="module")
def decimal(tmp_path_factory, random_model) -> Path:
    """A checkpoint on decimal log-mels."""
    path = tmp_path_factory.mktemp("decimal") / "model"
    spec = replace(TACOTRON2, log_base="10", name="decimal")
    checkpoint.save(path, *random_model(n_mels=2, hop=8, n_flows=1, n_layers=1, n_channels=2), mel_spec=spec)
    return path


@pytest.mark.parametrize(
    ("a", "b", "kind", "code"),
    [
        ("tacotron2", "nvidia/tacotron2", "equal", 0),
        ("tacotron2", "MODEL", "equal", 0),
        ("hifigan", "MODEL", "shifted", 0),
        ("MODEL", "hifigan", "shifted", 0),
        ("DECIMAL", "MODEL", "convertible", 0),
        ("vocos", "MODEL", "incompatible", 3),
        ("bigvgan-22k-80", "hifigan", "incompatible", 3),
    ],
)
def test_mel_check(model, decimal, a, b, kind, code, capsys):
    names = {"MODEL": model, "DECIMAL": decimal}
    assert run("mel-check", names.get(a, a), names.get(b, b)) == code
    shown = capsys.readouterr().out
    assert shown.startswith(f"{kind}: ")
    assert len(shown.splitlines()) == 1
    if kind == "incompatible":
        assert "against" in shown


def test_mel_check_of_an_unknown_name(capsys):
    assert run("mel-check", "hifigam", "tacotron2") == 2
    assert "'hifigam'; did you mean 'hifigan'?" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--preset", "hifigan", "-c", "x"], ["--preset", "hifigam"]], ids=str)
def test_mel_wants_one_convention(wavs, tmp_path, options):
    assert run("mel", wavs, tmp_path / "out", *options) == 2
    assert not (tmp_path / "out").exists()


def test_prepare(ljspeech, tmp_path, capsys):
    assert run("prepare", ljspeech, tmp_path / "data") == 0
    assert re.search(
        r"manifest\.jsonl: 4 clips, 0\.1 minutes at 22050 Hz, 1 held out, 0 refused", capsys.readouterr().out
    )
    shutil.copytree(ljspeech / "wavs", tmp_path / "voice")
    (tmp_path / "voice" / "bad.wav").touch()
    options = ["--sample-rate", "16000", "--valid-fraction", "0.3", "--test-fraction", "0.3"]
    assert run("prepare", tmp_path / "voice", tmp_path / "data2", *options) == 3
    said = capsys.readouterr()
    assert "refused: " in said.err
    assert "bad.wav: empty" in said.err
    assert said.err.count("resampled from 22050 to 16000 Hz") == 3
    assert f"notice: 1 more notices are in {tmp_path / 'data2' / 'report.json'}" in said.err
    assert re.search(r"at 16000 Hz, \d held out and \d for tests, 1 refused", said.out)


def test_prepare_cuts_and_takes_a_channel(ljspeech, tmp_path):
    samples, _ = soundfile.read(ljspeech / "wavs" / "DV001-0001.wav")
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "book.wav", np.stack([np.tile(samples, 3), -np.tile(samples, 3)], axis=1), RATE)
    assert run("prepare", tmp_path / "in", tmp_path / "data", "--cut", "1") == 2
    assert run("prepare", tmp_path / "in", tmp_path / "data", "--cut", "1", "--channel", "right") == 0
    assert (tmp_path / "data" / "wavs" / "book" / "0003.wav").is_file()


def test_prepare_holds_out_by_name(ljspeech, tmp_path):
    named = ["--hold-out", "DV001-0002", ljspeech / "wavs" / "DV001-0003.wav", "--test", "*4"]
    assert run("prepare", ljspeech, tmp_path / "data", *named) == 0
    splits = {clip.name[-1]: clip.split for clip in read_manifest(tmp_path / "data" / "manifest.jsonl")}
    assert splits == {"1": "train", "2": "valid", "3": "valid", "4": "test"}


def test_the_mels_of_ljspeech_and_back(ljspeech, tmp_path, capsys):
    """Ground-truth-aligned mels: `mel` writes the corpus's tree, and `prepare` finds them there."""
    assert run("mel", "-c", "lapglow", ljspeech, tmp_path / "mels") == 0
    assert run("prepare", ljspeech, tmp_path / "data", "--mels", tmp_path / "mels") == 0
    clips = read_manifest(tmp_path / "data" / "manifest.jsonl")
    assert {clip.mel for clip in clips} == {str(tmp_path / "mels" / "wavs" / f"{clip.name}.npy") for clip in clips}
    assert run("prepare", ljspeech, tmp_path / "more", "--mels", tmp_path / "mels", "--mel", "hifigan") == 0
    np.save(tmp_path / "mels" / "wavs" / "DV001-0001.npy", np.load(clips[0].mel) / np.log(10))
    capsys.readouterr()
    assert run("prepare", ljspeech, tmp_path / "data", "--mels", tmp_path / "mels") == 3
    assert "DV001-0001.npy: looks like log10" in capsys.readouterr().err
    assert run("train", "--init-from", "lapglow", "--data", tmp_path / "data", "--run-dir", tmp_path / "run",
               "--print-config") == 0  # fmt: skip


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        ("absent", [], "is no folder"),
        (".", [], "0 usable recordings"),
        (".", ["--valid-fraction", "1"], "valid_fraction is 1.0 and test_fraction 0.0; they must be between 0 and 1"),
        (".", ["--valid-fraction", "0"], "valid_fraction is 0.0"),
        (".", ["--mels", "absent"], "absent is no folder; give that of the mel files"),
    ],
)
def test_what_cannot_be_prepared(tmp_path, corpus, options, message, capsys):
    (tmp_path / "in").mkdir()
    assert run("prepare", tmp_path / "in" / corpus, tmp_path / "data", *options) == 2
    assert message in capsys.readouterr().err


def test_a_manifest_is_no_folder_to_prepare_in(ljspeech, tmp_path, capsys):
    assert run("prepare", ljspeech, tmp_path / "data.jsonl") == 2
    assert "data.jsonl looks like a file; name a folder" in capsys.readouterr().err
    assert not (tmp_path / "data.jsonl").exists()


def test_mels_of_a_channel(tmp_path, capsys):
    tone = np.sin(np.arange(12_000) / 10) / 2
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1), RATE)
    assert run("mel", "--preset", "hifigan", tmp_path / "a.wav", tmp_path / "a.npy") == 3
    assert "its channels are opposite, and mixed they leave silence" in capsys.readouterr().err
    assert not (tmp_path / "a.npy").exists()
    assert run("mel", "--preset", "hifigan", tmp_path / "a.wav", tmp_path / "a.npy", "--channel", "left") == 0
    assert np.load(tmp_path / "a.npy").max() > -1


def test_a_reader_that_has_enough_gets_no_message():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m waveglow.cli.main info lapglow | head -0; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # as fast as the reader is to leave


def test_conditioning_as_one_map_is_waveglows_alone(tmp_path, capsys):
    soundfile.write(tmp_path / "in.wav", np.zeros(4000), 22050)
    assert main(["resynth", "--fused", str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]) == 2
    assert "only a WaveGlow's conditioning can be fused" in capsys.readouterr().err


# ---- Parts and processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["synth", "resynth", "denoise", "mel"])
def test_parts_are_what_one_machine_does(model, wavs, mels, tmp_path, verb, capsys):
    options = ["--preset", "nvidia/tacotron2"] if verb == "mel" else ["-c", model]
    source = mels if verb == "synth" else wavs
    assert run(verb, *options, source, tmp_path / "whole") == 0
    for shard in ("1/2", "2/2"):
        assert run(verb, *options, source, tmp_path / "out", "--shard", shard) == 0
    capsys.readouterr()
    assert run("merge-reports", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("2 ok")
    parts = ["report.1-of-2.json", "report.2-of-2.json"]
    assert [name for name in tree(tmp_path / "out") if name not in parts] == tree(tmp_path / "whole")
    for name in tree(tmp_path / "whole"):
        if name != "report.json":
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_processes_give_what_one_thread_gives(model, wavs, tmp_path, capsys):
    (wavs / "empty.wav").touch()
    assert run("resynth", "-c", model, wavs, tmp_path / "one", "--threads", 1) == 3
    assert run("resynth", "-c", model, wavs, tmp_path / "out", "--jobs", 2) == 3
    assert "failed: " in capsys.readouterr().err
    assert tree(tmp_path / "out") == tree(tmp_path / "one")
    for name in ("a.wav", "sub/b.wav"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--shard", "3/2"], 2, "part 3 of 2: parts are counted from 1, so it is 1 to 2"),
        (["--shard", "auto"], 2, "neither SLURM_ARRAY_TASK_ID nor RANK and WORLD_SIZE are set"),
        (["--jobs", "0"], 2, "0 is no whole number >= 1"),
        (["--jobs", "2", "-c", "missing"], 4, "missing"),
    ],
    ids=str,
)
def test_what_can_t_be_divided(wavs, tmp_path, options, code, said, capsys, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert run("resynth", wavs, tmp_path / "out", *options) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_there_must_be_parts_to_merge(tmp_path, capsys):
    assert run("merge-reports", tmp_path) == 2
    assert "has no reports of parts, such as report.1-of-2.json; --shard 1/2 writes one" in capsys.readouterr().err
