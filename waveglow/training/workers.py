"""The processes that read training samples: how they die, and what it means when one can't read."""

from __future__ import annotations

import builtins
import signal
from collections.abc import Iterator
from contextlib import contextmanager

WHILE_SENDING = (ConnectionError, EOFError)  # how it shows where a worker was killed amid handing over a sample


@contextmanager
def dead_workers_wait() -> Iterator[None]:
    """Region, after a loader was made, in which a worker's death is noticed where the next batch is asked for.

    torch raises it out of whatever line the main process is at, be it amid the update of the weights.
    """
    child_ended = getattr(signal, "SIGCHLD", None)
    if child_ended is None:
        yield
        return
    handler = signal.signal(child_ended, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(child_ended, handler or signal.SIG_DFL)


def unreadable(error: Exception, sample: str) -> str | None:
    """Why a training sample couldn't be read, and what to do; None where it is a bug of the program.

    Arguments:
        error: as a loader raised it; that of a worker has its traceback in the message.
        sample: what one is called, such as "training clip".
    """
    text = str(error).strip()
    if "DataLoader worker (pid" in text or isinstance(error, WHILE_SENDING):
        return (
            f"a process that reads {sample}s was killed, perhaps since memory was short; lower data.workers "
            "or make room"
        )
    name, reason = _qualified(error), text
    if "Original Traceback" in text:
        name, _, reason = text.splitlines()[-1].partition(": ")
    if not name.startswith("waveglow.") and not _is_of_the_system(name):
        return None
    return f"a {sample} can't be read: {reason}; mend or drop it, and prepare again"


def _qualified(error: Exception) -> str:
    module = type(error).__module__
    return type(error).__qualname__ if module == "builtins" else f"{module}.{type(error).__qualname__}"


def _is_of_the_system(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, OSError)
