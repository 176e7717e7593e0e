"""Whatever a client sends, the answer is audio or a 4xx with a sentence: never 500, never a traceback, and soon."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

fault = pytest.mark.fault
CALLS = ("vocode", "vocode", "vocode", "vocode", "vocode", "vocode", "vocode", "vocode", "resynthesize", "likelihood")
KEYS = ("sigma", "seed", "refine", "format", "mel", "layout", "window", "channel", "Sigma", "", "%00", "a" * 99)
VALUES = (
    *(
        "nan",
        "inf",
        "-inf",
        "-1",
        "1e9",
        "0",
        "0.5",
        "1e-320",
        "7",
        "3.5",
        str(2**64),
        str(2**80),
        "9" * 500,
        "-0",
        "1_0",
    ),
    *(
        "wav",
        "flac",
        "pcm",
        "hifigan",
        "log10",
        "CT",
        "TC",
        "auto",
        "../../etc/passwd",
        "%ff%fe",
        "%00",
        "%",
        "",
        "+",
        "٣",
    ),
)
TYPES = (
    "application/octet-stream",
    "audio/wav",
    "audio/flac",
    "text/html",
    "application/json",
    "multipart/form-data",
    "",
)


@fault(47, "temperatures, seeds and steps that make no sense", "answer 422", "; it must be a")
def test_fault_47_numbers_that_make_no_sense(server, npy, promise):
    for value in ("nan", "inf", "-inf", "-1", "1e9"):
        promise(server.post(f"/v1/vocode?sigma={value}", npy))
    promise(server.post(f"/v1/vocode?seed={2**80}&sigma=11", npy))
    promise(server.post("/v1/vocode?refine=-1", npy))
    assert server.post(f"/v1/vocode?seed={2**80}", npy).json()["message"].endswith("an integer from 0 to 2**64 - 1")
    assert server.post("/v1/vocode?refine=1000", npy).status_code == 422


@fault(47, "a mel without frames", "answer 422", "a mel is [n_mels, frames], not empty")
def test_fault_47_no_frames(server, as_npy, promise):
    promise(server.post("/v1/vocode", as_npy(np.zeros((80, 0), np.float32))))


@fault(47, "a mel of ten million frames", "answer 413", "; at most")
def test_fault_47_ten_million_frames(server, promise):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (80, 10**7)})
    answer = server.post("/v1/vocode", buffer.getvalue())
    assert (answer.status_code, "the header promises 3200000000 bytes" in answer.text) == (422, True)
    promise(server.post("/v1/vocode", buffer.getvalue().replace(b"10000000", b"100000  ") + bytes(32_000_000)))


@fault(47, "keys that are unknown, twice there, or no UTF-8; numbers that are words", "answer 400", "")
def test_fault_47_keys_that_make_no_sense(server, npy, promise):
    for query in ("sgima=1", "sigma=1&sigma=1", "sigma=%ff", "seed=abc", "seed=1.5", "sigma=", "a=1&" * 40, "=", "&=&"):
        promise(server.post(f"/v1/vocode?{query}", npy))
    assert "did you mean 'sigma'" in server.post("/v1/vocode?sgima=1", npy).json()["message"]
    assert server.post("/v1/vocode?seed=1&seed=2", npy).json()["message"] == "seed is given more than once"


@fault(47, "a body of another type, or packed", "answer 415", "send it as")
def test_fault_47_bodies_of_another_type(server, npy, promise):
    for kind in (
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        promise(server.post("/v1/vocode", npy, kind))
    promise(server.client.post("/v1/vocode", content=npy))
    promise(server.post("/v1/vocode", npy, **{"Content-Encoding": "gzip"}))
    promise(server.post("/v1/likelihood", npy, "image/png"))


def test_json_that_is_deep_or_broken_is_a_body_like_any_other(server):
    for body in (b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{}", b"{", b"null"):
        assert server.post("/v1/vocode", body).status_code == 422
        assert server.post("/v1/vocode", body, "application/json").status_code == 415


@given(st.dictionaries(st.sampled_from(KEYS[:8]) | st.text(max_size=8), st.sampled_from(VALUES) | st.text(max_size=30)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_query_is_answered(server, as_npy, query):
    answer = server.client.post(
        "/v1/vocode", params=query, content=as_npy(np.full((80, 2), -5, np.float32)),
        headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    require_sane(answer)


def require_sane(answer: httpx.Response) -> None:
    """Audio, or a refusal in one sentence."""
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    if answer.status_code != 200:
        told = answer.json()
        assert told.keys() == {"code", "message"}
        assert 0 < len(told["message"]) < 1000
        assert "Traceback" not in told["message"]


# ---- Mutations by seed -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mutated() -> Callable[[bytes, int], bytes]:
    """That of tests/faults/fuzzing.py."""
    path = Path(__file__).parents[1] / "faults" / "fuzzing.py"
    spec = importlib.util.spec_from_file_location("fuzzing", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mutated


@pytest.fixture(scope="module")
def bodies(mel, npy, wav, tone, as_audio, as_npy) -> list[bytes]:
    """Sound bodies of every kind."""
    short = mel[:, :4]
    arrays = [as_npy(short), as_npy(short.astype(np.float64)), as_npy(np.asfortranarray(short)), as_npy(short[None])]
    recordings = [wav[:4044], as_audio(tone[:2000], kind="FLAC"), as_audio(tone[:2000], subtype="FLOAT"),
                  as_audio(tone[:2000], kind="WAVEX", subtype="PCM_24")]  # fmt: skip
    return [*arrays, save({"mel": short}), save({"mel": short, "b": short}), *recordings]


def request_of(seed: int, bodies: list[bytes], mutated: Callable[[bytes, int], bytes]) -> bytes:
    """A request, all of it: now and then as it should be, mostly with something wrong."""
    rng = random.Random(seed)
    call = rng.choice(CALLS)
    fitting = bodies[:6] if call == "vocode" else bodies[6:]
    body = rng.choice(fitting if rng.random() < 0.9 else bodies)
    if rng.random() < 0.8:
        body = mutated(body, seed)
    pairs = [f"{rng.choice(KEYS)}={rng.choice(VALUES)}" for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 5)))]
    kind = rng.choice(TYPES) if rng.random() < 0.1 else TYPES[0]
    framing = f"Content-Length: {len(body)}\r\n"
    if rng.random() < 0.2:
        cut = rng.randint(1, max(1, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        framing = "Transfer-Encoding: chunked\r\n"
    head = f"POST /v1/{call}?{'&'.join(pairs)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    given = f"{head}Content-Type: {kind}\r\n{framing}".encode()
    if rng.random() < 0.1:
        given = mutated(given, seed)
    return given + b"\r\n" + body


def asked(port: int, request: bytes) -> httpx.Response | None:
    """The answer; None where the server waits for more, as for a length that is too large."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
        content = b""
        try:
            client.sendall(request)
            while part := client.recv(1 << 16):
                content += part
        except (TimeoutError, ConnectionError):
            pass
    head, _, body = content.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 ") or not body:
        return None
    length = re.search(rb"\ncontent-length: (\d+)", head, re.IGNORECASE)  # FLAC has none; it is read elsewhere
    return httpx.Response(int(head[9:12]), content=body[: int(length[1]) if length else 0])


def fuzz(server, bodies, mutated, seeds: range) -> Counter[int]:
    """The answers' statuses, eight at a time."""

    def status(seed: int) -> int:
        answer = asked(server.port, request_of(seed, bodies, mutated))
        if answer is None or answer.status_code == 200:
            return 0 if answer is None else 200
        try:
            require_sane(answer)
        except (AssertionError, json.JSONDecodeError) as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(status, seeds))
    assert server.ready()
    server.until(lambda: len(server.children()) <= 1)  # the one that waits for the next recording
    return statuses


def test_any_request_is_answered(server, bodies, mutated):
    statuses = fuzz(server, bodies, mutated, range(120))
    assert not [status for status in statuses if status >= 500], statuses
    assert statuses[0] < 9, statuses
    assert {200, 400, 415, 422} <= statuses.keys(), statuses


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_requests_leave_the_memory_as_it_was(server, bodies, mutated):
    fuzz(server, bodies, mutated, range(1000, 2000))
    before, began = server.metric("process_resident_memory_bytes"), time.monotonic()
    statuses = fuzz(server, bodies, mutated, range(2000, 12_000))
    grown = server.metric("process_resident_memory_bytes") - before
    print(f"{statuses}, {grown / 1e6:.1f} MB more, {time.monotonic() - began:.0f} s")
    assert not [status for status in statuses if status >= 500], statuses
    assert grown < 16e6
