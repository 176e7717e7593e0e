"""What every page is: one HTML file that needs no network, its style, pictures, audio and script inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib import resources


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return resources.files("waveglow.pages").joinpath(name).read_text(encoding="utf-8")


STYLE = asset("look.css")


def data_url(media_type: str, content: bytes) -> str:
    """A file as an address that holds it.

    >>> data_url("text/plain", b"hum")
    'data:text/plain;base64,aHVt'
    """
    return f"data:{media_type};base64,{_base64(content)}"


def page(title: str, sections: Iterable[str], *, script: str = "") -> str:
    """The HTML of a page. Its policy lets nothing in from outside, and no script run but this one, by its hash."""
    scripts = f"; script-src 'sha256-{_base64(hashlib.sha256(script.encode()).digest())}'" if script else ""
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:{scripts}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(section for section in sections if section)}\n</main>"
        f"{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
