"""What a process or a run's folder holds, and a training in a process that is forked off ready to begin."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple


class Held(NamedTuple):
    """By a process: MiB in memory, open files, threads."""

    mib: float
    files: int
    threads: int


def held() -> Held:
    """By this one."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    threads = len(os.listdir("/proc/self/task"))
    return Held(pages * resource.getpagesize() / 2**20, len(os.listdir("/proc/self/fd")), threads)


def started(command: list[str]) -> BaseProcess:
    """`waveglow COMMAND…` in a process and a session of its own, from a server that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["soaking", "waveglow.cli.main", "waveglow.training.vocoder_run", "waveglow.pages.run"]
    )
    process = context.Process(target=_run, args=(command,))
    process.start()
    return process


def _run(command: list[str]) -> None:
    import torch

    from waveglow.cli.main import main

    os.setsid()
    torch.set_num_threads(1)
    sys.exit(main(command))


def end(process: BaseProcess, how: signal.Signals) -> int:
    """Send a signal; the exit code, negative where a signal ended it."""
    assert process.pid is not None
    if process.is_alive():
        os.kill(process.pid, how)
    process.join(60)
    assert process.exitcode is not None, f"is alive a minute after {how.name}"
    return process.exitcode


def of_session(leader: int) -> list[int]:
    """Processes of a session, zombies aside."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, after = entry.read_text().rpartition(")")
        except OSError:
            continue
        state, _, _, session, *_ = after.split()
        if int(session) == leader and state != "Z":
            found.append(int(entry.parent.name))
    return found


def waited(until: Callable[[], bool], *, seconds: float = 60.0) -> bool:
    """Whether it came to be so in that time."""
    limit = time.monotonic() + seconds
    while not until():
        if time.monotonic() > limit:
            return False
        time.sleep(0.005)
    return True
