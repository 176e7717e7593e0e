"""What is said to a client whose request isn't served: a status, a word for programs and a sentence for people."""

from __future__ import annotations

import math

from starlette.responses import JSONResponse


class RefusedError(Exception):
    """An HTTP status, a `code` that stays the same from version to version, and a sentence."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    def response(self) -> JSONResponse:
        """`{"code", "message"}`, with Retry-After where it is worth to come again."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_seconds)))
        return JSONResponse({"code": self.code, "message": self.message}, self.status, headers)


def malformed(message: str) -> RefusedError:
    """A request that isn't what HTTP or this interface asks for."""
    return RefusedError(400, "malformed", message)


def unusable(message: str) -> RefusedError:
    """A well-formed request whose values can't be used."""
    return RefusedError(422, "unusable", message)


def too_large(message: str) -> RefusedError:
    return RefusedError(413, "too_large", message)


def gone() -> RefusedError:
    """A client that left; counted as nginx does, told to nobody."""
    return RefusedError(499, "gone", "the client left")


def stopping() -> RefusedError:
    """A server that ends."""
    return RefusedError(503, "unavailable", "the server is stopping; try again later", retry_after_seconds=5)


def late(deadline: float, *, retry_after_seconds: float) -> RefusedError:
    """A request whose turn didn't come."""
    return RefusedError(
        503, "late", f"waited {deadline:g} s for its turn; try again later", retry_after_seconds=retry_after_seconds
    )
