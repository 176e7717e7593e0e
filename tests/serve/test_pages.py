"""The pages on the service say what a real server does: every `shell` block of the HTTP reference is run by curl, what
stands below it as `json` is what it prints, and the tables have the options, codes and metrics that there are.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import typing
from dataclasses import fields
from pathlib import Path
from unittest import mock

import httpx
import pytest

from waveglow.serve.app import ROOMS
from waveglow.serve.settings import Settings

ROOT = Path(__file__).parents[2]
HTTP = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
SERVE = (ROOT / "docs" / "howto" / "serve.md").read_text(encoding="utf-8")
SOURCES = [path.read_text(encoding="utf-8") for path in (ROOT / "waveglow" / "serve").glob("*.py")]
CALLS = re.findall(r"^```shell\n(.*?)^```(?:\n```json\n(.*?)^```)?", HTTP, re.M | re.S)
ANY = "…"


@pytest.fixture(scope="module")
def own(tmp_path_factory, serving):
    """A server of the package's voice, and the folder that the page speaks of."""
    if not shutil.which("curl"):
        pytest.skip("no curl")
    folder = tmp_path_factory.mktemp("page")
    (folder / "audio_samples").symlink_to(ROOT / "audio_samples")
    with serving(tmp_path_factory.mktemp("server")) as running, pytest.MonkeyPatch.context() as patch:
        from waveglow.cli.main import main

        patch.chdir(folder)
        for line in re.search(r"^```sh\n(.*?)^```", HTTP, re.M | re.S)[1].splitlines():
            assert main(line.split()[1:]) == 0
        yield running, folder


@pytest.mark.parametrize(("command", "printed"), CALLS, ids=lambda text: text.split("localhost:8000")[-1][:24].strip())
def test_a_call_of_the_reference_does_what_stands_there(own, command, printed):
    running, folder = own
    assert "localhost:8000" in command
    said = shell(command, running, folder)
    if printed:
        same(json.loads(printed), json.loads(said))


def shell(command: str, running, folder: Path) -> str:
    """What the page's command prints, asked of that server; it must end well."""
    asked = command.replace("localhost:8000", f"127.0.0.1:{running.port}")
    bash = ["bash", "-euo", "pipefail", "-c", asked]
    done = subprocess.run(bash, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(shown: object, found: object) -> None:
    """Alike in keys, kinds and words: numbers differ from machine to machine, and `…` is any text.

    Of a mel convention, which has twenty fields, the page shows some.
    """
    if isinstance(shown, dict) and isinstance(found, dict):
        assert shown.keys() == found.keys() or "n_fft" in found
        for key in shown:
            same(shown[key], found[key])
    elif isinstance(shown, list) and isinstance(found, list):
        for a, b in zip(shown, found, strict=False):
            same(a, b)
    elif isinstance(shown, (int, float)) and not isinstance(shown, bool):
        assert isinstance(found, (int, float))
    elif shown != ANY:
        assert shown == found


def test_an_acoustic_model_is_heard_while_it_works(own):
    running, _ = own
    page = (ROOT / "docs" / "howto" / "stream-service.md").read_text(encoding="utf-8")
    program: dict[str, typing.Any] = {"__name__": "page"}
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 2
    for code in blocks:
        assert "http://127.0.0.1:8000" in code
        exec(compile(code.replace("http://127.0.0.1:8000", running.url), "stream-service.md", "exec"), program)
    assert len(program["pieces"]) > 1


def test_what_the_examples_wrote_is_audio(own):
    import soundfile

    running, folder = own
    for command, _ in CALLS[:3]:
        shell(command, running, folder)
    recording = soundfile.info(folder / "audio_samples" / "reference" / "en-followme-sorry.wav")
    for name in ("out.wav", "out.flac"):
        about = soundfile.info(folder / name)
        assert about.samplerate == 22050
        assert about.duration == pytest.approx(recording.duration, abs=0.02)


def test_the_reference_has_every_path():
    routes = [route for room in ROOMS for route in room.routes(mock.MagicMock(**{"settings.metrics_port": None}))]
    assert len(routes) > 8
    for route in routes:
        assert route.path.partition("{")[0] in HTTP, route.path


def test_the_reference_has_every_code():
    shown = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| [45]\d\d[^|]*\|([^|]*)\|", HTTP, re.M))))
    said = {
        code for source in SOURCES for code in re.findall(r'(?:RefusedError|_hang_up)\(\s*[45]\d\d, "(\w+)"', source)
    }
    assert said - {"gone"} == shown - {"not_found", "method"}  # who left is told nothing; those two are the framework's


def test_the_page_has_every_limit_and_its_default():
    rows = "".join(re.findall(r"^\| `--.*\n", SERVE, re.M))
    shown = dict(re.findall(r"`--([\w-]+)(?: ([\d.]+))?`", rows))
    hints = typing.get_type_hints(Settings)
    limits = {f.name.replace("_", "-"): f.default for f in fields(Settings) if hints[f.name] in (int, float)}
    del limits["port"]
    assert shown.keys() == limits.keys()
    for name, default in shown.items():
        assert not default or float(default) == limits[name], name
    assert f"({limits['max-bytes'] >> 20} MiB)" in rows


def test_the_page_has_every_metric(own):
    running, _ = own
    text = running.client.get("/metrics").text
    known = set(re.findall(r"^# TYPE (waveglow_\w+) (?:counter|gauge|histogram)", text, re.M))
    known = {name for name in known if not name.endswith("_created")}
    assert set(re.findall(r"^\| `(waveglow_\w+)", SERVE, re.M)) == known
    for name, labels in re.findall(r"^\| `(waveglow_\w+)\{([\w,]+)\}`", SERVE, re.M):
        assert re.search(
            rf"^{name}(?:_count)?\{{{'.*'.join(f'{label}=' for label in labels.split(','))}", text, re.M
        ), name


def test_the_adapter_for_text_speaks_by_the_server(own, npy):
    from starlette.testclient import TestClient

    from waveglow.audio.mel import preset

    running, _ = own
    code = re.search(r"^```python\n(.*?)^```", SERVE, re.M | re.S)[1]
    assert len(code.splitlines()) <= 45
    page: dict[str, typing.Any] = {"__name__": "adapter"}
    exec(compile(code, "serve.md", "exec"), page)
    import numpy as np

    page["VOCODER"] = f"{running.url}/v1/vocode"
    page["mel_of_text"] = lambda text, voice: np.full((80, 20 * len(text)), preset("hifigan").silence)
    with TestClient(page["app"]) as client:
        answer = client.post("/v1/audio/speech", json={"input": "Hi", "voice": "ann", "response_format": "pcm"})
        assert (answer.status_code, len(answer.content)) == (200, 2 * 256 * 40)
        assert client.post("/v1/audio/speech", json={"input": 3}).status_code == 400
        page["mel_of_text"] = lambda text, voice: np.zeros((3, 4))
        refused = client.post("/v1/audio/speech", json={"input": "Hi"})
        assert refused.status_code == 422
        assert json.loads(refused.json()["error"]["message"])["code"] == "unusable"
    assert httpx.get(f"{running.url}/health/live").json() == {"live": True}
