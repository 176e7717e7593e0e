"""The application: calls, the guard around them, and errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from waveglow.serve import health, images, mel, site, streaming, synthesis
from waveglow.serve.answers import RefusedError
from waveglow.serve.bodies import Lingering
from waveglow.serve.counting import Counting
from waveglow.serve.guard import Guard
from waveglow.serve.service import Service

ROOMS = (health, synthesis, streaming, mel, images, site)  # each has `routes(service)`


def build_app(service: Service) -> Starlette:
    """The application of a service, whose thread runs as long as it."""

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        service.scheduler.start()
        await service.decoder.start()
        yield
        await service.decoder.close()
        service.scheduler.close()

    routes: list[BaseRoute] = [route for room in ROOMS for route in room.routes(service)]
    calls = frozenset(route.path for route in routes if isinstance(route, Route | WebSocketRoute))
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Counting, metrics=service.metrics, calls=calls),
            Middleware(Lingering),
            Middleware(Guard, settings=service.settings),
        ],
        exception_handlers={RefusedError: _refused, HTTPException: _not_a_call},
        lifespan=running,
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return error.response()


async def _not_a_call(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, what = {404: ("not_found", "no such call"), 405: ("method", f"not by {request.method}")}.get(
        error.status_code, ("malformed", error.detail)
    )
    response = RefusedError(error.status_code, code, f"{request.url.path[:200]}: {what}").response()
    response.headers.update(error.headers or {})
    return response
