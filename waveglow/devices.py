"""Where to compute: CPU threads, devices that can be used, and their names."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def set_threads(threads: int | None) -> None:
    """Use so many CPU threads, or as many as before. Raises ValueError."""
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"--threads is {threads}; it must be at least 1")
    torch.set_num_threads(threads)


def usable_device(name: str | None) -> str:
    """The device of that name, once something was put there. Raises ValueError."""
    try:
        torch.zeros(1, device=name or "cpu")
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        raise ValueError(f"--device {name} can't be used: {str(error).splitlines()[0]}") from error
    return name or default_device()


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
