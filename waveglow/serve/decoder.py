"""Starts the processes that decode recordings, one ahead of time, and holds them to time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from waveglow.audio.io import Samples
from waveglow.serve.answers import RefusedError, late, malformed, too_large, unusable
from waveglow.serve.decoding import UnsupportedError, looked_at
from waveglow.serve.settings import Settings

PATHS = "WAVEGLOW_DECODER_PATHS"
START = f"""import json, os, sys
sys.path[:] = json.loads(os.environ.pop("{PATHS}"))
from waveglow.serve.decoding import main
main()
"""
AT_ONCE = 2
KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG", "LC_ALL")  # no secrets


class Recording(NamedTuple):
    """`samples [T]` at the rate that was asked for, and what was done to them."""

    samples: Samples
    notices: tuple[str, ...]


class Decoder:
    """Decodes in processes of their own; `sample_rate` is what the recordings are resampled to."""

    def __init__(self, settings: Settings, *, sample_rate: int) -> None:
        self.settings, self.sample_rate = settings, sample_rate
        self._spare: asyncio.subprocess.Process | None = None
        self._working: set[asyncio.subprocess.Process] = set()
        self._refills: set[asyncio.Task[None]] = set()
        self._closed = False
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def start(self) -> None:
        """Have a process for the next recording."""
        process = await self._process()
        if self._spare is None and not self._closed:
            self._spare = process
        else:
            await _ended(process)

    async def close(self) -> None:
        """End the processes."""
        self._closed = True
        await asyncio.gather(*self._refills, return_exceptions=True)
        for process in [*self._working, *([self._spare] if self._spare else [])]:
            await _ended(process)

    async def _process(self) -> asyncio.subprocess.Process:
        memory_bytes = (1 << 29) + 8 * self.settings.max_bytes
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, str(memory_bytes), str(int(self.settings.decode_seconds) + 2),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**{name: os.environ[name] for name in KEPT if name in os.environ}, PATHS: json.dumps(sys.path),
                 "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    async def decode(self, content: bytes, *, channel: str, max_seconds: float) -> Recording:
        """Raises RefusedError: 415, 422, 413; 503 where others are being decoded for too long."""
        try:
            wav = looked_at(content)
        except UnsupportedError as error:
            raise RefusedError(415, "unsupported", str(error)) from error
        except ValueError as error:
            raise unusable(str(error)) from error
        view = memoryview(content)
        parts = [view] if wav is None else [memoryview(wav.header()), view[wav.start : wav.start + wav.size]]
        asked = {"sample_rate": self.sample_rate, "channel": channel, "max_seconds": max_seconds}
        try:
            await asyncio.wait_for(self._turns.acquire(), self.settings.deadline)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise late(self.settings.deadline, retry_after_seconds=self.settings.deadline) from error
        try:
            return await self._decoded(asked, parts, most_samples=round(max_seconds * self.sample_rate) + 64)
        finally:
            self._turns.release()

    async def _decoded(self, asked: dict[str, Any], parts: list[memoryview], *, most_samples: int) -> Recording:
        process, self._spare = self._spare, None
        refill = asyncio.create_task(self.start())
        self._refills.add(refill)
        refill.add_done_callback(self._refills.discard)
        if process is None or process.returncode is not None:
            try:
                process = await self._process()
            except OSError as error:
                raise RefusedError(
                    503, "unavailable", f"no process can be started ({error.strerror})", retry_after_seconds=5
                ) from error
        self._working.add(process)
        try:
            said, samples = await asyncio.wait_for(
                _exchange(process, json.dumps(asked).encode() + b"\n", parts, most_samples),
                self.settings.decode_seconds,
            )
        except (TimeoutError, asyncio.TimeoutError, asyncio.IncompleteReadError, OSError, ValueError) as error:
            limits = f"{self.settings.decode_seconds:g} s and the memory that it may take"
            raise unusable(f"the recording can't be decoded within {limits}") from error
        finally:
            self._working.discard(process)
            await _ended(process)
        if said["status"] != 200:
            raise {413: too_large, 422: unusable}.get(said["status"], malformed)(said["message"])
        return Recording(np.frombuffer(samples, np.float32), tuple(said["notices"]))


async def _exchange(
    process: asyncio.subprocess.Process, line: bytes, parts: list[memoryview], most_samples: int
) -> tuple[dict[str, Any], bytes]:
    """Body in, what was said and samples out. Raises IncompleteReadError, OSError, ValueError where it breaks off."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(ConnectionError):  # it has said already what is wrong
        process.stdin.write(line)
        for part in parts:
            for at in range(0, len(part), 1 << 20):
                process.stdin.write(part[at : at + (1 << 20)])
                await process.stdin.drain()
        process.stdin.close()
    said = json.loads(await process.stdout.readline())
    if said["status"] != 200:
        return said, b""
    if not 0 < said["samples"] <= most_samples:
        raise ValueError(f"{said['samples']} samples")
    return said, await process.stdout.readexactly(4 * said["samples"])


async def _ended(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
