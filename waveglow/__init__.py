"""Flow-based speech synthesis: mel spectrogram to waveform in one parallel pass.

>>> import torch, waveglow
>>> voc = waveglow.load("lapglow")  # the voice that comes with the package; or a checkpoint's directory
>>> mel = torch.full((80, 10), -5.0)  # 10 frames of 256 samples
>>> voc.synthesize(mel).shape
torch.Size([2560])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from waveglow.audio.mel import preset
    from waveglow.audio.mel_spec import MelSpec
    from waveglow.evaluation import evaluate
    from waveglow.models.checkpoint import CheckpointError
    from waveglow.vocoder import Precision, Vocoder

__version__ = "0.1.0"
__all__ = ["CheckpointError", "MelSpec", "Vocoder", "evaluate", "load", "noise_vocoder", "preset"]

HOMES = {  # imported when first asked for: `import waveglow` loads no torch
    "CheckpointError": "waveglow.models.checkpoint",
    "MelSpec": "waveglow.audio.mel_spec",
    "Vocoder": "waveglow.vocoder",
    "evaluate": "waveglow.evaluation",
    "preset": "waveglow.audio.mel",
}


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})


def load(
    path: str | Path | None = None,
    *,
    precision: Precision = "float32",
    device: str | int | torch.device | None = None,
    refine: int | None = None,
    fused: bool = False,
) -> Vocoder:
    """Vocoder from a checkpoint directory, a training run's (its newest whole checkpoint), a voice of the package, or
    the Hugging Face Hub, `hf:org/name@revision`.

    Arguments:
        path: None is the voice that comes with the package, whatever lies in the current folder.
        precision: of the coupling nets: "float32", "bf16" or "fp16".
        device: where to compute, e.g. "cuda", or a GPU's number; None is the CPU.
        refine: steps of refinement where a call names no other number; None is what the checkpoint was validated with.
        fused: of a WaveGlow, upsampling and conditioning as one map: faster, for more memory.

    Raises CheckpointError (a ValueError) for what is no checkpoint, ValueError for an option that doesn't fit.

    >>> import waveglow
    >>> waveglow.load("lapglow", refine=0).sample_rate
    22050
    """
    from waveglow.models.shipped import DEFAULT_VOICE
    from waveglow.vocoder import Vocoder

    return Vocoder.load(
        DEFAULT_VOICE if path is None else path, precision=precision, device=device, refine=refine, fused=fused
    )


def noise_vocoder(mel: str | MelSpec, *, refine: int = 64, device: str | int | torch.device | None = None) -> Vocoder:
    """Vocoder without weights for a mel of any convention: noise, refined (`Vocoder.of_noise`).

    Arguments:
        mel: the convention, or its name: a preset, a checkpoint, or a YAML file of one's own.
        refine: steps of refinement where a call names no other number.
        device: where to compute, e.g. "cuda"; None is the CPU.

    Raises ValueError for an unknown convention, and for one whose windows overlap by less than half.

    >>> import torch, waveglow
    >>> waveglow.noise_vocoder("bigvgan-44k-512").synthesize(torch.full((128, 10), -5.0), refine=2).shape
    torch.Size([5120])
    """
    from waveglow.models import mel_lookup
    from waveglow.vocoder import Vocoder

    spec = mel_lookup.named(mel) if isinstance(mel, str) else mel
    return Vocoder.of_noise(spec, refine=refine, device=device)
