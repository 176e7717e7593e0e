"""Training samples as they are read, and the processes that read them: what can't be read, and how readers die."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import Dataset

from waveglow.audio.files import FileError
from waveglow.training.stopping import STOPPING

IN_A_ROW = 8  # samples that can't be read, after which no other is tried
FEW, SHARE = 10, 0.01  # samples that may be left out: of all that are read, and before that counts
WHILE_SENDING = (ConnectionError, EOFError)  # how it shows where a worker was killed amid handing over a sample


class Readable(Dataset[tuple[Any, str]]):
    """Training samples, each with why it stands for another one: empty where it is the one that was asked for.

    For a sample whose file can't be read stands the next that can be: a disk that fails for a moment, or one file of
    thousands, ends no training.
    """

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __getitem__(self, number: int) -> tuple[Any, str]:
        first: FileError | OSError | None = None
        for other in range(number, number + IN_A_ROW):
            try:
                return self.samples[other], str(first or "")
            except (FileError, OSError) as error:
                first = first or error
        assert first is not None
        raise first


class LeftOut:
    """Counts the samples that couldn't be read, among all."""

    def __init__(self) -> None:
        self.read = self.missing = 0
        self.told: list[str] = []

    def count(self, reasons: Sequence[str]) -> list[str]:
        """The reasons, of a batch as `Readable` gives them, that are new."""
        self.read += len(reasons)
        self.missing += sum(map(bool, reasons))
        new = [reason for reason in dict.fromkeys(reasons) if reason and reason not in self.told]
        self.told += new
        return new

    def too_many(self) -> bool:
        """Whether it is no longer one file, but the data that are broken."""
        return self.missing > max(FEW, SHARE * self.read)


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


def as_worker(_: int) -> None:
    """What a process that reads samples begins with: signals are its parent's, and it ends when that is gone.

    Signals often reach a whole process group; the workers must outlive them until the parent has saved. torch's own
    workers look at who their parent is, which is a server where they are forked off one (by default from Python 3.14
    on): they would wait for ever after a `kill -9` of the training.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


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
