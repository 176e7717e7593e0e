"""The vocoder that a verb's options name, on its device; an exported one without torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waveglow.export.onnx_runtime import OnnxVocoder

if TYPE_CHECKING:
    from waveglow.vocoder import Precision, Vocoder

NOISE = Path("noise")
SETTLED = {"mel": None, "device": None, "precision": "float32", "fused": False}  # when an .onnx file is made


def open_vocoder(args: argparse.Namespace) -> Vocoder | OnnxVocoder:
    """The vocoder that the options name. Raises CheckpointError, also where it has no mel convention, ValueError."""
    if args.checkpoint.suffix == ".onnx" or getattr(args, "runtime", None) == "onnx":
        for name, usual in SETTLED.items():
            if getattr(args, name) != usual:
                raise ValueError(f"--{name} is fixed in an .onnx file, which runs on the CPU; leave it out")
        return OnnxVocoder(args.checkpoint, threads=args.threads)
    from waveglow.devices import set_threads, usable_device
    from waveglow.models.checkpoint import CheckpointError

    set_threads(args.threads)
    device = usable_device(args.device)
    vocoder = opened(args.checkpoint, args.mel, device=device, precision=args.precision, fused=args.fused)
    if not vocoder.has_mel_spec:
        raise CheckpointError(
            f"{args.checkpoint}: says nothing of its mel convention; convert it again with --mel PRESET"
        )
    return vocoder


def opened(
    path: Path, mel: str | None, *, device: str, precision: Precision = "float32", fused: bool = False
) -> Vocoder:
    """The vocoder of a checkpoint, or that of noise in a mel convention. Raises CheckpointError, ValueError."""
    from waveglow.models import mel_lookup
    from waveglow.vocoder import Vocoder

    if path == NOISE and not path.exists():
        if mel is None:
            raise ValueError("-c noise takes any mel; say which with --mel, such as --mel hifigan")
        if fused:
            raise ValueError("--fused is for a WaveGlow, and noise has no conditioning to fuse; leave it out")
        return Vocoder.of_noise(mel_lookup.named(mel), device=device)
    if mel is not None:
        raise ValueError(f"--mel is {mel}, and {path} has a convention of its own; leave --mel out, or give -c noise")
    return Vocoder.load(path, precision=precision, device=device, fused=fused)


def on_cpu(audio: Any) -> Any:
    """What either vocoder gives, as an array."""
    return audio.cpu().numpy() if hasattr(audio, "cpu") else audio
