"""Flow-based speech synthesis: mel spectrogram to waveform in one parallel pass.

>>> import torch, waveglow
>>> voc = waveglow.load("lapglow")  # the voice that comes with the package; or a checkpoint's directory
>>> mel = torch.full((80, 10), -5.0)  # 10 frames of 256 samples
>>> voc.synthesize(mel).shape
torch.Size([2560])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from waveglow.vocoder import Precision, Vocoder

__version__ = "0.1.0"


def load(path: str | Path | None = None, *, precision: Precision = "float32", device: str | None = None) -> Vocoder:
    """Vocoder from a checkpoint directory, a training run's (its newest whole checkpoint), or a voice of the package.

    None is the voice that comes with the package, whatever lies in the current folder.

    `precision` is that of the coupling nets: "float32", "bf16" or "fp16". Raises CheckpointError (a ValueError).
    """
    from waveglow.models.shipped import DEFAULT_VOICE
    from waveglow.vocoder import Vocoder

    return Vocoder.load(path or DEFAULT_VOICE, precision=precision, device=device)
