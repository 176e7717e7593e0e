"""A server from its settings to its exit code."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import prometheus_client
import uvicorn

from waveglow.serve.app import build_app
from waveglow.serve.protocol import protocol, socket_protocol
from waveglow.serve.service import Service
from waveglow.serve.settings import Settings
from waveglow.serve.voice import Voice

if TYPE_CHECKING:
    from waveglow.export.onnx_runtime import OnnxVocoder
    from waveglow.vocoder import Vocoder

WS_MAX_BYTES = 1 << 20  # of a message
UNTAKEN_BYTES = 1 << 17  # of an answer in the system's hands, which would hold megabytes: clients that stop are noticed
CUT_SECONDS = 2.0  # in which the piece that is being computed ends
EVERYWHERE = ("0.0.0.0", "::")


def serve(load: Callable[[], Vocoder | OnnxVocoder], settings: Settings, *, name: str) -> int:
    """Serve the vocoder that `load` gives until SIGTERM or Ctrl-C; returns the exit code.

    Raises ValueError where it can't listen, and what `load` does.
    """
    listening = listen(settings.host, settings.port)
    with listening:
        service = Service(Voice(load, name=name), settings)
        if settings.metrics_port is not None:
            listen(settings.host, settings.metrics_port).close()
            prometheus_client.start_http_server(
                settings.metrics_port, addr=settings.host, registry=service.metrics.registry
            )
        _say(settings, listening.getsockname()[1], name)
        server = Server(service)
        server.run(sockets=[listening])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ValueError that says what to do."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNTAKEN_BYTES)
        try:
            listening.bind(address)
            listening.listen(128)  # so that a second server sees that it is taken
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"can't listen at {host}, port {port} ({reason}); give another --port (0 takes any that is free) or --host"
        ) from error
    return listening


class Server(uvicorn.Server):
    """uvicorn that goes on answering while it finishes what runs, and then exits with 0."""

    def __init__(self, service: Service) -> None:
        self.service = service
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                build_app(service),
                http=protocol(settings),
                ws=socket_protocol(settings),
                ws_max_size=WS_MAX_BYTES,
                ws_ping_timeout=None,  # a client that is made to wait answers behind what it has sent
                ws_per_message_deflate=False,  # a message's size is what it costs
                log_level="error",  # what clients send wrong is in the metrics, or anybody could fill the disk
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
                lifespan="on",
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends what is accepted, the second ends all."""
        if self.service.scheduler.stopping:
            self.should_exit = self.force_exit = True
            return
        self.service.scheduler.stopping = True
        self._stop_at = time.monotonic() + self.service.settings.drain

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        scheduler = self.service.scheduler
        if scheduler.stopping and not len(scheduler):
            self.should_exit = True
        elif scheduler.stopping and time.monotonic() > self._stop_at:
            scheduler.cut()
            self.should_exit = time.monotonic() > self._stop_at + CUT_SECONDS
        return await super().on_tick(counter)


def _say(settings: Settings, port: int, name: str) -> None:
    host = "127.0.0.1" if settings.host in EVERYWHERE else settings.host
    if settings.host in EVERYWHERE and not settings.token:
        print(
            f"waveglow serve: {settings.host} is every network of this machine, and no --token is asked for: anybody "
            "there can use it",
            file=sys.stderr,
        )
    print(f"{name} at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
