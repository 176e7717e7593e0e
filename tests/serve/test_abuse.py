"""Clients that mean ill, against a server whose limits are low: what they get, and that the others don't notice."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

fault = pytest.mark.fault
TOKEN = "correct-horse"
MAX_BYTES, HEADER_SECONDS, BODY_SECONDS, CONNECTIONS = 100_000, 0.6, 1.0, 20
OPTIONS = (
    *("--max-bytes", str(MAX_BYTES), "--header-seconds", str(HEADER_SECONDS), "--body-seconds", str(BODY_SECONDS)),
    *("--write-seconds", "1", "--connections", str(CONNECTIONS), "--max-seconds", "3", "--max-likelihood-seconds", "1"),
    *("--allow-host", "tts.example.org", "--allow-origin", "https://page.example.org"),
)
POST = "POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
KNOWN = f"Authorization: Bearer {TOKEN}\r\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory, serving, tiny) -> Iterator:
    """A server of low limits that asks for a token."""
    folder = tmp_path_factory.mktemp("strict")
    with serving(folder, "-c", str(tiny), *OPTIONS, WAVEGLOW_TOKEN=TOKEN) as running:
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield running


def connected(running, receive_bytes: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(10)
    client.connect(("127.0.0.1", running.port))
    return client


def answer_of(client: socket.socket) -> httpx.Response:
    """What is read until the server closes."""
    content = b""
    while part := client.recv(1 << 16):
        content += part
    client.close()
    head, _, body = content.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return httpx.Response(int(status.split()[1]), headers=[tuple(line.split(": ", 1)) for line in lines], content=body)


# ---- Bodies and heads without end ------------------------------------------------------------------------------------


@fault(44, "a body that says it is too large", "answer 413", "at most 100000 are taken")
def test_fault_44_a_body_that_says_it_is_too_large(strict, promise):
    client = connected(strict)
    client.sendall(f"{POST}{KNOWN}Content-Length: {10**12}\r\n\r\n".encode())
    promise(answer_of(client))


@fault(44, "a body in chunks without end", "answer 413", "at most 100000 are taken")
def test_fault_44_a_body_in_chunks_without_end(strict, promise):
    before = strict.metric("process_resident_memory_bytes")
    client, sent = connected(strict), 0
    client.sendall(f"{POST}{KNOWN}Transfer-Encoding: chunked\r\n\r\n".encode())
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    ends = time.monotonic() + 10
    try:
        while time.monotonic() < ends:
            client.sendall(chunk)
            sent += 1 << 16
            client.settimeout(0.01)
            try:
                if client.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                client.settimeout(10)
    except ConnectionError:
        pass
    client.settimeout(10)
    promise(answer_of(client))
    assert sent > MAX_BYTES
    assert strict.metric("process_resident_memory_bytes") < before + (32 << 20)


def test_who_sends_all_of_a_large_body_first_still_gets_the_answer(strict):
    """As most clients do; closed at once, the connection would be reset, and the answer lost."""
    client, body = connected(strict), bytes(1 << 20)
    client.sendall(f"{POST}{KNOWN}Content-Length: {20 * len(body)}\r\n\r\n".encode())
    for _ in range(20):
        client.sendall(body)
    answer = answer_of(client)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@fault(44, "a body that comes too slowly", "answer 408", "the body took more than 1 s to arrive")
def test_fault_44_a_body_that_comes_too_slowly(strict, promise):
    client, began = connected(strict), time.monotonic()
    client.sendall(f"{POST}{KNOWN}Content-Length: 1000\r\n\r\n".encode())
    for _ in range(7):
        client.sendall(b"x")
        time.sleep(0.2)
    promise(answer_of(client))
    assert time.monotonic() - began < BODY_SECONDS + 4


@fault(44, "a head that comes too slowly", "answer 408", "the head of a request took more than 0.6 s")
def test_fault_44_heads_that_come_too_slowly(strict, promise):
    """Slow-loris: many connections, a byte now and then. Others are served meanwhile."""
    clients = [connected(strict) for _ in range(CONNECTIONS - 5)]
    for client in clients:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    silent = connected(strict)
    ends = time.monotonic() + HEADER_SECONDS / 2
    while time.monotonic() < ends:
        for client in clients:
            client.sendall(b"x")
        assert strict.client.get("/v1/models").status_code == 200
        time.sleep(0.05)
    for client in [*clients, silent]:
        promise(answer_of(client))


def test_a_slow_head_after_a_quick_one_is_no_better(strict):
    client = connected(strict)
    client.sendall(f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{KNOWN}\r\n".encode())
    assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
    client.sendall(b"GET /v1/models HTTP/1.1\r\n")
    assert answer_of(client).status_code == 408


def test_more_connections_than_are_taken(strict):
    strict.client.get("/health/live")
    clients = [connected(strict) for _ in range(CONNECTIONS - 1)]
    refused = answer_of(connected(strict))
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "connections", "1")
    assert strict.client.get("/health/live").status_code == 200
    for client in clients:
        client.close()


def test_who_takes_no_answer_loses_the_connection(strict, as_npy, mel):
    body = as_npy(np.tile(mel, 5)[:, :218])
    client = connected(strict, 2048)
    client.sendall(f"{POST}{KNOWN}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    time.sleep(0.3)
    client.sendall(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{KNOWN}\r\n".encode() * 100)
    lost = []

    def is_lost() -> bool:
        try:
            client.send(b"\r\n")
        except OSError as error:
            lost.append(error)
        return bool(lost)

    strict.until(is_lost, 10)
    client.close()


# ---- Who may call ----------------------------------------------------------------------------------------------------


@fault(50, "a call under a name that isn't the server's, as after DNS rebinding", "answer 403", "isn't called")
def test_fault_50_another_host(strict, promise):
    promise(strict.client.get("/v1/models", headers={"Host": "evil.example.com"}))
    promise(strict.client.get("/v1/models", headers={"Host": "localhost.evil.example.com:80"}))
    for name in (
        "localhost",
        f"127.0.0.1:{strict.port}",
        "[::1]:80",
        "10.1.2.3",
        "tts.example.org",
        "TTS.example.org:80",
    ):
        assert strict.client.get("/v1/models", headers={"Host": name}).status_code == 200


@fault(50, "a call from a page elsewhere", "answer 403", "may not call this server")
def test_fault_50_another_origin(strict, promise):
    for origin in ("https://evil.example.com", "null", "http://localhost:1", "https://page.example.org.evil.com"):
        promise(strict.client.get("/v1/models", headers={"Origin": origin}))
    own = f"http://127.0.0.1:{strict.port}"
    answer = strict.client.get("/v1/models", headers={"Origin": own})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)


def test_a_page_that_is_allowed_may_call(strict):
    origin = {"Origin": "https://page.example.org"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Authorization": ""}
    preflight = strict.client.options("/v1/vocode", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, origin["Origin"])
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    answer = strict.client.get("/v1/models", headers=origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin["Origin"])


@fault(50, "a call without the token", "answer 401", "Authorization: Bearer TOKEN")
def test_fault_50_without_the_token(strict, promise):
    for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"):
        promise(strict.client.get("/v1/models", headers={"Authorization": given.encode("latin-1")}))
        promise(strict.client.get("/metrics", headers={"Authorization": given.encode("latin-1")}))
    assert strict.client.get("/health/ready", headers={"Authorization": ""}).status_code == 200


def test_the_token_is_in_no_argument_and_no_answer(strict):
    assert TOKEN not in strict.client.get("/metrics").text
    assert TOKEN not in strict.errors.read_text()


def test_it_listens_to_this_machine_alone(strict):
    with socket.socket() as client:
        client.settimeout(2)
        with pytest.raises(OSError, match=r"refused|timed out|reach"):
            client.connect(("127.0.0.2", strict.port))


@fault(50, "a path, where a convention is named", "answer 422", "unknown mel preset '/etc/passwd'")
def test_fault_50_paths_are_names(strict, npy, promise):
    promise(strict.post("/v1/vocode?mel=/etc/passwd", npy))
    promise(strict.post("/v1/vocode?mel=%2Fetc%2Fpasswd", npy))
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"):
        assert strict.client.get(path).status_code == 404


def test_every_answer_forbids_what_browsers_could_make_of_it(strict):
    for answer in (strict.client.get("/v1/models"), strict.client.get("/nothing"), strict.post("/v1/vocode", b"")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


# ---- Bodies that aren't what they say --------------------------------------------------------------------------------


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """Of an .npy file, without values."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def tensors(head: object, data: bytes = b"") -> bytes:
    """A .safetensors file of that head."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


HUGE = {"mel": {"dtype": "F32", "shape": [80, 10**12], "data_offsets": [0, 320 * 10**12]}}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "neither .npy nor .safetensors"),
        (header((80, 10**12)), "the header promises 320000000000000 bytes"),
        (header((80, -1)), "no valid .npy file|the header promises"),
        (header((80, 0)), "a mel is [n_mels, frames], not empty"),
        (header((80, 2), "|O") + bytes(1000), "holds object"),
        (header((80, 2), "<i4") + bytes(640), "holds int32"),
        (header((3, 2)) + bytes(24), "one side must be the 80 mel bins"),
        (header((80, 2)) + np.full(160, np.nan, "<f4").tobytes(), "NaN or infinite"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "is .npy of version (9, 0)"),
        (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00c__builtin__\nexec\n", "neither .npy nor .safetensors"),
        (tensors(HUGE), "no valid .safetensors file"),
        (tensors(b"[" * 60_000), "no valid .safetensors file"),
        (tensors(b"\xff\xfe{}"), "no valid .safetensors file"),
        (struct.pack("<Q", 2**63) + bytes(99), "neither .npy nor .safetensors"),
        (tensors({"mel": {"dtype": "I64", "shape": [80, 1], "data_offsets": [0, 640]}}, bytes(640)), "holds I64"),
        (tensors({}), "holds 0 arrays"),
    ],
)  # fmt: skip
def test_mels_that_are_none(strict, body, says):
    answer = strict.post("/v1/vocode", body)
    assert answer.status_code == 422, answer.text
    assert any(words in answer.json()["message"] for words in says.split("|")), answer.text


def test_more_frames_than_are_taken(strict, as_npy):
    answer = strict.post("/v1/vocode", as_npy(np.full((80, 300), -5, np.float16)))
    assert (answer.status_code, answer.json()["message"]) == (413, "body: has 300 frames; at most 258 are taken")


def riff(coding: int, *, bits: int = 16, channels: int = 1, claimed: int | None = None, extra: bytes = b"") -> bytes:
    """A WAV of 1000 samples."""
    data, block = bytes(2000), channels * bits // 8
    kind = b"fmt " + struct.pack("<IHHIIHH", 16, coding, channels, 22_050, 22_050 * block, block, bits)
    size = len(data) if claimed is None else claimed
    return b"RIFF" + struct.pack("<I", 2036) + b"WAVE" + kind + extra + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (riff(0x11, bits=4), 415, "coding is 0x11 with 4 bits"),  # IMA ADPCM
        (riff(0x02, bits=4), 415, "coding is 0x2"),  # Microsoft's
        (riff(0x07, bits=8), 415, "coding is 0x7"),  # µ-law
        (riff(0x55), 415, "coding is 0x55"),  # MP3
        (riff(0xFFFE), 415, "coding is 0xfffe"),
        (riff(1, extra=riff(0x11)[12:36]), 422, "two format chunks"),
        (riff(1, channels=0), 422, "0 channels"),
        (riff(1, channels=9), 422, "9 channels"),
        (riff(1, claimed=9000), 422, "its header promises 7000 bytes more"),
        (riff(1)[:40], 422, "data chunk is missing"),
        (b"RIFF\x00\x00\x00\x00WAVEdata" + bytes(100), 422, "no format chunk"),
        (b"RF64" + bytes(100), 415, "no recording that is taken"),
        (b"OggS" + bytes(100), 415, "no recording that is taken"),
        (b"", 415, "no recording that is taken"),
        (b"fLaC" + bytes(100), 422, "no audio that can be decoded"),
        (riff(3, bits=32)[:44] + np.full(500, np.nan, "<f4").tobytes(), 422, "sample 0 is nan"),
        (riff(3, bits=32)[:44] + np.full(500, 9.0, "<f4").tobytes(), 422, "full scale is 1"),
    ],
)
def test_recordings_that_are_none(strict, body, status, says):
    answer = strict.post("/v1/resynthesize", body, "audio/wav")
    assert (answer.status_code, says in answer.json()["message"]) == (status, True), answer.text


def test_recordings_that_are_too_long(strict, as_audio):
    long = as_audio(np.zeros(4000 * 4), 4000, kind="FLAC")  # 4 s in a few hundred bytes
    assert len(long) < 3000
    told = strict.post("/v1/resynthesize", long, "audio/flac")
    assert (told.status_code, told.json()["message"]) == (413, "the recording has 4 s; at most 3 are taken")
    told = strict.post("/v1/likelihood", as_audio(np.zeros(4000 * 2), 4000), "audio/wav")
    assert (told.status_code, told.json()["message"]) == (413, "the recording has 2 s; at most 1 are taken")


def test_a_recording_that_unpacks_to_more_memory_than_it_may_have(strict, as_audio):
    """A header may lie about its length, and each of its blocks may be honest: the process is small."""
    body = bytearray(as_audio(np.zeros((20_000, 8)), 192_000, kind="FLAC"))
    body[21:26] = bytes([body[21] & 0xF0, 0x00, 0x08, 0x00, 0x00])  # 524 288 samples
    assert strict.post("/v1/resynthesize", bytes(body), "audio/flac").status_code == 422
    assert strict.client.get("/health/live").status_code == 200
