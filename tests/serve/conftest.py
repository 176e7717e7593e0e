"""A real server process on the loopback, of a model so small that requests take milliseconds.

What it writes to stderr is looked at when it ends: a traceback fails the module that started it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import torch

from waveglow.audio.mel import preset
from waveglow.models import checkpoint

ROOT = Path(__file__).parents[2]
NUMBERS = {"n_channels": 8, "n_layers": 2, "n_flows": 4, "upsample_kernel": 256}
RATE, HOP, N_MELS = 22_050, 256, 80
COMMAND = (sys.executable, "-m", "waveglow.cli.main", "serve")


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
def tone() -> np.ndarray:
    """Half a second of 220 Hz with a little noise, float32 at 22 050 Hz, in steps of 16 bits."""
    t = np.arange(RATE // 2) / RATE
    audio = 0.3 * np.sin(2 * np.pi * 220 * t) + 0.01 * np.random.default_rng(0).standard_normal(len(t))
    return (np.rint(audio * 32768) / 32768).astype(np.float32)


@pytest.fixture(scope="session")
def mel(tone) -> np.ndarray:
    """Its mel by the convention of `tiny`, [80, 44] float32."""
    from waveglow.audio.mel_spectrogram import MelSpectrogram

    return MelSpectrogram(preset("nvidia/tacotron2")).of_any_length(torch.from_numpy(tone)[None])[0].numpy()


@pytest.fixture(scope="session")
def npy(mel) -> bytes:
    """The mel as a body."""
    return as_npy(mel)


@pytest.fixture(scope="session")
def wav(tone) -> bytes:
    """The tone as a body, of 16 bits."""
    return as_audio(tone)


def as_npy(array: np.ndarray) -> bytes:
    """The content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_audio(samples: np.ndarray, rate: int = RATE, *, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """The content of a recording."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


class Running:
    """A server process: its URL, its port, and clients."""

    def __init__(self, process: subprocess.Popen[str], url: str, errors: Path) -> None:
        self.process, self.url, self.errors = process, url, errors
        self.port, self.metrics_url = int(url.rpartition(":")[2]), f"{url}/metrics"
        self.client = httpx.Client(base_url=url, timeout=30)

    def post(self, path: str, body: object, kind: str = "application/octet-stream", **headers: str) -> httpx.Response:
        """An answer to a body."""
        return self.client.post(path, content=body, headers={"Content-Type": kind, **headers})

    def metric(self, name: str, **labels: str) -> float:
        """A number of /metrics; 0 where it was never counted."""
        wanted = "".join(f'(?=.*{key}="{re.escape(value)}")' for key, value in labels.items())
        found = re.search(rf"^{name}(?:\{{{wanted}.*\}})? (\S+)$", self.client.get(self.metrics_url).text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until(self, true: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something to be so. Raises AssertionError where it takes longer."""
        limit = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < limit, "it never was so"
            time.sleep(0.05)

    def ready(self) -> bool:
        """Whether it says so."""
        try:
            return self.client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def children(self) -> list[str]:
        """The processes that it has started and not ended; none where there is no /proc."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
                found += [path.parent.name] if parent == str(self.process.pid) and state != "Z" else []
        return found

    def end(self, seconds: float = 90) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)


@pytest.fixture(scope="session", name="serving")
def serving_fixture() -> Callable[..., contextlib.AbstractContextManager[Running]]:
    """`with serving(folder, *options) as running`: a server of one's own."""
    return serving


@pytest.fixture(scope="session", name="as_npy")
def as_npy_fixture() -> Callable[[np.ndarray], bytes]:
    """`as_npy(array)`: the content of an .npy file."""
    return as_npy


@pytest.fixture(scope="session", name="as_audio")
def as_audio_fixture() -> Callable[..., bytes]:
    """`as_audio(samples, rate=22050, kind="WAV", subtype="PCM_16")`: the content of a recording."""
    return as_audio


@contextlib.contextmanager
def serving(folder: Path, *options: str, command: tuple[str, ...] = COMMAND, **environment: str) -> Iterator[Running]:
    """`waveglow serve OPTIONS` at a free port, ready; ended and looked at afterwards."""
    errors = folder / "stderr.txt"
    own = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **environment,
    }
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *options, "--port", "0", "--threads", "1"],
            env={**os.environ, **own, **environment}, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # bounded by the limit on a test's time
        found = re.search(r"http://\S+", line)
        assert found, f"{line}{errors.read_text()}"
        running = Running(process, found[0], errors)
        running.until(running.ready, 120)
        yield running
        running.client.close()
        code = running.end()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert "Traceback" not in errors.read_text(), errors.read_text()
    assert code == 0, errors.read_text()


@pytest.fixture
def promise(request) -> Iterator[Callable[[httpx.Response], None]]:
    """`promise(answer)` holds an answer against the test's mark: its status, and words of its sentence."""
    number, _, status, words = request.node.get_closest_marker("fault").args
    assert f"fault_{number:02}_" in request.node.name
    asked = []

    def held(answer: httpx.Response) -> None:
        asked.append(answer)
        assert f"answer {answer.status_code}" == status, answer.text
        told = answer.json()
        assert told.keys() == {"code", "message"}
        assert words in told["message"]

    yield held
    assert asked, "the test never asked for what its mark promises"


@pytest.fixture(scope="session")
def server(tmp_path_factory, tiny) -> Iterator[Running]:
    """A server with the usual limits, shared by all tests that change nothing in it."""
    with serving(tmp_path_factory.mktemp("server"), "-c", str(tiny)) as running:
        yield running
