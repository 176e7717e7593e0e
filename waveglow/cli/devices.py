"""Where the verbs compute: CPU threads, a device, and the vocoder put there."""

from __future__ import annotations

import argparse

import torch

from waveglow.models.checkpoint import CheckpointError
from waveglow.vocoder import Vocoder


def open_vocoder(args: argparse.Namespace) -> Vocoder:
    """The vocoder that the options name. Raises CheckpointError, also where it has no mel convention, ValueError."""
    if args.threads is not None:
        set_threads(args.threads)
    device = usable_device(args.device)
    vocoder = Vocoder.load(args.checkpoint, precision=args.precision, device=device, fused=args.fused)
    if not vocoder.has_mel_spec:
        raise CheckpointError(
            f"{args.checkpoint}: says nothing of its mel convention; convert it again with --mel PRESET"
        )
    return vocoder


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
