"""What a server may be told: where it listens, how much it takes on, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

MIB = 1 << 20


def _option(default: Any, about: str, *, least: float = 0, whole: bool = False, most: float = math.inf) -> Any:
    """A field with what `--help` says of it, and the values that it takes where it is a number."""
    return field(
        default=default,
        repr=default is not None,
        metadata={"about": about, "least": least, "most": most, "whole": whole},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of `waveglow serve`, in seconds, bytes and numbers of things. Raises ValueError for one that can't be."""

    host: str = _option("127.0.0.1", "address to listen at; 0.0.0.0 is every network that this machine is in")
    port: int = _option(8000, "0 takes any that is free", whole=True, most=65535)
    token: str | None = _option(None, "that callers must give, as `Authorization: Bearer TOKEN`")
    allow_host: tuple[str, ...] = _option((), "name by which callers may reach the server; * is any")
    allow_origin: tuple[str, ...] = _option((), "of web pages elsewhere that may call it, such as https://example.org")
    queue: int = _option(16, "requests worked on or waiting at a time; more get 429", least=1, whole=True)
    streams: int = _option(8, "of these, streams at a time", whole=True)
    deadline: float = _option(30.0, "seconds that a request may wait for its turn before it gets 503", least=0.01)
    drain: float = _option(30.0, "seconds to finish what runs, after SIGTERM")
    max_bytes: int = _option(64 * MIB, "of a body", least=1, whole=True, most=1 << 31)
    max_seconds: float = _option(600.0, "of audio that a request may hold or ask for", least=0.1, most=10_000)
    max_refine: int = _option(200, "steps of refinement that a request may ask for", whole=True)
    max_likelihood_seconds: float = _option(60.0, "of audio whose likelihood is computed, at once", least=0.1)
    header_seconds: float = _option(10.0, "for the head of a request to arrive", least=0.01)
    body_seconds: float = _option(120.0, "for a body to arrive", least=0.01)
    decode_seconds: float = _option(20.0, "for a recording to be decoded", least=0.01)
    idle_seconds: float = _option(30.0, "between two messages of a stream", least=0.01)
    write_seconds: float = _option(30.0, "for a client to take 64 KiB of an answer", least=0.01)
    connections: int = _option(256, "open at a time; more get 503", least=1, whole=True)
    metrics_port: int | None = _option(
        None, "port of its own for /metrics, which the other then lacks", whole=True, most=65535
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value, about = getattr(self, option.name), option.metadata
            if isinstance(value, (int, float)):
                _require_within(option.name, value, about["least"], about["most"], whole=about["whole"])
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise ValueError("the token must be printable ASCII, and not empty; make one with `openssl rand -hex 32`")
        for origin in self.allow_origin:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise ValueError(f"--allow-origin is {origin!r}; give scheme and host, such as https://example.org")


def _require_within(name: str, value: float, least: float, most: float, *, whole: bool) -> None:
    if not least <= value <= most or not math.isfinite(value) or (whole and value != int(value)):
        limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        kind = "whole number" if whole else "finite number"
        raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be a {kind}, {limits}")
