"""Bodies: read within a limit of bytes, of time, and of what all of them together hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waveglow.serve.answers import RefusedError, gone, too_large
from waveglow.serve.settings import Settings

AT_ONCE = 4  # bodies of the largest size that are in memory together
LINGER_SECONDS, QUIET_SECONDS = 2.0, 0.5


class Bodies:
    """Reads bodies. `held`: bytes of those that are being read or worked on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = 0

    async def read(self, request: Request) -> bytes:
        """The whole body; to be given back with `release`.

        Raises RefusedError: 413, 408, 503 where the server holds too many, 400 where the client left.
        """
        declared = request.headers.get("content-length", "0")
        self._require_small(int(declared) if declared.isdecimal() else 0)
        body, ends = bytearray(), time.monotonic() + self.settings.body_seconds
        try:
            while True:
                message = await self._message(request, ends)
                if message["type"] == "http.disconnect":
                    raise gone()
                part = message.get("body", b"")
                self.held += len(part)
                body += part
                self._require_small(len(body))
                if not message.get("more_body", False):
                    return bytes(body)
        except BaseException:
            self.release(body)
            raise

    def release(self, body: bytes | bytearray) -> None:
        """It is needed no more."""
        self.held -= len(body)

    async def _message(self, request: Request, ends: float) -> Message:
        try:
            return await asyncio.wait_for(request.receive(), max(0.0, ends - time.monotonic()))
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise RefusedError(
                408, "too_slow", f"the body took more than {self.settings.body_seconds:g} s to arrive"
            ) from error

    def _require_small(self, n_bytes: int) -> None:
        if n_bytes > self.settings.max_bytes:
            raise too_large(f"the body has {n_bytes} bytes or more; at most {self.settings.max_bytes} are taken")
        if self.held > AT_ONCE * self.settings.max_bytes:
            raise RefusedError(
                503, "unavailable", "the bodies of other requests fill the memory; try again later",
                retry_after_seconds=1,
            )  # fmt: skip


class Lingering:
    """Middleware: a client that is answered before all of its body was read still gets the answer.

    The rest is thrown away for a while before the connection is closed; closed at once, it would be reset under the
    client's hands, and the answer lost.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        asked = "expect" in headers  # the client waits, and sends no more where it is answered

        async def receiving() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            if unread and not asked and message["type"] == "http.response.body" and not message.get("more_body"):
                await send({**message, "more_body": True})
                await _drained(receiving, lambda: unread)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self.app(scope, receiving, sending)


async def _drained(receive: Receive, unread: Callable[[], bool]) -> None:
    """Read on until the end, for a while, and as long as something comes."""
    ends = time.monotonic() + LINGER_SECONDS
    with suppress(TimeoutError, asyncio.TimeoutError):
        while unread():
            await asyncio.wait_for(receive(), min(QUIET_SECONDS, max(0.0, ends - time.monotonic())))
