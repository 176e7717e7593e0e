"""WS /v1/stream: mel frames in, audio out as soon as it can be.

What comes in is bounded: a client that sends faster than its audio is made finds the connection full, and so does a
job whose client doesn't read. Pieces are those of `Vocoder.stream` for chunks that are the messages, bit for bit.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from waveglow.audio.io import pcm16
from waveglow.audio.mel import convert
from waveglow.audio.mel_comparison import compare
from waveglow.audio.mel_presets import assumed
from waveglow.audio.mel_spec import MelSpec
from waveglow.bench.pace import LATENCIES, context_of
from waveglow.config import from_json
from waveglow.opening import on_cpu
from waveglow.pieces import Stream
from waveglow.serve import query
from waveglow.serve.answers import RefusedError, malformed, too_large, unusable
from waveglow.serve.counting import STATUS_OF_CLOSE
from waveglow.serve.guard import BEARER
from waveglow.serve.service import Service
from waveglow.serve.work import WAIT, Job, Signal

FRAMES_AT_ONCE = 512  # longer messages are worked on so many at a time, so that others have their turns
WAITING_FRAMES = 2048  # may have arrived and not been worked on
TEXT_LETTERS = 1000  # of a message
REASON_BYTES = 120  # of a close frame, which has 123
CALL = "stream"
SIGMA = 0.7
Mel = npt.NDArray[np.float32]


def routes(service: Service) -> list[BaseRoute]:
    """The call that streams."""
    return [WebSocketRoute("/v1/stream", partial(stream, service))]


async def stream(service: Service, socket: WebSocket) -> None:
    """One stream, from its handshake to its close. Whatever a client sends, it is told in a sentence what was wrong."""
    offered = socket.scope["subprotocols"]
    named = [name for name in offered if not name.startswith(BEARER)]
    with suppress(WebSocketDisconnect):
        await socket.accept(next(iter([*named, *offered]), None))
        try:
            await _Streaming(service, socket).run()
        except RefusedError as refusal:
            told = {"status": refusal.status, "code": refusal.code, "message": refusal.message}
            await socket.send_json(told)
            reason = refusal.message.encode()[:REASON_BYTES].decode(errors="ignore")
            await socket.close(STATUS_OF_CLOSE + refusal.status, reason)


class _Streaming:
    """What a stream was asked, the frames that wait, and the job that works on them."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self.service, self.socket = service, socket
        service.scheduler.require_place(CALL, at_most=service.settings.streams)  # where there is no model now, too
        vocoder, settings = service.voice.vocoder, service.settings
        asked = query.read(
            socket,
            {
                "sigma": query.sigma,
                "seed": query.seed,
                "refine": query.refine(settings.max_refine),
                "latency": query.one_of("latency", *LATENCIES),
                "gather": _gather,
                "mel": str,
            },
        )
        self.spec = vocoder.mel_spec
        self.source = self._convention(asked.pop("mel", None))
        latency = asked.pop("latency", "exact")
        asked = {"sigma": SIGMA, "seed": 0, "refine": vocoder.refinement.stream_steps, **asked}
        try:
            context = context_of(vocoder, latency, asked["refine"])
            asked.setdefault("gather", service.voice.gather(latency, asked["refine"]))
            opened = vocoder.open_stream(**asked, context=context, check=self.source is None)
            before, after = vocoder.stream_context(asked["refine"]) if context is None else (context, context)
        except ValueError as error:
            raise unusable(str(error)) from error
        self.stream: Stream[Any] = opened
        self.about = {
            "sample_rate": self.spec.sample_rate,
            "hop": self.spec.hop,
            "n_mels": (self.source or self.spec).n_mels,
            "latency": latency,
            "context": {"before": before, "after": after},
            **asked,
        }
        self.most = math.floor(settings.max_seconds * self.spec.sample_rate / self.spec.hop)
        self.frames = self.taken = self.samples = 0  # that arrived; of these, worked on; that were made
        self.chunks: deque[Mel] = deque()
        self.ended = False
        self.room = asyncio.Event()
        self.refused: RefusedError | WebSocketDisconnect | None = None

    async def run(self) -> None:
        """Raises RefusedError, and WebSocketDisconnect where the client has gone."""
        scheduler, rate = self.service.scheduler, self.spec.sample_rate
        job = scheduler.submit(self._pieces(), call=CALL, at_most=self.service.settings.streams)
        reading = asyncio.create_task(self._read(job))
        try:
            await self.socket.send_json(self.about)
            async for pcm in job:
                self.room.set()
                if isinstance(self.refused, WebSocketDisconnect):
                    raise self.refused
                await self.socket.send_bytes(pcm)
                self.service.metrics.audio.inc(len(pcm) / 2 / rate)
            self._require_welcome()
            factor = job.busy_seconds * rate / self.samples if self.samples else None
            await self.socket.send_json({"end": True, "samples": self.samples, "real_time_factor": factor})
            await self.socket.close()
        except RefusedError:  # of the job, which what the client did may have ended
            self._require_welcome()
            raise
        finally:
            reading.cancel()
            job.cancel()

    def _require_welcome(self) -> None:
        if self.refused is not None:
            raise self.refused

    def _pieces(self) -> Iterator[bytes | Signal]:
        """The job: PCM of each piece. On the thread that computes."""
        while self.chunks or not self.ended:
            if not self.chunks:
                yield WAIT
                continue
            chunk = self.chunks.popleft()
            self.taken += chunk.shape[1]
            if (piece := self.stream.feed(chunk)) is not None:
                yield self._pcm(piece)
        if (piece := self.stream.end()) is not None:
            yield self._pcm(piece)

    def _pcm(self, piece: Any) -> bytes:
        audio = on_cpu(piece)
        if not np.isfinite(audio).all():
            raise unusable("the audio isn't finite: the mel's values are more than the model can compute with")
        self.samples += len(audio)
        return pcm16(audio).tobytes()

    @property
    def waiting(self) -> int:
        """Frames that arrived and weren't worked on."""
        return self.frames - self.taken

    async def _read(self, job: Job[bytes]) -> None:
        """Takes what the client sends, until it goes; a mistake ends the job."""
        try:
            while True:
                while self.waiting > max(WAITING_FRAMES, self.stream.missing):
                    self.room.clear()
                    await self.room.wait()
                self._take(await self._message())
                if self.ended or self.waiting >= self.stream.missing:
                    job.wake()
        except (RefusedError, WebSocketDisconnect) as reason:
            self.refused = reason
            job.cancel()

    async def _message(self) -> str | bytes:
        idle = None if self.ended else self.service.settings.idle_seconds
        try:
            message = await asyncio.wait_for(self.socket.receive(), idle)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise RefusedError(
                408, "too_slow", f'no message came for {idle:g} s; send frames as they are made, or {{"end": true}}'
            ) from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        content = message.get("bytes")
        return message.get("text") or "" if content is None else content

    def _take(self, message: str | bytes) -> None:
        if self.ended:
            raise malformed("a message came after the end of the stream; open another")
        if isinstance(message, str):
            self._end(message)
            return
        n_mels = self.about["n_mels"]
        if not message or len(message) % (4 * n_mels):
            raise malformed(
                f"a message has {len(message)} bytes; it must be frames of {n_mels} float32, {4 * n_mels} bytes each"
            )
        mel = np.frombuffer(message, "<f4").reshape(-1, n_mels).T.astype(np.float32)
        if not np.isfinite(mel).all():
            raise unusable("the mel has NaN or infinite values; repair or drop the clip")
        self.frames += mel.shape[1]
        if self.frames > self.most:
            raise too_large(
                f"the stream has more than {self.most} frames ({self.service.settings.max_seconds:g} s); open another"
            )
        converted = mel if self.source is None else convert(mel, self.source, replace(self.spec, layout="CT"))
        cuts = range(FRAMES_AT_ONCE, mel.shape[1], FRAMES_AT_ONCE)
        self.chunks.extend(np.ascontiguousarray(chunk) for chunk in np.split(converted, cuts, axis=1))

    def _end(self, text: str) -> None:
        try:
            told = from_json(text) if len(text) <= TEXT_LETTERS else None
        except ValueError:
            told = None
        if told != {"end": True} or told["end"] is not True:
            raise malformed(f'a text message is {text[: query.SHOWN]!r}; the only one is {{"end": true}}')
        self.ended = True

    def _convention(self, name: str | None) -> MelSpec | None:
        """That of the mels, where it isn't the model's."""
        if name is None:
            return None
        try:
            source = replace(assumed(name[: query.SHOWN], self.spec), layout="CT")
        except ValueError as error:
            raise unusable(str(error)) from error
        found = compare(source, self.spec)
        if found.kind == "incompatible":
            raise unusable(f"mel={name} doesn't serve the model: {found.reason}")
        return source


def _gather(text: str) -> int:
    value = query.whole("gather", text)
    if not 1 <= value <= FRAMES_AT_ONCE:
        raise ValueError(f"gather is {text[: query.SHOWN]}; it must be from 1 to {FRAMES_AT_ONCE} frames")
    return value
