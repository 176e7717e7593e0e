"""Where to compute: CPU threads and devices that can be used."""

from __future__ import annotations

import torch


def set_threads(threads: int) -> None:
    """Use so many CPU threads. Raises ValueError."""
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
