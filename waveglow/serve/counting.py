"""Counts every answer by its call and status."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waveglow.serve.answers import stopping
from waveglow.serve.metrics import Metrics

STATUS_OF_CLOSE = 4000  # what a WebSocket is closed with above an HTTP status
GONE = "499"  # as nginx has it: the client left before an answer began


class Counting:
    """Middleware around all others. `calls`: the paths that are counted by name; the rest are "other"."""

    def __init__(self, app: ASGIApp, metrics: Metrics, calls: frozenset[str]) -> None:
        self.app, self.metrics, self.calls = app, metrics, calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        call, began, status = scope["path"] if scope["path"] in self.calls else "other", time.monotonic(), GONE

        async def counting(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind == "websocket.accept":
                status = "101"
            elif kind.endswith("http.response.start"):
                status = str(message["status"])
            elif kind == "websocket.close" and message.get("code", 1000) > STATUS_OF_CLOSE:
                status = str(message["code"] - STATUS_OF_CLOSE)
            elif (kind == "http.response.body" or message.get("bytes") is not None) and began_only_once(scope):
                self.metrics.first_byte.labels(call).observe(time.monotonic() - began)
            await send(message)

        try:
            await self.app(scope, receive, counting)
        except asyncio.CancelledError:  # by uvicorn, at the very end
            if status == GONE and scope["type"] == "http":
                await stopping().response()(scope, receive, counting)
        finally:
            self.metrics.requests.labels(call, status).inc()


def began_only_once(scope: Scope) -> bool:
    """True the first time that a scope is asked about."""
    first = "waveglow.began" not in scope
    scope["waveglow.began"] = True
    return first
