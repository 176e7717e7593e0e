"""A client of `waveglow serve`, without torch: for programs that ask for audio, call after call or with asyncio.

Mels are [M, F] as of `Vocoder.mel`, audio int16 [T] at the server's rate. It takes the extra `client`.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
import numpy as np
import numpy.typing as npt
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

Pcm = npt.NDArray[np.int16]
Mel = npt.ArrayLike
Latency = Literal["exact", "low"]
LOCAL = "http://127.0.0.1:8000"
SECONDS = 600.0  # for an answer, which may have to wait for its turn
FRAMES_AT_ONCE = 512  # of a message, and so of a piece of a stream at most
AHEAD_FRAMES = 1024  # sent beyond what a stream waits for
BYTES = {"Content-Type": "application/octet-stream"}
# Pings are answered behind what was sent before them, by a server that may be busy; one that is left is not waited for.
PATIENT: Any = {"max_size": None, "ping_interval": None, "close_timeout": 1}
END = json.dumps({"end": True})


class ServerError(RuntimeError):
    """What a server said instead of an answer: an HTTP `status`, a `code` for programs, and its sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Client:
    """Calls of the server at `url`; `token` is what it was started with.

    What isn't given is as the server has it; `convention` names that of the mel, where it isn't the server's. All raise
    ServerError, and httpx.TransportError or OSError where no server answers within `seconds`.
    """

    def __init__(self, url: str = LOCAL, *, token: str | None = None, seconds: float = SECONDS) -> None:
        self._url, self._headers = url.rstrip("/"), _bearer(token)
        self._http = httpx.Client(base_url=self._url, headers=self._headers, timeout=seconds)

    def models(self) -> list[dict[str, Any]]:
        """What is served: names, sample rates, mel conventions, how streams wait."""
        return list(_told(self._http.get("/v1/models"))["models"])

    def vocode(
        self,
        mel: Mel,
        *,
        sigma: float | None = None,
        seed: int | None = None,
        refine: int | None = None,
        convention: str | None = None,
    ) -> Pcm:
        """Audio of a whole mel."""
        asked = _query(sigma=sigma, seed=seed, refine=refine, mel=convention, format="pcm")
        return _pcm(self._http.post("/v1/vocode", content=_npy(mel), headers=BYTES, params=asked))

    def resynthesize(
        self,
        recording: str | Path | bytes,
        *,
        sigma: float | None = None,
        seed: int | None = None,
        refine: int | None = None,
    ) -> Pcm:
        """Copy-synthesis of a WAV or FLAC file, given by name or as its content."""
        asked = _query(sigma=sigma, seed=seed, refine=refine, format="pcm")
        return _pcm(self._http.post("/v1/resynthesize", content=_content(recording), headers=BYTES, params=asked))

    def likelihood(self, recording: str | Path | bytes, *, seed: int | None = None) -> dict[str, Any]:
        """Exact nats and bits per sample of a recording."""
        asked = _query(seed=seed)
        return _told(self._http.post("/v1/likelihood", content=_content(recording), headers=BYTES, params=asked))

    def stream(
        self,
        mels: Iterable[Mel],
        *,
        sigma: float | None = None,
        seed: int | None = None,
        refine: int | None = None,
        latency: Latency | None = None,
        gather: int | None = None,
        convention: str | None = None,
    ) -> Iterator[Pcm]:
        """Audio while the mel is still arriving: chunks [M, F] to pieces, as of `Vocoder.stream`.

        `mels` is asked for chunks on a thread of its own; what it raises is raised here.
        """
        asked = _query(sigma=sigma, seed=seed, refine=refine, latency=latency, gather=gather, mel=convention)
        failed: list[Exception] = []
        with _refusals(), connect(_ws(self._url, asked), additional_headers=self._headers, **PATIENT) as socket:
            window = _Window()
            threading.Thread(target=_feed, args=(socket, mels, failed, window), daemon=True).start()
            try:
                for message in socket:
                    window.came(message)
                    if (piece := _piece(message)) is not None:
                        yield piece
            finally:
                window.close()
            if failed:
                raise failed[0]


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(self, url: str = LOCAL, *, token: str | None = None, seconds: float = SECONDS) -> None:
        self._url, self._headers = url.rstrip("/"), _bearer(token)
        self._http = httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=seconds)

    async def models(self) -> list[dict[str, Any]]:
        """As of `Client`."""
        return list(_told(await self._http.get("/v1/models"))["models"])

    async def vocode(
        self,
        mel: Mel,
        *,
        sigma: float | None = None,
        seed: int | None = None,
        refine: int | None = None,
        convention: str | None = None,
    ) -> Pcm:
        """As of `Client`."""
        asked = _query(sigma=sigma, seed=seed, refine=refine, mel=convention, format="pcm")
        return _pcm(await self._http.post("/v1/vocode", content=_npy(mel), headers=BYTES, params=asked))

    async def resynthesize(
        self,
        recording: str | Path | bytes,
        *,
        sigma: float | None = None,
        seed: int | None = None,
        refine: int | None = None,
    ) -> Pcm:
        """As of `Client`."""
        asked = _query(sigma=sigma, seed=seed, refine=refine, format="pcm")
        return _pcm(await self._http.post("/v1/resynthesize", content=_content(recording), headers=BYTES, params=asked))

    async def likelihood(self, recording: str | Path | bytes, *, seed: int | None = None) -> dict[str, Any]:
        """As of `Client`."""
        asked = _query(seed=seed)
        return _told(await self._http.post("/v1/likelihood", content=_content(recording), headers=BYTES, params=asked))

    async def stream(
        self,
        mels: Iterable[Mel] | AsyncIterable[Mel],
        *,
        sigma: float | None = None,
        seed: int | None = None,
        refine: int | None = None,
        latency: Latency | None = None,
        gather: int | None = None,
        convention: str | None = None,
    ) -> AsyncIterator[Pcm]:
        """As of `Client`; chunks may come from an asynchronous iterator, or a plain one, which is asked on a thread."""
        asked = _query(sigma=sigma, seed=seed, refine=refine, latency=latency, gather=gather, mel=convention)
        with _refusals():
            async with connect_async(_ws(self._url, asked), additional_headers=self._headers, **PATIENT) as socket:
                feeding = asyncio.create_task(_feed_async(socket, mels))
                try:
                    async for message in socket:
                        if (piece := _piece(message)) is not None:
                            yield piece
                    await feeding  # raises what the mels did
                finally:
                    feeding.cancel()


class _Window:
    """How far frames may be ahead of their audio. A connection that is full of them would keep its own reader out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ahead, self._most, self._hop = 0.0, AHEAD_FRAMES, 1
        self._closed = False

    def sends(self, frames: int) -> None:
        """Waits until so many may be sent."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ahead < self._most)
            self._ahead += frames

    def came(self, message: str | bytes) -> None:
        """Audio makes room; the first message tells what a stream waits for, and a frame's samples."""
        with self._changed:
            if isinstance(message, bytes):
                self._ahead -= len(message) / 2 / self._hop
            elif "hop" in (told := json.loads(message)):
                self._hop, self._most = told["hop"], AHEAD_FRAMES + told["context"]["after"] + told["gather"]
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody listens any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _feed(socket: ClientConnection, mels: Iterable[Mel], failed: list[Exception], window: _Window) -> None:
    try:
        for mel in mels:
            for message in _messages(mel):
                window.sends(len(message) // (4 * np.shape(mel)[0]))
                socket.send(message)
        socket.send(END)
    except ConnectionClosed:  # the reader learns why
        pass
    except Exception as error:
        failed.append(error)
        socket.close()


async def _feed_async(socket: AsyncConnection, mels: Iterable[Mel] | AsyncIterable[Mel]) -> None:
    try:
        async for mel in mels if isinstance(mels, AsyncIterable) else _on_threads(mels):
            for message in _messages(mel):
                await socket.send(message)
        await socket.send(END)
    except ConnectionClosed:  # the reader learns why
        pass
    except Exception:
        await socket.close()
        raise


async def _on_threads(mels: Iterable[Mel]) -> AsyncIterator[Mel]:
    iterator, end = iter(mels), object()
    while (mel := await asyncio.to_thread(next, iterator, end)) is not end:
        yield mel  # type: ignore[misc]


@contextmanager
def _refusals() -> Iterator[None]:
    """What ends a connection, as ServerError."""
    try:
        yield
    except InvalidStatus as error:
        raise _error(error.response.status_code, error.response.body) from error
    except ConnectionClosed as error:
        raise ServerError(503, "gone", f"the server closed the stream before its end ({error})") from error


def _piece(message: str | bytes) -> Pcm | None:
    """Audio of a message; None of one that tells something. Raises ServerError."""
    if isinstance(message, bytes):
        return np.frombuffer(message, "<i2")
    told = json.loads(message)
    if "code" in told:
        raise ServerError(told["status"], told["code"], told["message"])
    return None


def _told(response: httpx.Response) -> dict[str, Any]:
    """JSON of an answer. Raises ServerError."""
    return dict(json.loads(_checked(response)))


def _pcm(response: httpx.Response) -> Pcm:
    """Audio of an answer. Raises ServerError."""
    return np.frombuffer(_checked(response), "<i2")


def _checked(response: httpx.Response) -> bytes:
    if response.is_success:
        return response.content
    raise _error(response.status_code, response.content)


def _error(status: int, body: bytes | bytearray | None) -> ServerError:
    try:
        told = json.loads(body or b"")
        return ServerError(status, told["code"], told["message"])
    except (ValueError, TypeError, KeyError):  # of something else between here and there
        return ServerError(status, "unknown", f"the server answered {status}")


def _query(**asked: Any) -> dict[str, Any]:
    return {key: value for key, value in asked.items() if value is not None}


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _ws(url: str, asked: dict[str, Any]) -> str:
    return f"ws{url.removeprefix('http')}/v1/stream?{urlencode(asked)}"


def _npy(mel: Mel) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(mel, np.float32))
    return buffer.getvalue()


def _messages(mel: Mel) -> Iterator[bytes]:
    """A chunk [M, F] as messages of frames. Raises ValueError for another shape."""
    frames = np.asarray(mel, "<f4").T
    if frames.ndim != 2:
        raise ValueError(f"a chunk has shape {list(frames.T.shape)}; give [n_mels, frames]")
    for first in range(0, len(frames), FRAMES_AT_ONCE):
        yield np.ascontiguousarray(frames[first : first + FRAMES_AT_ONCE]).tobytes()


def _content(recording: str | Path | bytes) -> bytes:
    return recording if isinstance(recording, bytes) else Path(recording).read_bytes()
