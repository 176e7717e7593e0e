"""More work than there is time for, clients that leave, machines that break, and the end. machine.py says which seeds
are slow, and which break."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from waveglow import vocoder as module
from waveglow.audio.io import pcm16
from waveglow.vocoder import Vocoder

fault = pytest.mark.fault
MACHINE = (sys.executable, str(Path(__file__).with_name("machine.py")))
PIECE_FRAMES = 16


@pytest.fixture(scope="module")
def machine(tmp_path_factory, serving, tiny) -> Iterator:
    """A server of at most three requests, which wait for at most two seconds."""
    options = ("-c", str(tiny), "--queue", "3", "--deadline", "2", "--drain", "10")
    with serving(tmp_path_factory.mktemp("machine"), *options, command=MACHINE) as running:
        yield running


def idle(running) -> bool:
    return running.metric("waveglow_queue_length") == 0


def upload(running, path: str, body: bytes) -> socket.socket:
    """A request by hand, so that its connection can be cut."""
    client = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return client


@pytest.fixture(scope="module")
def long(as_npy, mel) -> bytes:
    """A mel of 55 pieces."""
    return as_npy(np.tile(mel, 20))


def test_pieces_are_what_the_library_joins(machine, tiny, mel, npy, monkeypatch, one_thread):
    monkeypatch.setattr(module, "MAX_PIECE_FRAMES", PIECE_FRAMES)
    vocoder = Vocoder.load(tiny)
    assert len([*vocoder.pieces(mel)]) > 2

    def ask(seed: int) -> bytes:
        return machine.post(f"/v1/vocode?format=pcm&seed={seed}", npy).content

    with ThreadPoolExecutor(3) as pool:
        together = [*pool.map(ask, range(3))]
    assert together == [pcm16(vocoder.synthesize(mel, seed=seed).numpy()).tobytes() for seed in range(3)]


def test_a_long_request_does_not_hold_up_a_short_one(machine, long, npy):
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(machine.post, "/v1/vocode?seed=1040&refine=0", long)
        machine.until(lambda: not idle(machine))
        assert machine.post("/v1/vocode?refine=0", npy).status_code == 200
        assert not slow.done()
        assert slow.result().status_code == 200


@fault(45, "more requests than the queue holds", "answer 429", "3 requests are being worked on")
def test_fault_45_more_requests_than_the_queue_holds(machine, npy, promise):
    """Three times the load: those who are taken wait no longer than the queue is long."""

    def ask(seed: int) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        answer = machine.post(f"/v1/vocode?refine=0&seed={seed}", npy)
        return answer, time.monotonic() - began

    alone = ask(1100)[1]
    with ThreadPoolExecutor(9) as pool:
        answers = [*pool.map(ask, [1100] * 9)]
    refused = [answer for answer, _ in answers if answer.status_code != 200]
    assert len(refused) == 6
    for answer in refused:
        promise(answer)
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert max(seconds for answer, seconds in answers if answer.status_code == 200) < 3 * alone + 2


@fault(45, "a request that waits for its turn too long", "answer 503", "waited 2 s for its turn")
def test_fault_45_waiting_too_long(machine, as_npy, mel, promise):
    one_piece = as_npy(mel[:, :PIECE_FRAMES])
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(machine.post, "/v1/vocode?seed=4000", one_piece)
        machine.until(lambda: not idle(machine))
        promise(machine.post("/v1/vocode", one_piece))
        assert slow.result().status_code == 200
    machine.until(lambda: idle(machine))


@fault(46, "a client that goes away amid its audio", "cancelled", "within one piece")
def test_fault_46_a_client_that_goes_away_amid_its_audio(machine, long):
    before = machine.metric("waveglow_jobs_total", call="vocode", outcome="cancelled")
    client = upload(machine, "/v1/vocode?seed=1200&refine=0&format=pcm", long)
    assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    client.close()
    machine.until(lambda: idle(machine), 6)  # of the 11 s that the rest would take
    assert machine.metric("waveglow_jobs_total", call="vocode", outcome="cancelled") == before + 1


def test_a_client_that_goes_away_before_its_audio(machine, as_npy, mel):
    before = machine.metric("waveglow_requests_total", call="/v1/vocode", status="499")
    client = upload(machine, "/v1/vocode?seed=1700", as_npy(mel[:, :PIECE_FRAMES]))
    machine.until(lambda: not idle(machine))
    client.close()
    machine.until(lambda: idle(machine))
    machine.until(lambda: machine.metric("waveglow_requests_total", call="/v1/vocode", status="499") == before + 1)


def test_a_client_that_goes_away_amid_its_body(machine, long):
    before = machine.metric("waveglow_jobs_total", call="vocode", outcome="done")
    client = socket.create_connection(("127.0.0.1", machine.port), timeout=10)
    head = "POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    client.sendall(f"{head}Content-Length: {len(long)}\r\n\r\n".encode() + long[:1000])
    client.close()
    time.sleep(0.2)
    assert idle(machine)
    assert machine.metric("waveglow_jobs_total", call="vocode", outcome="done") == before


def test_recordings_that_come_at_once_leave_no_process_behind(machine, wav):
    began = [upload(machine, "/v1/likelihood", wav) for _ in range(6)]
    for client in began[:3]:
        client.close()  # before it is decoded
    for client in began[3:]:
        assert client.recv(100).startswith((b"HTTP/1.1 200", b"HTTP/1.1 429", b"HTTP/1.1 503"))
        client.close()
    machine.until(lambda: len(machine.children()) <= 1)


@pytest.mark.parametrize("seed", [13, 14])
@fault(48, "a GPU's error or lack of memory within a request", "answer 503", "ran out of memory or lost its device")
def test_fault_48_a_request_that_breaks_the_machine(machine, npy, promise, seed):
    reloads = machine.metric("waveglow_reloads_total")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(machine.post, "/v1/vocode?seed=1100&refine=0", npy)
        machine.until(lambda: not idle(machine))
        promise(machine.post(f"/v1/vocode?seed={seed}", npy))
        assert machine.client.get("/health/ready").status_code == 503
        assert machine.client.get("/health/live").status_code == 200
        refused = machine.post("/v1/vocode", npy)
        assert (refused.status_code, refused.json()["message"]) == (503, "the model is being loaded; try again later")
        assert other.result().status_code == 200
    machine.until(machine.ready)
    assert machine.metric("waveglow_reloads_total") == reloads + 1
    assert machine.post("/v1/vocode", npy).status_code == 200


def test_a_client_that_takes_nothing_costs_no_more_than_a_few_pieces(machine, as_npy, mel):
    """What is made ahead of it is bounded, and the others don't notice."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", machine.port))
    body, before = as_npy(np.tile(mel, 50)), machine.metric("waveglow_jobs_total", call="vocode", outcome="done")
    head = (
        "POST /v1/vocode?refine=0&format=pcm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    )
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    machine.until(lambda: not idle(machine))
    made = [-1.0, machine.metric("waveglow_busy_seconds_total")]
    while made[-1] > made[-2]:
        time.sleep(0.3)
        made.append(machine.metric("waveglow_busy_seconds_total"))
    assert not idle(machine)
    assert machine.metric("waveglow_jobs_total", call="vocode", outcome="done") == before
    client.close()
    machine.until(lambda: idle(machine))


@pytest.fixture(scope="module")
def ending(tmp_path_factory, serving, tiny) -> Iterator:
    """A server that has four seconds to end, and counts at another port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    options = ("-c", str(tiny), "--drain", "4", "--metrics-port", port)
    with serving(tmp_path_factory.mktemp("ending"), *options, command=MACHINE) as running:
        running.metrics_url = f"http://127.0.0.1:{port}/metrics"
        yield running


def test_metrics_may_have_a_port_of_their_own(ending):
    assert ending.client.get("/metrics").status_code == 404
    assert ending.metric("waveglow_ready") == 1


@fault(49, "SIGTERM to a server", "answer 503", "the server is stopping")
def test_fault_49_sigterm(ending, npy, long, promise):
    """What runs is finished while nothing new is taken; what takes longer than --drain is cut; the exit code is 0."""
    endless = upload(ending, "/v1/vocode?seed=1300&refine=0", long)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ending.post, "/v1/vocode?seed=1100&refine=0", npy)
        ending.until(lambda: ending.metric("waveglow_queue_length") == 2)
        began = time.monotonic()
        ender = threading.Thread(target=ending.end)
        ender.start()
        ending.until(lambda: not ending.ready())
        promise(ending.post("/v1/vocode", npy))
        assert running.result().status_code == 200
        assert len(running.result().content) == 44 + 2 * 44 * 256
    ender.join(90)
    assert ending.process.returncode == 0
    assert time.monotonic() - began < 14
    endless.close()
