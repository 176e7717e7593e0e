"""A process that dies wherever it writes: before each opening, renaming and removal of a file, and amid each write.

Whatever the writer, nothing of it is replaced: Python's audit events tell of the former, a limit to the size of files
makes the latter die after so many bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator

EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
SIZES = (0, 1, 30, 130, 300, 1000, 3000)  # bytes, beyond which no file of a process grows


def cuts(job: Callable[[], object], before: Callable[[], object]) -> Iterator[str]:
    """Run a job in processes of their own, each of which dies elsewhere, `before` before each; says where, after it."""
    for size in SIZES:
        before()
        if ends(job, at=0, size=size) == -signal.SIGXFSZ:
            yield f"after {size} bytes of a file"
    at = 1
    before()
    while ends(job, at=at) == 9:
        yield f"before its operation {at}"
        at += 1
        before()
    assert at > 1, "the job writes nothing that is seen"


def ends(job: Callable[[], object], *, at: int, size: int | None = None) -> int:
    process = multiprocessing.get_context("fork").Process(target=_cut, args=(job, at, size))
    process.start()
    process.join(60)
    assert process.exitcode in (0, 9, -signal.SIGXFSZ), process.exitcode
    return process.exitcode


def _cut(job: Callable[[], object], at: int, size: int | None) -> None:
    if size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in EVENTS or (event == "open" and _writes(*arguments)):
            seen += 1
            if seen == at:
                os._exit(9)

    sys.addaudithook(count)
    job()
    os._exit(0)


def _writes(path: object, mode: object, flags: object) -> bool:
    asked = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
    return (asked or (isinstance(mode, str) and bool({*mode} & {*"wax+"}))) and not str(path).startswith("/dev/")
