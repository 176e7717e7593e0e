"""HTTP/1.1 with limits of time: uvicorn waits for the head of a request, and for an answer to be taken, for ever."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from waveglow.serve.settings import Settings

CHUNK_BYTES = 1 << 16  # of an answer that a client must take within `write_seconds`


def protocol(settings: Settings) -> type[H11Protocol]:
    """uvicorn's protocol with the limits of `settings`: connections, the time of a head, the time of an answer."""

    class Limited(H11Protocol):
        head: asyncio.TimerHandle | None = None
        stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # told of every byte that the client hasn't taken
            if len(self.connections) > settings.connections:
                self._hang_up(503, "connections", f"{settings.connections} connections are open, no more are taken")
            else:
                self.head = self.loop.call_later(settings.header_seconds, self._late)

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            if self.stalled is not None:
                self.stalled.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            waits = self.conn.their_state is h11.IDLE  # for the head of a request, or the rest of it
            if not waits:
                self._disarm()
            elif self.head is None:
                self.head = self.loop.call_later(settings.header_seconds, self._late)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stalled = self.loop.call_later(settings.write_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            if self.stalled is not None:
                self.stalled.cancel()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            self._hang_up(400, "malformed", "no HTTP/1.1 request that can be read")

        def _disarm(self) -> None:
            if self.head is not None:
                self.head.cancel()
                self.head = None

        def _late(self) -> None:
            self._hang_up(408, "too_slow", f"the head of a request took more than {settings.header_seconds:g} s")

        def _hang_up(self, status: int, code: str, message: str) -> None:
            """Answer outside of any request, and close."""
            self._disarm()
            if self.transport.is_closing():
                return
            if self.cycle is not None:  # whose answer this one replaces
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = json.dumps({"code": code, "message": message}).encode()
                again = [(b"retry-after", b"1")] if status == 503 else []
                kind = (b"content-type", b"application/json")
                length = (b"content-length", str(len(body)).encode())
                headers = [kind, length, *again, (b"connection", b"close")]
                events: list[Any] = [
                    h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ]
                self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
            self.transport.close()

    return Limited


def socket_protocol(settings: Settings) -> type[WebSocketsSansIOProtocol]:
    """uvicorn's protocol of WebSockets with the limit of `settings` on how long a client may leave what it is sent."""

    class Limited(WebSocketsSansIOProtocol):
        stalled: asyncio.TimerHandle | None = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._taken()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._taken()
            self.stalled = self.loop.call_later(settings.write_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._taken()
            super().resume_writing()

        async def send(self, message: Any) -> None:
            await self.writable.wait()
            if self.close_sent:  # by uvicorn itself, of which the application knows nothing yet
                raise ClientDisconnected
            await super().send(message)

        def send_receive_event_to_app(self) -> None:
            if self.curr_msg_data_type == "text":  # what is no UTF-8 is refused as any other text
                self.frames = [b"".join(self.frames).decode(errors="replace").encode()]
            super().send_receive_event_to_app()

        def _taken(self) -> None:
            if self.stalled is not None:
                self.stalled.cancel()
                self.stalled = None

    return Limited
