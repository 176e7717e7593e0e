"""Who may call: the names that the server is called by, pages of other origins, and a token. HTTP and WebSockets alike.

A page elsewhere can make a browser send requests here, and by rebinding its own name to this address even read the
answers; so `Host` must be this machine's or a known name, and `Origin`, where there is one, the same or a known one.
"""

from __future__ import annotations

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waveglow.serve.answers import RefusedError, malformed
from waveglow.serve.settings import Settings

WITHOUT_TOKEN = ("/", "/page/", "/health/")  # paths, or what they begin with: no secrets, and no work
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
SHOWN = "X-Sample-Rate, X-Seed, X-Refine, X-Real-Time-Factor, X-Notice, Retry-After"
BEARER = "bearer."  # before the token in a WebSocket's subprotocols: pages can't send Authorization with those


class Guard:
    """Middleware around all calls: refuses before anything is read, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope)
        origin = given.get("origin")

        async def completed(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, **self._cross_origin(origin)}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._admit(scope, given)
        except RefusedError as refusal:
            await refusal.response()(scope, receive, completed)
            return
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and self._cross_origin(origin):
            await Response(status_code=204)(scope, receive, completed)
        else:
            await self.app(scope, receive, completed)

    def _admit(self, scope: Scope, given: Headers) -> None:
        """Raises RefusedError."""
        hosts, origins = given.getlist("host"), given.getlist("origin")
        if len(hosts) != 1 or len(origins) > 1:
            raise malformed(f"the request has {len(hosts)} Host and {len(origins)} Origin headers; one Host is needed")
        if not self._own_name(hosts[0]):
            raise RefusedError(
                403, "host", f"this server isn't called {hosts[0][:100]!r}; start it with --allow-host NAME"
            )
        if origins and not self._own_page(origins[0], hosts[0]) and origins[0] not in self.settings.allow_origin:
            raise RefusedError(
                403, "origin", f"pages of {origins[0][:100]!r} may not call this server; start it with --allow-origin"
            )
        preflight = scope.get("method") == "OPTIONS" and origins  # browsers send these without a token
        if self.settings.token and not preflight and not _needs_none(scope["path"]) and not self._knows_token(given):
            raise RefusedError(401, "token", "give the server's token: `Authorization: Bearer TOKEN`")

    def _own_name(self, host: str) -> bool:
        """An address can't be rebound, so any is good, as for probes in a cluster."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        allowed = {"localhost", self.settings.host.lower(), *(known.lower() for known in self.settings.allow_host)}
        return name in allowed or "*" in allowed or _is_address(name)

    def _own_page(self, origin: str, host: str) -> bool:
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")

    def _knows_token(self, given: Headers) -> bool:
        expected = (self.settings.token or "").encode()
        scheme, _, token = given.get("authorization", "").partition(" ")
        offered = [part.strip() for part in given.get("sec-websocket-protocol", "").split(",")]
        tokens = [token.strip()] if scheme.lower() == "bearer" else []
        tokens += [part.removeprefix(BEARER) for part in offered if part.startswith(BEARER)]
        return any(secrets.compare_digest(token.encode("latin-1", "replace"), expected) for token in tokens)

    def _cross_origin(self, origin: str | None) -> dict[str, str]:
        """What lets a browser show the answer to a page of an allowed origin."""
        if origin is None or origin not in self.settings.allow_origin:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Expose-Headers": SHOWN,
            "Access-Control-Max-Age": "600",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Vary": "Origin",
        }


def _needs_none(path: str) -> bool:
    return any(path == open_ or (open_ != "/" and path.startswith(open_)) for open_ in WITHOUT_TOKEN)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
