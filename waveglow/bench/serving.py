"""A server under load: how long requests and streams take, how many are refused, whether its memory stays where it is.

The server is a process of its own, started for it, and so are the clients of another: this one. A client asks again as
soon as it has its answer; one that is refused waits a little.
"""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import torch
from websockets.exceptions import WebSocketException

from waveglow.audio.mel_spec import MelSpec
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.signals import hum
from waveglow.bench.measuring import progress, require_positive
from waveglow.bench.table import Column, Row, Table
from waveglow.client import AsyncClient, ServerError
from waveglow.config import from_mapping

CONCURRENCY = (1, 4, 16, 64)
READY_SECONDS = 120.0
FAILURES = (ServerError, httpx.HTTPError, WebSocketException, OSError)
REFUSED_SECONDS = 0.1  # before a client that was refused asks again
STREAM_CHUNK = 10  # frames that arrive at once, at the pace of speech
REPORTS = 5
PERCENTILES = (50, 95, 99)
COLUMNS = (
    Column("clients", "clients"),
    *(Column(f"p{p}_seconds", f"p{p}, s", ".3f") for p in PERCENTILES),
    *(Column(f"first_p{p}_seconds", f"first byte p{p}, s", ".3f") for p in (50, 95)),
    Column("audio_seconds_per_second", "audio, s/s", ".1f"),
    Column("accepted", "accepted"),
    Column("refused", "refused"),
    Column("failed", "failed"),
)
MEMORY = (Column("requests", "requests"), Column("mib", "memory, MiB", ".1f"))


@dataclass
class Load:
    """What clients met with: seconds of whole answers, and to their first byte."""

    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0

    def row(self, clients: int, audio_seconds: float, took: float) -> Row:
        """Of a table; `audio_seconds` is that of an answer."""
        accepted = len(self.seconds)
        whole = {f"p{p}_seconds": _percentile(self.seconds, p) for p in PERCENTILES}
        first = {f"first_p{p}_seconds": _percentile(self.first, p) for p in (50, 95)}
        rate = {"audio_seconds_per_second": accepted * audio_seconds / took}
        counts = {"accepted": accepted, "refused": self.refused, "failed": self.failed}
        return {"clients": clients, **whole, **first, **rate, **counts}


def tables(
    checkpoint: Path,
    *,
    clients: Sequence[int] = CONCURRENCY,
    seconds: float = 2.0,
    level_seconds: float = 20.0,
    requests: int = 1000,
    threads: int | None = None,
    device: str | None = None,
) -> Iterator[Table]:
    """Requests by number of clients, streams by number of clients, and memory by number of requests.

    Arguments:
        checkpoint: of the vocoder that is served, with the server's usual limits.
        clients: so many at a time.
        seconds: of audio that a request or a stream asks for.
        level_seconds: for each number of clients, after which the requests that run are finished.
        requests: by which the memory is told, of a quarter of a second each.
        threads, device: of the server.

    Raises ValueError for a number that isn't above 0, and for a server that doesn't start.
    """
    for name, value in (("seconds", seconds), ("level_seconds", level_seconds), ("requests", requests)):
        require_positive(name, value)
    require_positive("clients", *clients)
    with started(checkpoint, threads=threads, device=device) as url:
        spec = from_mapping(MelSpec, httpx.get(f"{url}/v1/models").json()["models"][0]["mel"], "mel")
        mel, audio = mel_of(spec, seconds), seconds
        title = f"of {audio:g} s by number of clients"
        yield Table(f"Requests {title}", COLUMNS, _levels(url, mel, spec, clients, level_seconds, requested))
        note = f"first byte: from the first frame on; {STREAM_CHUNK} frames arrive at once, at the pace of speech"
        yield Table(f"Streams {title}", COLUMNS, _levels(url, mel, spec, clients, level_seconds, streamed), [note])
        yield Table("Memory of the server", MEMORY, asyncio.run(_memory(url, mel_of(spec, 0.25), requests)))


@contextmanager
def started(checkpoint: Path, *, threads: int | None, device: str | None) -> Iterator[str]:
    """The URL of a server that is ready, ended afterwards. Raises ValueError where it doesn't start."""
    options = {"--threads": threads, "--device": device}
    given = [str(word) for option, value in options.items() if value is not None for word in (option, value)]
    command = [sys.executable, "-m", "waveglow.cli.main", "serve", "-c", str(checkpoint), "--port", "0", *given]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise ValueError(f"the server didn't start; `waveglow serve -c {checkpoint}` says why")
        _await_ready(found[0])
        yield found[0]
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


def _await_ready(url: str) -> None:
    limit = time.monotonic() + READY_SECONDS
    while time.monotonic() < limit:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise ValueError(f"the server wasn't ready after {READY_SECONDS:g} s")


def mel_of(spec: MelSpec, seconds: float) -> npt.NDArray[np.float32]:
    """A hum [M, F]."""
    audio = torch.as_tensor(hum(seconds, spec.sample_rate)).float()[None]
    mel = MelSpectrogram(spec).of_any_length(audio)[0]
    return np.asarray(mel, np.float32)


Ask = Callable[[httpx.AsyncClient, AsyncClient, npt.NDArray[np.float32], MelSpec], Awaitable[tuple[float, float]]]


async def requested(
    http: httpx.AsyncClient, client: AsyncClient, mel: npt.NDArray[np.float32], spec: MelSpec
) -> tuple[float, float]:
    """Seconds of one request, to its first byte and to its last."""
    body = io.BytesIO()
    np.save(body, mel)
    began, first = time.perf_counter(), 0.0
    kind = {"Content-Type": "application/octet-stream"}
    async with http.stream("POST", "/v1/vocode?format=pcm", content=body.getvalue(), headers=kind) as answer:
        async for _ in answer.aiter_raw():
            first = first or time.perf_counter() - began
        if answer.is_error:
            raise ServerError(answer.status_code, "refused", "")
    return first, time.perf_counter() - began


async def streamed(
    http: httpx.AsyncClient, client: AsyncClient, mel: npt.NDArray[np.float32], spec: MelSpec
) -> tuple[float, float]:
    """Seconds of one stream, from its first frame to the first audio and to the last."""
    began, first = time.perf_counter(), 0.0

    async def speaking() -> Iterator[npt.NDArray[np.float32]]:  # type: ignore[misc]
        for at in range(0, mel.shape[1], STREAM_CHUNK):
            late = began + at * spec.hop / spec.sample_rate - time.perf_counter()
            await asyncio.sleep(max(0.0, late))
            yield mel[:, at : at + STREAM_CHUNK]

    async for _ in client.stream(speaking()):
        first = first or time.perf_counter() - began
    return first, time.perf_counter() - began


def _levels(
    url: str, mel: npt.NDArray[np.float32], spec: MelSpec, concurrency: Sequence[int], seconds: float, ask: Ask
) -> list[Row]:
    rows = []
    for clients in concurrency:
        progress(f"{clients} clients, {ask.__name__}")
        began = time.perf_counter()
        load = asyncio.run(_level(url, mel, spec, clients, began + seconds, ask))
        audio = mel.shape[1] * spec.hop / spec.sample_rate
        rows.append(load.row(clients, audio, time.perf_counter() - began))
    return rows


async def _level(url: str, mel: npt.NDArray[np.float32], spec: MelSpec, clients: int, until: float, ask: Ask) -> Load:
    load, client = Load(), AsyncClient(url)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as http:

        async def one() -> None:
            while time.perf_counter() < until:
                try:
                    first, whole = await ask(http, client, mel, spec)
                except FAILURES as error:
                    refused = getattr(error, "status", None) in (429, 503)
                    load.refused += refused
                    load.failed += not refused
                    await asyncio.sleep(REFUSED_SECONDS)
                else:
                    load.first.append(first)
                    load.seconds.append(whole)

        await asyncio.gather(*(one() for _ in range(clients)))
    return load


async def _memory(url: str, mel: npt.NDArray[np.float32], requests: int) -> list[Row]:
    """Before, on the way, and after so many requests, of four clients."""
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:

        async def resident() -> float | None:
            found = re.search(r"^process_resident_memory_bytes (\S+)$", (await http.get("/metrics")).text, re.MULTILINE)
            return float(found[1]) / 2**20 if found else None

        rows, done, client = [{"requests": 0, "mib": await resident()}], 0, AsyncClient(url)
        while done < requests:
            batch = min(-(-requests // REPORTS), requests - done)
            left = iter(range(batch))

            async def one(left: Iterator[int] = left) -> None:
                for _ in left:
                    await client.vocode(mel)

            await asyncio.gather(*(one() for _ in range(4)))
            done += batch
            rows.append({"requests": done, "mib": await resident()})
            progress(f"{done} requests, {rows[-1]['mib']} MiB")
    return rows


def _percentile(values: list[float], percent: int) -> float | None:
    return float(np.percentile(values, percent)) if values else None
