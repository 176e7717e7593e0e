"""One thread computes, piece by piece, and pieces of different requests take turns.

A job is an iterator. Each `next` of it runs on the thread and gives a piece, or WAIT where its input has not arrived
yet; then it is left alone until `Job.wake()`. The event loop takes the pieces with `async for`. What is ahead of the
reader is bounded, so that a slow one stops its own job, and no other.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Any, Generic, TypeVar

from starlette.types import Receive

from waveglow.config import is_told
from waveglow.serve.answers import RefusedError, gone, stopping, unusable
from waveglow.serve.answers import late as told_late
from waveglow.serve.metrics import Metrics

T = TypeVar("T")
AHEAD = 2  # pieces of a job that may wait for their reader
log = logging.getLogger(__name__)


class Signal(Enum):
    """What a job gives instead of a piece."""

    WAIT = "its input has not arrived"


WAIT = Signal.WAIT


class Job(Generic[T]):
    """The pieces of one request, for the event loop. `busy_seconds`: what they took to compute so far."""

    def __init__(self, scheduler: Scheduler, pieces: Iterator[T | Signal], call: str) -> None:
        self.call = call
        self.busy_seconds = 0.0
        self.accepted = time.monotonic()
        self._scheduler = scheduler
        self._pieces = pieces
        self._ready: deque[T] = deque()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._started = self._cancelled = self._ended = self._waiting = self._woken = False
        self._error: Exception | None = None

    def __aiter__(self) -> Job[T]:
        return self

    async def __anext__(self) -> T:
        """The next piece. Raises the RefusedError of a job that failed, or that waited for its first turn too long."""
        while True:
            with self._scheduler.changed:
                if self._cancelled:
                    raise self._scheduler.why_cancelled()
                if self._ready:
                    self._scheduler.changed.notify()
                    return self._ready.popleft()
                if self._ended:
                    raise self._error or StopAsyncIteration
                self._arrived.clear()
            await self._arrival()

    async def _arrival(self) -> None:
        deadline = self._scheduler.deadline
        if self._started:
            await self._arrived.wait()
            return
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), max(0.0, self.accepted + deadline - time.monotonic()))
        with self._scheduler.changed:
            late = not self._started and not self._ended and time.monotonic() >= self.accepted + deadline
            if late:
                self._cancelled = True
                self._scheduler.changed.notify()
        if late:
            raise told_late(deadline, retry_after_seconds=self._scheduler.wait_seconds())

    def wake(self) -> None:
        """Its input has arrived."""
        with self._scheduler.changed:
            self._waiting, self._woken = False, True
            self._scheduler.changed.notify()

    def cancel(self) -> None:
        """Nobody wants the rest; the thread drops it before the next piece."""
        with self._scheduler.changed:
            self._cancelled = True
            self._scheduler.changed.notify()

    @property
    def _runnable(self) -> bool:
        return self._cancelled or (not self._waiting and len(self._ready) < AHEAD)

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._arrived.set)


class Scheduler:
    """The queue and the thread.

    Arguments:
        queue: jobs that are worked on or wait at a time.
        deadline: seconds that a job may wait for its first turn.
        begin: called on the thread first, such as to load and warm up.
        mend: called on the thread after a job that broke the machine under it (memory, GPU); where it fails, it is
            called again after a while. Until it returns, nothing is accepted.
        tell: what a client is told of a job's ValueError.
    """

    def __init__(
        self,
        *,
        queue: int,
        deadline: float,
        begin: Callable[[], None],
        mend: Callable[[], None],
        metrics: Metrics,
        tell: Callable[[ValueError], str] = str,
    ) -> None:
        self.queue, self.deadline, self.metrics = queue, deadline, metrics
        self.changed = threading.Condition()
        self.stopping = False  # nothing new is accepted
        self._begin, self._mend, self._told = begin, mend, tell
        self._jobs: deque[Job[Any]] = deque()
        self._well = self._closed = self._cut = False
        self._seconds_each = 1.0  # of work a job, a moving average
        self._thread = threading.Thread(target=self._work, name="waveglow-computes", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread after the piece that it is at."""
        with self.changed:
            self._closed = True
            self.changed.notify()
        self._thread.join(timeout=60)

    def cut(self) -> None:
        """Cancel what runs: there is no time left for it."""
        with self.changed:
            self._cut = True
            for job in self._jobs:
                job._cancelled = True
            self.changed.notify()

    def why_cancelled(self) -> RefusedError:
        """What is said of a job that was cancelled."""
        return stopping() if self._cut else gone()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """Whether a job would be accepted."""
        return self._well and not self.stopping and len(self._jobs) < self.queue

    def wait_seconds(self) -> float:
        """When a place may be free, roughly."""
        return min(60.0, self._seconds_each * max(1, len(self._jobs)) / 2)

    def require_place(self, call: str = "", *, at_most: int | None = None) -> None:
        """Raises RefusedError where a job would not be accepted now: 429 or 503. `at_most`: of this call at a time."""
        with self.changed:
            running = Counter(job.call for job in self._jobs)[call]
            if self.stopping:
                raise stopping()
            if not self._well:
                raise RefusedError(
                    503, "unavailable", "the model is being loaded; try again later", retry_after_seconds=5
                )
            if len(self._jobs) >= self.queue or (at_most is not None and running >= at_most):
                raise RefusedError(
                    429, "busy", f"{len(self._jobs)} requests are being worked on, no more are taken; try again later",
                    retry_after_seconds=self.wait_seconds(),
                )  # fmt: skip

    def submit(self, pieces: Iterator[T | Signal], *, call: str, at_most: int | None = None) -> Job[T]:
        """A job of these pieces, to be cancelled by whoever leaves before its end. Raises as `require_place`."""
        with self.changed:
            self.require_place(call, at_most=at_most)
            job = Job(self, pieces, call)
            self._jobs.append(job)
            self.metrics.queue.set(len(self._jobs))
            self.changed.notify()
        return job

    async def once(self, compute: Callable[[], T], *, receive: Receive, call: str) -> T:
        """What `compute()` returns on the thread. Raises as `submit`, and what a job raises."""

        def pieces() -> Iterator[T | Signal]:
            yield compute()

        job = self.submit(pieces(), call=call)
        async with watched(job, receive):
            return await anext(job)

    def _work(self) -> None:
        self._until_well(self._begin)
        while (job := self._turn()) is not None:
            self._step(job)

    def _turn(self) -> Job[Any] | None:
        """The next job in turn that can go on; waits for one. None at the end."""
        with self.changed:
            while not self._closed:
                for _ in range(len(self._jobs)):
                    self._jobs.rotate(-1)
                    if (job := self._jobs[-1])._runnable:
                        job._woken = False
                        if not job._started and not job._cancelled:
                            job._started = True
                            self.metrics.waited.observe(time.monotonic() - job.accepted)
                        return job
                self.changed.wait()
        return None

    def _step(self, job: Job[Any]) -> None:
        """One piece of a job."""
        if job._cancelled:
            self._end(job, "cancelled", self.why_cancelled())
            return
        began = time.monotonic()
        try:
            piece = next(job._pieces)
        except StopIteration:
            self._end(job, "done")
        except Exception as error:
            self._fail(job, error)
        else:
            with self.changed:
                if piece is WAIT:
                    job._waiting = not job._woken
                else:
                    job._ready.append(piece)
            if piece is not WAIT:
                job._tell()
        finally:
            job.busy_seconds += time.monotonic() - began
            self.metrics.busy.inc(time.monotonic() - began)

    def _end(self, job: Job[Any], outcome: str, error: Exception | None = None) -> None:
        close = getattr(job._pieces, "close", None)  # of generators: what they hold is free at once
        if close is not None:
            with suppress(Exception):
                close()
        with self.changed:
            self._jobs.remove(job)
            self.metrics.queue.set(len(self._jobs))
            if outcome == "done":
                self._seconds_each += 0.2 * (job.busy_seconds - self._seconds_each)
            job._ended, job._error = True, error
        self.metrics.jobs.labels(job.call, outcome).inc()
        job._tell()

    def _fail(self, job: Job[Any], error: Exception) -> None:
        if isinstance(error, RefusedError):
            self._end(job, "refused", error)
        elif isinstance(error, ValueError) and is_told(error):
            self._end(job, "refused", unusable(self._told(error)))
        elif isinstance(error, MemoryError | RuntimeError):
            log.error("%s broke: %s", job.call, error)
            self._well = False
            self._end(
                job, "broken", RefusedError(
                    503, "broken", "the computation ran out of memory or lost its device; try again later",
                    retry_after_seconds=5,
                ),
            )  # fmt: skip
            self.metrics.reloads.inc()
            self._until_well(self._mend)
        else:  # a bug: the traceback is for whoever runs the server
            log.exception("%s failed", job.call)
            self._end(job, "bug", RefusedError(500, "bug", "the computation failed by a fault of the server's own"))

    def _until_well(self, act: Callable[[], None]) -> None:
        for attempt in range(1 << 30):
            try:
                act()
            except Exception:
                log.exception("the model can't be loaded; it is tried again")
                with self.changed:
                    self.changed.wait_for(lambda: self._closed, timeout=min(60, 2**attempt))
                    if self._closed:
                        return
            else:
                self._well = True
                return


@asynccontextmanager
async def watched(job: Job[Any], receive: Receive) -> AsyncIterator[None]:
    """Within it the job is cancelled when its client goes away; at its end in any case."""

    async def watch() -> None:
        await _left(receive)
        job.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        job.cancel()


async def while_there(coroutine: Coroutine[Any, Any, T], receive: Receive) -> T:
    """What a coroutine returns, or, where its client goes away first, a RefusedError and its end."""
    working, leaving = asyncio.create_task(coroutine), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise gone()
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait([working])


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
