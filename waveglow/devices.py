"""Where to compute: CPU threads, devices that can be used, and their names."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch.backends import cuda, cudnn


def set_threads(threads: int | None) -> None:
    """Use so many CPU threads, or as many as before. Raises ValueError."""
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"--threads is {threads}; it must be at least 1")
    torch.set_num_threads(threads)


def usable_device(name: str | None) -> str:
    """The device that --device names, the best there is where it is None. Raises ValueError."""
    try:
        return str(usable(default_device() if name is None else name))
    except ValueError as error:
        raise ValueError(f"--{error}") from error


def usable(device: str | int | torch.device) -> torch.device:
    """The device, once something was put there and came back. Raises ValueError."""
    try:
        zero = torch.zeros(1, device=device)
        zero.cpu()  # of the meta device nothing does
        return zero.device
    except NotImplementedError as error:  # a list of all that torch could have been built with
        reason = "torch has no such backend here, or it holds no values"
        raise ValueError(f"device {device} can't be used: {reason}; {USE_CPU}") from error
    except (RuntimeError, AssertionError, ImportError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).splitlines()[0].partition(". ")[0][:200]
        raise ValueError(f"device {device} can't be used: {reason}; {USE_CPU}") from error


USE_CPU = "leave it out, or give cpu"


def default_device() -> str:
    """ "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def processor() -> str:
    """Name of the CPU, as well as it can be told."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Name of the GPU, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class _Switch(NamedTuple):
    """One of torch's of float32's precision: how it is set, to what for the whole of it, and what it was."""

    set: Callable[[Any], object]
    whole: Any
    before: Any


class _WholeFloat32:
    """All of them, which are the process's: the first that enters sets them, the last that leaves puts them back,
    whichever threads those are."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.depth = 0
        self.switches: list[_Switch] = []

    def enter(self) -> None:
        """Set the switches where nobody is within."""
        with self.lock:
            self.depth += 1
            if self.depth == 1:
                self.switches = _switches()
                for switch in self.switches:
                    switch.set(switch.whole)

    def leave(self) -> None:
        """Put them back where nobody is left within."""
        with self.lock:
            self.depth -= 1
            if not self.depth:
                for switch in self.switches:
                    switch.set(switch.before)


def _switches() -> list[_Switch]:
    """Those of torch's older interface first, or whoever reads it meanwhile gets an error; those of the newer decide.

    The older can't be read, and need not be set, where only the newer was used.
    """
    found = []
    with suppress(RuntimeError):
        found.append(_Switch(partial(setattr, cudnn, "allow_tf32"), False, cudnn.allow_tf32))
    with suppress(RuntimeError):
        found.append(_Switch(torch.set_float32_matmul_precision, "highest", torch.get_float32_matmul_precision()))
    for module in (cuda.matmul, cudnn.conv, cudnn.rnn):  # type: ignore[attr-defined]
        found.append(_Switch(partial(setattr, module, "fp32_precision"), "ieee", module.fp32_precision))
    return found


_WHOLE_FLOAT32 = _WholeFloat32()


@contextmanager
def whole_float32() -> Iterator[None]:
    """Within it, a GPU's float32 products and convolutions don't use TF32, whose mantissa is as short as float16's."""
    _WHOLE_FLOAT32.enter()
    try:
        yield
    finally:
        _WHOLE_FLOAT32.leave()
