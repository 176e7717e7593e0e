"""Work in several processes of one thread, which are started once and get one item at a time.

Two processes of one thread do more than one of two: threads that share a core with another process wait for each other
(measured: ten times slower). A process that is killed loses nothing: its item is given to another, once.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any, Generic, TypeVar

from waveglow.config import ConfigError, is_told

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Killed:
    """What there is of an item instead of a result: two processes ended while they had it."""

    how: str


def in_processes(
    open_work: Callable[[], Callable[[Item], Result]], items: Sequence[Item], *, jobs: int
) -> Iterator[tuple[int, Result | Killed]]:
    """(place, result) of every item, as they are done, by `jobs` processes at most.

    `open_work` is called in each process, where it may load a model, and what it returns is called for one item after
    another; both it and the items must survive pickling. What they raise is raised here, a bug of the program as
    RuntimeError with its traceback. Raises ConfigError where one process after another is killed.
    """
    todo = deque(range(len(items)))
    lost: set[int] = set()  # given out once, to a process that is gone
    left = limit = 2 * jobs + 2  # how many more may be killed before one of them finishes something
    workers = {_Worker(open_work) for _ in range(min(jobs, len(items)))}
    try:
        for worker in workers:
            worker.take(todo.popleft(), items)
        while workers:
            for worker in _ready(workers):
                place = worker.place
                try:
                    yield place, worker.answer()
                    left = limit
                except EOFError:
                    how, left = worker.ended(), left - 1
                    workers.remove(worker)
                    if not left:
                        raise ConfigError(
                            f"{limit} processes in a row were {how}, perhaps since memory was short; lower --jobs "
                            "or make room"
                        ) from None
                    if place in lost:
                        yield place, Killed(how)
                    else:
                        lost.add(place)
                        todo.appendleft(place)
                    worker = _Worker(open_work)
                    workers.add(worker)
                if todo:
                    worker.take(todo.popleft(), items)
                else:
                    worker.stop()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[Item, Result]):
    """A process, and the place of the item that it has."""

    def __init__(self, open_work: Callable[[], Callable[[Item], Result]]) -> None:
        context = get_context("spawn")  # a fork of a process with threads, or with a GPU, may hang
        self.pipe, its = context.Pipe()
        self.place = -1
        with _one_thread():
            self.process = context.Process(target=_serve, args=(its, open_work), daemon=True)
            self.process.start()
        its.close()

    def take(self, place: int, items: Sequence[Item]) -> None:
        self.place = place
        with suppress(OSError):  # it is gone already, which `answer` finds
            self.pipe.send(items[place])

    def answer(self) -> Result:
        """Of the item that it has. Raises EOFError where the process is gone, and what the work raised."""
        try:
            result, error, text = self.pipe.recv()
        except OSError as gone:
            raise EOFError from gone
        if error is not None:
            raise error from RuntimeError(text)
        return result

    def ended(self) -> str:
        """How, of a process that is gone."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _ready(workers: set[_Worker[Item, Result]]) -> list[_Worker[Item, Result]]:
    """Those that have an answer, or are gone."""
    by_pipe: dict[Any, _Worker[Item, Result]] = {worker.pipe: worker for worker in workers}
    return [by_pipe[pipe] for pipe in connection.wait([*by_pipe])]


def _serve(pipe: Any, open_work: Callable[[], Callable[[Any], Any]]) -> None:
    """What such a process does, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent ends this one
    work = None
    with suppress(EOFError, OSError):
        while True:
            item = pipe.recv()
            try:
                work = work or open_work()
                result = work(item)
            except Exception as error:
                pipe.send((None, *_told(error)))
            else:
                pipe.send((result, None, ""))


def _told(error: Exception) -> tuple[Exception, str]:
    """An error as another process can have it; its traceback stays behind, by which a bug is told from a sentence."""
    text = "".join(traceback.format_exception(error))
    return (RuntimeError(text) if isinstance(error, ValueError) and not is_told(error) else error), text


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started in it compute with one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
