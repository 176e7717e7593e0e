"""POST /v1/vocode, /v1/resynthesize and /v1/likelihood: mels and recordings in, audio or numbers out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from waveglow.audio.io import CHANNELS, Samples
from waveglow.audio.mel_files import LongMelError, MelError, mel_of_bytes, notices
from waveglow.audio.mel_presets import assumed
from waveglow.audio.mel_spec import MelSpec
from waveglow.opening import on_cpu
from waveglow.serve import query
from waveglow.serve.answers import RefusedError, too_large, unusable
from waveglow.serve.decoder import Recording
from waveglow.serve.service import Service
from waveglow.serve.sound import FORMATS, MEDIA_TYPES, content_length, encoded
from waveglow.serve.work import log, watched, while_there

SIGMA = 0.7
MEL_KINDS = ("application/octet-stream",)
AUDIO_KINDS = (
    *("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/flac", "audio/x-flac"),
    "application/octet-stream",
)
SENT_BYTES = 1 << 16  # at a time: what a client must take within `write_seconds`
NOTICE_LETTERS = 500
Known = dict[str, Callable[[str], Any]]


def routes(service: Service) -> list[BaseRoute]:
    """The calls that compute audio, or of audio."""
    calls = {"/v1/vocode": vocode, "/v1/resynthesize": resynthesize, "/v1/likelihood": likelihood}
    return [Route(path, partial(call, service), methods=["POST"]) for path, call in calls.items()]


class Head(NamedTuple):
    """What is known of an answer before its audio: its length, and what was done to the input."""

    samples: int
    notices: tuple[str, ...] = ()


class Piece(NamedTuple):
    """A part of an answer's bytes, the samples that it brought, and the seconds that they took."""

    content: bytes
    samples: int
    seconds: float


async def vocode(service: Service, request: Request) -> Speech:
    """A mel to audio."""
    known: Known = {**_sampling(service), "mel": str, "layout": query.one_of("layout", "auto", "CT", "TC")}
    asked = query.read(request, known)
    query.require_kind(request, MEL_KINDS)
    spec = service.voice.mel_spec
    source = _source(asked.get("mel"), spec)
    most = math.floor(service.settings.max_seconds * spec.sample_rate / spec.hop)
    service.scheduler.require_place()
    body = await service.bodies.read(request)

    def made() -> Iterator[Head | Piece]:
        try:
            mel = mel_of_bytes(body, spec, layout=asked.get("layout", "auto"), assume=source, max_frames=most)
        except LongMelError as error:
            raise too_large(_of_query(str(error))) from error
        except MelError as error:
            raise unusable(_of_query(str(error))) from error
        samples = mel.shape[1] * spec.hop
        yield Head(samples, tuple(_of_query(notice) for notice in notices(mel, spec, assume=source)))
        yield from _spoken(service, mel, asked, samples)

    return Speech(service, asked, made(), call="vocode", done=partial(service.bodies.release, body))


async def resynthesize(service: Service, request: Request) -> Speech:
    """A recording to a mel to audio, of the same length."""
    asked = query.read(request, {**_sampling(service), "channel": query.one_of("channel", *CHANNELS)})
    recording = await recorded(service, request, asked, service.settings.max_seconds)

    def made() -> Iterator[Head | Piece]:
        vocoder = service.voice.vocoder
        yield Head(len(recording.samples), recording.notices)
        mel = on_cpu(vocoder.mel(recording.samples, vocoder.sample_rate))
        yield from _spoken(service, mel, asked, len(recording.samples))

    return Speech(service, asked, made(), call="resynthesize")


async def likelihood(service: Service, request: Request) -> Response:
    """A recording to its log-density, in nats, and to the bits that a code of the model spends on it."""
    known: Known = {"seed": query.seed, "window": _window, "channel": query.one_of("channel", *CHANNELS)}
    asked = query.read(request, known)
    recording = await recorded(service, request, asked, service.settings.max_likelihood_seconds)

    def computed() -> dict[str, Any]:
        return _likelihood(service, recording.samples, asked)

    told = await service.scheduler.once(computed, receive=request.receive, call="likelihood")
    return JSONResponse({**told, "notices": recording.notices})


class Speech:
    """Audio that is sent while it is made. Until its first piece is there, an error is an answer of its own."""

    def __init__(
        self,
        service: Service,
        asked: dict[str, Any],
        made: Iterator[Head | Piece],
        *,
        call: str,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        self.service, self.asked, self.made, self.call, self.done = service, asked, made, call, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            job = self.service.scheduler.submit(self.made, call=self.call)
            async with watched(job, receive):
                head, first = await anext(job), await anext(job)
                assert isinstance(head, Head)
                assert isinstance(first, Piece)
                headers = self._headers(head, first)
                encoded = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers]
                await send({"type": "http.response.start", "status": 200, "headers": encoded})
                await self._send(first, send)
                try:
                    async for piece in job:
                        assert isinstance(piece, Piece)
                        await self._send(piece, send)
                except RefusedError as error:  # its status is out: what can be done is to break off
                    log.warning("%s broke off: %s", self.call, error)
                    return
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.done()

    async def _send(self, piece: Piece, send: Send) -> None:
        self.service.metrics.audio.inc(piece.samples / self.service.voice.mel_spec.sample_rate)
        for at in range(0, len(piece.content), SENT_BYTES):
            part = piece.content[at : at + SENT_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})

    def _headers(self, head: Head, first: Piece) -> list[tuple[str, str]]:
        voice, format = self.service.voice, self.asked.get("format", "wav")
        rate = voice.mel_spec.sample_rate
        factor = first.seconds * rate / max(1, first.samples)
        self.service.metrics.real_time_factor.set(factor)
        length = content_length(format, head.samples)
        refine = self.asked.get("refine")
        return [
            ("Content-Type", MEDIA_TYPES[format]),
            *([("Content-Length", str(length))] if length is not None else []),
            ("X-Sample-Rate", str(rate)),
            ("X-Seed", str(self.asked.get("seed", 0))),
            ("X-Refine", str(voice.refine if refine is None else refine)),
            ("X-Real-Time-Factor", f"{factor:.4f}"),
            *([("X-Notice", "; ".join(head.notices)[:NOTICE_LETTERS])] if head.notices else []),
        ]


@dataclass
class Count:
    """Of samples that were made."""

    samples: int = 0


def _spoken(service: Service, mel: Any, asked: dict[str, Any], samples: int) -> Iterator[Piece]:
    """The answer's bytes of a mel [M, F], cut or filled up to so many samples."""
    vocoder, count = service.voice.vocoder, Count()
    options = {"sigma": asked.get("sigma", SIGMA), "seed": asked.get("seed", 0), "refine": asked.get("refine")}
    pieces = _fitted(map(on_cpu, vocoder.pieces(mel, **options, check=False)), samples, count)
    contents = encoded(pieces, asked.get("format", "wav"), samples=samples, sample_rate=vocoder.sample_rate)
    while True:
        before, began = count.samples, time.monotonic()
        if (content := next(contents, None)) is None:
            return
        yield Piece(content, count.samples - before, time.monotonic() - began)


def _fitted(pieces: Iterable[Samples], samples: int, count: Count) -> Iterator[Samples]:
    """Pieces `[T_i]` that together are `[samples]`. Raises RefusedError where they aren't finite."""
    for piece in pieces:
        if not np.isfinite(piece).all():
            raise unusable("the audio isn't finite: the mel's values are more than the model can compute with")
        fitting = piece[: samples - count.samples]
        count.samples += len(fitting)
        if len(fitting):
            yield fitting
    if count.samples < samples:
        filling = np.zeros(samples - count.samples, np.float32)
        count.samples = samples
        yield filling


def _likelihood(service: Service, samples: Samples, asked: dict[str, Any]) -> dict[str, Any]:
    import torch

    from waveglow.flows.likelihood import bits_per_sample
    from waveglow.vocoder import Vocoder

    vocoder, seed = service.voice.vocoder, asked.get("seed", 0)
    if not isinstance(vocoder, Vocoder):
        vocoder.log_prob(samples, vocoder.sample_rate)  # says why not
        raise AssertionError
    with torch.no_grad():
        by_sample = vocoder.log_prob_by_sample(samples, vocoder.sample_rate, seed=seed).double().cpu()
    nats, window = float(by_sample.sum()), round(asked.get("window", 0) * vocoder.sample_rate)
    if not math.isfinite(nats):
        raise unusable("the likelihood isn't finite: the recording's values are more than the model can compute with")
    return {
        "nats": nats,
        "bits_per_sample": bits_per_sample(-nats / len(by_sample)),
        "samples": len(by_sample),
        "sample_rate": vocoder.sample_rate,
        "seed": seed,
        **({"nats_by_window": [float(part.sum()) for part in by_sample.split(window)]} if window else {}),
    }


async def recorded(service: Service, request: Request, asked: dict[str, Any], max_seconds: float) -> Recording:
    """The body, decoded, at the model's sample rate."""
    query.require_kind(request, AUDIO_KINDS)
    service.scheduler.require_place()
    body = await service.bodies.read(request)
    try:
        decoding = service.decoder.decode(body, channel=asked.get("channel", "mix"), max_seconds=max_seconds)
        return await while_there(decoding, request.receive)
    finally:
        service.bodies.release(body)


def _sampling(service: Service) -> Known:
    """The keys of a call that draws."""
    return {
        "sigma": query.sigma,
        "seed": query.seed,
        "refine": query.refine(service.settings.max_refine),
        "format": query.one_of("format", *FORMATS),
    }


def _source(name: str | None, spec: MelSpec) -> MelSpec | None:
    """The convention that a mel is said to have."""
    try:
        return None if name is None else assumed(name[: query.SHOWN], spec)
    except ValueError as error:
        raise unusable(str(error)) from error


def _window(text: str) -> float:
    value = query.number("window", text)
    if not 0.01 <= value <= 3600:
        raise ValueError(f"window is {value:g}; it must be from 0.01 to 3600 seconds")
    return value


def _of_query(sentence: str) -> str:
    """What the command calls an option is a key here."""
    return sentence.replace("--assume ", "mel=").replace("--layout ", "layout=")
