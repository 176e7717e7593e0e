"""The calls on images over HTTP: what they answer, and what they refuse."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from waveglow.serve.faces import Faces, Picture
from waveglow.serve.images import MAX_BYTES
from waveglow.vocoder import Vocoder


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces.load(device="cpu")


def ask(server, call: str, content: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return server.post(f"/v1/images/{call}", body, "application/json")


def test_the_model_tells_what_it_knows(server):
    about = server.client.get("/v1/images").json()
    assert (about["name"], about["width"], about["height"], about["bits_per_dim"]) == ("demo-faces", 32, 32, 0.963)
    assert [attribute["name"] for attribute in about["attributes"]][:2] == ["Smiling", "Eyeglasses"]


def test_sample(server, faces):
    found = ask(server, "sample", {"n": 2, "temperature": 0.5, "seed": 7}).json()
    assert found["temperature"] == 0.5
    assert [picture["seed"] for picture in found["pictures"]] == [7, 8]
    assert [base64.b64decode(picture["png"]) for picture in found["pictures"]] == faces.sample(
        2, temperature=0.5, seed=7
    )


def test_manipulate(server, faces):
    picture = {"seed": 7, "temperature": 0.5, "weights": {"Eyeglasses": 0.9}}
    found = ask(server, "manipulate", {"picture": picture, "details": True}).json()
    expected = faces.manipulate(Picture(7, 0.5, weights=(("Eyeglasses", 0.9),)), details=True)
    assert base64.b64decode(found["picture"]) == expected["picture"]
    assert base64.b64decode(found["original"]) == expected["original"]
    assert found["has"] == pytest.approx(expected["has"], abs=1e-4)
    assert found["bits_per_dim"] == pytest.approx(expected["bits_per_dim"], abs=1e-3)
    for level, latents in zip(found["latents"], expected["latents"], strict=True):
        values = np.frombuffer(base64.b64decode(level["values"]), "<f4").reshape(level["shape"])
        np.testing.assert_allclose(values, latents, atol=1e-5)
    again = ask(server, "manipulate", {"picture": {"image": found["picture"]}}).json()
    assert set(again) == {"picture", "latents"}


def test_interpolate(server, faces):
    pictures = [{"seed": 1}, {"seed": 2}]
    found = ask(server, "interpolate", {"pictures": pictures, "steps": 3, "way": "linear"}).json()
    expected = faces.interpolate(Picture(1), Picture(2), steps=3, way="linear")
    assert [base64.b64decode(png) for png in found["pictures"]] == expected


GIF = base64.b64encode(b"GIF89a" + bytes(40)).decode()
REFUSED: list[tuple[str, Any, int, str]] = [
    ("sample", b"{", 400, "the body is no JSON"),
    ("sample", b"[" * 100_000, 400, "the body is no JSON"),
    ("sample", b"\xff\xfe", 400, "the body is no JSON"),
    ("sample", [], 400, "must be a JSON object"),
    ("sample", {"N": 1}, 400, "unknown key 'N'; did you mean 'n'|unknown key 'N'; known"),
    ("sample", {"n": 0}, 422, "n is 0; it must be from 1 to 24"),
    ("sample", {"n": 25}, 422, "n is 25"),
    ("sample", {"n": 2.5}, 400, "n must be a whole number"),
    ("sample", {"n": True}, 400, "n must be a whole number"),
    ("sample", {"seed": -1}, 422, "seed must be from 0"),
    ("sample", {"seed": 2**63 - 1, "n": 24}, 200, ""),
    ("sample", {"seed": 10**400}, 422, "seed must be from 0"),
    ("sample", b'{"temperature": NaN}', 422, "temperature is nan"),
    ("sample", b'{"temperature": 1e999}', 422, "temperature is inf"),
    ("sample", {"temperature": "hot"}, 400, "temperature must be a number"),
    ("manipulate", {}, 400, "picture must be"),
    ("manipulate", {"picture": {"seed": 1, "image": GIF}}, 400, "give either"),
    ("manipulate", {"picture": {"image": GIF}}, 422, "no picture that can be read as PNG, JPEG or WebP"),
    ("manipulate", {"picture": {"image": "§"}}, 400, "isn't base64"),
    ("manipulate", {"picture": {"image": 3}}, 400, "must be a file in base64"),
    ("manipulate", {"picture": {"path": "me.png"}}, 400, "unknown key 'path'"),
    ("manipulate", {"picture": {"weights": {"Smile": 1}}}, 422, "unknown attribute 'Smile'; did you mean 'Smiling'"),
    ("manipulate", {"picture": {"weights": {"Smiling": 10**400}}}, 422, "larger than any number"),
    ("manipulate", {"picture": {"weights": [1]}}, 400, "weights of picture must be an object"),
    ("manipulate", {"picture": {}, "details": 1}, 400, "details must be true or false"),
    ("interpolate", {"pictures": [{"seed": 1}]}, 400, "a list of two"),
    ("interpolate", {"pictures": [{}, {}], "steps": 1}, 422, "steps is 1; it must be from 2"),
    ("interpolate", {"pictures": [{}, {}], "way": "curved"}, 422, "way is 'curved'; it must be one of linear"),
    ("interpolate", {"pictures": [{}, {}], "way": 1}, 400, "way must be a text"),
    ("sample", b" " * (MAX_BYTES + 1), 413, "one picture of 8 MiB"),
]


@pytest.mark.parametrize(("call", "content", "status", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_cant_be_is_refused_in_a_sentence(server, call, content, status, said):
    answer = ask(server, call, content)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert any(part in answer.json()["message"] for part in said.split("|"))
        assert set(answer.json()) == {"code", "message"}


def test_the_body_must_be_said_to_be_json(server):
    assert server.post("/v1/images/sample", b"{}", "text/plain").status_code == 415
    assert server.client.post("/v1/images/sample?n=3", json={}).status_code == 400
    assert server.client.get("/v1/images/sample").status_code == 405


def test_mel_is_the_librarys(server, tiny):
    samples = (0.3 * np.sin(0.1 * np.arange(22_050))).astype(np.float32)
    wav = io.BytesIO()
    soundfile.write(wav, samples, 22_050, format="WAV", subtype="FLOAT")
    answer = server.post("/v1/mel", wav.getvalue(), "audio/wav")
    found = np.load(io.BytesIO(answer.content), allow_pickle=False)
    np.testing.assert_allclose(found, Vocoder.load(tiny).mel(samples, 22_050).numpy(), atol=1e-4)
    again = server.post("/v1/vocode?refine=0", answer.content)
    assert again.status_code == 200
    assert server.post("/v1/mel", b"RIFF", "audio/wav").status_code == 415


def test_the_page_is_read_once_and_nothing_else_is(server):
    answer = server.client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in policy
    for name, kind in {
        "page.js": "text/javascript",
        "page.css": "text/css",
        "clips/clips.json": "application/json",
    }.items():
        found = server.client.get(f"/page/{name}")
        assert found.headers["Content-Type"].startswith(kind)
        assert server.client.get(f"/page/{name}", headers={"If-None-Match": found.headers["ETag"]}).status_code == 304
    for name in ("", "../images.py", "%2e%2e/images.py", "clips", "clips/README.md", "page.js%00", "/etc/passwd"):
        assert server.client.get(f"/page/{name}").status_code == 404


def test_every_clip_has_its_licence_and_is_the_repositorys(server):
    clips = server.client.get("/page/clips/clips.json").json()
    assert len(clips) == 3
    reference = Path(__file__).parents[2] / "audio_samples" / "reference"
    credits = (reference / "README.md").read_text(encoding="utf-8")
    for clip in clips:
        samples, rate = soundfile.read(
            io.BytesIO(server.client.get(f"/page/clips/{clip['file']}").content), dtype="int16"
        )
        original, own_rate = soundfile.read(reference / clip["file"].replace(".flac", ".wav"), dtype="int16")
        assert rate == own_rate
        np.testing.assert_array_equal(samples, original)
        assert clip["seconds"] == round(len(samples) / rate, 1)
        (row,) = (line for line in credits.splitlines() if f"`{clip['file'].replace('.flac', '.wav')}`" in line)
        for said in (clip["credit"].split(",")[0], clip["licence"], clip["licence_page"], clip["page"]):
            assert said in row
