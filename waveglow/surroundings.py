"""What a command finds around it: terminals that can't show every character, machines that let it write nowhere."""

from __future__ import annotations

import codecs
import io
import os
import sys
import tempfile

ESCAPED = "waveglow-escaped"
IN_MEMORY = "/dev/shm"  # writable where a container is otherwise read-only


def make_do() -> None:
    """Have everything printed, and temporary files somewhere: nothing fails for those once the work is done."""
    codecs.register_error(ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors=ESCAPED)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:  # torch asks for its name on import, whether or not it writes there
        tempfile.tempdir = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else os.sep + "tmp"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What a terminal can't show as \\uXXXX, in which JSON stays JSON."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
