"""What the marks of these tests promise is held against what happens.

    @pytest.mark.fault(1, "a file of no bytes", "exit 3", "empty file")

The mark has the fault's number and title, how it ends (`exit N`, or the exception's name in Python) and words of the
sentence that is said. The table of the documentation is made of the marks of all tests, so it can't say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from waveglow.audio.mel import preset
from waveglow.cli.main import main
from waveglow.models import checkpoint

RATE, HOP = 22_050, 256
NUMBERS = {"n_channels": 8, "n_layers": 2, "n_flows": 4, "upsample_kernel": HOP}


class Promise:
    """How a fault ends, and words of what is said."""

    def __init__(self, mark: pytest.Mark, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self.number, self.title, self.ends, self.words = mark.args
        self.capsys, self.caplog = capsys, caplog
        self.asked = False

    def command(self, *arguments: object) -> str:
        """`waveglow ARGUMENTS…` ends so. Returns all that it printed."""
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return self.ended(code)

    def ended(self, code: int) -> str:
        """A command has ended so. Returns all that was printed since."""
        printed = "".join([*self.capsys.readouterr(), *self.caplog.messages])
        assert "Traceback" not in printed, printed
        self._held(f"exit {code}", printed)
        return printed

    @contextmanager
    def raised(self) -> Iterator[None]:
        """What is done in it raises that."""
        caught: Exception | None = None
        try:
            yield
        except Exception as error:
            caught = error
        self._held(type(caught).__name__, str(caught))

    def _held(self, ends: str, said: str) -> None:
        self.asked = True
        assert (ends, self.words in said) == (self.ends, True), said


@pytest.fixture
def promise(request, capsys, caplog) -> Iterator[Promise]:
    """That of the test's mark; a test that doesn't hold it fails."""
    mark = request.node.get_closest_marker("fault")
    assert f"fault_{mark.args[0]:02}_" in request.node.name
    promise = Promise(mark, capsys, caplog)
    yield promise
    assert promise.asked, "the test never asked for what its mark promises"


@pytest.fixture(scope="session")
def tone() -> np.ndarray:
    """A second of 220 Hz at half of full scale, float32 at 22 050 Hz."""
    return (0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.fixture
def wav(tone, tmp_path) -> Path:
    """A sound recording, a.wav of 16 bits with a header of 44 bytes: to be damaged."""
    soundfile.write(tmp_path / "a.wav", tone, RATE)
    return tmp_path / "a.wav"


@pytest.fixture
def corpus(ljspeech, tmp_path) -> Path:
    """Two sound recordings in a folder."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in (1, 2):
        samples, rate = soundfile.read(ljspeech / "wavs" / f"DV001-000{number}.wav")
        soundfile.write(folder / f"good{number}.wav", samples, rate)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, random_model) -> Path:
    """A small vocoder's checkpoint; to be read, not written."""
    flow, config = random_model(**NUMBERS)
    with torch.no_grad():
        flow.get_parameter("flow.levels.0.layers.1.log_scale").fill_(2)  # within full scale
    path = tmp_path_factory.mktemp("model") / "tiny"
    checkpoint.save(path, flow, config, mel_spec=preset("nvidia/tacotron2"), info={"step": 7})
    return path


@pytest.fixture(scope="session")
def mel(ljspeech) -> np.ndarray:
    """A recording's mel by the convention of `tiny`, [80, F] float32."""
    from waveglow.audio.io import load_audio
    from waveglow.audio.mel_spectrogram import MelSpectrogram

    audio = torch.from_numpy(load_audio(ljspeech / "wavs" / "DV001-0001.wav").samples)
    return MelSpectrogram(preset("nvidia/tacotron2")).of_any_length(audio[None])[0].numpy()
