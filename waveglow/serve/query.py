"""What stands behind the question mark: known keys, each once, their values checked by the library's own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection

from waveglow.audio.steps import require_steps
from waveglow.config import nearest, require_known
from waveglow.serve.answers import RefusedError, malformed, unusable

MAX_KEYS = 32
MAX_SIGMA = 10.0  # beyond, what a flow makes is no sound
SHOWN = 60  # characters of a value in a sentence


def read(request: HTTPConnection, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The values by their names, converted; those that aren't given are left out.

    Raises RefusedError: 400 for what is unknown, given twice or no such value, 422 for one that can't be used.
    """
    text = request.scope["query_string"].decode("ascii", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_KEYS) if text else []
    except UnicodeDecodeError as error:
        raise malformed("the query isn't UTF-8 behind its percent signs") from error
    except ValueError as error:
        raise malformed(f"the query has more than {MAX_KEYS} keys") from error
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key not in known:
            raise malformed(f"unknown key {key[:SHOWN]!r}{nearest(key[:SHOWN], known)}")
        if key in values:
            raise malformed(f"{key} is given more than once")
        try:
            values[key] = known[key](value)
        except RefusedError:
            raise
        except ValueError as error:
            raise unusable(str(error)) from error
    return values


def sigma(text: str) -> float:
    """Of the noise."""
    value = number("sigma", text)
    if not 0 <= value <= MAX_SIGMA:
        raise ValueError(f"sigma is {value:g}; it must be a finite number from 0 to {MAX_SIGMA:g}")
    return value


def seed(text: str) -> int:
    """Of the noise."""
    value = whole("seed", text)
    if not 0 <= value < 2**64:
        raise ValueError(f"seed is {text[:SHOWN]}; it must be an integer from 0 to 2**64 - 1")
    return value


def refine(most: int) -> Callable[[str], int]:
    """Steps of refinement, at most so many."""

    def steps(text: str) -> int:
        value = require_steps(whole("refine", text))
        if value > most:
            raise ValueError(f"refine is {value}; this server takes at most {most} steps")
        return value

    return steps


def one_of(name: str, *known: str) -> Callable[[str], str]:
    """A word among known ones."""

    def word(text: str) -> str:
        require_known(name, text[:SHOWN], known)
        return text

    return word


def number(name: str, text: str) -> float:
    """Raises RefusedError for what is no number; NaN and infinity are."""
    try:
        return float(text)
    except ValueError as error:
        raise malformed(f"{name} is {text[:SHOWN]!r}, no number") from error


def whole(name: str, text: str) -> int:
    """Raises RefusedError for what is no whole number."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= SHOWN):
        raise malformed(f"{name} is {text[:SHOWN]!r}, no whole number")
    return int(text)


def content_kind(request: HTTPConnection) -> str:
    """The type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_kind(request: HTTPConnection, known: tuple[str, ...]) -> None:
    """Raises RefusedError: 415 unless the body is said to be of one of these types, uncompressed."""
    kind, encoding = content_kind(request), request.headers.get("content-encoding", "identity")
    if kind not in known:
        raise RefusedError(
            415, "unsupported", f"the body's type is {kind[:SHOWN]!r}; send it as `Content-Type: {known[0]}`"
        )
    if encoding.strip().lower() != "identity":
        raise RefusedError(415, "unsupported", f"the body is in {encoding[:SHOWN]!r}; send it as it is")
