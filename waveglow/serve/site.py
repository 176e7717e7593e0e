"""GET / and /page/…: the page. Its files are read once, so that nothing in a request is ever a path of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waveglow.serve.service import Service

PAGE = Path(__file__).with_name("page")
TYPES = {
    "css": "text/css; charset=utf-8",
    "flac": "audio/flac",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-cache",
}


def routes(service: Service) -> list[BaseRoute]:
    """The page and what belongs to it."""
    files = dict(_files())

    async def send(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise HTTPException(404)
        content = files[name]
        tag = f'"{sha256(content).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**HEADERS, "ETag": tag})
        return Response(content, headers={**HEADERS, "ETag": tag, "Content-Type": TYPES[name.rpartition(".")[2]]})

    return [Route("/", send), Route("/page/{name:path}", send)]


def _files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of each."""
    for path in PAGE.rglob("*"):
        if path.suffix[1:] in TYPES:
            yield path.relative_to(PAGE).as_posix(), path.read_bytes()
