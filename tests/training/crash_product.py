"""A process that dies, as of kill −9, at the k-th operation by which it keeps files: for every k, what is left."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Crashing:
    """Wraps functions that write: the process dies in the stead of their call number `crash_at`, counted over all."""

    def __init__(self, crash_at: int) -> None:
        self.crash_at, self.calls = crash_at, 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments, **options):
            self.calls += 1
            if self.calls == self.crash_at:
                os._exit(9)
            return function(*arguments, **options)

        return call


def exit_code(saves: Callable[[Path, Crashing], None], path: Path, crash_at: int) -> int:
    """Of `saves(path, crashing)` in a process of its own: 9, or 100 more than the calls that there were."""
    process = multiprocessing.get_context("fork").Process(target=_to_the_end, args=(saves, path, crash_at))
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def _to_the_end(saves: Callable[[Path, Crashing], None], path: Path, crash_at: int) -> None:
    crashing = Crashing(crash_at)
    saves(path, crashing)
    os._exit(100 + crashing.calls)
