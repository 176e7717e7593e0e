"""WS /v1/stream gives, joined, what the library's stream gives, bit for bit; what else a client may send is told."""

from __future__ import annotations

import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from waveglow.audio.io import pcm16
from waveglow.audio.mel import convert, preset
from waveglow.vocoder import Vocoder

END = '{"end": true}'
RATE = 22_050


@pytest.fixture(scope="module")
def vocoder(tiny):
    """The library's, on as many threads as the server has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Vocoder.load(tiny)
    torch.set_num_threads(threads)


def opened(server, **asked):
    url = f"ws{server.url.removeprefix('http')}/v1/stream?{urlencode(asked)}"
    return connect(url, ping_interval=None, max_size=None)


def message(mel: np.ndarray) -> bytes:
    return np.ascontiguousarray(mel.T, "<f4").tobytes()


def streamed(server, chunks, **asked) -> tuple[dict, np.ndarray, dict]:
    """(What the server said first, the audio, what it said at the end)."""
    with opened(server, **asked) as ws:
        told = json.loads(ws.recv())
        for chunk in chunks:
            ws.send(message(chunk))
        ws.send(END)
        *audio, last = ws
    return told, np.frombuffer(b"".join(audio), "<i2"), json.loads(last)


def refusal(ws) -> tuple[int, dict]:
    """(The code that the server closed with, what it said before)."""
    told = [json.loads(m) for m in received(ws) if isinstance(m, str)]
    assert ws.close_code - 4000 == told[-1]["status"], told
    return ws.close_code, told[-1]


def received(ws):
    try:
        yield from ws
    except ConnectionClosed:
        return


@pytest.mark.parametrize("chunk", [1, 7, 44])
@pytest.mark.parametrize("asked", [{}, {"latency": "low", "seed": 5, "sigma": 0.5}, {"refine": 2, "gather": 3}])
def test_joined_it_is_the_librarys_stream(server, vocoder, mel, chunk, asked):
    chunks = np.split(mel, range(chunk, mel.shape[1], chunk), axis=1)
    told, audio, last = streamed(server, chunks, **asked)
    given = {key: told[key] for key in ("sigma", "seed", "refine", "gather")}
    assert given.items() >= {key: value for key, value in asked.items() if key != "latency"}.items()
    context = told["context"]["after"] if told["latency"] == "low" else None
    pieces = [*vocoder.stream(chunks, **given, context=context)]
    assert np.array_equal(audio, pcm16(torch.cat(pieces).numpy()))
    assert (last["end"], last["samples"]) == (True, mel.shape[1] * 256)
    assert last["real_time_factor"] > 0


def test_low_latency_waits_for_fewer_frames(server, vocoder, mel):
    exact, low = (streamed(server, [mel], latency=latency, refine=10)[0] for latency in ("exact", "low"))
    assert exact["context"]["after"] == vocoder.stream_context(10).after > 16
    assert low["context"] == {"before": 16, "after": 16}
    assert 1 <= low["gather"] <= exact["gather"]


def test_models_tell_how_streams_wait(server, mel):
    about = server.client.get("/v1/models").json()["models"][0]["streams"]
    for latency, stream in about.items():
        told = streamed(server, [mel], latency=latency)[0]
        assert (told["gather"], told["context"]["after"]) == (stream["gather"], stream["context"])
        assert stream["first_audio_seconds"] > (stream["context"] + stream["gather"]) * 256 / RATE
    assert set(about) == {"exact", "low"}


def test_the_first_audio_comes_as_soon_as_it_can(server, mel):
    with opened(server, gather=1, latency="low", refine=10) as ws:
        told = json.loads(ws.recv())
        needed = told["context"]["after"] + 1
        ws.send(message(mel[:, : needed - 1]))
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.3)
        ws.send(message(mel[:, needed - 1 : needed]))
        assert len(ws.recv(timeout=10)) == 2 * 256


def test_streams_side_by_side_are_those_one_after_the_other(server, mel):
    asked = [{"seed": seed, "gather": 4} for seed in range(6)]
    chunks = np.split(mel, range(5, mel.shape[1], 5), axis=1)
    serial = [streamed(server, chunks, **one)[1] for one in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = [*pool.map(lambda one: streamed(server, chunks, **one)[1], asked)]
    assert all(map(np.array_equal, together, serial))
    assert not np.array_equal(serial[0], serial[1])


def test_messages_of_many_frames_are_worked_on_so_many_at_a_time(server, vocoder, mel):
    long = np.tile(mel, 26)[:, :1100]
    told, audio, _ = streamed(server, [long], gather=1, refine=0)
    pieces = [*vocoder.stream(np.split(long, [512, 1024], axis=1), refine=0)]
    assert np.array_equal(audio, pcm16(torch.cat(pieces).numpy()))
    assert told["gather"] == 1


def test_a_mel_of_another_convention_is_converted(server, vocoder, mel):
    own, other = vocoder.mel_spec, preset("hifigan")
    theirs = convert(mel, own, other)
    _, audio, _ = streamed(server, [theirs], mel="hifigan", gather=1)
    assert np.array_equal(audio, pcm16(torch.cat([*vocoder.stream([convert(theirs, other, own)])]).numpy()))


def test_a_stream_of_nothing_is_nothing(server):
    _, audio, last = streamed(server, [])
    assert (len(audio), last) == (0, {"end": True, "samples": 0, "real_time_factor": None})


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"sigma": "nan"}, 422, "sigma is nan; it must be a finite number"),
        ({"sigma": "-1"}, 422, "sigma is -1"),
        ({"seed": str(2**80)}, 422, "seed is"),
        ({"seed": "x"}, 400, "seed is 'x', no whole number"),
        ({"refine": "5000"}, 422, "refine is 5000"),
        ({"latency": "none"}, 422, "latency is 'none', which is unknown; known: exact, low"),
        ({"gather": "0"}, 422, "gather is 0; it must be from 1 to 512 frames"),
        ({"gather": "1000000000"}, 422, "gather is 1000000000; it must be from 1 to 512 frames"),
        ({"mel": "bigvgan-44k-512"}, 422, "doesn't serve the model"),
        ({"mel": "nowhere"}, 422, "nowhere"),
        ({"sigmal": "1"}, 400, "unknown key 'sigmal'; did you mean 'sigma'"),
    ],
)
def test_what_cannot_be_asked(server, asked, status, says):
    with opened(server, **asked) as ws:
        code, told = refusal(ws)
    assert (code, told["status"]) == (4000 + status, status)
    assert says in told["message"]
    assert told["message"].startswith(ws.close_reason)


FRAME = b"\0" * 320


@pytest.mark.parametrize(
    ("messages", "status", "says"),
    [
        ([FRAME[1:]], 400, "a message has 319 bytes; it must be frames of 80 float32, 320 bytes each"),
        ([b""], 400, "a message has 0 bytes"),
        ([np.full(80, np.nan, "<f4").tobytes()], 422, "the mel has NaN or infinite values"),
        ([np.full(80, np.inf, "<f4").tobytes()], 422, "the mel has NaN or infinite values"),
        ([np.full(80 * 300, 40, "<f4").tobytes()], 422, "the mel looks"),
        (["hello"], 400, "a text message is 'hello'; the only one is"),
        ([""], 400, "a text message is ''"),
        (['{"end": 1}'], 400, "a text message is"),
        (['{"end": true, "x": 2}'], 400, "a text message is"),
        (["[" * 900], 400, "a text message is"),
        (["x" * 100_000], 400, "a text message is"),
        ([END, END], 400, "a message came after the end"),
        ([END, FRAME], 400, "a message came after the end"),
    ],
)
def test_what_is_no_stream_is_told(server, messages, status, says):
    with opened(server, gather=100) as ws:
        for one in messages:
            ws.send(one)
        _, told = refusal(ws)
    assert told["status"] == status
    assert says in told["message"]
    assert server.ready()


def raw(server, path: str = "/v1/stream", **headers: str) -> socket.socket:
    """A connection after its handshake, for what no WebSocket library sends."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    given = {
        "Host": f"127.0.0.1:{server.port}", "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    sock.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert sock.recv(4096).startswith(b"HTTP/1.1 101")
    return sock


def framed(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A masked frame, its mask 0."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 127]) + struct.pack(">Q", size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + b"\0\0\0\0" + payload


def rest(sock: socket.socket) -> bytes:
    sock.settimeout(10)
    heard = b""
    while part := sock.recv(1 << 16):
        heard += part
        if b"\x88" in part[-130:]:
            break
    return heard


@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        (framed(1, b"\xff\xfe"), b"a text message is"),
        (framed(2, b"\0" * ((1 << 20) + 4)), b"\x03\xf1"),  # 1009
        (framed(2, b"\0" * (1 << 19), fin=False) + framed(0, b"\0" * (1 << 20)), b"\x03\xf1"),
        (framed(3, b""), b"\x03\xea"),  # 1002
        (framed(0, b"x"), b"\x03\xea"),
        (b"\x82\x05hello", b"\x03\xea"),  # not masked
        (framed(8, b"\x03\xe8"), b"\x88\x02\x03\xe8"),
    ],
)
def test_frames_that_no_client_sends(server, sent, heard):
    with raw(server) as sock:
        sock.sendall(sent)
        assert heard in rest(sock)
    assert server.ready()


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_client_that_goes_away_costs_no_more_than_a_piece_or_two(server, mel, abrupt):
    cancelled = server.metric("waveglow_jobs_total", call="stream", outcome="cancelled")
    made, long = server.metric("waveglow_audio_seconds_total"), np.tile(mel, 46)
    sock = raw(server, "/v1/stream?refine=100&gather=1&latency=low")
    sock.sendall(b"".join(framed(2, message(long[:, i : i + 40])) for i in range(0, 2000, 40)))
    if abrupt:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    server.until(lambda: server.metric("waveglow_jobs_total", call="stream", outcome="cancelled") > cancelled)
    server.until(lambda: server.metric("waveglow_queue_length") == 0)
    assert server.metric("waveglow_audio_seconds_total") - made < 10 * 40 * 256 / RATE  # of 50 pieces


@pytest.fixture(scope="module")
def strict(tmp_path_factory, serving, tiny):
    """A server of small limits."""
    options = (
        "--streams",
        "2",
        "--idle-seconds",
        "0.4",
        "--write-seconds",
        "1",
        "--max-seconds",
        "1",
        "--token",
        "abc",
    )
    with serving(tmp_path_factory.mktemp("strict"), "-c", str(tiny), *options) as running:
        running.client.headers["Authorization"] = "Bearer abc"
        yield running


def with_token(server, **asked):
    url = f"ws{server.url.removeprefix('http')}/v1/stream?{urlencode(asked)}"
    return connect(url, ping_interval=None, additional_headers={"Authorization": "Bearer abc"})


def test_who_may_call_is_asked_of_streams_too(strict, server):
    for headers, target, status in (
        ({}, strict, 401),
        ({"Authorization": "Bearer abd"}, strict, 401),
        ({"Origin": "http://example.org"}, server, 403),
    ):
        with pytest.raises(InvalidStatus) as error:
            connect(f"ws{target.url.removeprefix('http')}/v1/stream", additional_headers=headers)
        assert error.value.response.status_code == status
        assert json.loads(error.value.response.body)["message"]
    url = f"ws{strict.url.removeprefix('http')}/v1/stream"
    with connect(url, subprotocols=["waveglow", "bearer.abc"]) as ws:
        assert ws.subprotocol == "waveglow"


def test_a_stream_that_falls_silent_is_closed(strict):
    with with_token(strict) as ws:
        _, told = refusal(ws)
    assert (told["status"], told["code"]) == (408, "too_slow")


def test_a_stream_has_so_many_frames(strict, mel):
    with with_token(strict, gather=1, refine=0) as ws:
        for _ in range(3):
            ws.send(message(mel))
        _, told = refusal(ws)
    assert told["status"] == 413
    assert "more than 86 frames (1 s)" in told["message"]


def test_so_many_streams_at_a_time(strict):
    strict.until(lambda: strict.metric("waveglow_queue_length") == 0)
    with with_token(strict) as a, with_token(strict) as b:
        a.recv()
        b.recv()
        with with_token(strict) as third:
            _, told = refusal(third)
    assert (told["status"], told["code"]) == (429, "busy")
    assert strict.metric("waveglow_requests_total", call="/v1/stream", status="429") >= 1


def test_a_client_that_sends_and_does_not_read_is_hung_up_on(tmp_path, serving, mel):
    """And the server doesn't grow by what it sends, faster than it is served; of noise, which costs next to nothing."""
    options = ("-c", "noise", "--mel", "hifigan", "--write-seconds", "0.5", "--max-seconds", "10000")
    with serving(tmp_path, *options) as server:
        memory = server.metric("process_resident_memory_bytes")
        with raw(server, "/v1/stream?refine=0&gather=1") as sock:
            sock.settimeout(15)
            frames = framed(2, message(np.tile(mel, 11)[:, :400])) * 500
            with pytest.raises(OSError, match=r"reset|Broken"):
                sock.sendall(frames)
            server.until(lambda: server.metric("waveglow_queue_length") == 0)
            assert server.metric("process_resident_memory_bytes") - memory < 64 << 20
            assert 0 < server.metric("waveglow_audio_seconds_total") < 0.5 * 500 * 400 * 256 / RATE
