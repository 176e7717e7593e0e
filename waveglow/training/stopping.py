"""Signals that ask a training to stop: it finishes its step and saves.

SIGHUP: its terminal was closed. SIGUSR1: Slurm's `--signal=USR1@60`. SIGQUIT (Ctrl-\\) is left to end it at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class StopSignals:
    """Whether one of them has come, such as SIGXCPU (`ulimit -S -t`), since `heard` began."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Region in which the signals set `asked`; a second SIGINT raises KeyboardInterrupt.

        What is ignored stays so, as SIGHUP is by `nohup`, and SIGINT of a script's `&`.
        """

        def ask(number: int, _: object) -> None:
            if self.asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.asked = True

        limit = getattr(signal, "SIGXCPU", None)  # it comes again every second
        heeded = [number for number in STOPPING if number == limit or signal.getsignal(number) != signal.SIG_IGN]
        previous = {number: signal.signal(number, ask) for number in heeded}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_IGN if self.asked and number == limit else handler)
