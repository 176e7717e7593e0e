"""The voice that comes with the package."""

from pathlib import Path

import pytest
import soundfile
import torch

import waveglow
from waveglow.audio.mel import preset
from waveglow.cli.main import main
from waveglow.models import checkpoint

REFERENCE = sorted((Path(__file__).parents[2] / "audio_samples" / "reference").glob("*.wav"))


@pytest.fixture(scope="module")
def voice():
    return waveglow.load()


def test_it_is_a_lapglow_of_the_hifigan_mel_that_fits_the_package(voice):
    loaded = checkpoint.load("lapglow")
    assert loaded.model_config["name"] == "lapglow"
    assert voice.mel_spec == preset("hifigan")
    assert (loaded.path / checkpoint.WEIGHTS).stat().st_size <= 24_000_000
    assert {"step", "training_hours", "nll_nats"} <= loaded.info.keys()


def test_its_card_has_data_licences_and_scores(voice):
    card = (checkpoint.resolve(Path("lapglow")) / "README.md").read_text(encoding="utf-8")
    for word in ("festvox-ru", "CC-BY-SA-3.0", "NLL", "Griffin-Lim", "PESQ"):
        assert word in card


@pytest.mark.parametrize("path", REFERENCE[:2], ids=lambda path: path.stem)
def test_a_copy_has_the_mel_of_the_recording(voice, path):
    wav, rate = soundfile.read(path, dtype="float32")
    copy = voice(wav, rate)
    assert copy.shape == wav.shape
    difference = (voice.mel(copy, rate) - voice.mel(wav, rate)).abs().mean()
    silence = (voice.mel(torch.zeros(len(wav)), rate) - voice.mel(wav, rate)).abs().mean()
    assert difference < 0.15 * silence


def test_copy_synthesis_needs_no_option_and_takes_any_rate(tmp_path, capsys):
    wav, _ = soundfile.read(REFERENCE[0], dtype="float32")
    soundfile.write(tmp_path / "in.wav", wav[:20_000], 16_000)
    assert main(["resynth", str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]) == 0
    assert soundfile.info(tmp_path / "out.wav").samplerate == 22050
    assert "16000" in capsys.readouterr().err


def test_a_directory_of_that_name_comes_first(tmp_path, monkeypatch):
    (tmp_path / "lapglow").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match="is no checkpoint"):
        checkpoint.load("lapglow")


def test_an_unknown_name_tells_which_models_there_are():
    with pytest.raises(checkpoint.CheckpointError, match=r"does not exist.*\(lapglow, demo-faces\)"):
        checkpoint.load("lapglo")


def test_its_streams_are_what_the_card_promises(voice):
    """On speech of which the context was not measured: what follows the first two seconds."""
    wav, rate = soundfile.read(REFERENCE[-1], dtype="float32")
    mel = voice.mel(wav[-3 * rate :], rate)
    steps = voice.refinement.stream_steps
    assert 0 < steps < voice.refine
    assert voice.refinement.frames_around(steps) < min(voice.reach(steps)) / 3
    pieces = [*voice.stream(mel.split(20, dim=-1))]
    assert len(pieces) > 3
    difference = torch.cat(pieces) - voice.synthesize(mel, refine=steps)
    assert float(difference.abs().max()) <= 1e-4
