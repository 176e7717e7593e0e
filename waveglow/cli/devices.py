"""The vocoder that a verb's options name, on its device."""

from __future__ import annotations

import argparse

from waveglow.devices import set_threads, usable_device
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
