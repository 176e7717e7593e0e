"""Pictures that come over the network: decoded by a process that may die, one for each, and kept for a while."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from waveglow.serve.answers import malformed, too_large, unusable
from waveglow.serve.decoder import KEPT, PATHS
from waveglow.serve.photo_process import CPU_SECONDS

START = f"""import json, os, sys
sys.path[:] = json.loads(os.environ.pop("{PATHS}"))
from waveglow.serve.photo_process import main
main()
"""
REMEMBERED = 64  # pictures, of 3 kB each at 32×32
MAX_BYTES = 8 << 20
AT_ONCE = 2


class Photos:
    """Reads PNG, JPEG and WebP files as pixels [C, size, size], a byte each, upright and cropped."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def pixels(self, content: bytes, *, size: int, channels: int) -> bytes:
        """Raises RefusedError: 413, 422."""
        if len(content) > MAX_BYTES:
            raise too_large(f"the picture has {len(content)} bytes; the most is {MAX_BYTES}: make it smaller first")
        key = hashlib.sha256(content).digest()
        found = self._known.pop(key, None)
        if found is None:
            async with self._turns:
                found = await _decoded(content, size, channels)
        self._known[key] = found
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


async def _decoded(content: bytes, size: int, channels: int) -> bytes:
    own = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, str(size), str(channels),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**own, PATHS: json.dumps(sys.path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        said, pixels = await asyncio.wait_for(_exchange(process, content, size * size * channels), 2 * CPU_SECONDS)
    except (TimeoutError, asyncio.TimeoutError, asyncio.IncompleteReadError, OSError, ValueError) as error:
        raise unusable(
            f"the picture can't be decoded within {CPU_SECONDS} s and the memory that it may take"
        ) from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if said["status"] != 200:
        raise {413: too_large, 422: unusable}.get(said["status"], malformed)(said["message"])
    return pixels


async def _exchange(process: asyncio.subprocess.Process, content: bytes, n: int) -> tuple[dict[str, Any], bytes]:
    """A file in; what was said, and n bytes, out."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(ConnectionError):
        process.stdin.write(content)
        await process.stdin.drain()
        process.stdin.close()
    said = json.loads(await process.stdout.readline())
    return said, await process.stdout.readexactly(n) if said["status"] == 200 else b""
