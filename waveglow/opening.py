"""The vocoder that a name means: a checkpoint, a training run, a voice, an exported file, or noise.

Imports without torch, and so does an exported file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from waveglow.export.onnx_runtime import OnnxVocoder

if TYPE_CHECKING:
    from waveglow.vocoder import Precision, Vocoder

NOISE = Path("noise")
Runtime = Literal["torch", "onnx"]


def open_vocoder(
    path: Path,
    *,
    mel: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    precision: Precision = "float32",
    fused: bool = False,
    runtime: Runtime | None = None,
) -> Vocoder | OnnxVocoder:
    """The vocoder at `path`: where that is an .onnx file or `runtime` is "onnx", of onnxruntime, else of torch.

    Arguments:
        mel: the convention of noise, which has no weights: a preset, a checkpoint or a YAML file.
        device: None is a GPU where there is one.
        threads: of the CPU; None is as many as the environment says.
        precision, fused: as of `Vocoder`.

    Raises CheckpointError, also where the mel convention isn't known, OnnxFileError, and ValueError for what is settled
    when a file is exported.
    """
    if path.suffix == ".onnx" or runtime == "onnx":
        settled = {"mel": mel, "device": device, "precision": precision != "float32", "fused": fused}
        for name, given in settled.items():
            if given:
                raise ValueError(f"--{name} is fixed in an .onnx file, which runs on the CPU; leave it out")
        return OnnxVocoder(path, threads=threads)
    from waveglow.devices import set_threads, usable_device
    from waveglow.models.checkpoint import CheckpointError

    set_threads(threads)
    vocoder = torch_vocoder(path, mel=mel, device=usable_device(device), precision=precision, fused=fused)
    if not vocoder.has_mel_spec:
        raise CheckpointError(f"{path}: says nothing of its mel convention; convert it again with --mel PRESET")
    return vocoder


def settled(path: Path) -> Path:
    """What `path` stands for now: of a run its newest checkpoint, for it may save another. Raises CheckpointError."""
    if path == NOISE or path.suffix == ".onnx":
        return path
    from waveglow.models.checkpoint import resolve

    return resolve(path)


def torch_vocoder(
    path: Path,
    *,
    mel: str | None = None,
    device: str | None = None,
    precision: Precision = "float32",
    fused: bool = False,
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
    """What either kind gives, as an array."""
    return audio.cpu().numpy() if hasattr(audio, "cpu") else audio
