"""The queue and the thread by themselves: turns, jobs that wait for input, readers that stop, faults of the program."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from waveglow.serve.answers import RefusedError
from waveglow.serve.metrics import Metrics
from waveglow.serve.synthesis import Count, _fitted
from waveglow.serve.work import AHEAD, WAIT, Scheduler


def scheduled(test: Callable[[Scheduler], Any], *, queue: int = 4, deadline: float = 5.0) -> None:
    """Run a test's coroutine with a scheduler that is well."""

    async def run() -> None:
        scheduler = Scheduler(queue=queue, deadline=deadline, begin=lambda: None, mend=lambda: None, metrics=Metrics())
        scheduler.start()
        await until(lambda: scheduler.ready)
        try:
            await asyncio.wait_for(test(scheduler), 10)
        finally:
            scheduler.close()

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_pieces_take_turns():
    begun, order = threading.Event(), []

    def pieces(name: str, n: int) -> Iterator[str]:
        begun.wait(5)
        for number in range(n):
            order.append(name)
            yield f"{name}{number}"

    async def test(scheduler: Scheduler) -> None:
        async def taken(name: str, n: int) -> list[str]:
            job = scheduler.submit(pieces(name, n), call=name)
            return [piece async for piece in job]

        both = asyncio.gather(taken("a", 6), taken("b", 3))
        await until(lambda: len(scheduler) == 2)
        begun.set()
        assert await both == [[f"a{i}" for i in range(6)], ["b0", "b1", "b2"]]
        assert order.index("b") <= AHEAD  # not after all of a
        assert max(i for i, name in enumerate(order) if name == "b") < len(order) - 1

    scheduled(test)


def test_a_job_without_input_waits_and_holds_up_nobody():
    async def test(scheduler: Scheduler) -> None:
        inbox: list[int] = []
        asked: list[int] = []

        def stream() -> Iterator[Any]:
            while True:
                asked.append(1)
                if not inbox:
                    yield WAIT
                elif (number := inbox.pop(0)) < 0:
                    return
                else:
                    yield 10 * number

        job = scheduler.submit(stream(), call="stream")
        assert await scheduler.once(lambda: "other", receive=never, call="once") == "other"
        for number in (1, 2):
            inbox.append(number)
            job.wake()
            assert await anext(job) == 10 * number
        before = len(asked)
        await asyncio.sleep(0.05)
        assert len(asked) <= before + 1  # asleep, not asked again and again
        inbox.append(-1)
        job.wake()
        assert [piece async for piece in job] == []
        assert len(scheduler) == 0

    scheduled(test)


def test_what_is_ahead_of_a_reader_is_bounded():
    made: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    async def test(scheduler: Scheduler) -> None:
        job = scheduler.submit(endless(), call="endless")
        await until(lambda: len(made) == AHEAD)
        await asyncio.sleep(0.05)
        assert len(made) == AHEAD
        assert await anext(job) == 0
        await until(lambda: len(made) == AHEAD + 1)
        job.cancel()
        await until(lambda: len(scheduler) == 0)

    scheduled(test)


def test_some_calls_have_a_smaller_share_of_the_queue():
    async def test(scheduler: Scheduler) -> None:
        jobs = [scheduler.submit(iter([WAIT]), call="stream", at_most=2) for _ in range(2)]
        with pytest.raises(RefusedError) as refused:
            scheduler.submit(iter([1]), call="stream", at_most=2)
        assert refused.value.status == 429
        assert await anext(scheduler.submit(iter([1]), call="other")) == 1
        for job in jobs:
            job.cancel()

    scheduled(test)


@pytest.mark.parametrize(("error", "status", "code"), [(KeyError("a bug"), 500, "bug"), (MemoryError(), 503, "broken")])
def test_what_fails_fails_alone(error, status, code):
    async def test(scheduler: Scheduler) -> None:
        def fails() -> Any:
            raise error

        other = scheduler.submit(iter([1, 2, 3]), call="other")
        with pytest.raises(RefusedError) as refused:
            await scheduler.once(fails, receive=never, call="fails")
        assert (refused.value.status, refused.value.code) == (status, code)
        assert str(error) not in refused.value.message or not str(error)
        assert [piece async for piece in other] == [1, 2, 3]
        await until(lambda: scheduler.ready)

    scheduled(test)


def test_a_model_that_cannot_be_loaded_is_tried_again():
    tries: list[float] = []

    def begin() -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise RuntimeError("the GPU is gone")

    async def run() -> None:
        scheduler = Scheduler(queue=1, deadline=1, begin=begin, mend=lambda: None, metrics=Metrics())
        scheduler.start()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(until(lambda: len(tries) == 1), 5)
        assert not scheduler.ready
        await asyncio.wait_for(until(lambda: scheduler.ready), 5)
        scheduler.close()

    asyncio.run(run())


def test_pieces_are_cut_or_filled_up_to_the_length_that_was_told():
    given = [np.ones(3, np.float32), np.ones(4, np.float32)]
    for samples, last in ((5, 1), (9, 0)):
        fitted = np.concatenate([*_fitted(given, samples, Count())])
        assert (len(fitted), fitted[-1]) == (samples, last)
    with pytest.raises(RefusedError, match="the audio isn't finite"):
        next(_fitted([np.array([np.nan], np.float32)], 1, Count()))


async def never() -> Any:
    """A client that stays."""
    await asyncio.Event().wait()
