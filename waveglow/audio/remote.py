"""Pieces of files in object stores, by fsspec: one range request each, tried again, never short, and kept on this disk.

What a store is called is its URL's scheme, s3://, gs://, hf://, https://; fsspec (filesystem-spec.readthedocs.io) knows
them, by packages of their own. The kept pieces lie below WAVEGLOW_REMOTE_CACHE (~/.cache/waveglow/remote), at most
WAVEGLOW_REMOTE_CACHE_GB (10; 0 keeps none), of which those that were not used for longest go first.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from waveglow.audio.files import FileError, OutputError, make_folder, write_atomically
from waveglow.config import ConfigError
from waveglow.distribution import install_hint

TRIES, FIRST_WAIT_SECONDS, ANSWER_SECONDS = 5, 0.5, 60.0
FOLDER, GIGABYTES = "WAVEGLOW_REMOTE_CACHE", "WAVEGLOW_REMOTE_CACHE_GB"
REFUSED = (401, 403)
PASSING = (408, 425, 429)  # beside 500 and above: an answer that may be another one later


def is_url(path: str) -> bool:
    """Whether it is a place in a store: a scheme of two letters and more, for C: is a disk."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def read_range(url: str, start: int, size: int) -> bytes:
    """`size` bytes of a file from `start`, from this disk if they are kept. Raises FileError."""
    kept = _kept_as(f"{url} {start} {size}")
    if kept is not None:
        with suppress(OSError):
            content = kept.read_bytes()
            if len(content) == size:
                os.utime(kept)
                return content
    content = _tried(url, lambda files, path: _of_size(_fetched(files, path, start, start + size), size))
    if kept is not None:
        _keep(kept, content)
    return content


def read_whole(url: str) -> bytes:
    """All of a file, which is as long as the store says it is; never kept, for it may change. Raises FileError."""

    def read(files: Any, path: str) -> bytes:
        size = int(files.info(path)["size"])
        return _of_size(_fetched(files, path, 0, size), size)

    return _tried(url, read)


class _ShortError(Exception):
    """An answer of another length than was asked for."""


def _of_size(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise _ShortError(f"{len(content)} bytes came where {size} were asked for")
    return content


def _fetched(files: Any, path: str, start: int, end: int) -> bytes:
    if not getattr(files, "async_impl", False):
        return bytes(files.cat_file(path, start=start, end=end))
    from fsspec.asyn import sync

    return bytes(sync(files.loop, files._cat_file, path, start=start, end=end, timeout=ANSWER_SECONDS))


def _tried(url: str, read: Callable[[Any, str], bytes]) -> bytes:
    """What `read(file system, path)` gives, tried again where that may help, after longer and longer waits."""
    files, path = _opened(url)
    wait, said = FIRST_WAIT_SECONDS, ""
    for left in reversed(range(TRIES)):
        try:
            return read(files, path)
        except Exception as error:  # each store has types of its own
            if reason := _final(error):
                raise FileError(url, reason) from error
            said = str(error) or type(error).__name__
        if left:
            time.sleep(wait)
            wait *= 2
    raise FileError(url, f"the store failed {TRIES} times, the last time so: {said}; try again later")


def _opened(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. Raises ConfigError where a package is missing."""
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"{url}: {error}; {install_hint('remote')} brings fsspec and https") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}") from error
    return files, str(path)


def _final(error: Exception) -> str | None:
    """What to say of an error that is the same the next time; None for others."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "isn't in the store; is the manifest of another one?"
    if isinstance(error, PermissionError) or status in REFUSED:
        return f"the store refuses it ({status or error}); check what it needs to know of you"
    if isinstance(status, int) and 400 <= status < 500 and status not in PASSING:
        return f"the store refuses the request ({status})"
    return None


def _limit() -> int:
    """Bytes that may be kept. Raises ConfigError."""
    text = os.environ.get(GIGABYTES, "10")
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < 1e9:
        raise ConfigError(f"{GIGABYTES} is {text!r}; it is a number of gigabytes, 0 to keep nothing")
    return int(gigabytes * (1 << 30))


def _kept_as(name: str) -> Path | None:
    """Where a piece is kept, if any is."""
    if not _limit():
        return None
    digest = hashlib.sha256(name.encode()).hexdigest()
    return _folder() / digest[:2] / digest[2:]


def _folder() -> Path:
    return Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "waveglow" / "remote")


def _keep(path: Path, content: bytes) -> None:
    """Keep a piece in its folder, one of 256 of equal shares; a disk that can't be written serves all the same."""
    with suppress(OutputError):
        _make_room(path.parent, _limit() // 256 - len(content))
        if len(content) <= _limit() // 256:
            make_folder(path.parent)
            write_atomically(path, content)


def _make_room(folder: Path, limit: int) -> None:
    """Remove what was not used for longest, until at most `limit` bytes are kept in a folder."""
    pieces = []
    for path in folder.glob("*"):
        with suppress(OSError):  # another process removes too
            state = path.stat()
            pieces.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in pieces)
    for _, size, path in sorted(pieces):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
