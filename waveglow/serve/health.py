"""GET /health/live, /health/ready, /metrics and /v1/models."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from waveglow.serve.answers import RefusedError
from waveglow.serve.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """The calls that compute nothing."""
    scheduler = service.scheduler

    async def live(request: Request) -> Response:
        if not scheduler.alive:
            raise RefusedError(503, "dead", "the thread that computes has ended; restart the server")
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        if not scheduler.ready:
            raise RefusedError(503, "unavailable", "no request is taken now", retry_after_seconds=1)
        return JSONResponse({"ready": True})

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(service.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def models(request: Request) -> Response:
        if not (about := service.voice.about()):
            raise RefusedError(503, "unavailable", "the model is being warmed up; try again", retry_after_seconds=1)
        return JSONResponse({"models": [about]})

    own_port = service.settings.metrics_port is not None
    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/v1/models", models),
        *([] if own_port else [Route("/metrics", metrics)]),
    ]
